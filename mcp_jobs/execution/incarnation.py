"""Which home this is, and in which boot of the machine: what files and processes belong to.

A copy of a home (`cp -a`, a snapshot, a synced folder) has the rows and the files of the original,
and none of its processes. So each home has an identity, which marks its processes, and a copy gets
one of its own when it is first opened. A home that is renamed keeps its identity.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.errors import InvalidInputError, in_words
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.identity import boot_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

IDENTITY: Final = "identity"
"""The file of a home that holds its identity, and where the home was when it got it."""

_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """One home in one boot of one machine: as long as both last, its files can be believed."""

    home_id: str
    boot_id: str
    copy_of: str | None = None
    """The identity of the home that this one is a copy of; None where that is not known."""

    def __str__(self) -> str:
        return f"{self.home_id} {self.boot_id}"

    def same_home(self, other: str | None) -> bool:
        """Say whether another incarnation is one of this home."""
        return other is not None and other.partition(" ")[0] == self.home_id

    def same_boot(self, other: str | None) -> bool:
        """Say whether another incarnation is of this boot of the machine."""
        return other is not None and other.partition(" ")[2] == self.boot_id


def identify(home: Path) -> Incarnation:
    """Return which home this is; it gets an identity if it has none, or is a copy.

    Raises `InvalidInputError` when that cannot be read or written.
    """
    path = os.path.join(os.path.realpath(home), IDENTITY)
    try:
        known = _read(path)
        if known is None or not _made_here(known, path):
            known = _renewed(path)
    except OSError as error:
        raise InvalidInputError(
            f"The identity of the home {home} cannot be kept: {in_words(error)}."
        ) from error
    return Incarnation(home_id=known["id"], boot_id=boot_id(), copy_of=known.get("copy_of"))


def seen(home: Path) -> Incarnation:
    """Return which home this is as far as its files say; nothing is written.

    For whoever only looks. A home without an identity, or with one that cannot be read, has an
    empty one.
    """
    try:
        known = _read(os.path.join(os.path.realpath(home), IDENTITY))
    except OSError:
        known = None
    return Incarnation(home_id="" if known is None else known["id"], boot_id=boot_id())


def _renewed(path: str) -> dict[str, Any]:
    """Give the home a new identity, unless another process has just done so."""
    home = os.path.dirname(path)
    with layout.fence_lock(home):
        known = _read(path)
        if known is not None and _made_here(known, path):
            return known
        copied = known is not None and _is_copy(known, path)
        fields = {
            "id": os.urandom(_ID_BYTES).hex(),
            "boot_id": boot_id(),
            **_place(path),
            "copy_of": known["id"] if known is not None and copied else None,
        }
        layout.write_json(path, fields, durable=True)
        layout.sync_directory(home)
    if copied:
        logger.warning(
            "the home %s is a copy of another one: what ran there does not run here, and what "
            "waited there is run here too",
            home,
        )
    return fields


def _place(path: str) -> dict[str, int]:
    info = os.stat(os.path.dirname(path))
    return {"device": info.st_dev, "inode": info.st_ino}


def _made_here(known: Mapping[str, Any], path: str) -> bool:
    """Whether the home is still the directory for which the identity was made."""
    return all(known.get(name) == value for name, value in _place(path).items())


def _is_copy(known: Mapping[str, Any], path: str) -> bool:
    """Whether the home must be a copy, or have moved to another file system.

    Some file systems have another device number after each boot. What the home has then is a new
    identity, which harms nobody, as nothing of it runs; but it need not be a copy.
    """
    return known.get("inode") != _place(path)["inode"] or known.get("boot_id") == boot_id()


def _read(path: str) -> dict[str, Any] | None:
    try:
        known = layout.read_json(path)
    except OddFileError:
        return None
    return known if known is not None and isinstance(known.get("id"), str) else None
