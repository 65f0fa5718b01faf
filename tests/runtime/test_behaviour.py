"""What annotations make of fake containers."""

from __future__ import annotations

import pytest
from kcore_runtime_fake.behaviour import BadBehaviour, Behaviour, behaviour, curve, duration


def test_annotation_of_one_container_wins_over_that_of_the_pod() -> None:
    annotations = {"kcore.dev/exit-code.app": "3", "kcore.dev/exit-code": "1", "other/exit-code": "9"}
    assert behaviour("app", annotations, Behaviour()).exit_code == 3
    assert behaviour("b", annotations, Behaviour()).exit_code == 1


def test_bad_value_names_its_annotation() -> None:
    with pytest.raises(BadBehaviour, match=r"annotation kcore\.dev/run-time: not a duration: 'soon'"):
        behaviour("app", {"kcore.dev/run-time": "soon"}, Behaviour())


@pytest.mark.parametrize(("text", "seconds"), [("1m30s", 90), ("500ms", 0.5), ("2.5", 2.5), ("1h", 3600)])
def test_durations_are_written_as_in_go_or_in_seconds(text: str, seconds: float) -> None:
    assert duration(text) == seconds


def test_curves_are_constant_rise_or_swing() -> None:
    assert curve("100m").at(1000) == pytest.approx(0.1)
    assert curve("100m..500m/10m").at(300) == pytest.approx(0.3)
    assert curve("100m~500m/10m").at(300) == pytest.approx(0.5)
    assert curve("100m~500m/10m").at(600) == pytest.approx(0.1)


@pytest.mark.parametrize("text", ["200m", "100m..500m/10m", "100m~500m/10m"])
def test_total_use_is_the_sum_of_use_over_time(text: str) -> None:
    found, step = curve(text), 0.5
    summed = sum(found.at(i * step + step / 2) * step for i in range(int(1500 / step)))
    assert found.total(1500) == pytest.approx(summed, rel=1e-3)


def test_readiness_begins_and_ends_when_said() -> None:
    found = behaviour("app", {"kcore.dev/ready-after": "10s", "kcore.dev/ready-for": "5s"}, Behaviour())
    assert [found.ready(t) for t in (0, 9, 10, 14, 15)] == [False, False, True, True, False]
