"""Who is due for which partition, and positions: pure rules."""

from hypothesis import given
from hypothesis import strategies as st

from palaver.log.reading import Position, _nanoseconds
from palaver.log.shares import share
from palaver.log.streams import PARTITIONS, list_partitions

MEMBERS = st.sets(st.text("abcdef0123456789-_", min_size=1), min_size=1, max_size=12).map(sorted)


@given(follower=st.text(), partitions=st.lists(st.text(min_size=1), unique=True, max_size=20), members=MEMBERS)
def test_every_partition_has_one_member_and_nobody_has_two_more_than_another(
    follower: str, partitions: list[str], members: list[str]
) -> None:
    shares = [share(follower, partitions, members, member) for member in members]
    assert sorted(partition for one in shares for partition in one) == sorted(partitions)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_partitions_of_kinds() -> None:
    assert list_partitions(["workspace"]) == ["workspace"]
    assert len(list_partitions(["room", "user", "workspace"])) == 2 * PARTITIONS + 1


@given(number=st.integers(0, 2**63 - 1), at=st.integers(0, 2**62))
def test_a_position_is_read_as_it_was_written(number: int, at: int) -> None:
    position = Position("2026-01-02T03:04:05.678Z", number, at)
    assert Position.parse(str(position)) == position
    assert Position.parse("") == Position()


def test_times_keep_their_nanoseconds() -> None:
    assert _nanoseconds("1970-01-01T00:00:01.000000002Z") == 1_000_000_002
    assert _nanoseconds("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert _nanoseconds("1970-01-01T00:00:01Z") == 1_000_000_000
