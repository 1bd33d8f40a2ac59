"""What keeps a worker of this home alive: a systemd user unit, or a launchd agent."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import InvalidInputError, in_words
from mcp_jobs.execution import private_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_COMMAND_S: Final = 60.0
_TOLD_CHARS: Final = 300
REFUSED: Final = 78
"""The exit code of a worker that can do nothing for its home; to start it again is in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is to be kept alive."""

    home_id: str
    home: str
    argv: tuple[str, ...]
    environ: Mapping[str, str]


class Keeper(Protocol):
    """One way to keep a worker alive. Raises `InvalidInputError` for what it cannot do."""

    name: str
    path: Path
    """The file that tells it what to do."""

    def text(self, work: Work) -> str:
        """Return that file."""
        ...

    def start(self) -> None:
        """Do as the file says, from now on."""
        ...

    def stop(self) -> None:
        """Do so no longer. Jobs that run are not touched."""
        ...

    def is_active(self) -> bool:
        """Say whether the worker is kept alive now."""
        ...


class Systemd:
    """A unit of the systemd that looks after this user."""

    name = "systemd"

    def __init__(self, program: str, home_id: str) -> None:
        self._program = program
        self._unit = f"mcp-jobs-{home_id[:12]}.service"
        self.path = configuration.systemd_directory() / self._unit

    def text(self, work: Work) -> str:
        environ = [f"Environment={_quoted(f'{n}={v}')}" for n, v in sorted(work.environ.items())]
        command = " ".join(_quoted(word).replace("$", "$$") for word in work.argv)
        lines = (
            "# Made by mcp-jobs service install.",
            "[Unit]",
            f"Description=mcp-jobs worker of {_escaped(work.home)}",
            "",
            "[Service]",
            f"ExecStart={command}",
            *environ,
            "Restart=always",
            "RestartSec=5",
            f"RestartPreventExitStatus={REFUSED}",
            "# Jobs outlive their worker.",
            "KillMode=process",
            "",
            "[Install]",
            "WantedBy=default.target",
        )
        return "\n".join(lines) + "\n"

    def start(self) -> None:
        self._do("daemon-reload")
        self._do("enable", self._unit)
        self._do("restart", self._unit)

    def stop(self) -> None:
        self._do("disable", "--now", self._unit)

    def is_active(self) -> bool:
        return _run([self._program, "--user", "is-active", self._unit]).returncode == 0

    def _do(self, *arguments: str) -> None:
        _must([self._program, "--user", *arguments])


class Launchd:
    """An agent of the launchd that looks after this user."""

    name = "launchd"

    def __init__(self, program: str, home_id: str) -> None:
        self._program = program
        self._label = f"mcp-jobs.{home_id[:12]}"
        self._domain = f"gui/{os.getuid()}"
        self.path = configuration.launch_agents_directory() / f"{self._label}.plist"

    def text(self, work: Work) -> str:
        agent = {
            "Label": self._label,
            "ProgramArguments": list(work.argv),
            "EnvironmentVariables": dict(work.environ),
            "RunAtLoad": True,
            "KeepAlive": True,
            # Jobs outlive their worker.
            "AbandonProcessGroup": True,
        }
        return plistlib.dumps(agent).decode()

    def start(self) -> None:
        self.stop()
        _must([self._program, "bootstrap", self._domain, str(self.path)])

    def stop(self) -> None:
        # It complains of what is not there.
        if self.is_active():
            _must([self._program, "bootout", f"{self._domain}/{self._label}"])

    def is_active(self) -> bool:
        return _run([self._program, "print", f"{self._domain}/{self._label}"]).returncode == 0


def keeper_of(home_id: str, *, platform: str = sys.platform) -> Keeper:
    """Return what can keep a worker alive here. Raises `InvalidInputError` where nothing can."""
    folders = os.pathsep.join(configuration.program_folders())
    if platform == "darwin":
        program = shutil.which("launchctl", path=folders)
        if program is not None:
            return Launchd(program, home_id)
    program = shutil.which("systemctl", path=folders)
    if program is not None:
        return Systemd(program, home_id)
    raise InvalidInputError(
        "Nothing here can keep a worker alive: mcp-jobs service needs systemd (systemctl) on Linux "
        "or launchd (launchctl) on macOS. Have `mcp-jobs worker` kept alive by whatever keeps "
        "services alive on this machine."
    )


def install(keeper: Keeper, text: str) -> None:
    """Write the file and start what it says. Raises `InvalidInputError`."""
    try:
        keeper.path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{keeper.path} cannot be written: {in_words(error)}.") from error
    # Private: there may be settings among the variables that are secret.
    private_files.write_private(keeper.path, text, replace=True)
    keeper.start()


def uninstall(keeper: Keeper) -> bool:
    """Stop it and remove the file; says whether there was one. Raises `InvalidInputError`."""
    if not os.path.lexists(keeper.path):
        return False
    keeper.stop()
    try:
        keeper.path.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInputError(f"{keeper.path} cannot be removed: {in_words(error)}.") from error
    return True


def _quoted(text: str) -> str:
    """Return a word as systemd reads it back."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _escaped(text: str) -> str:
    if not text.isprintable():
        raise InvalidInputError(
            f"{text!a} has a character that cannot stand in a unit of systemd. Leave it out of the "
            "environment, or choose another path."
        )
    return text.replace("%", "%%")


def _must(command: Sequence[str]) -> None:
    done = _run(command)
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())[:_TOLD_CHARS]
        raise InvalidInputError(
            f"{' '.join(command)} failed: {told or f'exit code {done.returncode}'}. Without a "
            "session of this user there is nothing to ask, as in a container or after su; have "
            "`mcp-jobs worker` kept alive by other means there."
        )


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMMAND_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        told = in_words(error) if isinstance(error, OSError) else "it does not answer"
        raise InvalidInputError(f"{command[0]} cannot be used: {told}.") from error
