"""`mcp-jobs hook HOST`: answer one event of a host, which stands on stdin as JSON.

Whatever goes wrong, it ends with exit code 0 and nothing said: a hook that fails would disturb a
turn of the host for something that is no part of it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_EVENT_BYTES: Final = 16 << 20
_SILENT: Final = frozenset({"PostToolUse", "Stop"})
"""Events that are answered in print mode only."""


def run(host: str, overrides: Mapping[str, Any]) -> None:
    """Answer the event on stdin; `overrides` are settings from the command line."""
    try:
        answer = _answer(host, overrides)
        if answer is not None:
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()
    except Exception:  # noqa: BLE001, S110 - the host goes on without it
        pass


def _answer(host: str, overrides: Mapping[str, Any]) -> str | None:
    if host != "claude-code":
        return None
    event = _event()
    from mcp_jobs import settings

    printing = settings.foreign_variable("CLAUDE_CODE_ENTRYPOINT") == "sdk-cli"
    if event.get("hook_event_name") in _SILENT and not printing:
        return None
    from mcp_jobs.domain import display
    from mcp_jobs.interfaces import event_loop
    from mcp_jobs.interfaces.hooks.claude_code import Hooks

    hooks = Hooks(settings.load(**overrides), event, printing=printing)
    answer = event_loop.run(hooks.answer)
    return None if answer is None else display.json_line(answer)


def _event() -> dict[str, Any]:
    told = json.loads(sys.stdin.buffer.read(_EVENT_BYTES))
    return told if isinstance(told, dict) else {}
