"""What happened and is happening: a run live or saved, compared, and as a page."""
