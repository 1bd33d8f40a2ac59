"""The shells of this machine, as jobs and others start them."""

from __future__ import annotations

import shutil
from typing import Final

from mcp_jobs.execution.shells import Script, find_shells
from mcp_jobs.settings import Settings

USED: Final = find_shells(Settings())
_OURS: Final = (USED.argv(Script(text="")), USED.argv(Script(text="", interpreter="sh")))
_OTHERS: Final = (shutil.which(name) for name in ("dash", "bash", "zsh"))

SHELLS: Final = [
    *dict.fromkeys(argv[:-1] for argv in _OURS),
    *((path, "-c") for path in _OTHERS if path is not None),
]
"""Each as a command that lacks only the script."""

POSIX_SHELLS: Final = [shell for shell in SHELLS if not shell[0].endswith("zsh")]
