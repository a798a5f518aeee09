"""Rendezvous hashing: the same choice everywhere, shares that are even, and nothing moves that need not."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from palaver.rpc.rendezvous import choose, rank

NAMES = st.lists(st.text(min_size=1, max_size=30), min_size=2, max_size=12, unique=True)
KEYS = st.text(max_size=40)


@given(KEYS, NAMES, st.data())
def test_the_order_of_the_names_does_not_matter(key: str, names: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(names))
    assert rank(key, names) == rank(key, shuffled)
    assert choose(key, names) == choose(key, shuffled) == rank(key, names)[0]
    assert sorted(rank(key, names)) == sorted(names)


@given(KEYS, NAMES)
def test_without_the_responsible_one_the_next_is_responsible(key: str, names: list[str]) -> None:
    ranked = rank(key, names)
    while len(ranked) > 1:
        gone = ranked.pop(0)
        names = [name for name in names if name != gone]
        assert choose(key, names) == ranked[0]


@given(NAMES, st.lists(KEYS, max_size=30))
def test_only_the_keys_of_one_that_goes_move(names: list[str], keys: list[str]) -> None:
    before = {key: choose(key, names) for key in keys}
    for gone in names:
        left = [name for name in names if name != gone]
        moved = {key for key in keys if choose(key, left) != before[key]}
        assert moved == {key for key in keys if before[key] == gone}


@given(NAMES, st.text(min_size=1, max_size=30), st.lists(KEYS, max_size=30))
def test_keys_move_to_one_that_comes_and_nowhere_else(names: list[str], new: str, keys: list[str]) -> None:
    for key in keys:
        assert choose(key, [*names, new]) in (choose(key, names), new)


@settings(deadline=None)
@given(NAMES, st.text(max_size=10))
def test_shares_are_even(names: list[str], prefix: str) -> None:
    """Also the shares of what one leaves behind: six standard deviations around what chance would give."""
    keys = [f"{prefix}{number}" for number in range(600)]
    of_each = Counter(choose(key, names) for key in keys)
    _check_even(of_each, names, len(keys))
    gone = names[0]
    left = names[1:]
    inherited = [key for key in keys if choose(key, names) == gone]
    _check_even(Counter(choose(key, left) for key in inherited), left, len(inherited))


def _check_even(of_each: Counter[str], names: list[str], keys: int) -> None:
    share = 1 / len(names)
    spread = 6 * (keys * share * (1 - share)) ** 0.5
    for name in names:
        assert abs(of_each[name] - keys * share) <= spread + 1
