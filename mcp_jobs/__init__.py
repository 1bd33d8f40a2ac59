"""Background jobs for AI agents, served over MCP.

Importing the package costs nothing: the launcher does it with `python -I -S`, where only the
standard library is there. The public names are loaded on first use.
"""

__version__ = "0.1.0"

# Type checkers take this name as true, wherever it comes from; `typing` is not imported for it.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from mcp_jobs.errors import JobsError

__all__ = ["JobsError", "__version__"]

# Public name -> the module that has it. A name stands here, in `__all__` and in the block above.
_LAZY = {
    "JobsError": "mcp_jobs.errors",
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
