"""Rows by number out of files and frames, without time."""
