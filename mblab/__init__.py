"""mblab."""
