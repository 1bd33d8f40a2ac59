"""Make the MCP bundle for Claude Desktop: `make bundle`, or `python scripts/bundle.py [DIRECTORY]`.

The bundle (https://github.com/modelcontextprotocol/mcpb, manifest 0.4) is of the type `uv`: it
holds the package and names its dependencies, and the host installs them with its own uv. Prints the
path of the file. Of the checkout only the files that git knows are taken, never what else lies
there. The same sources give the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EPOCH = (1980, 1, 1, 0, 0, 0)
SERVER = "from mcp_jobs.__main__ import main\n\nmain()\n"
TOOLS = {
    "start_job": "Start a background job and get its id at once",
    "check_job": "Look at a job, or wait for its end",
    "cancel_job": "End a job with all its processes",
    "list_jobs": "List jobs, or wait for several",
}
LONG_DESCRIPTION = """\
An agent starts a slow command, gets a job id at once, goes on working, and is told when it ends.
The job outlives timeouts, restarts and crashes of the client and of the server. Needs Linux or
macOS.
"""


def version() -> str:
    """Return the version, which is written once, in the package."""
    text = (ROOT / "mcp_jobs" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise SystemExit("mcp_jobs/__init__.py has no __version__")
    return found[1]


def manifest(project: dict[str, Any]) -> dict[str, Any]:
    """Return the bundle's manifest."""
    return {
        "manifest_version": "0.4",
        "name": project["name"],
        "display_name": "Background jobs",
        "version": version(),
        "description": project["description"],
        "long_description": LONG_DESCRIPTION,
        "author": {"name": project["authors"][0]["name"]},
        "license": project["license"],
        "keywords": project["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "server.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "server.py"],
            },
        },
        "tools": [{"name": name, "description": text} for name, text in TOOLS.items()],
        "tools_generated": True,
        "compatibility": {
            "platforms": ["darwin", "linux"],
            "runtimes": {"python": project["requires-python"]},
        },
    }


def requirements(project: dict[str, Any]) -> str:
    """Return the bundle's pyproject.toml: what to install, and that nothing needs to be built."""
    lines = [
        "[project]",
        f"name = {json.dumps(project['name'] + '-bundle')}",
        f"version = {json.dumps(version())}",
        f"requires-python = {json.dumps(project['requires-python'])}",
        f"dependencies = {json.dumps(project['dependencies'], indent=4)}",
        "",
        "[tool.uv]",
        "package = false",
    ]
    return "\n".join(lines) + "\n"


def listed(root: Path) -> list[str]:
    """Return the files of the checkout that belong into the bundle, as git lists them."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--", "LICENSE", "README.md", "mcp_jobs"]
    git = subprocess.run(command, capture_output=True, text=True, check=False)
    if git.returncode or not git.stdout:
        reason = git.stderr.strip() or "it has none of the files"
        raise SystemExit(f"The bundle is made from a git checkout, and {root} is none: {reason}")
    return sorted(git.stdout.rstrip("\0").split("\0"))


def contents(root: Path = ROOT) -> dict[str, bytes]:
    """Return the files of the bundle."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    made = {
        "manifest.json": json.dumps(manifest(project), indent=2) + "\n",
        "pyproject.toml": requirements(project),
        "server.py": SERVER,
    }
    files = {name: text.encode() for name, text in made.items()}
    return files | {name: (root / name).read_bytes() for name in listed(root)}


def write(directory: Path) -> Path:
    """Write the bundle and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"mcp-jobs-{version()}.mcpb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, data in contents().items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, data)
    return path


if __name__ == "__main__":
    print(write(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
