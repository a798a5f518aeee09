"""What a caller knows, who is called knows before the call begins; what a call has changed, its answer says."""

import asyncio
from typing import Any

import pytest

from palaver.causality import POLICY_KEY, USERS_KEY, Causality, _parse_seq
from palaver.errors import Conflict, Unavailable
from palaver.v1.presence_pb2 import ReportStatusesRequest
from tests.rpc.harness import Subject, pair


class Knowing:
    """A process: its policy, and the users that it was made to forget."""

    def __init__(self, seq: int = 0) -> None:
        self.seq = seq
        self.now = 100.0
        self.forgotten: list[str] = []
        self.is_cut_off = False
        self.causality = Causality(lambda: self.seq, self._catch_up, lambda: self.now)
        self.causality.on_user_changed(self.forgotten.append)

    async def _catch_up(self, seq: int) -> None:
        if seq > self.seq:
            if self.is_cut_off:
                raise Unavailable("auth is away")
            await asyncio.sleep(0)
            self.seq = seq


async def change(subject: Subject, causality: Causality, *user_ids: str, fails: bool = False) -> None:
    """The next calls of the subject change these users."""

    async def behave(_: Any) -> None:
        for user_id in user_ids:
            causality.note_user(user_id)
        if fails:
            raise Conflict("It was so already")

    subject.behave = behave


async def test_who_is_called_obeys_no_older_policy_than_the_caller() -> None:
    caller, called = Knowing(7), Knowing(3)
    obeyed: list[int] = []

    async def behave(_: Any) -> None:
        obeyed.append(called.seq)

    async with pair(caller=caller.causality, called=called.causality) as both:
        both.subject.behave = behave
        await both.ask()
        caller.seq = 2**40
        await both.ask()
        caller.seq = 5
        await both.ask()
    assert obeyed == [7, 2**40, 2**40]


async def test_a_policy_that_cannot_be_had_lets_nothing_begin() -> None:
    caller, called = Knowing(7), Knowing(3)
    called.is_cut_off = True
    begun: list[object] = []

    async def behave(request: Any) -> None:
        begun.append(request)

    async with pair(deadline=0.3, caller=caller.causality, called=called.causality) as both:
        both.subject.behave = behave
        with pytest.raises(Unavailable, match="auth is away"):
            await both.ask()
    assert begun == []


@pytest.mark.parametrize("fails", [False, True])
async def test_an_answer_tells_which_users_it_has_changed(fails: bool) -> None:
    caller, called, third = Knowing(), Knowing(), Knowing()
    async with pair(caller=caller.causality, called=called.causality) as both:
        await change(both.subject, called.causality, "Alice", "Bob", fails=fails)
        if fails:
            with pytest.raises(Conflict):
                await both.presence.report_statuses(ReportStatusesRequest())
        else:
            await both.presence.report_statuses(ReportStatusesRequest())
        assert caller.forgotten == ["Alice", "Bob"]
        assert called.forgotten == [], "who changes them forgets them without being told"
    async with pair(caller=caller.causality, called=third.causality) as both:
        for _ in range(3):
            await both.ask()
        assert third.forgotten == ["Alice", "Bob"], "once for each change"
        caller.now += 2.9
        third.now += 2.9
        await both.ask()
        assert third.forgotten == ["Alice", "Bob"]
    late = Knowing()
    async with pair(caller=caller.causality, called=late.causality) as both:
        await both.ask()
        assert late.forgotten == ["Alice", "Bob"]
        caller.now += 0.2
    later = Knowing()
    async with pair(caller=caller.causality, called=later.causality) as both:
        await both.ask()
        assert later.forgotten == [], "by then nobody remembers them as they were"


async def test_what_is_learned_for_an_answer_goes_on_with_it() -> None:
    """A gateway asks presence, which asks auth."""
    gateway, presence, auth = Knowing(), Knowing(), Knowing()
    async with pair(caller=presence.causality, called=auth.causality) as inner:
        await change(inner.subject, auth.causality, "Alice")

        async def behave(_: Any) -> None:
            await inner.presence.report_statuses(ReportStatusesRequest())

        async with pair(caller=gateway.causality, called=presence.causality) as outer:
            outer.subject.behave = behave
            await outer.presence.report_statuses(ReportStatusesRequest())
    assert (gateway.forgotten, presence.forgotten) == (["Alice"], ["Alice"])


async def test_an_answer_tells_the_policy_in_which_it_counts() -> None:
    caller, called = Knowing(3), Knowing(3)

    async def behave(_: Any) -> None:
        called.seq = 9
        called.causality.note_policy(9)

    async with pair(caller=caller.causality, called=called.causality) as both:
        both.subject.behave = behave
        await both.presence.report_statuses(ReportStatusesRequest())
        assert caller.seq == 9
        caller.seq, caller.is_cut_off = 3, True
        await both.presence.report_statuses(ReportStatusesRequest())
        assert caller.seq == 3, "it is done, and answered: nothing is decided before auth says more"


async def test_who_has_changed_a_user_bears_it_without_a_call() -> None:
    """A process that plays auth and asks others."""
    one, other = Knowing(), Knowing()
    one.causality.note_user("Alice")
    await other.causality.precede(one.causality.describe())
    assert (one.forgotten, other.forgotten) == ([], ["Alice"])


async def test_a_change_is_borne_no_longer_by_who_hears_of_it_late() -> None:
    first, second = Knowing(), Knowing()
    first.causality.note_user("Alice")
    first.now += 2.0
    await second.causality.precede(first.causality.describe())
    second.now += 1.5
    assert [key for key, _ in second.causality.describe()] == [POLICY_KEY]


async def test_many_changes_are_borne_up_to_a_number_and_taken_once() -> None:
    callers, called = [Knowing() for _ in range(3)], Knowing()
    for number, caller in enumerate(callers):
        for change in range(200):
            caller.causality.note_user(f"user-{number}-{change}")
    for _ in range(5):
        for caller in callers:
            described = caller.causality.describe()
            assert len(described[1][1]) < 8192
            await called.causality.precede(described)
    assert len(called.forgotten) == len(set(called.forgotten)) == 3 * 64
    assert "user-0-199" in called.forgotten, "the newest"
    called.now += 3.1
    assert len(called.causality.describe()) == 1
    assert not called.causality._changes


@pytest.mark.parametrize("said", ["", "-1", "seven", "٣", "9" * 19, "1e3"])
async def test_what_is_no_seq_of_a_policy_is_passed_over(said: str) -> None:
    assert _parse_seq(said) == 0


@pytest.mark.parametrize(
    "said", [b"", b"{", b"[1]", b'[["a"]]', b'[["a", "b", "c"]]', b"\xff", b'[["a","b",-1]]', b'[["a","b",1e400]]']
)
async def test_what_is_no_list_of_changes_is_passed_over(said: bytes) -> None:
    one = Knowing()
    await one.causality.precede([(USERS_KEY, said)])
    assert one.forgotten == []
