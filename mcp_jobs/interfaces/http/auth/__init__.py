"""Who may come in, and what he may do."""
