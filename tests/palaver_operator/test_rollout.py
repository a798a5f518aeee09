"""Which revision each component has next: every path from an old one to a new one, or back."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver_operator.rollout import Component, Migration, Phase, Turn, decide, name_target, refuse_jump

ROLES = ("auth", "presence", "messaging", "gateway")


def _all(current: str | None, stable: str | None, wanted: str = "new", ready: bool = True) -> list[Component]:
    return [Component(name, wanted, current, stable, ready) for name in ROLES]


def _step(components: list[Component], turns: dict[str, Turn], complete: bool) -> list[Component]:
    """What the cluster becomes when everything that was decided has been done, and gets ready."""
    after = []
    for one in components:
        turn = turns.get(one.name)
        revision = {Turn.WANTED: one.wanted, Turn.STABLE: one.stable, Turn.CURRENT: one.current, None: None}[turn]
        stable = one.wanted if complete else one.stable
        after.append(replace(one, current=revision, stable=stable, is_ready=revision is not None))
    return after


def test_a_new_workspace_is_made_at_once_but_its_servers_first() -> None:
    backing = Component("nats", "n", None, None, False, is_backing=True)
    roles = _all(None, None, ready=False)
    assert decide([backing, *roles], "", Migration.NOT_NEEDED).turns == {"nats": Turn.WANTED}
    there = replace(backing, current="n", is_ready=True)
    decision = decide([there, *roles], "", Migration.NOT_NEEDED)
    assert decision.turns == dict.fromkeys(("nats", *ROLES), Turn.WANTED)
    assert decision.phase is Phase.WAITING


def test_a_new_revision_rolls_one_after_the_other_gateways_last() -> None:
    components, order = _all("old", "old"), []
    for _ in range(10):
        decision = decide(components, "", Migration.NOT_NEEDED)
        complete = decision.phase is Phase.COMPLETE
        order.append([name for name, turn in decision.turns.items() if turn is Turn.WANTED])
        components = _step(components, decision.turns, complete)
        if complete:
            break
    assert order == [["auth"], ["auth", "presence"], ["auth", "presence", "messaging"], list(ROLES), list(ROLES)]
    assert all(one.stable == "new" for one in components)


def test_nothing_goes_on_before_the_one_before_it_is_ready() -> None:
    components = _all("old", "old")
    components[0] = replace(components[0], current="new", is_ready=False)
    decision = decide(components, "", Migration.NOT_NEEDED)
    assert decision.turns["presence"] is Turn.CURRENT
    assert (decision.phase, decision.component) == (Phase.ROLLING, "auth")


def test_nothing_goes_on_and_nothing_is_complete_before_it_has_been_watched() -> None:
    for place, name in enumerate(ROLES):
        components = _all("old", "old")
        components[: place + 1] = [replace(one, current="new") for one in components[: place + 1]]
        components[place] = replace(components[place], is_watched=False)
        decision = decide(components, "", Migration.NOT_NEEDED)
        assert (decision.phase, decision.component) == (Phase.WATCHING, name)
        assert all(decision.turns[later] is Turn.CURRENT for later in ROLES[place + 1 :])
        components[place] = replace(components[place], trouble="it answers with errors")
        assert decide(components, "", Migration.NOT_NEEDED).phase is Phase.ROLLED_BACK


def test_trouble_takes_everything_back_and_the_target_is_not_tried_again() -> None:
    components = _all("old", "old")
    components[0] = replace(components[0], current="new")
    components[1] = replace(components[1], current="new", is_ready=False, trouble="it ended three times")
    decision = decide(components, "", Migration.NOT_NEEDED)
    assert decision.phase is Phase.ROLLED_BACK
    assert set(decision.turns.values()) == {Turn.STABLE}
    assert (decision.component, decision.message) == ("presence", "it ended three times")
    again = decide(_step(components, decision.turns, False), decision.failed, Migration.NOT_NEEDED)
    assert again.phase is Phase.ROLLED_BACK
    assert set(again.turns.values()) == {Turn.STABLE}
    other = [replace(one, wanted="newer") for one in _all("old", "old")]
    assert decide(other, decision.failed, Migration.NOT_NEEDED).turns["auth"] is Turn.WANTED


def test_trouble_with_what_is_stable_is_no_rollout() -> None:
    components = _all("new", "new")
    components[2] = replace(components[2], is_ready=False, trouble="it ended three times")
    assert decide(components, "", Migration.NOT_NEEDED).phase is Phase.WAITING


def test_nothing_rolls_before_the_database_is_migrated() -> None:
    decision = decide(_all("old", "old"), "", Migration.RUNNING)
    assert decision.phase is Phase.MIGRATING
    assert set(decision.turns.values()) == {Turn.CURRENT}
    assert decide(_all("old", "old"), "", Migration.DONE).turns["auth"] is Turn.WANTED
    failed = decide(_all("old", "old"), "", Migration.FAILED)
    assert failed.phase is Phase.ROLLED_BACK
    assert "migration" in failed.message


_revisions = st.sampled_from(["old", "new", None])


@given(
    st.lists(
        st.builds(
            Component,
            name=st.just("x"),
            wanted=st.just("new"),
            current=_revisions,
            stable=_revisions,
            is_ready=st.booleans(),
            trouble=st.sampled_from(["", "bad"]),
            is_watched=st.booleans(),
        ),
        min_size=4,
        max_size=4,
    ),
    st.sampled_from(Migration),
    st.booleans(),
)
def test_whatever_stands_there_is_never_taken_away_and_few_move(
    found: list[Component], migration: Migration, has_failed: bool
) -> None:
    components = [
        replace(one, name=name, is_ready=one.is_ready and one.current is not None)
        for name, one in zip(ROLES, found, strict=True)
    ]
    decision = decide(components, name_target(components) if has_failed else "", migration)
    moving = []
    for one in components:
        turn = decision.turns.get(one.name)
        if migration in (Migration.RESTORING, Migration.NOT_RESTORED):
            assert turn is (Turn.CURRENT if one.current is not None else None), "no role is made before its database"
            continue
        assert turn is not None, "roles are made at once"
        assert turn is not Turn.CURRENT or one.current is not None
        assert turn is not Turn.STABLE or one.stable is not None
        if turn is Turn.WANTED and one.current not in (None, one.wanted):
            moving.append(one.name)
    assert len(moving) <= 1, "one role at a time"
    if moving:
        before = components[: ROLES.index(moving[0])]
        assert all(one.current == one.wanted and one.is_ready and one.is_watched for one in before)
    if decision.phase is Phase.COMPLETE:
        assert all(one.current == one.wanted and one.is_ready and one.is_watched for one in components)


@pytest.mark.parametrize(
    ("running", "wanted", "is_refused"),
    [
        ("", "3.0.0", False),
        ("1.4.2", "1.4.2", False),
        ("1.4.2", "1.4.9", False),
        ("1.4.2", "1.5.0", False),
        ("1.4.2", "1.6.0", True),
        ("1.4.2", "1.4.1", True),
        ("1.4.2", "1.3.9", True),
        ("1.9.2", "2.0.0", False),
        ("1.9.2", "2.1.0", True),
        ("1.9.2", "3.0.0", True),
        ("1.4.2", "latest", True),
    ],
)
def test_jumps(running: str, wanted: str, is_refused: bool) -> None:
    assert bool(refuse_jump(running, wanted)) is is_refused


_versions = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5))


@given(_versions, _versions)
def test_no_way_leads_back_and_every_step_ahead_is_small(
    before: tuple[int, int, int], after: tuple[int, int, int]
) -> None:
    running, wanted = (".".join(map(str, version)) for version in (before, after))
    if not refuse_jump(running, wanted):
        assert after >= before
        assert (after[0], after[1]) in ((before[0], before[1]), (before[0], before[1] + 1), (before[0] + 1, 0))
    else:
        assert wanted in refuse_jump(running, wanted)
