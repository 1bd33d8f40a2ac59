"""The declared job types of this process: which files they come from, and what changed in them.

A file is looked at again when somebody asks for the types, and once a second for those who only
listen. What a broken file declared before stays. A project's file counts only while a person trusts
it as it is. What is wrong is logged, and told once to whoever starts the next job.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.events import TypesChanged
from mcp_jobs.domain.limits import DECLARATIONS_BYTES
from mcp_jobs.execution.launcher import files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mcp_jobs.domain.events import Bus
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.job_types.trust_marks import Trust

logger = logging.getLogger(__name__)

FILE_NAMES: Final = ("jobs.yaml", "jobs.yml", "gantz.yaml", "gantz.yml")
LOOK_EVERY_S: Final = 1.0
_PROBLEMS_TOLD: Final = 5


class Source:
    """One place where a file of job types may be, and what it declared when it was last whole."""

    def __init__(self, path: Path, *, base: str | None, trust: Path | None = None) -> None:
        """`trust` is where it is kept which content is trusted; without it, any content is."""
        self.path = path
        self._name = str(path)
        self.types: Mapping[str, JobType] = {}
        self.problems: Sequence[str] = ()
        """What is wrong in the file; its types are then those of before."""
        self.distrust: str | None = None
        """Why there is nothing of the file, though it may be whole."""
        self._base = base
        self._trust_directory = trust
        self._trust: Trust | None = None
        self._mark: str | None = None
        self._trusted = False
        self._seen: tuple[int, ...] | None = None

    def look(self, reserved: frozenset[str]) -> bool:
        """Read the file if it is another one than before; says whether it was."""
        if self._seen is None and not os.access(self._name, os.F_OK):
            # Every call asks, and mostly there is none: an exception costs more than a look.
            return False
        seen = _stamp(self._name)
        if seen == self._seen and self._holds() is self._trusted:
            return False
        self._seen, self._mark, self._trusted = seen, None, False
        self.problems, self.distrust = (), None
        if seen is None:
            self.types = {}
        else:
            self._read(reserved)
        return True

    def real_path(self) -> str:
        """Return the path of the file without links on the way to it."""
        folder, name = os.path.split(os.path.abspath(self._name))
        return os.path.join(os.path.realpath(folder), name)

    def settled(self) -> Mapping[str, JobType] | None:
        """Return what the file declares, as far as that is known; None while it is not."""
        return None if self.problems or self.distrust else self.types

    def _holds(self) -> bool:
        return self._trust is not None and self._mark is not None and self._trust.holds(self._mark)

    def _read(self, reserved: frozenset[str]) -> None:
        try:
            data = files.read_file(self._name, limit_bytes=DECLARATIONS_BYTES, owned=False)
        except OSError as error:
            self._refuse(error)
            return
        # What is trusted and what is declared are the same bytes, whatever becomes of the file.
        if self._trust_directory is not None and not self._is_trusted(data):
            return
        # Imported here: without a file, nothing of it is needed.
        from mcp_jobs.job_types import yaml  # noqa: PLC0415

        try:
            found = yaml.declared_in(data, file=self._name, base=self._base, reserved=reserved)
        except Exception:  # a fault of the reader must cost this file's types at most
            logger.exception("reading %s failed", self.path)
            self.problems = [f"{self.path}: it could not be read; the log says more."]
            return
        self.problems = [str(problem) for problem in found.problems]
        if found.whole:
            self.types = {job_type.name: self._own(job_type) for job_type in found.types}

    def _refuse(self, error: OSError) -> None:
        if not isinstance(error, files.OddFileError):
            # The system's trouble or a file that is just being replaced: the next look tells.
            self._seen = ()
            self.problems = [f"{self.path}: it cannot be read: {error.strerror}."]
            return
        from mcp_jobs.job_types import trust_marks  # noqa: PLC0415 - without a file, nothing of it is needed

        self.types, self.distrust = {}, trust_marks.unfit(self._name, error.what)

    def _is_trusted(self, data: bytes) -> bool:
        from mcp_jobs.job_types import trust_marks  # noqa: PLC0415 - without a file, nothing of it is needed

        if self._trust is None and self._trust_directory is not None:
            self._trust = trust_marks.Trust(self._trust_directory)
        if self._trust is not None:
            self._mark = self._trust.mark(self._name, data)
        self._trusted = self._holds()
        if not self._trusted:
            self.types, self.distrust = {}, trust_marks.distrust(self._name)
        return self._trusted

    def _own(self, job_type: JobType) -> JobType:
        """Return a type as this place may declare it.

        Hosts ask nobody before they call a tool that only reads, so no project may claim that.
        """
        if self._trust_directory is None or not job_type.annotations.get("read_only"):
            return job_type
        return replace(job_type, annotations={**job_type.annotations, "read_only": False})


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
        self._distrusts: tuple[str, ...] = ()
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

    def declarations(self) -> Mapping[str, Mapping[str, JobType] | None]:
        """Return what each file declares, by its path; None while that is not known."""
        self.types()
        return {source.real_path(): source.settled() for source in self._sources}

    def problem(self) -> str | None:
        """Say what is wrong with the files; None when all is well."""
        parts = [*self._distrusts]
        if self._problems:
            parts.append(_told(self._problems))
        return " ".join(parts) or None

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
        before, self._types = self._types, MappingProxyType(merged)
        if _offers(merged) != _offers(before):
            self._bus.publish(TypesChanged())

    def _note(self, problems: Sequence[str]) -> None:
        distrusts = tuple(source.distrust for source in self._sources if source.distrust)
        before = {*self._problems, *self._distrusts}
        for text in (*distrusts, *problems):
            if text not in before:
                logger.warning("%s", text)
        if (tuple(problems), distrusts) != (self._problems, self._distrusts):
            self._untold = bool(problems or distrusts)
        self._problems, self._distrusts = tuple(problems), distrusts


def _offers(types: Mapping[str, JobType]) -> list[tuple[object, ...]]:
    """Return what clients see of types: a command that runs another program is not among it."""
    return [
        (
            *(job_type.name, job_type.description, job_type.params.schema()),
            *(bool(job_type.confirm), job_type.expose, job_type.annotations),
            *(job_type.tasks, job_type.ask_for),
        )
        for job_type in types.values()
    ]


def _stamp(name: str) -> tuple[int, ...] | None:
    """Return what differs when somebody has written, moved or replaced a file; None without one."""
    try:
        info = os.lstat(name)
    except OSError:
        return None
    # A time of modification can be set back, the one of the last change of the inode cannot.
    return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino, info.st_dev


def sources(
    named: Sequence[Path], *, project: str | None, user_directory: Path, trust: Path
) -> list[Source]:
    """Return where job types are looked for: in the named files, or else where they usually are.

    A file of the project, or a named one, belongs to the directory that it lies in. The user's own
    files belong to no project. Of a project's files only what is kept in `trust` counts.
    """
    if named:
        return [Source(path, base=str(path.parent)) for path in named]
    found = [Source(user_directory / name, base=None) for name in FILE_NAMES]
    if project is not None and Path(project) != user_directory:
        found += [Source(Path(project) / name, base=project, trust=trust) for name in FILE_NAMES]
    return found


def _told(problems: Sequence[str]) -> str:
    more = f" And {len(problems) - _PROBLEMS_TOLD} more." if len(problems) > _PROBLEMS_TOLD else ""
    sentences = (each if each.endswith((".", "?")) else f"{each}." for each in problems)
    text = " ".join(islice(sentences, _PROBLEMS_TOLD)) + more
    return f"Job types: {text} What a broken file declared before is kept."
