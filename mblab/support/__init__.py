"""Arguments, files written whole, the notebook we run in, progress: what every room may need, and nothing else."""
