"""Settings come from the environment, and a bad one is said in one sentence."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.secrecy import looks_secret
from mcp_jobs.execution import host, private_files
from mcp_jobs.execution.host import runtime_directory
from mcp_jobs.settings import Settings, job_environment, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("MCP_JOBS_"):
            monkeypatch.delenv(name)


GOOD = {
    "HOME": ("/srv/jobs", Path("/srv/jobs")),
    "CAPACITY": ("3", 3),
    "OUTPUT_CAP_BYTES": ("65536", 65536),
    "REPLY_LIMIT_BYTES": ("2048", 2048),
    "PASS_ENV": (" NPM_TOKEN, AWS_*,", ("NPM_TOKEN", "AWS_*")),
    "RETRY_BASE_SECONDS": ("0.5", 0.5),
    "LAUNCHER_IDLE_SECONDS": ("2", 2.0),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, value = GOOD[name]
    assert getattr(load(), name.lower()) != value
    monkeypatch.setenv(f"MCP_JOBS_{name}", text)
    assert getattr(load(), name.lower()) == value


BAD = {
    "CAPACITY": {"0": "greater than or equal to 1", "10001": "10000", "x": "valid integer"},
    "OUTPUT_CAP_BYTES": {"65535": "65536", "1.5": "integer", "-1": "65536"},
    "REPLY_LIMIT_BYTES": {"1023": "1024", "1048577": "1048576"},
    "RETRY_BASE_SECONDS": {"0": "greater than 0", "nan": "", "inf": "3600", "3601": "3600"},
    "LAUNCHER_IDLE_SECONDS": {"0": "greater than 0", "-1": "greater than 0", "soon": "number"},
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_setting_is_one_sentence_with_variable_value_and_rule(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for text, rule in BAD[name].items():
        monkeypatch.setenv(f"MCP_JOBS_{name}", text)
        with pytest.raises(InvalidInputError) as caught:
            load()
        message = str(caught.value)
        assert f"MCP_JOBS_{name}='{text}'" in message
        assert rule in message
        assert message.endswith(".")
        assert "\n" not in message


def test_the_home_is_absolute_and_its_parts_lie_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    for text, home in (("jobs", tmp_path / "jobs"), ("~/jobs", Path("/home/somebody/jobs"))):
        monkeypatch.setenv("MCP_JOBS_HOME", text)
        settings = load()
        assert settings.home == home
        assert settings.database.parent == settings.jobs_dir.parent == home
        assert settings.owners_dir.parent == home


@pytest.mark.parametrize(
    "name",
    [
        "GITHUB_TOKEN", "token", "DB_PASSWORD", "MY_SECRET_1", "OPENAI_API_KEY",
        "AWS_ACCESS_KEY_ID", "SSH_PRIVATE_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
        "GH_PAT", "NPM_AUTH", "MYAPIKEY",
        "Passphrase", "PGPASSWD",
    ],
)  # fmt: skip
def test_names_of_secrets_look_secret(name: str) -> None:
    assert looks_secret(name)


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "EDITOR", "PATTERN", "AUTHOR", "KEYMAP"])
def test_ordinary_names_do_not_look_secret(name: str) -> None:
    assert not looks_secret(name)


def test_jobs_get_the_environment_without_secrets_and_our_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("A_TOKEN", "B_TOKEN", "NPM_TOKEN", "PLAIN", "MCP_JOBS_CAPACITY"):
        monkeypatch.setenv(name, "3")
    names = set(job_environment(Settings(home=tmp_path)))
    assert {"PLAIN", "PATH"} <= names
    assert not {"A_TOKEN", "B_TOKEN", "NPM_TOKEN", "MCP_JOBS_CAPACITY"} & names

    passing = set(job_environment(Settings(home=tmp_path, pass_env=("A_*", "NPM_TOKEN"))))
    assert {"A_TOKEN", "NPM_TOKEN"} <= passing
    assert not {"B_TOKEN", "MCP_JOBS_CAPACITY"} & passing


def test_the_runtime_directory_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = runtime_directory()
    assert directory == tmp_path / "mcp-jobs"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert runtime_directory() == directory


def test_a_runtime_directory_that_others_can_use_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    directory = tmp_path / "mcp-jobs"
    directory.mkdir()
    for mode in (0o755, 0o710, 0o701):
        directory.chmod(mode)
        with pytest.raises(
            InvalidInputError, match="must be a directory that belongs to this user"
        ):
            runtime_directory()
    directory.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    directory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidInputError, match="mode 0700"):
        runtime_directory()


def test_the_home_is_made_private(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "deep" / "home")
    host.prepare_home(settings)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    settings.home.chmod(0o755)
    host.prepare_home(settings)
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert settings.jobs_dir.is_dir()


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").touch()
    with pytest.raises(InvalidInputError, match=r"cannot be used: .*name another one"):
        host.prepare_home(Settings(home=tmp_path / "home"))


@pytest.mark.parametrize("part", ["", "jobs", "owners", "jobs.db"])
def test_a_home_of_another_user_is_refused_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, part: str
) -> None:
    settings = Settings(home=tmp_path / "home")
    host.prepare_home(settings)
    settings.database.touch()
    foreign = settings.home / part
    foreign.chmod(0o755)
    real = Path.stat

    def stat_of(path: Path, **options: bool) -> os.stat_result:
        found = list(real(path, **options))
        if path == foreign:
            found[stat.ST_UID] += 1
        return os.stat_result(found)

    monkeypatch.setattr(Path, "stat", stat_of)
    with pytest.raises(InvalidInputError, match="belongs to another user") as caught:
        host.prepare_home(settings)
    assert f"{foreign} " in str(caught.value)
    assert "MCP_JOBS_HOME" in str(caught.value)
    monkeypatch.undo()
    assert stat.S_IMODE(foreign.stat().st_mode) == 0o755


SHORT = "whsec_" + base64.b64encode(b"x" * 23).decode()
GOOD_SECRET = "whsec_" + base64.b64encode(b"x" * 24).decode()


@pytest.mark.parametrize(
    ("text", "told"),
    [("whsec_", "at least 24"), (SHORT, "holds 23"), ("whsec_no!", "base64"), ("ä", "base64")],
)
def test_a_secret_that_is_too_short_to_sign_with_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, told: str
) -> None:
    monkeypatch.setenv("MCP_JOBS_WEBHOOK_SECRET", text)
    with pytest.raises(InvalidInputError, match=told) as caught:
        load()
    assert "MCP_JOBS_WEBHOOK_SECRET=***" in str(caught.value)
    path = tmp_path / private_files.WEBHOOK_SECRET
    assert private_files.write_private(path, text + "\n", replace=True)
    for read in (private_files.check_webhook_secret, private_files.webhook_secret):
        with pytest.raises(InvalidInputError, match=told) as caught:
            read(tmp_path)
        assert str(path) in str(caught.value)
        assert len(text) < 7 or text not in str(caught.value)


def test_a_secret_that_is_long_enough_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MCP_JOBS_WEBHOOK_SECRET", GOOD_SECRET)
    assert load().webhook_secret.get_secret_value() == GOOD_SECRET
    private_files.check_webhook_secret(tmp_path)
    made = private_files.webhook_secret(tmp_path)
    private_files.check_webhook_secret(tmp_path)
    assert private_files.webhook_secret(tmp_path) == made


def test_what_is_no_private_file_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / private_files.WEBHOOK_SECRET
    os.mkfifo(path, 0o600)
    with pytest.raises(InvalidInputError, match="is not a file"):
        private_files.check_webhook_secret(tmp_path)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(InvalidInputError, match="is not a file"):
        private_files.check_webhook_secret(tmp_path)
    path.rmdir()
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(InvalidInputError, match="base64"):
        private_files.check_webhook_secret(tmp_path)
    path.write_text("")
    with pytest.raises(InvalidInputError, match="at least 24"):
        private_files.check_webhook_secret(tmp_path)


def test_a_host_for_webhooks_that_is_a_url_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCP_JOBS_WEBHOOK_HOSTS", "*.a.example,https://b.example")
    with pytest.raises(InvalidInputError, match=r"'https://b\.example' is not a host"):
        load()


def test_the_project_is_what_the_host_names_else_where_it_started_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CLAUDE_PROJECT_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert configuration.project_directory() == str(tmp_path)
    monkeypatch.chdir("/")
    assert configuration.project_directory() is None
    for named, directory in (("relative", None), ("/no/such", None), (str(tmp_path),) * 2):
        monkeypatch.setenv("CLAUDE_PROJECT_DIR", str(named))
        assert configuration.project_directory() == directory


@pytest.mark.parametrize("mark", [".git", "jobs.yaml", "jobs.yml"])
def test_the_nearest_directory_with_a_mark_is_the_project(tmp_path: Path, mark: str) -> None:
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    below = inner / "a" / "b"
    below.mkdir(parents=True)
    (outer / ".git").mkdir()
    assert configuration.marked_project(str(below)) == str(outer)
    (inner / mark).touch()
    assert configuration.project_of(str(below)) == str(inner)
    assert configuration.project_of(str(outer)) == str(outer)


def test_a_mark_that_is_a_fifo_or_a_dangling_link_holds_nobody_up(tmp_path: Path) -> None:
    for name in ("fifo", "link"):
        (tmp_path / name / "a").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo" / "jobs.yaml")
    (tmp_path / "link" / ".git").symlink_to("nowhere")
    for name in ("fifo", "link"):
        assert configuration.marked_project(str(tmp_path / name / "a")) == str(tmp_path / name)


def test_a_directory_where_anybody_may_leave_a_mark_is_no_project_of_what_is_below(
    tmp_path: Path,
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (tmp_path / ".git").mkdir()
    tmp_path.chmod(0o1777)
    assert configuration.marked_project(str(own)) is None
    assert configuration.project_of(str(own)) == str(own)
    # Without the bit anybody could change everything below as well.
    tmp_path.chmod(0o777)
    assert configuration.marked_project(str(own)) == str(tmp_path)


def test_two_ways_to_a_directory_lead_to_one_project(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert configuration.project_of(str(tmp_path / "link")) == str(tmp_path / "real")


def test_the_root_and_what_has_no_name_in_a_text_are_no_project(tmp_path: Path) -> None:
    assert configuration.project_of(None) is None
    assert configuration.project_of("/") is None
    assert configuration.project_of(f"{tmp_path}/\udcff") is None
