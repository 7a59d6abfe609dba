"""The user's function: what it is, what it may take and return, and what it remembers between batches."""
