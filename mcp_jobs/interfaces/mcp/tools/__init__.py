"""The tools, and what they ask for."""
