"""What callers may ask of schedules."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from mcp_jobs.domain.schedules import CATCHUP_S, DEFAULT_ZONE, LONGEST_CATCHUP_S, Overlap
from mcp_jobs.service import requests

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} cannot be the name of a schedule: letters, digits, _ and -, a letter first, "
            "at most 64"
        )
    return text


class AddSchedule(requests.Request):
    """Start a job again and again, by the clock."""

    name: Annotated[str, AfterValidator(_name), Field(max_length=64)] = Field(
        description="Its name; yours is free to choose."
    )
    cron: Annotated[str, Field(max_length=100)] = Field(
        description="Minute, hour, day of the month, month, day of the week."
    )
    timezone: Annotated[str, Field(max_length=100)] = Field(
        default=DEFAULT_ZONE, description="Whose times these are, such as Europe/Berlin."
    )
    type: str = Field(default="shell", max_length=100, description="Job type.")
    params: dict[str, Any] = Field(
        default={}, description='Parameters of the type. "shell" takes {"command": "..."}.'
    )
    cwd: Annotated[str, AfterValidator(requests.directory)] | None = Field(
        default=None, description="Absolute directory to run in; default: the project's."
    )
    overlap: Overlap = Field(
        default="skip", description="What a fire does while a job of the schedule has not ended."
    )
    catchup_seconds: Annotated[
        float, Field(ge=0, le=LONGEST_CATCHUP_S), BeforeValidator(requests.number)
    ] = Field(default=CATCHUP_S, description="How late a missed fire may be made up for.")
