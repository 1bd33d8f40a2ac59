"""No variable that makes a program load or run something is anybody's to give."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_jobs import Jobs
from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.job_types.registry import Callers
from tests.declarations import load, problem

DANGEROUS = [
    *("LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GCONV_PATH"),
    *("PYTHONPATH", "PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONHOME", "PYTHONBREAKPOINT"),
    *("PERL5LIB", "PERL5OPT", "PERLLIB", "PERL5DB", "RUBYOPT", "RUBYLIB", "NODE_OPTIONS"),
    *("NODE_PATH", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "BASH_FUNC_ls%%", "IFS"),
    *("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "BROWSER", "GIT_SSH_COMMAND"),
    *("GIT_EXTERNAL_DIFF", "GIT_PAGER", "GIT_CONFIG_COUNT", "EDITOR", "VISUAL", "PAGER", "PATH"),
    *(
        "HOME",
        "npm_config_script_shell",
        "NPM_CONFIG_SCRIPT_SHELL",
        "Npm_Config_Prefix",
        "LESSOPEN",
    ),
    *("MAKEFLAGS", "LUA_INIT", "PHPRC", "PROMPT_COMMAND", "SSH_ASKPASS", "http_proxy", "CC"),
    *("MAKEFILES", "CMAKE_TOOLCHAIN_FILE", "CFLAGS", "C_INCLUDE_PATH", "ANSIBLE_CONFIG"),
    *("COVERAGE_PROCESS_START", "DJANGO_SETTINGS_MODULE", "OCAMLRUNPARAM", "MIX_EXS"),
    *("RUSTC_WRAPPER", "PYTEST_ADDOPTS", "TAR_OPTIONS", "MCP_JOBS_HOME", "_", "XDG_CONFIG_HOME"),
]
HARMLESS = ["LEVEL", "path", "home", "env", "DB_PASSWORD", "CI", "DEBUG", "REGION", "level", "p"]


@pytest.mark.parametrize("name", DANGEROUS)
def test_a_variable_that_changes_what_runs_cannot_be_left_to_callers(
    tmp_path: Path, name: str
) -> None:
    assert changes_what_runs(name)
    with pytest.raises(InvalidInputError, match="cannot be"):
        Jobs("x").job(env=[name])(harmless)
    text = f"jobs: {{a: {{description: d, command: [x], callers: {{env: ['{name}']}}}}}}"
    assert "cannot be" in problem(tmp_path, text)


@pytest.mark.parametrize("name", HARMLESS)
def test_other_variables_can(tmp_path: Path, name: str) -> None:
    jobs = Jobs("x")
    jobs.job(env=[name])(harmless)
    text = f"jobs: {{a: {{description: d, command: [x], callers: {{env: {name}}}}}}}"

    assert jobs.definitions["harmless"].env == (name,)
    assert load(tmp_path, text).types[0].callers == Callers(env=(name,))


@pytest.mark.parametrize(
    ("cwd", "chosen"),
    [
        ("true", True),
        ("false", False),
        ("sub", ("{base}/sub",)),
        ("[sub, /srv]", ("{base}/sub", "/srv")),
    ],
)
def test_a_file_says_which_directories_callers_may_choose(
    tmp_path: Path, cwd: str, chosen: bool | tuple[str, ...]
) -> None:
    text = f"jobs: {{a: {{description: d, command: [x], callers: {{cwd: {cwd}}}}}}}"
    if isinstance(chosen, tuple):
        chosen = tuple(path.format(base=tmp_path) for path in chosen)
    assert load(tmp_path, text).types[0].callers.cwd == chosen


@pytest.mark.parametrize(
    ("callers", "told"),
    [
        ("{cwd: []}", "at least one directory"),
        ("{cwd: 3}", "true or false is needed"),
        ("{env: [a-b]}", "cannot be the name of a variable"),
        ("{home: x}", "there is no key 'home'"),
        ("all", "a mapping is needed"),
    ],
)
def test_a_mistake_in_callers_is_told(tmp_path: Path, callers: str, told: str) -> None:
    text = f"jobs: {{a: {{description: d, command: [x], callers: {callers}}}}}"
    assert told in problem(tmp_path, text)


def test_the_directories_of_a_python_job_are_whole_paths() -> None:
    with pytest.raises(InvalidInputError, match="whole paths"):
        Jobs("x").job(cwd=["relative"])(harmless)


def harmless() -> None:
    """Do nothing."""
