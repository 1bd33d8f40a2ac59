"""Background jobs for AI agents, served over MCP.

Importing the package costs nothing: the launcher does it with `python -I -S`, where only the
standard library is there. The public names are loaded on first use.
"""

__version__ = "0.1.0"

# Type checkers take this name as true, wherever it comes from; `typing` is not imported for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mcp_jobs.domain.errors import JobsError
    from mcp_jobs.job_types.python.context import (
        DeclinedError,
        JobCancelledError,
        JobContext,
        ProtocolError,
        Retry,
        RetryableError,
    )
    from mcp_jobs.jobs import Jobs
    from mcp_jobs.service.producer import StartedJob

__all__ = [
    "DeclinedError",
    "JobCancelledError",
    "JobContext",
    "Jobs",
    "JobsError",
    "ProtocolError",
    "Retry",
    "RetryableError",
    "StartedJob",
    "__version__",
]

# Public name -> the module that has it. A name stands here, in `__all__` and in the block above.
_LAZY = {
    "DeclinedError": "mcp_jobs.job_types.python.context",
    "JobCancelledError": "mcp_jobs.job_types.python.context",
    "JobContext": "mcp_jobs.job_types.python.context",
    "Jobs": "mcp_jobs.jobs",
    "JobsError": "mcp_jobs.domain.errors",
    "ProtocolError": "mcp_jobs.job_types.python.context",
    "Retry": "mcp_jobs.job_types.python.context",
    "RetryableError": "mcp_jobs.job_types.python.context",
    "StartedJob": "mcp_jobs.service.producer",
}


def __getattr__(name: str) -> object:
    """Load the public `name` from its module and keep it."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the lazy names too."""
    return sorted({*globals(), *_LAZY})
