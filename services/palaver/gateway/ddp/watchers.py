"""stream-user-presence: a list of users, for each connection, of whose presence it wants to hear."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter

from palaver.api import Presence
from palaver.errors import NotAllowed, PalaverError
from palaver.gateway.ddp.connection import Connection
from palaver.gateway.frames import frame
from palaver.v1.presence_pb2 import GetPresenceRequest, UserPresence

logger = logging.getLogger(__name__)

CHANGES_HEARD = Counter("palaver_presence_changes_heard_total", "Users' presence that this gateway was told of")
FRAMES_WRITTEN = Counter("palaver_presence_frames_written_total", "Frames written to who wants to know of them")

_MAX_WATCHED = 20_000
_BATCH = 500
_RETRY_SECONDS = 1.0
_CATCH_UP_SECONDS = 1800.0


class _Watched:
    """A user whom somebody here watches, and what those were told last: it may come twice."""

    __slots__ = ("connections", "told")

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.told: tuple[str, int, str] | None = None


class Watchers:
    """Who watches whom. Owned by `Streams`."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._missed: list[str] = []

    def watch(self, connection: Connection, id: str, options: Any) -> None:
        """`stream-user-presence`: the first subscription stays open, later ones only change whom it watches."""
        if connection.user is None:
            raise NotAllowed("Not allowed", code="not-allowed")
        if connection.watched is None:
            connection.watched = set()
        changes = options if isinstance(options, dict) else {}
        for user_id in _strings(changes.get("added")):
            if len(connection.watched) < _MAX_WATCHED:
                connection.watched.add(user_id)
                if (watched := self._watched.get(user_id)) is None:
                    watched = self._watched[user_id] = _Watched()
                watched.connections.add(connection)
        for user_id in _strings(changes.get("removed")):
            connection.watched.discard(user_id)
            self._unwatch(connection, user_id)
        if connection.presence_sub is not None:
            connection.write(frame(msg="nosub", id=id))
        else:
            connection.presence_sub = id
            connection.write(frame(msg="ready", subs=[id]))

    def _unwatch(self, connection: Connection, user_id: str) -> None:
        watched = self._watched.get(user_id)
        if watched is not None:
            watched.connections.discard(connection)
            if not watched.connections:
                del self._watched[user_id]

    def unwatch_all(self, connection: Connection) -> None:
        for user_id in connection.watched or ():
            self._unwatch(connection, user_id)
        connection.watched = None

    def tell(self, user: UserPresence) -> None:
        """Sends what others see of a user now to those who watch them."""
        watched = self._watched.get(user.user_id)
        told = (user.username, user.status, user.status_text)
        if watched is not None and watched.told != told:
            watched.told = told
            data = _presence_frame(user)
            FRAMES_WRITTEN.inc(len(watched.connections))
            for connection in list(watched.connections):
                connection.write(data)

    async def run(self, presence: Presence) -> None:
        """The background task that asks for everybody who is watched now and then: no mistake lasts for longer."""
        while True:
            await asyncio.sleep(_CATCH_UP_SECONDS)
            await self.catch_up(presence)

    async def catch_up(self, presence: Presence) -> None:
        """Asks for everybody who is watched, after changes may have been missed. Goes on trying."""
        is_running = bool(self._missed)
        self._missed = list(self._watched)
        while self._missed and not is_running:
            asked = self._missed[-_BATCH:]
            try:
                reply = await presence.get_presence(GetPresenceRequest(user_ids=asked))
            except PalaverError as error:
                logger.warning("can't ask yet what was missed of users' presence: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if self._missed[-_BATCH:] == asked:  # else everything was missed once more
                del self._missed[-_BATCH:]
            for user in reply.users:
                self.tell(user)
            await asyncio.sleep(0.01)  # others have their turn: it may be many frames


def _presence_frame(user: UserPresence) -> bytes:
    fields = {
        "uid": user.user_id,
        "eventName": user.user_id,
        "args": [[user.username, user.status, user.status_text]],
    }
    return frame(msg="changed", collection="stream-user-presence", id=user.user_id, fields=fields)


def _strings(value: Any) -> Iterable[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
