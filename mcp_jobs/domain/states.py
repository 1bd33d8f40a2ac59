"""The states of a job and the one table of changes between them.

Everything that moves a job does so by a `(state, signal)` row of `TRANSITIONS`; whatever has no
row is refused. The store repeats the rules in SQL (CHECKs and a trigger), and a test holds the two
against each other. The state diagram in docs/architecture.md is generated from this table.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Status(StrEnum):
    """What a job is, as every reader sees it."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Signal(StrEnum):
    """What can happen to a job."""

    CLAIM = "claim"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    CANCEL = "cancel"
    ASK = "ask"
    ANSWER = "answer"
    ACCEPT = "accept"


class Reason(StrEnum):
    """Why a job failed, was cancelled, or is tried again."""

    EXIT_CODE = "exit_code"
    SIGNAL = "signal"
    TIMEOUT = "timeout"
    IDLE_TIMEOUT = "idle_timeout"
    SPAWN_ERROR = "spawn_error"
    EXCEPTION = "exception"
    INTERRUPTED = "interrupted"
    OUTPUT_LIMIT = "output_limit"
    DECLINED = "declined"
    CANCELLED_BY_USER = "cancelled_by_user"
    SUPERSEDED = "superseded"
    DEPENDENCY_FAILED = "dependency_failed"


TERMINAL: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""States that never change again."""

LONGEST_PAUSE_MS: Final = 300_000
"""The longest pause between two attempts."""

STARTS: Final[Mapping[str, Status]] = MappingProxyType(
    {"start": Status.PENDING, "start, to be confirmed": Status.INPUT_REQUIRED}
)
"""The states that a job begins in."""

TRANSITIONS: Final[Mapping[tuple[Status, Signal], Status]] = MappingProxyType(
    {
        (Status.PENDING, Signal.CLAIM): Status.RUNNING,
        (Status.PENDING, Signal.CANCEL): Status.CANCELLED,
        (Status.RUNNING, Signal.COMPLETE): Status.COMPLETED,
        (Status.RUNNING, Signal.FAIL): Status.FAILED,
        (Status.RUNNING, Signal.RETRY): Status.RETRYING,
        (Status.RUNNING, Signal.CANCEL): Status.CANCELLED,
        (Status.RUNNING, Signal.ASK): Status.INPUT_REQUIRED,
        (Status.INPUT_REQUIRED, Signal.ACCEPT): Status.PENDING,
        (Status.INPUT_REQUIRED, Signal.ANSWER): Status.RUNNING,
        (Status.INPUT_REQUIRED, Signal.COMPLETE): Status.COMPLETED,
        (Status.INPUT_REQUIRED, Signal.FAIL): Status.FAILED,
        (Status.INPUT_REQUIRED, Signal.RETRY): Status.RETRYING,
        (Status.INPUT_REQUIRED, Signal.CANCEL): Status.CANCELLED,
        (Status.RETRYING, Signal.CLAIM): Status.RUNNING,
        (Status.RETRYING, Signal.CANCEL): Status.CANCELLED,
    }
)


def mermaid() -> str:
    """Return the table as a Mermaid state diagram, for docs/architecture.md."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {status}: {start}" for start, status in STARTS.items()]
    lines += [f"    {old} --> {new}: {signal}" for (old, signal), new in TRANSITIONS.items()]
    lines += [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(lines)
