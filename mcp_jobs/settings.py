"""Settings, and the only reader of the environment.

Each setting is the variable `MCP_JOBS_<NAME>`; docs/configuration.md lists them.
"""

from __future__ import annotations

import fnmatch
import os
import stat
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_config_path, user_state_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.limits import signing_secret
from mcp_jobs.domain.secrecy import looks_secret
from mcp_jobs.domain.webhook_urls import networks

_OWN_PREFIX = "MCP_JOBS_"
_NOT_FOR_WORKERS = frozenset({"MCP_JOBS_CONFIG", "MCP_JOBS_ONLY_DECLARED"})
"""A worker accepts no jobs, and must run the queue also when a file of types is gone."""

_PROJECT_MARKS = (".git", "jobs.yaml", "jobs.yml")
"""What makes a directory a project. It may be a link or a FIFO too, since nobody opens it."""

_OPTIONS_OF_SHELLS = frozenset({"SHELLOPTS", "BASHOPTS"})
_SET_FOR_JOBS = frozenset({"MCP_JOBS_JOB_ID", "MCP_JOBS_HOME_ID", "MCP_JOBS_PROGRESS"})


class Settings(BaseSettings):
    """Everything that can be set. Sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=_OWN_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    home: Path = Field(
        default_factory=lambda: user_state_path("mcp-jobs"),
        description="Directory of the job database and the jobs' files.",
    )
    capacity: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=10_000,
        description="How many jobs run at once, over all processes that share the home.",
    )
    output_cap_bytes: int = Field(
        default=64 << 20,
        ge=1 << 16,
        le=1 << 40,
        description="Most output kept on disk for one job: its head and its tail.",
    )
    reply_limit_bytes: int = Field(
        default=16 << 10,
        ge=1 << 10,
        le=1 << 20,
        description="Most output text in one reply.",
    )
    pass_env: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description=(
            "Comma-separated names (* allowed) of secret-looking variables that jobs inherit "
            "all the same."
        ),
    )
    retention_days: float = Field(
        default=30.0,
        gt=0,
        le=36_500,
        description="Ended jobs and their output are removed after this many days.",
    )
    retention_jobs: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="Beyond this many jobs, the oldest ended ones are removed.",
    )
    retry_base_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Pause before the second attempt; it doubles for each further one.",
    )
    shell: Literal["auto", "bash", "sh"] = Field(
        default="auto",
        description="What runs scripts: auto is bash where there is one, with pipefail, else sh.",
    )
    launcher_idle_seconds: float = Field(
        default=10.0,
        gt=0,
        le=86_400,
        description="How long the launcher stays when it is idle.",
    )

    app: str | None = Field(
        default=None,
        description="Python job types to serve: module:name or /path/file.py:name.",
    )

    config: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Files of job types, with a colon between them; nothing else is searched then.",
    )
    only_declared: bool = Field(
        default=False,
        description="Refuse shell: only declared job types can be started.",
    )
    channel: bool = Field(
        default=False,
        description="Tell Claude Code of ended jobs by channel events (a research preview).",
    )

    host: str = Field(default="127.0.0.1", description="Address that the HTTP server binds to.")
    port: int = Field(
        default=8765, ge=0, le=65_535, description="Port of the HTTP server; 0 for any free one."
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated names by which the HTTP server may be addressed as well.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Comma-separated origins whose web pages may use the HTTP server."
    )
    oidc_issuer: str = Field(
        default="", description="Issuer whose access tokens the HTTP server accepts."
    )
    oidc_audience: str = Field(
        default="", description="Audience that access tokens must be for; with oidc_issuer."
    )
    max_connections: int = Field(
        default=1024, ge=1, le=100_000, description="Most connections to the HTTP server at once."
    )
    max_body_bytes: int = Field(
        default=1 << 20, ge=1 << 10, le=1 << 30, description="Largest body of an HTTP request."
    )
    requests_per_second: float = Field(
        default=100.0, gt=0, le=100_000, description="Requests for each token over HTTP."
    )
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated hosts (* allowed) that webhooks given with a job may name.",
    )
    webhook_private: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Comma-separated private networks that webhooks may go to, such as 10.0.0.0/8.",
    )
    webhook_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Secret that signs webhooks (whsec_...); default: one made in the home.",
    )

    @field_validator("config", mode="before")
    @classmethod
    def _paths(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(path for path in value.split(os.pathsep) if path)
        return value

    @field_validator("config")
    @classmethod
    def _found(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        paths = tuple(Path(os.path.abspath(path.expanduser())) for path in value)
        if links := [str(path) for path in paths if path.is_symlink()]:
            raise ValueError(f"{links[0]} is a link; name the file that it points to")
        if missing := [str(path) for path in paths if not path.is_file()]:
            raise ValueError(f"there is no file {', '.join(missing)}; name existing files")
        return paths

    @field_validator(
        "pass_env",
        "allowed_hosts",
        "allowed_origins",
        "webhook_hosts",
        "webhook_private",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name.strip() for name in value.split(",") if name.strip())
        return value

    @field_validator("webhook_private")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        networks(value)
        return value

    @field_validator("webhook_secret")
    @classmethod
    def _signing_secret(cls, value: SecretStr) -> SecretStr:
        if text := value.get_secret_value():
            signing_secret(text)
        return value

    @field_validator("webhook_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [host for host in value if "/" in host or "@" in host]:
            raise ValueError(
                f"{wrong[0]!r} is not a host; name hosts such as *.example.org, not URLs"
            )
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return Path(os.path.abspath(value.expanduser()))
        except RuntimeError as error:
            raise ValueError(str(error)) from None

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.home / "jobs.db"

    @cached_property
    def jobs_dir(self) -> Path:
        """Where each job has its directory."""
        return self.home / "jobs"

    @property
    def owners_dir(self) -> Path:
        """Where each server and worker holds its lock."""
        return self.home / "owners"


def load(**overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) win over the environment.

    Raises `InvalidInputError` that names the variable and what is allowed.
    """
    _refuse_unknown()
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = [
            f"{_OWN_PREFIX}{'.'.join(map(str, e['loc'])).upper()}={_shown(e)}: {e['msg']}"
            for e in error.errors()
        ]
        raise InvalidInputError("Bad setting: " + "; ".join(problems) + ".") from None


def _shown(problem: Mapping[str, Any]) -> str:
    return "***" if looks_secret(str(problem["loc"][0])) else repr(problem["input"])


def _refuse_unknown() -> None:
    """A misspelt limit must not count as no limit."""
    if unknown := sorted(unknown_settings(os.environ)):
        raise InvalidInputError(
            f"There is no setting {', '.join(unknown)}. The settings are "
            f"{', '.join(sorted(_known()))}."
        )


def unknown_settings(names: Iterable[str]) -> set[str]:
    """Return those of `names` that look like settings and are none."""
    own = {name for name in names if name.startswith(_OWN_PREFIX)} - _SET_FOR_JOBS
    return own - _known()


def _known() -> set[str]:
    return {f"{_OWN_PREFIX}{name.upper()}" for name in Settings.model_fields}


def job_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment as jobs get it: without secrets and our own settings.

    The options of the shell that started this process are left out as well: a job's bash would add
    its own to them, for every bash that the job starts.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_OWN_PREFIX)
        and name not in _OPTIONS_OF_SHELLS
        and (
            not looks_secret(name)
            or any(fnmatch.fnmatchcase(name, pattern) for pattern in settings.pass_env)
        )
    }


def own_environment(settings: Settings) -> dict[str, str]:
    """Return what a worker needs of this process's environment to work on the same home."""
    names = ("HOME", "PATH", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME", "XDG_RUNTIME_DIR")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in names or (name.startswith(_OWN_PREFIX) and name not in _NOT_FOR_WORKERS)
    }
    return {**kept, f"{_OWN_PREFIX}HOME": str(settings.home)}


def foreign_variable(name: str) -> str | None:
    """Return an environment variable that belongs to another program; empty counts as unset."""
    return os.environ.get(name) or None


def claude_session() -> str | None:
    """Return the session of Claude Code that has started this process, or its shell; else None."""
    return foreign_variable("CLAUDE_CODE_SESSION_ID")


def enclosing_job() -> str | None:
    """Return the id of the job that this process says to run in; None outside of any."""
    return os.environ.get("MCP_JOBS_JOB_ID") or None


def completing() -> bool:
    """Say whether a shell asks for completions of the command line."""
    return "_MCP_JOBS_COMPLETE" in os.environ


def project_directory() -> str | None:
    """Return the directory that the host works in; None when there is only `/`."""
    named = os.environ.get("CLAUDE_PROJECT_DIR")
    if named and os.path.isabs(named) and os.path.isdir(named):
        return named
    here = current_directory()
    return None if here == "/" else here


def current_directory() -> str | None:
    """Return this process's directory; None when it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def marked_project(directory: str) -> str | None:
    """Return the nearest directory upwards that is a project by what lies in it; None if none is.

    One like /tmp is none: whoever may write there would make one project of all that is below.
    """
    place = os.path.realpath(directory)
    while place != os.sep:
        marked = any(os.path.lexists(os.path.join(place, name)) for name in _PROJECT_MARKS)
        if marked and not _is_common(place):
            return place
        place = os.path.dirname(place)
    return None


def project_of(directory: str | None) -> str | None:
    """Return the project that a directory belongs to: at least itself, but never `/`."""
    if directory is None:
        return None
    found = marked_project(directory) or os.path.realpath(directory)
    try:
        found.encode()
    except UnicodeEncodeError:
        return None
    return None if found == os.sep else found


def host_project() -> str | None:
    """Return the project that the host works in; None when there is none."""
    return project_of(project_directory())


def program_folders() -> list[str]:
    """Return the folders of this process's PATH, without those that anybody may write to.

    Relative ones would lead into whatever directory is the current one.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return [folder for folder in folders if os.path.isabs(folder) and not _open_to_all(folder)]


def _is_common(folder: str) -> bool:
    """Say whether anybody may put something into a folder, and only remove what is his."""
    common = stat.S_IWOTH | stat.S_ISVTX
    try:
        return os.stat(folder).st_mode & common == common
    except OSError:
        return True


def _open_to_all(folder: str) -> bool:
    try:
        return bool(os.stat(folder).st_mode & stat.S_IWOTH)
    except OSError:
        return True


def config_directory() -> Path:
    """Return the directory of the user's own job types. It need not exist."""
    return user_config_path("mcp-jobs")


def systemd_directory() -> Path:
    """Return where the user's own units of systemd are. It need not exist."""
    return user_config_path("systemd") / "user"


def launch_agents_directory() -> Path:
    """Return where the user's own agents of launchd are. It need not exist."""
    return Path.home() / "Library" / "LaunchAgents"


def trust_directory() -> Path:
    """Return where it is kept which files of job types the user trusts. It need not exist.

    Not in the home, which may be shared or set by a project.
    """
    return user_state_path("mcp-jobs") / "trusted"
