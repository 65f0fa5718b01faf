"""Cron expressions as in a CronJob's ``schedule``: five fields, names, steps, ``@hourly`` and its sisters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

import attrs

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    m: i + 1
    for i, m in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"])
}
_DAYS = {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_ANY = ("*", "?", "*/1", "?/1")
_UNITS = {"h": 3600, "m": 60, "s": 1}
_SEARCH_YEARS = 5  # a schedule that never comes (31 February) is given up after so many


@attrs.frozen
class Schedule:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """The day of month or the weekday is ``*``: then both must match, else one of them."""
    every: float = 0.0
    """Seconds, for ``@every 1h``."""

    def next(self, after: datetime) -> datetime | None:
        """The first time after `after` (both in the same zone).

        Where clocks go back an hour is lived through twice; times that they skip do not come.
        """
        if self.every:
            return _later(after, timedelta(seconds=self.every))
        at = _later(after.replace(second=0, microsecond=0), timedelta(minutes=1))
        end = after.year + _SEARCH_YEARS
        while at.year <= end:
            if at.month not in self.months:
                at = (at.replace(day=1, hour=0, minute=0, fold=0) + timedelta(days=32)).replace(day=1)
            elif not self._day_matches(at):
                at = at.replace(hour=0, minute=0, fold=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = _later(at.replace(minute=0), timedelta(hours=1))
            elif at.minute not in self.minutes or not _exists(at):
                at = _later(at, timedelta(minutes=1))
            else:
                return at
        return None

    def _day_matches(self, at: datetime) -> bool:
        day, weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.any_day else (day or weekday)


def _later(at: datetime, time: timedelta) -> datetime:
    """So much real time later: the sum of Python's own is one of wall clocks."""
    return at + time if at.tzinfo in (None, UTC) else (at.astimezone(UTC) + time).astimezone(at.tzinfo)


def _exists(at: datetime) -> bool:
    """False for a time that clocks skip."""
    back = at.astimezone(UTC).astimezone(at.tzinfo)
    return back.replace(tzinfo=None, fold=0) == at.replace(tzinfo=None, fold=0)


def parse(text: str) -> Schedule:
    """Raises ValueError with the part that cannot be read."""
    text = text.strip()
    if text.startswith("@every "):
        return Schedule(*(frozenset[int](),) * 5, True, _duration(text.removeprefix("@every ").strip()))
    fields = _MACROS.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {text!r}")
    return Schedule(
        _field(fields[0], 0, 59),
        _field(fields[1], 0, 23),
        _field(fields[2], 1, 31),
        _field(fields[3], 1, 12, _MONTHS),
        frozenset(d % 7 for d in _field(fields[4], 0, 7, _DAYS)),
        any(part in _ANY for field in (fields[2], fields[4]) for part in field.split(",")),
    )


def _duration(text: str) -> float:
    total, number = 0.0, ""
    for char in text:
        if char in _UNITS and number:
            total += float(number) * _UNITS[char]
            number = ""
        else:
            number += char
    if number or not total:
        raise ValueError(f"not a duration: {text!r}")
    return total


def _field(text: str, low: int, high: int, names: dict[str, int] | None = None) -> frozenset[int]:
    out: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span in ("*", "?"):
            first, last = low, high
        else:
            a, _, b = span.partition("-")
            first = _number(a, names)
            last = _number(b, names) if b else (high if step else first)
        if not low <= first <= last <= high or (step and not step.isdigit()) or step == "0":
            raise ValueError(f"not between {low} and {high}: {part!r}")
        out.update(range(first, last + 1, int(step or 1)))
    return frozenset(out)


def _number(text: str, names: dict[str, int] | None) -> int:
    if names and text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f"not a number: {text!r}")
    return int(text)


def zone(name: str | None) -> tzinfo:
    """A CronJob's timeZone; UTC without one. Raises KeyError (ZoneInfoNotFoundError) or ValueError."""
    from zoneinfo import ZoneInfo

    return ZoneInfo(name) if name else UTC
