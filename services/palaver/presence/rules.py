"""What the others see of a user: pure functions of what the connections say and of what the user chose."""

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
