"""When a cron expression fires, by the clock on the wall of a time zone.

An expression names local times. One that a change of the clocks leaves out is skipped, one that
comes twice counts once, the first time: so the expression is followed on a clock without a zone,
and each of its times is then looked up in the zone. `cronsim` would move the former and repeat
some of the latter. It is imported only where there is an expression.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

MOST_COUNTED: Final = 1000
"""Most fires of one gap that are counted."""

_FIELDS: Final = 5
_MOST_CHARS: Final = 100
_LONGEST_REPEAT: Final = timedelta(hours=3)
"""No zone sets its clocks back by more."""
_LAST_MS: Final = 253_000_000_000_000
"""Beyond it (in 9987) the calendar of Python ends."""
_EXAMPLE: Final = '"0 3 * * 1-5" for 3:00 from Monday to Friday'


class CronTimes:
    """The fires of an expression in a time zone, as milliseconds since 1970.

    Raises ValueError, in words, for an expression or a zone that is none.
    """

    def __init__(self, cron: str, timezone: str) -> None:
        self._cron = _checked(cron)
        self._zone = _zone(timezone)
        if next(self._local(datetime(2026, 1, 1, tzinfo=UTC)), None) is None:
            raise ValueError(f"{cron!r} never fires: no day is all that it asks for")

    def after(self, moment_ms: int) -> int | None:
        """Return the first fire after a moment; None when there is none in the calendar."""
        return next(self.all_after(moment_ms), None)

    def all_after(self, moment_ms: int) -> Iterator[int]:
        """Return the fires after a moment, first to last."""
        begin = _clock(moment_ms, self._zone)
        return (
            fire_ms
            for local in self._local(begin)
            if (fire_ms := self._moment_ms(local)) is not None and fire_ms > moment_ms
        )

    def latest(self, until_ms: int) -> int | None:
        """Return the last fire up to a moment."""
        # The wall may have shown a later time before the clocks were set back.
        begin = _clock(until_ms, self._zone) + _LONGEST_REPEAT + timedelta(microseconds=1)
        fires = (self._moment_ms(local) for local in self._local(begin, reverse=True))
        return next((ms for ms in fires if ms is not None and ms <= until_ms), None)

    def count(self, first_ms: int, until_ms: int) -> int:
        """Return how many fires there are from `first_ms` to `until_ms`, at most `MOST_COUNTED`."""
        fires = takewhile(lambda ms: ms <= until_ms, self.all_after(first_ms - 1))
        return sum(1 for _ in islice(fires, MOST_COUNTED))

    def _local(self, begin: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        """Return the times that the expression names, on a clock that is never changed."""
        from cronsim import CronSim  # noqa: PLC0415 - without a schedule, nothing of it is needed

        times: CronSim = CronSim(self._cron, begin, reverse=reverse)
        try:
            yield from times
        except (OverflowError, ValueError):
            # The end of the calendar.
            return

    def _moment_ms(self, local: datetime) -> int | None:
        """Return when the wall shows a time for the first time; None when it never does."""
        shown = local.replace(tzinfo=self._zone)
        moment = shown.astimezone(UTC)
        if moment.astimezone(self._zone).replace(tzinfo=UTC, fold=0) != local:
            return None
        return round(moment.timestamp() * 1000)


@lru_cache(256)
def cron_times(cron: str, timezone: str) -> CronTimes:
    """Return the times of an expression in a zone. Raises ValueError, as `CronTimes`."""
    return CronTimes(cron, timezone)


def _clock(moment_ms: int, zone: ZoneInfo) -> datetime:
    """Return what the clock on the wall shows, as if there were no zones."""
    seconds = min(max(moment_ms, 0), _LAST_MS) / 1000
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).replace(tzinfo=UTC, fold=0)


def _checked(cron: str) -> str:
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - as above

    fields = cron.split() if len(cron) <= _MOST_CHARS else []
    if len(fields) != _FIELDS:
        raise ValueError(
            f"{cron[:_MOST_CHARS]!r} is no cron expression: it has five fields (minute, hour, day "
            f"of the month, month, day of the week), such as {_EXAMPLE}"
        )
    try:
        CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
    except (CronSimError, AssertionError, ValueError) as error:
        told = str(error).removeprefix("Bad ").replace("-", " ")
        raise ValueError(
            f"{cron!r} is no cron expression: its {told or 'form'} cannot be understood. An "
            f"example: {_EXAMPLE}"
        ) from None
    return " ".join(fields)


def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # noqa: PLC0415 - as above

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(_unknown_zone(name)) from None


def _unknown_zone(name: str) -> str:
    import difflib  # noqa: PLC0415 - as above
    from zoneinfo import available_timezones  # noqa: PLC0415 - as above

    shown, zones = name[:_MOST_CHARS], available_timezones()
    if not zones:
        return (
            f"the time zone {shown!r} cannot be looked up, since this machine has no time zones: "
            "install the system's tzdata, or tzdata from PyPI beside mcp-jobs"
        )
    by_lower = {zone.lower(): zone for zone in zones}
    by_lower |= {zone.rpartition("/")[2].lower(): zone for zone in sorted(zones)} | by_lower
    wanted = shown.lower()
    exact = [wanted] if wanted in by_lower else []
    near = exact or difflib.get_close_matches(wanted, by_lower, n=6, cutoff=0.6)
    names = list(dict.fromkeys(by_lower[each] for each in near))[:3]
    hint = f"did you mean {' or '.join(names)}?" if names else "names are such as Europe/Berlin"
    return f"there is no time zone {shown!r}; {hint}"
