"""The store: the one place that knows SQL. `Store` is what the rest of the code sees."""

from mcp_jobs.store.base import Accepted, Change, Claimed, Outbox, Store
from mcp_jobs.store.jobs import SqliteStore
from mcp_jobs.store.read_only import ReadOnlyStore

__all__ = ["Accepted", "Change", "Claimed", "Outbox", "ReadOnlyStore", "SqliteStore", "Store"]
