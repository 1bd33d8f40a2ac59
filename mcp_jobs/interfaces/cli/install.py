"""`install`: write the configuration of a host, or show it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from mcp_jobs.interfaces.cli import person, screen
from mcp_jobs.interfaces.cli.exits import FAILED, WrongOptionError
from mcp_jobs.interfaces.cli.hosts import config_files
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS, Host
from mcp_jobs.interfaces.cli.options import Json, variables

if TYPE_CHECKING:
    from mcp_jobs.interfaces.cli.hosts.config_files import Change

SCRIPT: Final = "mcp-jobs"
FLEETING: Final = ("archive-v0", "environments-v2", "builds-v0")
"""Directories of uv's cache: what uvx runs lives there until the cache is cleaned."""


def install(
    host: Annotated[
        str | None,
        typer.Argument(
            help="One of the hosts; without it, all are listed.",
            autocompletion=lambda: list(HOSTS),
        ),
    ] = None,
    *,
    project: Annotated[
        bool, typer.Option("--project", help="For this directory only, in a file to commit.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print what to add by hand; write nothing.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the change; write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    name: Annotated[str, typer.Option(help="Name of the server in the host.")] = "jobs",
    command: Annotated[
        str | None,
        typer.Option(help="The program that the host is to run.", show_default="this mcp-jobs"),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Variable for the server, e.g. a setting."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the configuration of a host: the change is shown and a backup made first."""
    if host is None:
        _list(as_json)
        return
    wanted = _host(host)
    path = _file(wanted, project)
    argv = [command] if command else own_command(shared=project)
    entry = wanted.entry(argv, variables(env or [], "--env"))
    if show:
        sys.stdout.write(config_files.snippet(wanted, name, entry))
        screen.note(f"Add this to {path}.")
        return
    change = config_files.plan(wanted, path, name, entry)
    writing = change.needed and not dry_run
    if writing and as_json and not yes:
        raise WrongOptionError(
            "install --json cannot ask whether you agree; add --yes or --dry-run."
        )
    if not as_json:
        _show(change)
    written, backup = False, None
    if writing:
        _require_agreement(yes)
        backup = config_files.apply(change)
        written = True
    if as_json:
        shown = {"host": wanted.name, "path": str(change.path), "entry": entry}
        kept = None if backup is None else str(backup)
        screen.write_json({**shown, "diff": change.diff(), "written": written, "backup": kept})
        return
    _tell(wanted, change, written, backup)


def _require_agreement(yes: bool) -> None:
    if yes:
        return
    # The change is on stdout.
    person.require(yes=yes, command="install", reading_stdout=True)
    if not person.agrees("Write this?"):
        screen.note("Nothing was written.")
        raise typer.Exit(FAILED)


def own_command(*, shared: bool = False) -> list[str]:
    """Return how a host can start this mcp-jobs: by a whole path, since its PATH may be short.

    With `shared` by its name alone, which means the same on other machines.
    """
    if shared:
        return [SCRIPT]
    if any(part in FLEETING for part in Path(sys.prefix).parts):
        return [shutil.which("uvx") or "uvx", SCRIPT]
    started = Path(sys.argv[0])
    if started.name == SCRIPT:
        found = shutil.which(started if started.parent != Path() else SCRIPT)
        if found is not None:
            return [str(Path(found).absolute())]
    beside = Path(sys.executable).with_name(SCRIPT)
    if beside.exists():
        return [str(beside)]
    # -P: hosts start it in a project, whose files must not take the place of modules.
    return [sys.executable, "-P", "-m", "mcp_jobs"]


def _host(name: str) -> Host:
    found = HOSTS.get(name.lower())
    if found is None:
        raise WrongOptionError(f"There is no host {name!r}. The hosts are {', '.join(HOSTS)}.")
    return found


def _file(host: Host, project: bool) -> Path:
    if not project:
        return host.user_file()
    if host.project_file is None:
        raise WrongOptionError(
            f"{host.title} reads no servers from a project; leave --project out."
        )
    return host.project_file()


def _show(change: Change) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in change.diff().splitlines():
        screen.write_line(screen.clean(line), styles.get(line[:1], ""))


def _tell(host: Host, change: Change, written: bool, backup: Path | None) -> None:
    if not change.needed:
        screen.note(f"{host.title} is set up already: {change.path}", "green")
    elif not written:
        screen.note("Nothing was written.")
    else:
        kept = f" The previous file is kept as {backup}." if backup is not None else ""
        screen.note(f"Written to {change.path}.{kept}", "green")
        screen.note(host.then)


def _list(as_json: bool) -> None:
    found = [_state(host) for host in HOSTS.values()]
    if as_json:
        screen.write_json(found)
    else:
        rows = [(f["host"], f["title"], f["state"], f["path"]) for f in found]
        screen.write_columns([("HOST", "NAME", "STATE", "FILE"), *rows])
    if any(f["state"] == "broken" for f in found):
        raise typer.Exit(FAILED)


def _state(host: Host) -> dict[str, str]:
    path = host.user_file()
    state = "no file"
    try:
        if config_files.read(path) is not None:
            runs = [e for e in config_files.servers_in(host, path).values() if starts_us(e)]
            state = "set up" if runs else "not set up"
    except config_files.HostFileError:
        state = "broken"
    return {"host": host.name, "title": host.title, "state": state, "path": str(path)}


def starts_us(entry: object) -> bool:
    """Say whether a host's entry starts mcp-jobs."""
    words = command_of(entry)
    return any(Path(word).name in (SCRIPT, "mcp_jobs") for word in words)


def command_of(entry: object) -> list[str]:
    """Return the program and the arguments of a host's entry."""
    if not isinstance(entry, dict):
        return []
    command, arguments = entry.get("command"), entry.get("args")
    words = [*(command if isinstance(command, list) else [command])]
    words += arguments if isinstance(arguments, list) else []
    return [word for word in words if word and isinstance(word, str)]
