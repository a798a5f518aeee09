"""What the others see of a user: pure functions of what the connections say and of what the user chose.

And which of two reports counts: the same for every process, in whatever order it hears of them.
"""

from collections.abc import Iterable

from palaver.v1.presence_pb2 import AWAY, BUSY, OFFLINE, ONLINE, Status

CHOICES = {"online": ONLINE, "away": AWAY, "busy": BUSY, "offline": OFFLINE}
"""What a user may choose. "online" stands for whatever the connections say, "offline" for being invisible."""

NAMES = {status: name for name, status in CHOICES.items()}


def best(statuses: Iterable[Status.ValueType]) -> Status.ValueType:
    """What several connections say together: online if one of them is, away if there are only idle ones."""
    found = OFFLINE
    for status in statuses:
        if status == ONLINE:
            return ONLINE
        if status != OFFLINE:
            found = AWAY
    return found


def visible(connected: Status.ValueType, chosen: Status.ValueType) -> Status.ValueType:
    """What the others see. Nobody is seen without a connection; with one, any choice but "online" wins."""
    if connected == OFFLINE or chosen == ONLINE:
        return connected
    return chosen


def chosen(name: object) -> Status.ValueType:
    """The choice as stored with the user; anything unknown (no choice yet, another server's word) is "online"."""
    return CHOICES.get(name, ONLINE) if isinstance(name, str) else ONLINE


def is_newer(revision: int, status: Status.ValueType, known_revision: int, known_status: Status.ValueType) -> bool:
    """Whether a report of a gateway's user counts more than a known one.

    A lost gateway's users are reported as gone with their last revision: at the same revision, to be gone counts more.
    """
    return revision > known_revision or (revision == known_revision and status == OFFLINE and known_status != OFFLINE)
