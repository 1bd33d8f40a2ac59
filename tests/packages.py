"""What an installation with one of the project's extras brings, by what is installed here."""

from __future__ import annotations

from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(extra: str) -> dict[str, Distribution]:
    """The packages that mcp-jobs with this extra brings, by name, without itself."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [("mcp-jobs", ""), ("mcp-jobs", extra)]
    while todo:
        name, wanted = todo.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        found[name] = distribution(name)
        for requirement in map(Requirement, found[name].requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": wanted}):
                named = canonicalize_name(requirement.name)
                todo += [(named, one) for one in ("", *requirement.extras)]
    del found["mcp-jobs"]
    return found
