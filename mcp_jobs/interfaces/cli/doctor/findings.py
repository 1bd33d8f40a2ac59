"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Something may be missed or may break; jobs run."""
    FAULT = "fault"
    """Jobs do not run, or a host cannot start the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    check: str
    level: Level
    message: str
    advice: str = ""
    """What to do; empty when all is well."""

    def as_json(self) -> dict[str, Any]:
        """Return it for `--json`."""
        return {
            "check": self.check,
            "level": self.level.value,
            "message": self.message,
            "advice": self.advice,
        }


def fine(check: str, message: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check=check, level=Level.OK, message=message)


def warning(check: str, message: str, advice: str) -> Finding:
    """Return a finding that may matter."""
    return Finding(check=check, level=Level.WARNING, message=message, advice=advice)


def fault(check: str, message: str, advice: str) -> Finding:
    """Return a finding that breaks something."""
    return Finding(check=check, level=Level.FAULT, message=message, advice=advice)
