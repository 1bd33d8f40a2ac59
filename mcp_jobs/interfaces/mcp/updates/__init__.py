"""Who hears of changes, and how."""
