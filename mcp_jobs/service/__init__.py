"""What callers can do with jobs, in no protocol."""
