"""How each interface names what can be done with a job, for the texts that say what to do next.

The service is one for all interfaces; whoever calls it through `JobService.in_words_of` is answered
in words that he can use.
"""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from mcp_jobs.domain import display

if TYPE_CHECKING:
    from mcp_jobs.domain.gates import PauseKind

_WAIT_S: Final = 50


class Vocabulary(Protocol):
    """The calls or commands of one interface, as they are typed."""

    def look(self, job_id: str) -> str:
        """Show a job."""
        ...

    def wait(self, job_id: str) -> str:
        """Wait for the end of a job and show it."""
        ...

    def search(self, job_id: str, pattern: str) -> str:
        """Show the lines of output that match."""
        ...

    def cancel(self, job_id: str) -> str:
        """End a job."""
        ...

    def list(self) -> str:
        """Show all jobs."""
        ...

    def resume(self, kind: PauseKind, name: str) -> str:
        """Let go on what is paused."""
        ...


class _Tools:
    def look(self, job_id: str) -> str:
        return _call("check_job", job_id=job_id)

    def wait(self, job_id: str) -> str:
        return _call("check_job", job_id=job_id, wait_seconds=_WAIT_S)

    def search(self, job_id: str, pattern: str) -> str:
        return _call("check_job", job_id=job_id, grep=pattern)

    def cancel(self, job_id: str) -> str:
        del job_id
        return "cancel_job"

    def list(self) -> str:
        return "list_jobs"

    def resume(self, kind: PauseKind, name: str) -> str:
        return _resume_command(kind, name)


class _Rest:
    def look(self, job_id: str) -> str:
        return f"GET /jobs/{job_id}"

    def wait(self, job_id: str) -> str:
        return f"GET /jobs/{job_id}?wait_seconds={_WAIT_S}"

    def search(self, job_id: str, pattern: str) -> str:
        return f"GET /jobs/{job_id}/output?grep={quote(pattern, safe='')}"

    def cancel(self, job_id: str) -> str:
        return f"POST /jobs/{job_id}/cancel"

    def list(self) -> str:
        return "GET /jobs"

    def resume(self, kind: PauseKind, name: str) -> str:
        body = {kind: name} if name else {}
        return f"POST /resume {display.json_line(body)}"


class _Commands:
    def look(self, job_id: str) -> str:
        return f"`mcp-jobs show {job_id}`"

    def wait(self, job_id: str) -> str:
        return f"`mcp-jobs wait {job_id}`"

    def search(self, job_id: str, pattern: str) -> str:
        return f"`mcp-jobs logs --grep {shlex.quote(pattern)} {job_id}`"

    def cancel(self, job_id: str) -> str:
        return f"`mcp-jobs cancel {job_id}`"

    def list(self) -> str:
        return "`mcp-jobs list`"

    def resume(self, kind: PauseKind, name: str) -> str:
        return _resume_command(kind, name)


TOOLS: Final[Vocabulary] = _Tools()
REST: Final[Vocabulary] = _Rest()
COMMANDS: Final[Vocabulary] = _Commands()


def _resume_command(kind: PauseKind, name: str) -> str:
    # A shell would not take a name as it is written out where a screen would obey it.
    option = f" --{kind} {shlex.quote(display.line(name))}" if name else ""
    return f"`mcp-jobs resume{option}`"


def _call(tool: str, **arguments: str | int) -> str:
    return f"{tool} {json.dumps(arguments)}"
