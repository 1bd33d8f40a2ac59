"""Which parameters may become environment variables of a script."""

from __future__ import annotations

from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.job_types.yaml.node import Place
from mcp_jobs.job_types.yaml.params import DeclaredParams


def check_names(params: DeclaredParams, place: Place) -> None:
    """Raise for a parameter whose variable would change what the script at `place` runs."""
    for name, param in params.params.items():
        if changes_what_runs(name):
            raise place.error(
                f"the param {name!r} would become the environment variable {name}, which the shell "
                "sets itself or which changes what the script runs; give it another name",
                line=param.line,
            )


def variables(texts: dict[str, str | None]) -> dict[str, str]:
    """Return the variables of a script; a parameter that was left out is the empty text.

    It is set all the same, so that no variable of that name is inherited.
    """
    return {name: text or "" for name, text in texts.items()}
