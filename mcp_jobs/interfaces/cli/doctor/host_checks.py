"""What hosts would start, and what they and their jobs would find on a short PATH."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs import settings as configuration
from mcp_jobs.interfaces.cli.doctor.findings import Finding, fault, fine, warning
from mcp_jobs.interfaces.cli.hosts import config_files
from mcp_jobs.interfaces.cli.hosts.known_hosts import HOSTS, Host
from mcp_jobs.interfaces.cli.install import FLEETING, SCRIPT, command_of, starts_us

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_LINUX_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACOS_PATH: Final = "/usr/bin:/bin:/usr/sbin:/sbin"
_TOOLS: Final = ("git", "make", "node", "npm", "pnpm", "yarn", "bun", "uv", "cargo", "go", "docker")


async def check() -> AsyncIterator[Finding]:
    """Look at each host's file, and at the PATH that desktop hosts have."""
    found = False
    for host in HOSTS.values():
        for finding in _host(host):
            found = True
            yield finding
    if not found:
        hosts = ", ".join(HOSTS)
        yield warning(
            "hosts", "No host is set up.", f"Run mcp-jobs install HOST, with one of: {hosts}."
        )
    for finding in _path():
        yield finding


def desktop_path() -> str:
    """Return the PATH of programs that a desktop starts without a shell."""
    return _MACOS_PATH if sys.platform == "darwin" else _LINUX_PATH


def _host(host: Host) -> Iterator[Finding]:
    candidates = [host.user_file()]
    if host.project_file is not None:
        candidates.append(host.project_file())
    for path in dict.fromkeys(candidates):
        try:
            if config_files.read(path) is None:
                continue
            entries = config_files.servers_in(host, path)
        except config_files.HostFileError as error:
            yield warning(host.title, str(error), f"{host.title} cannot read it either: repair it.")
            continue
        for name, entry in entries.items():
            if starts_us(entry):
                yield _entry(host, path, name, entry)


def _entry(host: Host, path: Path, name: str, entry: Any) -> Finding:
    program = command_of(entry)[0]
    again = f"Run: mcp-jobs install {host.name}"
    where = f"{name} in {path}"
    unknown = _unknown_settings(entry)
    if unknown:
        return fault(
            host.title,
            f"{where} sets {', '.join(unknown)}, which mcp-jobs does not know; it will not start.",
            "Correct the name; docs/configuration.md lists the settings.",
        )
    if _looks_into_project(command_of(entry)):
        return warning(
            host.title,
            f"{where} starts Python without -P, so that it looks for modules in the project first.",
            again,
        )
    if os.path.isabs(program):
        if shutil.which(program) is None:
            return fault(host.title, f"{where} starts {program}, which is not a program.", again)
        if any(part in FLEETING for part in Path(program).parts):
            return warning(
                host.title, f"{where} starts {program}, which a cache may remove.", again
            )
        return fine(host.title, f"{where} starts {program}")
    if shutil.which(program) is None:
        return fault(host.title, f"{where} starts {program}, which is not on the PATH.", again)
    if shutil.which(program, path=desktop_path()) is None:
        return warning(
            host.title,
            f"{where} starts {program}, which is not on the PATH of desktop programs.",
            f"If the host is started from the desktop, name the whole path. {again}",
        )
    return fine(host.title, f"{where} starts {program}")


def _looks_into_project(words: list[str]) -> bool:
    return "mcp_jobs" in words and "-m" in words and not {"-P", "-I"} & {*words}


def _unknown_settings(entry: Any) -> list[str]:
    env = entry.get("env") or entry.get("environment") or {}
    names = env if isinstance(env, dict) else {}
    return sorted(configuration.unknown_settings(names))


def _path() -> Iterator[Finding]:
    missing = [
        tool
        for tool in _TOOLS
        if shutil.which(tool) and not shutil.which(tool, path=desktop_path())
    ]
    if missing:
        yield warning(
            "PATH",
            f"Jobs of a host that the desktop starts may not find: {', '.join(missing)}.",
            'Give them your PATH: mcp-jobs install HOST --env "PATH=$PATH"',
        )
    elif shutil.which(SCRIPT) is None:
        yield warning(
            "PATH",
            f"{SCRIPT} is not on your PATH.",
            "uv tool update-shell or pipx ensurepath fixes that; hosts get the whole path.",
        )
    else:
        yield fine("PATH", "common tools are found, also by programs that the desktop starts")
