"""Changes, as they happen."""
