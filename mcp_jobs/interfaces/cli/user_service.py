"""`service`: keep a worker of this home alive, so that schedules fire whoever is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mcp_jobs import settings as configuration
from mcp_jobs.execution import host
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.interfaces.cli import keepers, person, screen, session
from mcp_jobs.interfaces.cli.exits import FAILED
from mcp_jobs.interfaces.cli.install import own_command
from mcp_jobs.interfaces.cli.options import Json

if TYPE_CHECKING:
    from mcp_jobs.interfaces.cli.keepers import Keeper, Work
    from mcp_jobs.settings import Settings


def install(
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Start it without asking.")] = False,
    show: Annotated[
        bool, typer.Option("--print", help="Print the file; write and start nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Keep a worker of this home alive from now on: by systemd, or by launchd on macOS.

    It has the PATH and the settings of this shell, and so have the jobs of schedules.
    """
    settings = session.settings()
    work = _work(settings)
    keeper = keepers.keeper_of(work.home_id)
    text = keeper.text(work)
    if show:
        screen.write_line(text.rstrip("\n"))
        return
    if not yes:
        person.require(yes=yes, command="service install")
        screen.note(str(keeper.path), "bold")
        person.read(text.rstrip("\n"))
        if not person.agrees("Write this and start it?"):
            screen.note("Nothing was written.")
            raise typer.Exit(FAILED)
    keepers.install(keeper, text)
    _tell(keeper, as_json)


def status(*, as_json: Json = False) -> None:
    """Say whether a worker of this home is kept alive; exit 0 if so, else 1."""
    keeper = _keeper()
    if not _tell(keeper, as_json):
        raise typer.Exit(FAILED)


def uninstall(*, as_json: Json = False) -> None:
    """Keep no worker alive any more. Jobs that run are not touched."""
    keeper = _keeper()
    removed = keepers.uninstall(keeper)
    if as_json:
        screen.write_json({"path": str(keeper.path), "removed": removed})
    else:
        screen.write_line(f"{keeper.path} is removed." if removed else "There was nothing.")


def commands() -> typer.Typer:
    """Return the commands below `service`."""
    app = typer.Typer(
        help="Keep a worker of this home alive.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("install")(install)
    app.command("status")(status)
    app.command("uninstall")(uninstall)
    return app


def _keeper() -> Keeper:
    settings = session.settings()
    host.prepare_home(settings)
    return keepers.keeper_of(identify(settings.home).home_id)


def _work(settings: Settings) -> Work:
    host.prepare_home(settings)
    options: list[str] = []
    environ = configuration.own_environment(settings)
    if settings.app is not None:
        options += ["--app", settings.app]
        if path := configuration.foreign_variable("PYTHONPATH"):
            environ["PYTHONPATH"] = path
    for file in settings.config:
        options += ["--config", str(file)]
    if settings.only_declared:
        options.append("--only-declared")
    return keepers.Work(
        home_id=identify(settings.home).home_id,
        home=str(settings.home),
        argv=(*own_command(), *options, "worker"),
        environ=environ,
    )


def _tell(keeper: Keeper, as_json: bool) -> bool:
    installed, active = keeper.path.exists(), keeper.is_active()
    if as_json:
        told = {"keeper": keeper.name, "path": str(keeper.path)}
        screen.write_json({**told, "installed": installed, "active": active})
    elif active:
        screen.write_line(
            f"{keeper.name} keeps a worker of this home alive: {keeper.path}", "green"
        )
    elif installed:
        screen.write_line(f"{keeper.path} is there, and its worker is not running.", "yellow")
    else:
        screen.write_line("No worker of this home is kept alive.")
    return active
