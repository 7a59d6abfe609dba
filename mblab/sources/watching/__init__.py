"""What watches a folder: files found as they become complete, and read as one table."""
