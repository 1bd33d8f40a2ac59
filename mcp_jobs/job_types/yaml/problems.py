"""What is wrong with a declaration: file, line, key, and what is allowed."""

from __future__ import annotations

from typing import Final

from mcp_jobs.domain.questions import visible

_KEY_CHARS: Final = 200
_MESSAGE_CHARS: Final = 600


class DeclarationError(ValueError):
    """One mistake in a file of job types; the text is for whoever writes the file."""

    def __init__(self, file: str, line: int, key: str, message: str) -> None:
        self.line = line
        """Counted from 1."""
        # Of a file only keys are told, and those cut: it may be another one than its reader thinks.
        where = f"{file}:{line}: {_cut(key, _KEY_CHARS)}: " if key else f"{file}:{line}: "
        super().__init__(visible(where + _cut(message, _MESSAGE_CHARS)))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
