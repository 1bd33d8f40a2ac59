"""Which job types a schedule may start, whichever project it belongs to and whoever fires it.

A declared schedule belongs to the file that declares it, and is started as that file says now. A
file that is not one of this process's own counts only while a person trusts it as it is, as every
file of a project does.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.job_types.catalogue import Catalogue, Source, sources
from mcp_jobs.job_types.registry import SHELL_NAME, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.domain.schedules import Schedule
    from mcp_jobs.job_types.registry import JobType

PYTHON: Final = "python:"
"""How the name of a module begins that declares schedules."""

_KEPT: Final = 100
"""So many projects are remembered; each is a few hundred kilobytes at most."""


class ScheduleTypes:
    """The job types of this process, and those of other projects."""

    def __init__(
        self,
        *,
        fixed: Sequence[JobType],
        registry: Registry,
        catalogue: Catalogue,
        project: str | None,
    ) -> None:
        self._fixed = tuple(fixed)
        self._registry = registry
        self._catalogue = catalogue
        self.project = project
        """Whose job types this process knows by itself."""
        self._others: OrderedDict[tuple[str, str], Catalogue] = OrderedDict()

    def own(self) -> Mapping[str, Mapping[str, JobType] | None]:
        """Return what each file and module of this process declares; None where it is unknown."""
        modules: dict[str, dict[str, JobType]] = {}
        for job_type in self._fixed:
            if job_type.source:
                modules.setdefault(job_type.source, {})[job_type.name] = job_type
        return {**self._catalogue.declarations(), **modules}

    def version(self) -> object:
        """Return something that is another one after every change of the own types."""
        return self._catalogue.types()

    def declared_by(self, declared_in: str) -> Mapping[str, JobType] | None:
        """Return what a file or module declares now; None where it is not known here."""
        own = self.own()
        if declared_in in own:
            return own[declared_in]
        if declared_in.startswith(PYTHON):
            return None
        if not os.path.lexists(declared_in):
            return None
        return self._file(declared_in).declarations().get(declared_in)

    def registry_of(self, schedule: Schedule) -> Registry:
        """Return the types among which that of a schedule is.

        Raises `InvalidInputError` that says why they are not known here.
        """
        declared_in = schedule.declared_in
        if declared_in is None:
            if schedule.project in (None, self.project):
                return self._registry
            return Registry(self._fixed, source=self._project(str(schedule.project)))
        if declared_in in self.own():
            return self._registry
        if declared_in.startswith(PYTHON):
            module = declared_in.removeprefix(PYTHON)
            raise InvalidInputError(
                f"The Python jobs of {module} are not loaded in any server or worker that is "
                "running. Start one with them: mcp-jobs --app MODULE:NAME worker."
            )
        if not os.path.lexists(declared_in):
            raise InvalidInputError(f"The file that declares it, {declared_in}, is gone.")
        return Registry(self._fixed, source=self._file(declared_in))

    def _file(self, path: str) -> Catalogue:
        trust = configuration.trust_directory()
        base = os.path.dirname(path)
        return self._kept("file", path, [Source(Path(path), base=base, trust=trust)])

    def _project(self, directory: str) -> Catalogue:
        found = sources(
            (),
            project=directory,
            user_directory=configuration.config_directory(),
            trust=configuration.trust_directory(),
        )
        return self._kept("project", directory, found)

    def _kept(self, kind: str, path: str, found: Sequence[Source]) -> Catalogue:
        key = (kind, path)
        if key not in self._others:
            reserved = frozenset({SHELL_NAME, *(job_type.name for job_type in self._fixed)})
            # Nobody is told of these: they are no types that can be started here.
            self._others[key] = Catalogue(found, bus=InProcessBus(), reserved=reserved)
            if len(self._others) > _KEPT:
                self._others.popitem(last=False)
        self._others.move_to_end(key)
        return self._others[key]
