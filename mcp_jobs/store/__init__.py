"""The truth about jobs. `Store` is what the rest of the code sees of it."""

from mcp_jobs.store.base import Accepted, Change, Claimed, Due, Gates, Outbox, Store

__all__ = ["Accepted", "Change", "Claimed", "Due", "Gates", "Outbox", "Store"]
