"""What goes wrong on the way: late and double rows, silences, spoiled values; and the source that lets it happen."""
