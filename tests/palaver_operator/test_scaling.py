"""The rules of scaling: what they say to single situations, and what holds for all of them."""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver_operator.scaling import (
    PATIENCE_SECONDS,
    ROUND_SECONDS,
    SHRINK_SECONDS,
    Decision,
    History,
    PodLoad,
    Reason,
    RoleLimits,
    RoleLoad,
    Signal,
    choose_leaving,
    decide,
)

LIMITS = RoleLimits(2, 20, {Signal.CONNECTIONS: 1000, Signal.LOOP_LAG: 100, Signal.CPU: 80})
WORKERS = RoleLimits(2, 20, {Signal.CPU: 80, Signal.QUEUE: 5})
WINDOW = LIMITS.down_stabilization_seconds


def gateway(connections: float, lag: float = 1, cpu: float = 10, refused: float = 0, name: str = "pod") -> PodLoad:
    values = {Signal.CONNECTIONS: connections, Signal.LOOP_LAG: lag, Signal.CPU: cpu, Signal.REFUSED: refused}
    return PodLoad(name, values)


def settled(pods: Sequence[PodLoad]) -> RoleLoad:
    return RoleLoad(len(pods), 0, pods)


def rounds(
    totals: Iterable[float], size: int, limits: RoleLimits = LIMITS, history: History | None = None, start: float = 0
) -> list[Decision]:
    """Lets `decide` act on a role whose pods are there at once, and share so many connections in each round."""
    history = history or History()
    decisions = []
    for turn, total in enumerate(totals):
        pods = [gateway(total / size) for _ in range(size)]
        decision = decide(limits, history, settled(pods), start + turn * ROUND_SECONDS)
        decisions.append(decision)
        size, history = decision.size, decision.history
    return decisions


# -- single situations -------------------------------------------------------------------------------------------------


def test_connections_that_are_too_many_are_answered_in_the_same_round() -> None:
    decision = decide(LIMITS, History(), settled([gateway(3500), gateway(3001)]), 0)
    assert (decision.size, decision.reason) == (7, Reason.DEMAND)
    assert decision.sentence == "connections 6,501 in all, target 1000 a pod: 7 pods"
    assert decision.inputs[Signal.CONNECTIONS] == 6501
    assert decision.inputs["needed"] == 7


def test_exactly_as_many_as_they_are_meant_for_is_not_too_many() -> None:
    assert decide(LIMITS, History(), settled([gateway(1000)] * 3), 0).size == 3


def test_cpu_alone_is_a_reason_too() -> None:
    decision = decide(LIMITS, History(), settled([gateway(10, cpu=95)] * 4), 0)
    assert (decision.size, decision.reason) == (5, Reason.DEMAND)


def test_who_is_turned_away_is_counted_with_those_who_are_in() -> None:
    assert decide(LIMITS, History(), settled([gateway(900, refused=800)] * 2), 0).size == 4


def test_a_lag_of_half_of_the_pods_asks_for_a_quarter_more_and_then_waits() -> None:
    late = [gateway(700, lag=300)] * 4 + [gateway(700)] * 4
    assert decide(LIMITS, History(), settled(late[1:]), 0).size == 7
    late.append(gateway(700, lag=300))
    first = decide(LIMITS, History(), settled(late), 0)
    assert (first.size, first.reason) == (12, Reason.SYMPTOM)
    more = settled([gateway(700, lag=300)] * 12)
    soon = decide(LIMITS, first.history, more, PATIENCE_SECONDS - 1)
    assert soon.size == 12
    assert decide(LIMITS, soon.history, more, PATIENCE_SECONDS).size == 15


def test_a_lag_that_more_pods_do_not_help_gets_no_more_than_double() -> None:
    history, size = History(), 4
    for turn in range(20):
        decision = decide(LIMITS, history, settled([gateway(3000 / size, lag=300)] * size), turn * 100)
        history, size = decision.history, decision.size
    assert size == 6


def test_a_lag_while_pods_are_starting_asks_for_nothing_more() -> None:
    pods = [gateway(900, lag=300)] * 4
    assert decide(LIMITS, History(), RoleLoad(5, 1, pods), 0).size == 5
    assert decide(LIMITS, History(), settled([*pods, gateway(900)]), 0).size == 7


def test_what_a_symptom_asked_for_stays_while_it_is_half_there_and_for_the_window() -> None:
    history = rounds([1500] * 100, size=2)[-1].history
    late = decide(LIMITS, history, settled([gateway(750, lag=300)] * 2), 1000)
    assert late.size == 3
    history = late.history
    for turn in range(200):
        half = decide(LIMITS, history, settled([gateway(500, lag=60)] * 3), 1010 + turn * ROUND_SECONDS)
        assert half.size == 3
        history = half.history
    calm = rounds([1500] * 70, 3, history=history, start=3010)
    assert [decision.size for decision in calm].index(2) == WINDOW / ROUND_SECONDS


def test_when_everybody_is_gone_at_once_three_quarters_stay_for_an_hour() -> None:
    busy = rounds([9500] * 10, size=10)[-1].history
    sizes = [decision.size for decision in rounds([0] * 480, 10, history=busy, start=100)]
    assert sizes[int(WINDOW / ROUND_SECONDS) + 60] == 8  # 9,500 need 11 with a tenth to spare
    assert sizes[350] == 8
    assert sizes[-1] == 2


def test_a_queue_is_a_reason_only_if_its_pods_have_work() -> None:
    def queue(cpu: float) -> Decision:
        return decide(WORKERS, History(), settled([PodLoad("pod", {Signal.CPU: cpu, Signal.QUEUE: 60})] * 3), 0)

    assert (queue(60).size, queue(60).reason) == (4, Reason.SYMPTOM)
    assert queue(5).size == 3


def test_less_is_needed_but_the_window_is_not_over() -> None:
    decisions = rounds([100] * int(WINDOW / ROUND_SECONDS), size=10)
    assert {decision.size for decision in decisions} == {10}
    assert decisions[-1].reason == Reason.STABILIZING


def test_after_the_window_one_pod_a_minute_goes_down_to_the_minimum() -> None:
    sizes = [decision.size for decision in rounds([100] * int(WINDOW / ROUND_SECONDS + 60), size=6)]
    started = sizes.index(5)
    assert started == WINDOW / ROUND_SECONDS
    step = int(SHRINK_SECONDS / ROUND_SECONDS)
    assert [sizes[started + step * turn] for turn in range(5)] == [5, 4, 3, 2, 2]
    assert sizes[started + step - 1] == 5


def test_many_go_down_by_a_tenth() -> None:
    limits = dataclasses.replace(LIMITS, max=100)
    sizes = [decision.size for decision in rounds([100] * int(WINDOW / ROUND_SECONDS + 13), 50, limits)]
    assert sizes[-1] == 50 - 5 - 4 - 4


def test_nobody_goes_while_another_one_is_still_leaving() -> None:
    history = rounds([100] * 100, size=2)[-1].history
    load = RoleLoad(5, 1, [gateway(10)] * 5)
    decision = decide(LIMITS, history, load, 1000)
    assert (decision.size, decision.reason) == (5, Reason.SETTLING)
    assert decide(LIMITS, history, settled([gateway(10)] * 5), 1000).size == 4


def test_who_does_not_answer_keeps_all_where_they_are() -> None:
    history = rounds([100] * 100, size=2)[-1].history
    decision = decide(LIMITS, history, settled([gateway(10)] * 4 + [PodLoad("silent")]), 1000)
    assert (decision.size, decision.reason) == (5, Reason.METRICS_MISSING)
    assert decision.inputs["missing"] == 1


def test_who_answers_can_still_ask_for_more() -> None:
    assert decide(LIMITS, History(), settled([gateway(5500), PodLoad("silent")]), 0).size == 6


def test_after_a_long_silence_the_window_begins_anew() -> None:
    history = rounds([100] * 100, size=2)[-1].history
    assert decide(LIMITS, history, settled([gateway(10)] * 5), 990 + 61).reason == Reason.STABILIZING


def test_after_a_restart_nothing_goes_down_before_the_window_is_over() -> None:
    assert decide(LIMITS, History(), settled([gateway(0)] * 9), 5).reason == Reason.STABILIZING


def test_who_starts_anew_takes_no_step_sooner_than_a_minute_after_the_last() -> None:
    limits = dataclasses.replace(LIMITS, down_stabilization_seconds=5)
    sizes = [decision.size for decision in rounds([0] * 7, 10, limits)]
    assert sizes == [10] * 6 + [9]


@pytest.mark.parametrize(("size", "wanted"), [(1, 2), (25, 20), (0, 2)])
def test_limits_are_obeyed_at_once(size: int, wanted: int) -> None:
    decision = decide(LIMITS, History(), RoleLoad(size, 0, [gateway(1)] * size), 0)
    assert (decision.size, decision.reason) == (wanted, Reason.LIMITS)


def test_what_would_be_needed_beyond_the_maximum_is_said() -> None:
    decision = decide(LIMITS, History(), settled([gateway(9000)] * 5), 0)
    assert (decision.size, decision.reason) == (20, Reason.AT_MAXIMUM)
    assert decision.inputs["needed"] == 45
    assert "45 pods would be needed, 20 are allowed" in decision.sentence


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="min 3 and max 2"):
        RoleLimits(3, 2, {})
    with pytest.raises(ValueError, match="connections"):
        RoleLimits(1, 2, {Signal.CONNECTIONS: 0})


def test_the_emptiest_gateway_goes_first_and_one_that_is_silent_last() -> None:
    pods = [gateway(5, name="b"), PodLoad("silent"), gateway(1, name="c"), gateway(5, name="a")]
    assert choose_leaving(pods) == ["c", "a", "b", "silent"]


# -- what always holds -------------------------------------------------------------------------------------------------

values = st.floats(0, 20_000, allow_nan=False)
pod_loads = st.one_of(
    st.builds(
        gateway, values, lag=st.floats(0, 1000), cpu=st.floats(0, 100), refused=st.sampled_from((0.0, 0.0, 500.0))
    ),
    st.just(PodLoad("silent")),
    st.builds(lambda count: PodLoad("new", {Signal.CONNECTIONS: count}), values),
)


@st.composite
def role_limits(draw: st.DrawFn) -> RoleLimits:
    low = draw(st.integers(1, 5))
    targets = {Signal.CONNECTIONS: 1000.0, Signal.LOOP_LAG: 100.0, Signal.CPU: 80.0}
    window = draw(st.sampled_from((0.0, 60.0, 600.0)))
    return RoleLimits(low, low + draw(st.integers(0, 60)), targets, window)


@st.composite
def lives(draw: st.DrawFn) -> tuple[RoleLimits, list[tuple[float, RoleLoad, Decision]]]:
    """Rounds of a role under any loads and silences, with pods that come late and go late."""
    limits = draw(role_limits())
    size, now, history = draw(st.integers(0, 70)), 0.0, History()
    seen = []
    for _ in range(draw(st.integers(1, 25))):
        now += draw(st.sampled_from((ROUND_SECONDS, ROUND_SECONDS, 60.0, 300.0)))
        ready = draw(st.sampled_from((size, size, size, max(0, size - 1), size // 2)))
        quiet = st.builds(gateway, st.floats(0, 300), cpu=st.floats(0, 20))
        kind = draw(st.sampled_from((quiet, quiet, pod_loads)))
        alike = draw(st.lists(kind, min_size=1, max_size=3))
        pods = [alike[index % len(alike)] for index in range(ready)]
        load = RoleLoad(size, draw(st.sampled_from((0, 0, 0, 1))), pods)
        decision = decide(limits, history, load, now)
        seen.append((now, load, decision))
        size, history = decision.size, decision.history
    return limits, seen


@given(lives())
def test_never_outside_the_limits(life: tuple[RoleLimits, list[tuple[float, RoleLoad, Decision]]]) -> None:
    limits, seen = life
    assert all(limits.min <= decision.size <= limits.max for _, _, decision in seen)


@given(lives())
def test_down_by_a_tenth_a_minute_at_most_and_only_when_everybody_has_spoken(
    life: tuple[RoleLimits, list[tuple[float, RoleLoad, Decision]]],
) -> None:
    limits, seen = life
    last_step: float | None = None
    for now, load, decision in seen:
        if decision.size < load.size <= limits.max:
            assert load.size - decision.size <= max(1, load.size // 10)
            assert last_step is None or now - last_step >= SHRINK_SECONDS
            assert load.moving == 0
            assert all(Signal.CPU in pod.values for pod in load.pods)
            assert decision.reason == Reason.QUIET
        if decision.size < load.size:
            last_step = now


@given(lives())
def test_a_size_is_said_to_change_when_it_does(
    life: tuple[RoleLimits, list[tuple[float, RoleLoad, Decision]]],
) -> None:
    for _, load, decision in life[1]:
        assert decision.sentence
        if decision.reason in (Reason.STEADY, Reason.STABILIZING, Reason.SETTLING, Reason.METRICS_MISSING):
            assert decision.size == load.size
        elif decision.reason in (Reason.DEMAND, Reason.SYMPTOM):
            assert decision.size > load.size
        # What is remembered does not grow with time.
        assert len(decision.history.needs) <= 100


@given(lives(), st.lists(pod_loads, min_size=1, max_size=12), st.data())
def test_more_load_never_means_fewer_pods(
    life: tuple[RoleLimits, list[tuple[float, RoleLoad, Decision]]], pods: list[PodLoad], data: st.DataObject
) -> None:
    limits, seen = life
    now, _, decision = seen[-1]
    factor = data.draw(st.floats(1, 3))
    signal = data.draw(st.sampled_from((Signal.CONNECTIONS, Signal.LOOP_LAG, Signal.CPU, Signal.REFUSED)))
    more = [
        PodLoad(pod.name, {key: value * (factor if key == signal else 1) for key, value in pod.values.items()})
        for pod in pods
    ]
    size = data.draw(st.sampled_from((len(pods), len(pods) + 1)))
    less_size = decide(limits, decision.history, RoleLoad(size, size - len(pods), pods), now + ROUND_SECONDS).size
    more_size = decide(limits, decision.history, RoleLoad(size, size - len(pods), more), now + ROUND_SECONDS).size
    assert less_size <= more_size


@given(
    st.lists(st.integers(0, 15_000), min_size=1, max_size=20),
    st.integers(2, 20),
)
def test_what_comes_and_goes_within_the_window_never_makes_pods_go_and_come(pattern: list[int], size: int) -> None:
    """However the metric flaps: what is needed once in ten minutes stays."""
    turns = int(3 * WINDOW / ROUND_SECONDS)
    sizes = [decision.size for decision in rounds((pattern[turn % len(pattern)] for turn in range(turns)), size)]
    assert_no_swing(sizes)


@given(st.floats(100, 15_000), st.lists(st.floats(0.901, 1), min_size=100, max_size=100), st.integers(2, 20))
def test_a_load_at_the_edge_does_not_swing(most: float, parts: list[float], size: int) -> None:
    """Even with no window at all: what lies within a tenth needs the same pods."""
    limits = dataclasses.replace(LIMITS, down_stabilization_seconds=0)
    assert_no_swing([decision.size for decision in rounds((most * part for part in parts), size, limits)])


@given(role_limits(), st.integers(1, 60), st.integers(0, 3))
def test_what_is_quiet_for_long_enough_gets_to_the_minimum(limits: RoleLimits, size: int, stuck: int) -> None:
    """However many pods are stuck: they are among the first to go."""
    history, now = History(), 0.0
    while now < 8 * limits.down_stabilization_seconds + 70 * SHRINK_SECONDS:
        pods = [gateway(0)] * max(1, size - stuck)
        decision = decide(limits, history, RoleLoad(size, 0, pods), now)
        stuck = max(0, stuck - max(0, size - decision.size))
        size, history, now = decision.size, decision.history, now + ROUND_SECONDS
    assert size == limits.min


def assert_no_swing(sizes: Sequence[int]) -> None:
    has_shrunk = False
    for before, after in pairwise(sizes):
        assert not (has_shrunk and after > before), sizes
        has_shrunk = has_shrunk or after < before
