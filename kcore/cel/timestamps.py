"""What can be asked of a timestamp or a duration: ``getHours``, in UTC or in a named time zone."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

from kcore.cel.errors import EvaluationError
from kcore.cel.functions import Library
from kcore.cel.values import SECOND, Timestamp

_OFFSET = re.compile(r"([+-]?)(\d{2}):(\d{2})", re.ASCII)


def _zone(name: str) -> datetime.tzinfo:
    if match := _OFFSET.fullmatch(name):
        span = datetime.timedelta(hours=int(match[2]), minutes=int(match[3]))
        if span < datetime.timedelta(days=1):
            return datetime.timezone(-span if match[1] == "-" else span)
    elif name in ("", "UTC"):
        return datetime.UTC
    else:
        import zoneinfo

        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise EvaluationError(f"unknown time zone {name}")


_PARTS: dict[str, tuple[str, Callable[[datetime.datetime], int]]] = {
    "getFullYear": ("timestamp_to_year", lambda moment: moment.year),
    "getMonth": ("timestamp_to_month", lambda moment: moment.month - 1),
    "getDayOfYear": ("timestamp_to_day_of_year", lambda moment: moment.timetuple().tm_yday - 1),
    "getDayOfMonth": ("timestamp_to_day_of_month", lambda moment: moment.day - 1),
    "getDate": ("timestamp_to_day_of_month_1_based", lambda moment: moment.day),
    "getDayOfWeek": ("timestamp_to_day_of_week", lambda moment: (moment.weekday() + 1) % 7),
    "getHours": ("timestamp_to_hours", lambda moment: moment.hour),
    "getMinutes": ("timestamp_to_minutes", lambda moment: moment.minute),
    "getSeconds": ("timestamp_to_seconds", lambda moment: moment.second),
}


def _in_zone(part: Callable[[datetime.datetime], int]) -> Callable[[Timestamp, str], int]:
    def run(value: Timestamp, zone: str) -> int:
        try:
            return part(value.moment().astimezone(_zone(zone)))
        except OverflowError:
            raise EvaluationError("timestamp overflow") from None

    return run


def _span(unit: int) -> Callable[[Any], int]:
    def run(value: Any) -> int:
        whole: int = abs(value.ns) // unit
        return whole if value.ns >= 0 else -whole

    return run


def declare(library: Library) -> None:
    for name, (id_, part) in _PARTS.items():
        library.add(name, id_, "timestamp.() -> int", lambda value, part=part: part(value.moment()))
        library.add(name, f"{id_}_with_tz", "timestamp.(string) -> int", _in_zone(part))
    milliseconds = SECOND // 1000
    library.add(
        "getMilliseconds", "timestamp_to_milliseconds", "timestamp.() -> int", lambda v: v.ns % SECOND // milliseconds
    )
    library.add(
        "getMilliseconds",
        "timestamp_to_milliseconds_with_tz",
        "timestamp.(string) -> int",
        lambda v, zone: _zone(zone) and v.ns % SECOND // milliseconds,
    )
    library.add("getHours", "duration_to_hours", "duration.() -> int", _span(3600 * SECOND))
    library.add("getMinutes", "duration_to_minutes", "duration.() -> int", _span(60 * SECOND))
    library.add("getSeconds", "duration_to_seconds", "duration.() -> int", _span(SECOND))
    # upstream counts the milliseconds beyond the whole seconds' part in full
    library.add("getMilliseconds", "duration_to_milliseconds", "duration.() -> int", _span(milliseconds))
