"""How quickly an autoscaler may act."""

from collections import deque

from kcore_controllers.autoscaler_behavior import History, limit

from kcore.objects import Object


def hpa(**behavior: Object) -> Object:
    return {"spec": {"minReplicas": 1, "maxReplicas": 100, "behavior": behavior}}


def history() -> History:
    return History(deque(), deque(), deque())


def test_an_autoscaler_that_has_just_started_does_not_shrink_at_once() -> None:
    h = history()
    assert limit(hpa(), h, 10, 2, 1000.0)[0] == 10
    assert limit(hpa(), h, 10, 2, 1299.0)[0] == 10
    assert limit(hpa(), h, 10, 2, 1301.0)[0] == 2


def test_a_rate_that_is_used_up_keeps_the_size_as_it_is() -> None:
    h = history()
    h.scaled(1000.0, 8)  # and then somebody took six away
    assert limit(hpa(), h, 10, 20, 1010.0)[0] == 10
