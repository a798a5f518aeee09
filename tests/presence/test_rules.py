"""What others see, as a truth table."""

import pytest

from palaver.presence import rules
from palaver.v1.presence_pb2 import AWAY, BUSY, OFFLINE, ONLINE, Status

# connections' statuses; then what others see for the choice online, away, busy, offline
TABLE = [
    ((), OFFLINE, OFFLINE, OFFLINE, OFFLINE),
    ((ONLINE,), ONLINE, AWAY, BUSY, OFFLINE),
    ((AWAY,), AWAY, AWAY, BUSY, OFFLINE),
    ((OFFLINE,), OFFLINE, OFFLINE, OFFLINE, OFFLINE),
    ((ONLINE, AWAY), ONLINE, AWAY, BUSY, OFFLINE),
    ((AWAY, ONLINE), ONLINE, AWAY, BUSY, OFFLINE),
    ((AWAY, AWAY), AWAY, AWAY, BUSY, OFFLINE),
    ((AWAY, OFFLINE), AWAY, AWAY, BUSY, OFFLINE),
    ((OFFLINE, OFFLINE, ONLINE), ONLINE, AWAY, BUSY, OFFLINE),
]
CHOICES = (ONLINE, AWAY, BUSY, OFFLINE)


@pytest.mark.parametrize(
    ("connections", "choice", "seen"),
    [(line[0], choice, seen) for line in TABLE for choice, seen in zip(CHOICES, line[1:], strict=True)],
)
def test_what_others_see(
    connections: tuple[Status.ValueType, ...], choice: Status.ValueType, seen: Status.ValueType
) -> None:
    assert rules.visible(rules.best(connections), choice) == seen


@pytest.mark.parametrize(
    ("stored", "choice"),
    [
        ("online", ONLINE),
        ("away", AWAY),
        ("busy", BUSY),
        ("offline", OFFLINE),
        ("", ONLINE),
        (None, ONLINE),
        ("asleep", ONLINE),
        (3, ONLINE),
        ({"$ne": 1}, ONLINE),
    ],
)
def test_what_a_stored_choice_means(stored: object, choice: Status.ValueType) -> None:
    assert rules.chosen(stored) == choice


def test_every_status_has_one_name() -> None:
    assert {rules.chosen(name) for name in rules.NAMES.values()} == set(rules.NAMES) == set(Status.values())


@pytest.mark.parametrize(
    ("report", "known", "newer"),
    [
        ((2, ONLINE), (1, OFFLINE), True),
        ((1, OFFLINE), (2, ONLINE), False),
        ((1, ONLINE), (1, ONLINE), False),
        ((1, OFFLINE), (1, OFFLINE), False),
        ((1, OFFLINE), (1, AWAY), True),
        ((1, AWAY), (1, OFFLINE), False),
    ],
)
def test_which_report_counts(
    report: tuple[int, Status.ValueType], known: tuple[int, Status.ValueType], newer: bool
) -> None:
    assert rules.is_newer(*report, *known) == newer
