"""One batch after the other: the recipe, the feed, the batch in its phases, and what turns them."""
