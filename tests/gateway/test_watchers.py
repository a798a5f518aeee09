"""Who hears of whose presence, and what it costs the gateway."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from palaver.errors import Unavailable
from palaver.gateway.ddp import watchers
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.ddp.watchers import Watchers
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, GetPresenceReply, GetPresenceRequest, Status, UserPresence


class Socket:
    """A connection that keeps what is written to it."""

    def __init__(self) -> None:
        self.user = SimpleNamespace()
        self.watched: set[str] | None = None
        self.presence_sub: str | None = None
        self.heard: list[tuple[str, int]] = []

    def write(self, data: bytes) -> None:
        frame = json.loads(data[data.index(b"{") :])
        if frame["msg"] == "changed":
            self.heard.append((frame["id"], frame["fields"]["args"][0][1]))


class SmallPresence:
    """Answers from a dictionary, after it has been away for a while."""

    def __init__(self, away: int = 0, **statuses: "Status.ValueType") -> None:
        self.away = away
        self.statuses = statuses
        self.asked: list[int] = []

    async def get_presence(self, request: GetPresenceRequest) -> GetPresenceReply:
        if self.away:
            self.away -= 1
            raise Unavailable
        self.asked.append(len(request.user_ids))
        return GetPresenceReply(
            users=[
                UserPresence(user_id=id, username=id, status=self.statuses.get(id, OFFLINE)) for id in request.user_ids
            ]
        )


def watch(found: Watchers, *user_ids: str) -> Socket:
    socket = Socket()
    found.watch(cast(Connection, socket), "id", {"added": list(user_ids)})
    return socket


def tell(found: Watchers, user_id: str, status: "Status.ValueType") -> None:
    found.tell(UserPresence(user_id=user_id, username=user_id, status=status))


def frames() -> float:
    return float(watchers.FRAMES_WRITTEN._value.get())


def test_only_who_watches_hears_and_only_of_what_differs() -> None:
    found = Watchers()
    one, both, nobody = watch(found, "Alice"), watch(found, "Alice", "Bob"), watch(found)
    before = frames()
    for status in (ONLINE, ONLINE, AWAY):
        tell(found, "Alice", status)
    tell(found, "Bob", ONLINE)
    tell(found, "Carol", ONLINE)
    assert one.heard == [("Alice", ONLINE), ("Alice", AWAY)]
    assert both.heard == [("Alice", ONLINE), ("Alice", AWAY), ("Bob", ONLINE)]
    assert nobody.heard == []
    assert frames() - before == 5
    found.unwatch_all(cast(Connection, one))
    found.unwatch_all(cast(Connection, both))
    assert found._watched == {}


async def test_what_was_missed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers, "_BATCH", 2)
    monkeypatch.setattr(watchers, "_RETRY_SECONDS", 0.01)
    found = Watchers()
    socket = watch(found, "Alice", "Bob", "Carol")
    tell(found, "Alice", ONLINE)
    tell(found, "Bob", ONLINE)
    tell(found, "Carol", OFFLINE)
    socket.heard.clear()
    presence = SmallPresence(away=2, Alice=AWAY, Bob=ONLINE)
    await found.catch_up(cast(Any, presence))
    assert socket.heard == [("Alice", AWAY)]
    assert sorted(presence.asked) == [1, 2]
