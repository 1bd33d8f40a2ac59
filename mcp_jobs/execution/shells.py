"""The shells that run scripts: bash where there is one, since agents write bash, and sh."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.settings import program_folders, project_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp_jobs.settings import Settings

Interpreter = Literal["bash", "sh"]

_SH: Final = ("/bin/sh", "-c")
_BASH_OPTIONS: Final = ("-p", "-o", "pipefail", "-c")
"""-p: neither BASH_ENV nor functions from the environment change what a script does; what it starts
still gets both."""

_SYSTEM_FOLDERS: Final = ("/bin", "/usr/bin")
"""As trusted as /bin/sh, and not on the PATH of every host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Text for a shell."""

    text: str
    interpreter: Interpreter | None = None
    """None for the default of the server that accepts the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shells:
    """The shells that jobs accepted by this process are run with."""

    default: Interpreter
    bash: str | None
    """The path of bash; None where there is none."""

    @property
    def described(self) -> str:
        """The default, as whoever writes for it must know it."""
        return "bash -o pipefail" if self.default == "bash" else "/bin/sh"

    def argv(self, script: Script) -> tuple[str, ...]:
        """Return the command. Raises `InvalidInputError` for bash where there is none."""
        if (script.interpreter or self.default) == "sh":
            return (*_SH, script.text)
        if self.bash is None:
            raise InvalidInputError(
                "There is no bash on this machine. Leave interpreter out, or use sh."
            )
        return (self.bash, *_BASH_OPTIONS, script.text)


def find_shells(settings: Settings) -> Shells:
    """Look for bash, once, so that no job has to. Raises `InvalidInputError` if it must be there.

    Only a bash that lies outside of the project is used: one inside may be anybody's.
    """
    bash = _found(program_folders(), project_directory())
    if settings.shell == "bash" and bash is None:
        raise InvalidInputError(
            "MCP_JOBS_SHELL is bash, but there is none on the PATH of this server. Install it, or "
            "set auto or sh."
        )
    return Shells(default="sh" if settings.shell == "sh" or bash is None else "bash", bash=bash)


def _found(folders: Iterable[str], project: str | None) -> str | None:
    root = None if project is None else os.path.realpath(project)
    for folder in folders:
        path = os.path.join(folder, "bash")
        if _is_program(path) and (root is None or not _is_inside(path, root)):
            return path
    return next(filter(_is_program, (f"{folder}/bash" for folder in _SYSTEM_FOLDERS)), None)


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _is_inside(path: str, root: str) -> bool:
    # Either the file itself or the folder that names it may be a link.
    places = (os.path.realpath(path), os.path.realpath(os.path.dirname(path)))
    return any(os.path.commonpath([place, root]) == root for place in places)
