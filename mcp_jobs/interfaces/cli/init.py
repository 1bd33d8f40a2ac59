"""`init`: write a commented jobs.yaml from what the project has."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mcp_jobs.execution.launcher.process_tree import job_around
from mcp_jobs.interfaces.cli import screen
from mcp_jobs.interfaces.cli.exits import FAILED
from mcp_jobs.interfaces.cli.options import Json
from mcp_jobs.interfaces.cli.projects import found_in
from mcp_jobs.job_types.trust_marks import Trust
from mcp_jobs.settings import trust_directory

if TYPE_CHECKING:
    from mcp_jobs.interfaces.cli.projects import Task

FILE: Final = "jobs.yaml"
_HEAD: Final = """\
# The job types of this project: what agents may start by name. mcp-jobs finds this file in the
# directory that the host works in. Commit it.
#
# Each entry has a description, which agents choose by, and a command: a list of arguments that no
# shell sees. What else it may have:
#
#   params:            # {name} in the command; each stays one argument, whatever is in it
#     path: {type: string, description: Only these tests, default: tests}
#   shell: |           # instead of command: a script; params are variables in it
#     make build && make package
#   timeout: 30m       # 10 minutes unless stated
#   idle_timeout: 5m   # stop it when it prints nothing for this long
#   cwd: backend
#   env: {CI: "1"}
#   confirm: true      # ask a person first
#   expose: tool       # make it a tool of its own, too

jobs:
"""
_EXAMPLE: Final = """\
  # Nothing was found here that would end by itself. An example to begin with:
  hello:
    description: Say hello
    command: [echo, hello]
"""


def init(
    *,
    show: Annotated[bool, typer.Option("--print", help="Print it; write nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a jobs.yaml.")] = False,
    as_json: Json = False,
) -> None:
    """Write a jobs.yaml with the tasks that this project has: tests, builds, scripts, targets."""
    tasks = found_in(Path.cwd())
    text = jobs_yaml(tasks)
    if show:
        sys.stdout.write(text)
        return
    path = Path.cwd() / FILE
    if not write_new(path, text, replace=force):
        screen.note(
            f"{path} already exists; --force replaces it, --print shows what it would be.", ""
        )
        raise typer.Exit(FAILED)
    trusted = job_around(os.getpid()) is None
    if trusted:
        Trust(trust_directory()).add(str(path), text.encode())
    if as_json:
        types = [task.name for task in tasks] or ["hello"]
        screen.write_json({"path": str(path), "types": types})
        return
    names = ", ".join(task.name for task in tasks) or "an example only"
    screen.write_line(f"{path} written: {names}.")
    screen.note("Read it, remove what agents should not run, and see mcp-jobs types.")
    if trusted:
        screen.note("As it was written, it is trusted. Once it has changed: mcp-jobs trust.")
    else:
        screen.note("Written by a job, it is not trusted. A person runs mcp-jobs trust.")


def write_new(path: Path, text: str, *, replace: bool) -> bool:
    """Write a file in one step; False: there is something already and `replace` is not set.

    A link or a FIFO of that name is replaced itself, and never written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
        if replace:
            part.replace(path)
        else:
            # A link fails where a rename would replace what is there.
            os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    return True


def jobs_yaml(tasks: list[Task]) -> str:
    """Return the file for these tasks."""
    parts = [_HEAD]
    source = ""
    for task in tasks:
        if task.source != source:
            source = task.source
            parts.append(f"  # From {source}\n")
        parts.append(task.yaml())
    if not any(task.active for task in tasks):
        parts.append(_EXAMPLE)
    return "".join(parts)
