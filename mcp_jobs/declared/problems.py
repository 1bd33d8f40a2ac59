"""What is wrong with a declaration: file, line, key, and what is allowed."""

from __future__ import annotations


class DeclarationError(ValueError):
    """One mistake in a file of job types; the text is for whoever writes the file."""

    def __init__(self, file: str, line: int, key: str, message: str) -> None:
        self.line = line
        """Counted from 1."""
        where = f"{file}:{line}: {key}: " if key else f"{file}:{line}: "
        super().__init__(where + message)
