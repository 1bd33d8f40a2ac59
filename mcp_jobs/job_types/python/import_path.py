"""`PYTHONPATH` without its empty and relative parts, which mean wherever Python is started.

`PYTHONPATH=$PYTHONPATH:/mine`, where there was none before, begins with an empty part. Agents'
hosts start Python in a project, whose files must not run in the place of modules. This is read
here and not with the settings, which are imported from where it leads.
"""

from __future__ import annotations

import os
import sys

_NAME = "PYTHONPATH"


def leave_out_relative() -> None:
    """Search no directory of this process any more that such a part has named."""
    given = os.environ.get(_NAME, "")
    try:
        left_out = {os.path.abspath(p) for p in given.split(os.pathsep) if not os.path.isabs(p)}
    except FileNotFoundError:
        # The working directory is gone, and with it what could have been found there.
        return
    if given:
        sys.path[:] = [folder for folder in sys.path if folder not in left_out]


def for_jobs() -> dict[str, str]:
    """Return the variable as interpreters of jobs need it; nothing where it is good as it is."""
    given = os.environ.get(_NAME, "")
    kept = os.pathsep.join(part for part in given.split(os.pathsep) if os.path.isabs(part))
    return {} if kept == given else {_NAME: kept}
