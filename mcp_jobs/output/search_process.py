"""A search that takes long, in an interpreter of its own that can be killed.

A thread cannot be ended. So what is not found in a moment is searched anew in a child, whose
memory and time are bounded by the system, and which is killed when nobody waits for it any more.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any, Final

import anyio

from mcp_jobs.output.search import BadPattern, PatternTimeout, grep_output, took_too_long
from mcp_jobs.output.slices import CursorPastEnd, OutputSlice
from mcp_jobs.output.source import Unreadable

if TYPE_CHECKING:
    from mcp_jobs.output.source import OutputSource

MEMORY_BYTES: Final = 1 << 30
"""What the child may take of addresses; an interpreter with its libraries has a tenth of it."""

_MARGIN_S: Final = 2.0
"""A child ends by itself after its limit; that it has not, somebody must have stopped it."""
_ROOT: Final = str(Path(__file__).resolve().parents[2])
_CODE: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from mcp_jobs.output.search_process import main; main()"
)
_ERRORS: Final = {e.__name__: e for e in (BadPattern, CursorPastEnd, PatternTimeout, Unreadable)}


async def search(source: OutputSource, *, timeout_s: float, **request: Any) -> OutputSlice:
    """Do `grep_output` with these arguments, and raise what it raises.

    Cancelling this kills the child.
    """
    # Without `site`, which would take longer than the rest.
    path = json.dumps([path for path in (*sys.path, _ROOT) if path])
    reply = b""
    with anyio.move_on_after(timeout_s + _MARGIN_S) as bound:
        try:
            done = await anyio.run_process(
                [sys.executable, "-I", "-S", "-c", _CODE, path],
                input=pickle.dumps((source, {"timeout_s": timeout_s, **request})),
                stderr=DEVNULL,
                check=False,
                cwd="/",
                env={"PATH": os.defpath},
            )
            reply = done.stdout
        except* anyio.BrokenResourceError:
            # A child that died before it was told anything breaks the pipe, in a task group.
            pass
    if bound.cancelled_caught:
        # On a crowded machine it did not come to looking at the time itself.
        raise took_too_long(timeout_s)
    answer: dict[str, Any] = json.loads(reply) if reply else {}
    if "found" in answer:
        return OutputSlice(**answer["found"])
    if "error" in answer:
        raise _ERRORS[answer["error"]](answer["text"])
    raise PatternTimeout(
        f"The search took more than {MEMORY_BYTES >> 20} MiB of memory or {timeout_s:g} s and was "
        "stopped. Give a simpler pattern, or search less with a later cursor."
    )


def main() -> None:
    """Search as the child, and print what came of it."""
    # What this process was given by its own parent.
    source, request = pickle.load(sys.stdin.buffer)  # noqa: S301 - see above
    limit(request["timeout_s"])
    try:
        answer: dict[str, Any] = {"found": asdict(grep_output(source, **request))}
    except tuple(_ERRORS.values()) as error:
        answer = {"error": type(error).__name__, "text": str(error)}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()


def limit(timeout_s: float) -> None:
    """Bound this process in memory and in time, also should its parent be gone."""
    limits = (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, int(timeout_s + _MARGIN_S) + 1),
        (resource.RLIMIT_CORE, 0),
    )
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # Not every system bounds addresses.
        with suppress(ValueError, OSError):
            resource.setrlimit(kind, (allowed, allowed))
