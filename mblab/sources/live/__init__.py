"""Sources whose rows are not there yet: a folder that is watched, a function that is polled."""
