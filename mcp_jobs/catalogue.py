"""The declared job types of this process: which files they come from, and what changed in them.

A file is looked at again when somebody asks for the types, and once a second for those who only
listen. What a broken file declared before stays; what is wrong is logged, and told once to whoever
starts the next job.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.events import TypesChanged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mcp_jobs.events import Bus
    from mcp_jobs.registry import JobType

logger = logging.getLogger(__name__)

FILE_NAMES: Final = ("jobs.yaml", "jobs.yml", "gantz.yaml", "gantz.yml")
LOOK_EVERY_S: Final = 1.0
_PROBLEMS_TOLD: Final = 5


class Source:
    """One place where a file of job types may be, and what it declared when it was last whole."""

    def __init__(self, path: Path, *, base: str | None) -> None:
        self.path = path
        self._name = str(path)
        self.types: Mapping[str, JobType] = {}
        self.problems: Sequence[str] = ()
        self._base = base
        self._seen: tuple[int, int, int] | None = None

    def look(self, reserved: frozenset[str]) -> bool:
        """Read the file if it is another one than before; says whether it was."""
        if self._seen is None and not os.access(self._name, os.F_OK):
            # Every call asks, and mostly there is none: an exception costs more than a look.
            return False
        try:
            info = os.stat(self._name)
            seen = (info.st_mtime_ns, info.st_size, info.st_ino)
        except OSError:
            seen = None
        if seen == self._seen:
            return False
        self._seen = seen
        if seen is None:
            self.types, self.problems = {}, ()
            return True
        # Imported here: without a file, nothing of it is needed.
        from mcp_jobs import declared  # noqa: PLC0415

        try:
            found = declared.load(self.path, base=self._base, reserved=reserved)
        except Exception:  # a fault of the reader must cost this file's types at most
            logger.exception("reading %s failed", self.path)
            self.problems = [f"{self.path}: it could not be read; the log says more."]
            return True
        self.problems = [str(problem) for problem in found.problems]
        if found.whole:
            self.types = {job_type.name: job_type for job_type in found.types}
        return True


class Catalogue:
    """Implements `registry.TypeSource` over files."""

    def __init__(
        self, sources: Iterable[Source], *, bus: Bus, reserved: frozenset[str] = frozenset()
    ) -> None:
        self._sources = tuple(sources)
        self._bus = bus
        self._reserved = reserved
        self._types: Mapping[str, JobType] = MappingProxyType({})
        self._problems: tuple[str, ...] = ()
        self._untold = False
        self._asked = False

    def types(self) -> Mapping[str, JobType]:
        """Return what the files declare now; the same object as long as nothing changes."""
        self._asked = True
        # Every source is looked at, also after one that has changed.
        changed = [source.look(self._reserved) for source in self._sources]
        if any(changed):
            self._merge()
        return self._types

    def problem(self) -> str | None:
        """Say what is wrong with the files; None when all is well."""
        return _told(self._problems) if self._problems else None

    def take_news(self) -> str | None:
        """Return what is wrong and was not told yet."""
        untold, self._untold = self._untold, False
        return self.problem() if untold else None

    async def run(self) -> None:
        """Look at the files for ever, for the clients that are told of changes."""
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            if self._asked:
                self.types()

    def _merge(self) -> None:
        """Put the sources together; a name that two of them declare stays what it was."""
        places: dict[str, list[Source]] = {}
        for source in self._sources:
            for name in source.types:
                places.setdefault(name, []).append(source)
        merged: dict[str, JobType] = {}
        problems = [problem for source in self._sources for problem in source.problems]
        for name in sorted(places):
            first, *others = places[name]
            if not others:
                merged[name] = first.types[name]
                continue
            files = " and ".join(str(source.path) for source in places[name])
            problems.append(f"The job type {name!r} is declared in {files}; rename one of them.")
            if name in self._types:
                merged[name] = self._types[name]
        self._note(problems)
        changed = merged != self._types
        self._types = MappingProxyType(merged)
        if changed:
            self._bus.publish(TypesChanged())

    def _note(self, problems: Sequence[str]) -> None:
        for problem in problems:
            if problem not in self._problems:
                logger.warning("%s", problem)
        if tuple(problems) != self._problems:
            self._untold = bool(problems)
        self._problems = tuple(problems)


def sources(named: Sequence[Path], *, project: str | None, user_directory: Path) -> list[Source]:
    """Return where job types are looked for: in the named files, or else where they usually are.

    A file of the project, or a named one, belongs to the directory that it lies in. The user's own
    files belong to no project.
    """
    if named:
        return [Source(path, base=str(path.parent)) for path in named]
    found = [Source(user_directory / name, base=None) for name in FILE_NAMES]
    if project is not None and Path(project) != user_directory:
        found += [Source(Path(project) / name, base=project) for name in FILE_NAMES]
    return found


def _told(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _PROBLEMS_TOLD} more." if len(problems) > _PROBLEMS_TOLD else ""
    text = " ".join(problems[:_PROBLEMS_TOLD]) + more
    return f"Job types: {text} What a broken file declared before stays as it was."
