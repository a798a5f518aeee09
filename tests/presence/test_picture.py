"""The memory of a presence process against a plain model of it, and what it costs."""

import gc
import tracemalloc
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from palaver.ids import new_id
from palaver.presence import rules
from palaver.presence.picture import ENDED_SECONDS, Picture, facts_of
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, StatusReport, UserPresence
from tests.presence.harness import Clock, World

REPORTS = st.lists(
    st.tuples(
        st.sampled_from(["n1", "n2"]),
        st.builds(
            StatusReport,
            user_id=st.sampled_from(["Alice", "Bob"]),
            status=st.sampled_from([OFFLINE, ONLINE, AWAY]),
            revision=st.integers(1, 5),
        ),
    ),
    max_size=20,
).map(lambda reports: _as_gateways_say(reports))


def _as_gateways_say(reports: list[tuple[str, StatusReport]]) -> list[tuple[str, StatusReport]]:
    """One status for each revision; beside it, a lost gateway's user may be gone at any."""
    said: dict[tuple[str, str, int], int] = {}
    return [
        (node, report)
        for node, report in reports
        if report.status == OFFLINE
        or said.setdefault((node, report.user_id, report.revision), report.status) == report.status
    ]


@given(REPORTS, st.randoms())
def test_any_order_gives_the_same_picture(reports: list[tuple[str, StatusReport]], random: Random) -> None:
    newest: dict[tuple[str, str], StatusReport] = {}
    for node, report in reports:
        known = newest.get((report.user_id, node))
        if known is None or (report.revision, report.status == OFFLINE) > (known.revision, known.status == OFFLINE):
            newest[report.user_id, node] = report
    clock = Clock()
    for picture in (Picture(clock), Picture(clock)):
        for node, report in reports + reports[::3]:
            picture.add(node, report)
        for (user_id, node), report in newest.items():
            person = picture.people[user_id]
            mine = [other for (who, _), other in newest.items() if who == user_id]
            assert person.connected() == rules.best(other.status for other in mine)
            mark = person.find_mark(node)
            assert mark is not None
            assert (mark.revision, mark.status) == (report.revision, report.status)
            assert picture.is_late(node, StatusReport(user_id=user_id, status=ONLINE, revision=report.revision - 1))
        assert picture.people.keys() == {user_id for user_id, _ in newest}
        assert picture.connected_users == sum(person.connected() != OFFLINE for person in picture.people.values())
        for gateway in picture.gateways.values():
            mine = [report for (_, node), report in newest.items() if node == gateway.id]
            assert gateway.marks == len(mine)
            assert gateway.users == sum(report.status != OFFLINE for report in mine)
        clock.now += ENDED_SECONDS
        picture.forget_ended(lambda person: True)
        left = {key for key, report in newest.items() if report.status != OFFLINE}
        assert {(person.id, mark.gateway.id) for person in picture.people.values() for mark in person.marks()} == left
        assert set(picture.gateways) == {node for _, node in left}
        assert not picture._ended
        random.shuffle(reports)


def test_who_goes_twice_is_remembered_from_the_last_time() -> None:
    clock = Clock()
    picture = Picture(clock)
    picture.add("n", StatusReport(user_id="Alice", status=OFFLINE, revision=1))
    clock.now += ENDED_SECONDS - 1
    picture.add("n", StatusReport(user_id="Alice", status=ONLINE, revision=2))
    picture.add("n", StatusReport(user_id="Alice", status=OFFLINE, revision=3))
    clock.now += 2
    picture.forget_ended(lambda person: True)
    assert picture.is_late("n", StatusReport(user_id="Alice", status=ONLINE, revision=2))
    clock.now += ENDED_SECONDS
    picture.forget_ended(lambda person: False)  # the others don't know yet
    assert "Alice" in picture.people
    clock.now += ENDED_SECONDS
    picture.forget_ended(lambda person: True)
    assert picture.people == {}


def test_the_newest_document_counts() -> None:
    picture = Picture(Clock())
    person = picture.add("n", StatusReport(user_id="Alice", status=ONLINE, revision=1))
    newer = {"username": "alice", "statusDefault": "busy", "statusText": "new", "_updatedAt": {"$date": 20}}
    person.learn(facts_of(newer))
    person.learn(facts_of({**newer, "statusDefault": "away", "statusText": "old", "_updatedAt": {"$date": 10}}))
    person.hear(UserPresence(user_id="Alice", username="x", status=ONLINE, status_default="online", updated_at=5))
    shown = UserPresence()
    person.show(shown)
    assert (shown.username, shown.status_text, shown.status_default) == ("alice", "new", "busy")
    assert not person.is_told()
    person.hear(UserPresence(user_id="Alice", username="a", status=AWAY, status_default="away", updated_at=25))
    assert person.is_told()


async def test_what_ten_thousand_users_cost(world: World) -> None:
    """A generous bound: a tenth more would be news, twice as much would be a mistake."""
    reports = []
    for number in range(10_000):
        user_id = new_id()
        world.auth.add(user_id, username=f"user.number.{number}", name=f"User Number {number}")
        reports.append(StatusReport(user_id=user_id, status=ONLINE, revision=number + 1))
    gc.collect()
    tracemalloc.start()
    picture = Picture(world.clock)
    for report in reports:
        person = picture.add("gateway-7d9f-1.abcdefgh", report)
        person.learn(facts_of(world.auth.users[report.user_id]))
        person.told_status = person.visible()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{used / len(reports):.0f} bytes a user")
    assert used / len(reports) < 1000
