"""`trust`: let agents start what a project's files declare, after a person has read them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.limits import DECLARATIONS_BYTES
from mcp_jobs.domain.questions import visible
from mcp_jobs.execution.launcher import files
from mcp_jobs.interfaces.cli import person, screen
from mcp_jobs.interfaces.cli.exits import FAILED
from mcp_jobs.interfaces.cli.options import Json
from mcp_jobs.job_types.catalogue import FILE_NAMES
from mcp_jobs.job_types.registry import SHELL_NAME
from mcp_jobs.job_types.trust_marks import Trust, unfit
from mcp_jobs.settings import trust_directory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.job_types.yaml import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A file of job types, read once: what is shown is what is trusted."""

    path: str
    data: bytes
    known: bool


def trust(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Project.", show_default="this directory")
    ] = None,
    *,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Stop trusting the files of the project.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Trust without asking; a person has read them.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let agents start what the job type files of a project declare, as they are now.

    The files are shown, and a person at the terminal says yes or no. A file that changes later is
    not trusted until it is shown again.
    """
    folder = os.path.abspath(directory or Path.cwd())
    kept = Trust(trust_directory())
    if revoke:
        _revoke(folder, kept, as_json)
        return
    found = _read(folder, kept)
    new = [file for file in found if not file.known]
    if new:
        _require_agreement(new, yes)
        for file in new:
            kept.add(file.path, file.data)
    _store_schedules(found)
    _tell(found, as_json)


def _read(folder: str, kept: Trust) -> list[_File]:
    """Return the files that are there. Raises `InvalidInputError` for one that is none."""
    found: list[_File] = []
    for name in FILE_NAMES:
        path = os.path.join(folder, name)
        try:
            data = files.read_file(path, limit_bytes=DECLARATIONS_BYTES, owned=False)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except files.OddFileError as error:
            raise InvalidInputError(f"{unfit(path, error.what)} Nothing was trusted.") from None
        found.append(_File(path=path, data=data, known=kept.holds(kept.mark(path, data))))
    if not found:
        raise InvalidInputError(
            f"There is no file of job types in {visible(folder)}. It would be called "
            f"{', '.join(FILE_NAMES)}; mcp-jobs init writes one."
        )
    return found


def _require_agreement(new: Sequence[_File], yes: bool) -> None:
    person.refuse_jobs("trust")
    person.require(yes=yes, command="trust")
    if yes:
        return
    for file in new:
        screen.note(visible(file.path), "bold")
        # Whole, since what is left out might be what matters.
        person.read(file.data.decode("utf-8", "backslashreplace").rstrip("\n"))
    for file in new:
        screen.note(_summary(file), "")
    if not person.agrees("May agents start these?"):
        screen.note("Nothing was trusted.")
        raise typer.Exit(FAILED)


def _summary(file: _File) -> str:
    found = _declared(file)
    names = ", ".join(job_type.name for job_type in found.types) or "no job type"
    problems = "".join(f"\n  {visible(str(problem))}" for problem in found.problems)
    return f"{visible(file.path)} declares {names}.{problems}"


def _declared(file: _File) -> Found:
    from mcp_jobs.job_types import yaml

    folder = os.path.dirname(file.path)
    return yaml.declared_in(
        file.data, file=file.path, base=folder, reserved=frozenset({SHELL_NAME})
    )


def _store_schedules(found: Sequence[_File]) -> None:
    """Let the schedules of these files begin, also where no server of the project is running."""
    scheduled = {
        _real_path(file.path): {job_type.name: job_type for job_type in _declared(file).types}
        for file in found
        if any(job_type.schedule is not None for job_type in _declared(file).types)
    }
    if not scheduled:
        return
    from mcp_jobs.interfaces.cli import session

    async def store() -> None:
        async with session.open_session() as opened:
            for path, types in scheduled.items():
                await opened.core.scheduling.declare(path, types)

    session.run(store)


def _real_path(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name)


def _tell(found: Sequence[_File], as_json: bool) -> None:
    if as_json:
        types = {file.path: [job_type.name for job_type in _declared(file).types] for file in found}
        screen.write_json({"trusted": [{"path": p, "types": names} for p, names in types.items()]})
        return
    for file in found:
        already = " already" if file.known else ""
        screen.write_line(f"{visible(file.path)} is trusted{already}.")
    screen.note("Once it has changed, it is not. mcp-jobs trust --revoke takes it back.")


def _revoke(folder: str, kept: Trust, as_json: bool) -> None:
    paths = [os.path.join(folder, name) for name in FILE_NAMES]
    revoked = [path for path in paths if kept.remove(path)]
    if as_json:
        screen.write_json({"revoked": revoked})
    for path in () if as_json else revoked:
        screen.write_line(f"{visible(path)} is no longer trusted.")
    if not revoked:
        screen.note("None of its files was trusted.")
