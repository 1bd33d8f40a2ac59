"""`doctor`: look for what goes wrong in the field, and say what to do about it."""

from __future__ import annotations

from typing import Final

import typer

from mcp_jobs.interfaces.cli import screen, session
from mcp_jobs.interfaces.cli.doctor.findings import Finding, Level
from mcp_jobs.interfaces.cli.exits import FAILED, OK
from mcp_jobs.interfaces.cli.options import Json

_SIGNS: Final = {Level.OK: ("ok", "green"), Level.WARNING: ("warning", "yellow")}
_FAULT: Final = ("FAULT", "bold red")


def doctor(*, as_json: Json = False) -> None:
    """See whether everything works here; warnings exit 0, faults 1."""
    raise typer.Exit(session.run(_doctor, as_json))


async def _doctor(as_json: bool) -> int:
    from mcp_jobs.interfaces.cli.doctor import home_checks, host_checks, roundtrip, versions

    findings: list[Finding] = []
    for check in (versions.check, home_checks.check, host_checks.check, roundtrip.check):
        async for finding in check():
            findings.append(finding)
            if not as_json:
                _tell(finding)
    faults = sum(finding.level is Level.FAULT for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if as_json:
        shown = [finding.as_json() for finding in findings]
        screen.write_json({"faults": faults, "warnings": warnings, "findings": shown})
    else:
        screen.write_line(f"{_some(faults, 'fault')}, {_some(warnings, 'warning')}.")
    return FAILED if faults else OK


def _tell(finding: Finding) -> None:
    sign, style = _SIGNS.get(finding.level, _FAULT)
    screen.write_line(f"{sign:<8} {finding.check}: {screen.clean(finding.message)}", style)
    if finding.advice:
        screen.write_line(f"{'':<8} {screen.clean(finding.advice)}")


def _some(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
