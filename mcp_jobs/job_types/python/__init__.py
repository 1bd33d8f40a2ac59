"""Typed Python functions as jobs."""
