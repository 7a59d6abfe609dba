"""What a duration is, what now is, when a batch starts: the one place that knows the grid and the policies."""
