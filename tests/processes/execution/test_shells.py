"""Which shell runs a script, and what the environment may change in it: nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution.shells import Script, Shells, find_shells
from mcp_jobs.job_types.registry import prepare, shell_type
from mcp_jobs.settings import Settings, job_environment

BASH = shutil.which("bash")
needs_bash = pytest.mark.skipif(BASH is None, reason="there is no bash here")


def plant(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bash").write_text("#!/bin/sh\necho planted\n")
    (folder / "bash").chmod(0o755)
    return folder


def found(
    monkeypatch: pytest.MonkeyPatch, project: Path, *folders: object, setting: str = "auto"
) -> Shells:
    monkeypatch.delenv("CLAUDE_PROJECT_DIR", raising=False)
    monkeypatch.chdir(project)
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, folders)))
    monkeypatch.setenv("MCP_JOBS_SHELL", setting)
    return find_shells(Settings())


def ran(script: str, **environ: str) -> str:
    """Return what bash, as jobs use it, prints for a script."""
    argv = Shells(default="bash", bash=BASH).argv(Script(text=script))
    done = subprocess.run(
        argv, env={"PATH": os.defpath, **environ}, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


def test_the_first_bash_on_the_path_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project, own = tmp_path / "project", plant(tmp_path / "own")
    project.mkdir()

    shells = found(monkeypatch, project, own, plant(tmp_path / "other"))

    assert (shells.default, shells.bash) == ("bash", str(own / "bash"))


def test_a_bash_that_the_project_has_planted_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    inside = plant(project / "node_modules" / ".bin")
    (tmp_path / "leads-in").symlink_to(inside)
    (tmp_path / "file-leads-in").mkdir()
    (tmp_path / "file-leads-in" / "bash").symlink_to(inside / "bash")
    (project / "leads-out").symlink_to(plant(tmp_path / "own"))
    public = plant(tmp_path / "public")
    public.chmod(0o777)
    plant(project)
    refused = [
        *("", ".", "node_modules/.bin", project, inside, tmp_path / "leads-in"),
        *(tmp_path / "file-leads-in", public, tmp_path / "nowhere"),
    ]

    for path in refused:
        assert found(monkeypatch, project, path, tmp_path / "own").bash == str(
            tmp_path / "own" / "bash"
        ), path


@needs_bash
def test_a_path_without_bash_still_has_that_of_the_system(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert found(monkeypatch, tmp_path, "/nowhere").bash in ("/bin/bash", "/usr/bin/bash")


def test_the_setting_chooses_the_default_and_sh_stays_available(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = plant(tmp_path / "own")
    (tmp_path / "project").mkdir()
    for setting, default in (("auto", "bash"), ("bash", "bash"), ("sh", "sh")):
        shells = found(monkeypatch, tmp_path / "project", own, setting=setting)
        assert shells.default == default
        by_default, by_sh, by_bash = (
            shells.argv(Script(text="x", interpreter=asked)) for asked in (None, "sh", "bash")
        )
        assert by_sh == ("/bin/sh", "-c", "x")
        assert by_bash == (f"{own}/bash", "-p", "-o", "pipefail", "-c", "x")
        assert by_default == (by_sh if default == "sh" else by_bash)


def test_where_there_is_no_bash_sh_runs_scripts_and_bash_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mcp_jobs.execution.shells._SYSTEM_FOLDERS", ())
    shells = found(monkeypatch, tmp_path, "/nowhere")

    assert shells.argv(Script(text="x")) == ("/bin/sh", "-c", "x")
    with pytest.raises(InvalidInputError, match="There is no bash on this machine"):
        shells.argv(Script(text="x", interpreter="bash"))
    with pytest.raises(InvalidInputError, match="MCP_JOBS_SHELL is bash, but there is none"):
        found(monkeypatch, tmp_path, "/nowhere", setting="bash")


@pytest.mark.parametrize("default", ["bash", "sh"])
def test_the_type_says_which_shell_its_commands_are_for(default: str) -> None:
    shells = Shells(default="bash" if default == "bash" else "sh", bash="/bin/bash")
    job_type = shell_type(shells)

    told = {"bash": "bash -o pipefail.", "sh": "/bin/sh."}
    assert job_type.description == f"Run a command line with {told[default]}"
    prepared = prepare(job_type, {"command": "x", "interpreter": "sh"})
    assert prepared.script == Script(text="x", interpreter="sh")
    with pytest.raises(InvalidInputError, match="interpreter: Input should be 'bash' or 'sh'"):
        prepare(job_type, {"command": "x", "interpreter": "zsh"})


@needs_bash
def test_the_environment_changes_nothing_in_a_script_and_reaches_what_it_starts(
    tmp_path: Path,
) -> None:
    (tmp_path / "env.sh").write_text("echo sourced\n")
    environ = {
        "BASH_ENV": str(tmp_path / "env.sh"),
        "ENV": str(tmp_path / "env.sh"),
        "BASH_FUNC_true%%": "() {  echo a function\n}",
        "CDPATH": "/usr",
    }

    assert ran("true; echo ours", **environ) == "ours\n"
    assert ran("bash -c true", **environ) == "sourced\na function\n"


@needs_bash
def test_options_of_the_servers_shell_are_not_mixed_with_those_of_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHELLOPTS", "braceexpand:hashall:xtrace")
    monkeypatch.setenv("BASHOPTS", "extglob")
    environ = job_environment(Settings())

    told = ran("bash -c 'echo $-; set -o' | grep -E 'c$|pipefail|privileged'", **environ)

    assert told.split() == ["hBc", "pipefail", "off", "privileged", "off"]


@needs_bash
def test_bash_is_what_it_is_to_those_who_write_it() -> None:
    assert ran("a=(1 2); [[ ${#a[@]} == 2 ]] && cat <(echo {x,y})") == "x y\n"
    assert ran("false | true; echo $?; true | true; echo $?") == "1\n0\n"
