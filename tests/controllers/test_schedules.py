"""Cron schedules: over changes of the clock, and after a long standstill."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import ClassVar
from zoneinfo import ZoneInfo

import attrs
import pytest
from kcore_controllers import cron
from kcore_controllers.cronjob import CronJobController


def test_no_hour_is_left_out_when_summer_time_ends() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    at = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)  # clocks go back from 3:00 to 2:00
    times = [at.timestamp()]
    schedule = cron.parse("*/30 * * * *")
    for _ in range(5):
        found = schedule.next(at)
        assert found is not None
        at = found
        times.append(at.timestamp())
    assert [b - a for a, b in pairwise(times)] == [1800.0] * 5


def test_a_time_that_summer_skips_comes_the_next_day() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    found = cron.parse("30 2 * * *").next(datetime(2026, 3, 28, 3, 0, tzinfo=berlin))  # 2:30 is missing on the 29th
    assert found is not None
    assert (found.day, found.hour, found.minute) == (30, 2, 30)


def test_a_stepped_day_of_month_or_the_weekday_is_enough() -> None:
    # as everywhere in cron only a plain asterisk leaves the day to the other field
    found = cron.parse("0 0 */10 * 1").next(datetime(2026, 1, 1, 0, 0, tzinfo=ZoneInfo("UTC")))
    assert found is not None
    assert found.day == 5  # a Monday


@pytest.mark.parametrize(("text", "hours_ago"), [("* * * * *", 0), ("30 3 * * *", 8), ("0 0 1 1 *", 108 * 24 + 12)])
def test_the_latest_missed_time_is_found_without_counting_a_year(text: str, hours_ago: int) -> None:
    now = datetime(2026, 4, 19, 12, 0, 30, tzinfo=ZoneInfo("UTC"))
    c = {"metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"}, "spec": {}, "status": {}}
    schedule = CountingSchedule(**attrs.asdict(cron.parse(text), recurse=False))
    due, missed = CronJobController.due(c, schedule, UTC, now.timestamp())
    assert due is not None
    assert int(now.timestamp() - due) // 3600 == hours_ago
    assert missed > 100 or text != "* * * * *"
    assert CountingSchedule.asked < 1500


@attrs.frozen
class CountingSchedule(cron.Schedule):
    """Counts how often it is asked."""

    asked: ClassVar[int] = 0

    def next(self, after: datetime) -> datetime | None:
        CountingSchedule.asked += 1
        return super().next(after)
