"""Change a host's file: first the text, then a backup, then one atomic step."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.errors import JobsError
from mcp_jobs.execution.launcher import files
from mcp_jobs.interfaces.cli.hosts import diff, jsonc, toml_edits

if TYPE_CHECKING:
    from mcp_jobs.interfaces.cli.hosts.known_hosts import Host


class HostFileError(JobsError):
    """A host's file cannot be read or changed safely; it is left as it is."""

    code = "host_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What would become of a file."""

    path: Path
    """The file itself, also where a link leads to it."""
    before: bytes | None
    """None: there is no file yet."""
    after: bytes
    place: tuple[str, str]
    """The table and the name of our entry in it."""
    toml: bool

    @property
    def needed(self) -> bool:
        """Whether anything would change."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff that shows no text of others' entries."""
        old = str(self.path) if self.before is not None else os.devnull
        return diff.unified(
            (self.before or b"").decode(),
            self.after.decode(),
            names=(old, str(self.path)),
            place=self.place,
            toml=self.toml,
        )


def read(path: Path) -> bytes | None:
    """Return a file's bytes; None when there is none. Raises `HostFileError`."""
    try:
        # A link to it is usual; a FIFO, which a project may bring, would be waited for.
        return files.read_file(os.path.realpath(path), owned=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostFileError(f"{path} cannot be read: {error.strerror}.") from error


def servers_in(host: Host, path: Path) -> dict[str, Any]:
    """Return the servers that a host's file names. Raises `HostFileError`."""
    text = _text(path, read(path))
    try:
        found = (toml_edits.loads if host.toml else jsonc.loads)(text).get(host.table, {})
    except ValueError as error:
        raise HostFileError(f"{path} is not valid: {error}.") from None
    return found if isinstance(found, dict) else {}


def plan(host: Host, path: Path, name: str, entry: dict[str, Any]) -> Change:
    """Return the change that puts an entry into a host's file; keys it has beside ours stay.

    Raises `HostFileError` when the file is not what the host could read either.
    """
    path = Path(os.path.realpath(path))
    before = read(path)
    text = _text(path, before)
    try:
        if host.toml:
            after = toml_edits.set_table(text, (host.table, name), entry)
        else:
            after = _with_entry(text, (host.table, name), entry, host.kept)
    except ValueError as error:
        raise HostFileError(
            f"{path} cannot be changed: {error}. It is left as it is; repair it, or add the lines "
            "that --print shows by hand."
        ) from None
    place = (host.table, name)
    return Change(path=path, before=before, after=after.encode(), place=place, toml=host.toml)


def snippet(host: Host, name: str, entry: dict[str, Any]) -> str:
    """Return what a person would add to a host's file by hand."""
    whole = {host.table: {name: entry}}
    if not host.toml:
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    return toml_edits.set_table("", (host.table, name), entry)


def apply(change: Change) -> Path | None:
    """Write a change in one step and return the backup of what was there before.

    Raises `HostFileError`; the file is then as it was.
    """
    path = change.path
    backup = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if change.before is not None:
            backup = _backup(path, change.before)
        _replace(path, change)
    except OSError as error:
        raise HostFileError(
            f"{path} cannot be written: {error.strerror}. It is left as it is."
        ) from error
    return backup


def _with_entry(
    text: str, place: tuple[str, str], entry: dict[str, Any], kept: frozenset[str]
) -> str:
    present = jsonc.loads(text).get(place[0])
    if not isinstance(present, dict) or not isinstance(present.get(place[1]), dict):
        return jsonc.set_member(text, place, entry)
    old = present[place[1]]
    for key, value in entry.items():
        if key in kept and key in old:
            continue
        inner = value if isinstance(value, dict) and isinstance(old.get(key), dict) else None
        for name, part in ({} if inner is None else inner).items():
            if old[key].get(name) != part:
                text = jsonc.set_member(text, (*place, key, name), part)
        if inner is None and old.get(key) != value:
            text = jsonc.set_member(text, (*place, key), value)
    return text


def _text(path: Path, data: bytes | None) -> str:
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        raise HostFileError(f"{path} is not UTF-8; it is left as it is.") from None


def _backup(path: Path, before: bytes) -> Path:
    """Keep what a file held, for its user alone: hosts' files hold tokens, whatever their mode."""
    moment = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    backup, number = path.with_name(f"{path.name}.{moment}.bak"), 1
    while (fd := _made(backup)) is None:
        number += 1
        backup = path.with_name(f"{path.name}.{moment}-{number}.bak")
    with os.fdopen(fd, "wb") as file:
        file.write(before)
    return backup


def _made(path: Path) -> int | None:
    """Open a new file, private from its first byte on; None when something has the name."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None


def _replace(path: Path, change: Change) -> None:
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(change.after)
            file.flush()
            os.fsync(file.fileno())
        if change.before is not None:
            os.chmod(name, stat.S_IMODE(path.stat().st_mode))
        if read(path) != change.before:
            raise HostFileError(f"{path} was changed by another program meanwhile. Try again.")
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
