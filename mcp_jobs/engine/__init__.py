"""Brings jobs to their ends: claims them, sees them through, keeps what was learnt."""
