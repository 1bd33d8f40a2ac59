"""The store: the one place that knows SQL. `Store` is what the rest of the code sees."""

from mcp_jobs.store.base import Accepted, Change, Claimed, Outbox, Store
from mcp_jobs.store.sqlite.read_only import ReadOnlyStore
from mcp_jobs.store.sqlite.sqlite_store import SqliteStore

__all__ = ["Accepted", "Change", "Claimed", "Outbox", "ReadOnlyStore", "SqliteStore", "Store"]
