"""Lock what release builds and the image install: `make lock` writes requirements/*.txt anew.

Each file holds versions with the hashes of all their files, for every platform and every Python
that the project supports, and no address to get them from.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = ROOT / "requirements"
UV: Final = Path(sys.executable).parent / "uv"


def requirements() -> dict[str, list[str]]:
    """Return what each lock must hold, by its name."""
    content: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = content["project"]
    return {
        "run": [*project["dependencies"], *project["optional-dependencies"]["http"]],
        "build": content["build-system"]["requires"],
    }


def lock(name: str, wanted: list[str]) -> None:
    """Write one lock."""
    options = ["--universal", "--python-version", "3.11", "--generate-hashes", "--upgrade"]
    shown = ["--quiet", "--no-annotate", "--custom-compile-command", "make lock"]
    target = ["--output-file", str(LOCKS / f"{name}.txt"), "-"]
    command = [str(UV), "pip", "compile", *options, *shown, *target]
    subprocess.run(command, cwd=ROOT, input="\n".join(wanted), text=True, check=True)


if __name__ == "__main__":
    LOCKS.mkdir(exist_ok=True)
    for name, wanted in requirements().items():
        lock(name, wanted)
