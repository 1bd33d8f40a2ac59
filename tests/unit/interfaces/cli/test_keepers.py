"""What is written for systemd and launchd, and what they are asked for."""

from __future__ import annotations

import plistlib
import stat
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.cli import keepers
from mcp_jobs.interfaces.cli.keepers import Launchd, Systemd, Work

if TYPE_CHECKING:
    from pathlib import Path

HOME_ID = "0123456789abcdef"


def work(**given: object) -> Work:
    fields: dict[str, object] = {
        "home_id": HOME_ID,
        "home": "/home/ann/jobs",
        "argv": ("/opt/a b/mcp-jobs", "--app", "/x/$HOME/%h.py:jobs", "worker"),
        "environ": {"PATH": "/bin", "MCP_JOBS_HOME": 'a "quoted" \\ 100% $x'},
        **given,
    }
    return Work(**fields)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))


def test_a_unit_holds_every_word_as_systemd_reads_it_back() -> None:
    lines = Systemd("systemctl", HOME_ID).text(work()).splitlines()

    assert 'ExecStart="/opt/a b/mcp-jobs" "--app" "/x/$$HOME/%%h.py:jobs" "worker"' in lines
    assert 'Environment="MCP_JOBS_HOME=a \\"quoted\\" \\\\ 100%% $x"' in lines
    assert {"KillMode=process", "Restart=always", "RestartPreventExitStatus=78"} <= set(lines)


@pytest.mark.parametrize("odd", ["a\nExecStart=/bin/evil", "\x1b[2J", "a\0b"])
def test_nothing_in_a_variable_or_path_becomes_a_line_of_the_unit(odd: str) -> None:
    for given in ({"environ": {"PATH": odd}}, {"argv": (odd, "worker")}, {"home": odd}):
        with pytest.raises(InvalidInputError, match="cannot stand in a unit"):
            Systemd("systemctl", HOME_ID).text(work(**given))


def test_an_agent_of_launchd_lets_jobs_outlive_it() -> None:
    agent = plistlib.loads(Launchd("launchctl", HOME_ID).text(work()).encode())

    assert agent["ProgramArguments"] == list(work().argv)
    assert agent["EnvironmentVariables"] == dict(work().environ)
    assert agent["AbandonProcessGroup"] is agent["KeepAlive"] is agent["RunAtLoad"] is True


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_each_system_has_its_keeper_and_where_there_is_none_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for platform in ("linux", "darwin"):
        with pytest.raises(InvalidInputError, match="mcp-jobs worker"):
            keepers.keeper_of(HOME_ID, platform=platform)
    program(tmp_path / "bin", "systemctl", "exit 0")
    program(tmp_path / "bin", "launchctl", "exit 0")

    linux, mac = (keepers.keeper_of(HOME_ID, platform=name) for name in ("linux", "darwin"))

    assert str(linux.path) == f"{tmp_path}/config/systemd/user/mcp-jobs-{HOME_ID[:12]}.service"
    assert str(mac.path) == f"{tmp_path}/Library/LaunchAgents/mcp-jobs.{HOME_ID[:12]}.plist"


@pytest.mark.parametrize("path", [True, False], ids=["a link", "nothing"])
def test_the_file_is_private_and_replaces_what_was_there(path: bool) -> None:
    keeper = _Silent("systemctl", HOME_ID)
    keeper.path.parent.mkdir(parents=True)
    precious = keeper.path.parent / "precious"
    precious.write_text("precious")
    if path:
        keeper.path.symlink_to(precious)

    keepers.install(keeper, "text")

    assert (keeper.path.read_text(), precious.read_text()) == ("text", "precious")
    assert stat.S_IMODE(keeper.path.lstat().st_mode) == 0o600
    assert keepers.uninstall(keeper)
    assert not keepers.uninstall(keeper)
    assert keeper.asked == ["start", "stop"]


class _Silent(Systemd):
    def __init__(self, program: str, home_id: str) -> None:
        super().__init__(program, home_id)
        self.asked: list[str] = []

    def start(self) -> None:
        self.asked.append("start")

    def stop(self) -> None:
        self.asked.append("stop")
