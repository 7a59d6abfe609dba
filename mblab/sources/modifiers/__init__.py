"""What goes wrong on the way: late and double rows, silences, spoiled values."""
