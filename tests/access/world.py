"""An auth service that is small, a log that may lose something, and one node that follows them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson

from palaver.access import USERS_CHANGED, Access, User
from palaver.api import Auth
from palaver.errors import Unavailable
from palaver.live.embedded import EmbeddedLive
from palaver.log.embedded import EmbeddedLog
from palaver.v1.auth_pb2 import DocumentsReply, GetPolicyReply, GetPolicyRequest, GetUsersRequest
from palaver.v1.event_pb2 import Event, PermissionChanged, SettingChanged
from tests.log.harness import NothingCommitted


class SmallAuth:
    """As much of auth as `Access` calls. `during` runs between reading and answering, as others do meanwhile."""

    def __init__(self) -> None:
        self.seq = 0
        self.permissions: dict[str, Any] = {"send": {"_id": "send", "roles": ["user", "owner"]}}
        self.roles: dict[str, Any] = {"user": {"_id": "user"}}
        self.settings: dict[str, Any] = {"Site_Name": {"_id": "Site_Name", "value": "old"}}
        self.users: dict[str, Any] = {}
        self.during: Callable[[], Awaitable[None]] | None = None
        self.available = True
        self.asked = 0
        self.policies_read = 0
        self.confirmations = 0
        self.users_read: list[str] = []

    async def get_policy(self, request: GetPolicyRequest) -> GetPolicyReply:
        self.asked += 1
        await asyncio.sleep(0)
        self._check()
        if request.HasField("known_seq") and request.known_seq == self.seq:
            self.confirmations += 1
            return GetPolicyReply(seq=self.seq)
        self.policies_read += 1
        reply = GetPolicyReply(
            permissions=map(orjson.dumps, self.permissions.values()),
            roles=map(orjson.dumps, self.roles.values()),
            settings=map(orjson.dumps, self.settings.values()),
            seq=self.seq,
        )
        await self._meanwhile()
        return reply

    async def get_users(self, request: GetUsersRequest) -> DocumentsReply:
        self._check()
        self.users_read += [*request.user_ids, *request.usernames]
        found = [
            orjson.dumps(user)
            for user in self.users.values()
            if user["_id"] in request.user_ids or user["username"] in request.usernames
        ]
        await self._meanwhile()
        return DocumentsReply(documents=found)

    def _check(self) -> None:
        if not self.available:
            raise Unavailable

    async def _meanwhile(self) -> None:
        during, self.during = self.during, None
        if during is not None:
            await during()


class GappyLog(EmbeddedLog):
    """A log that may say that it has lost something."""

    def __init__(self) -> None:
        super().__init__(NothingCommitted())
        self._callbacks: list[Callable[[], None]] = []

    def on_gap(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def lose(self) -> None:
        for callback in self._callbacks:
            callback()


class World:
    """An auth service that changes things and tells of it, and one node's access."""

    def __init__(self) -> None:
        self.auth, self.log, self.live = SmallAuth(), GappyLog(), EmbeddedLive()
        self.now = 1000.0
        self.access = Access(cast(Auth, self.auth), self.log, self.live, lambda: self.now)

    async def event(self, *, tell: bool = True, **fact: Any) -> None:
        """Appends an event to the workspace's stream, and tells of it unless it gets lost."""
        self.auth.seq += 1
        event = Event(stream_kind="workspace", seq=self.auth.seq, **fact)
        if tell:
            await self.log.publish([event])

    async def set(self, setting_id: str, value: Any, *, tell: bool = True) -> None:
        document = {"_id": setting_id, "value": value}
        self.auth.settings[setting_id] = document
        await self.event(
            tell=tell, setting_changed=SettingChanged(setting_id=setting_id, setting=orjson.dumps(document))
        )

    async def grant(self, permission_id: str, *roles: str, tell: bool = True) -> None:
        document = {"_id": permission_id, "roles": roles}
        self.auth.permissions[permission_id] = document
        fact = PermissionChanged(permission_id=permission_id, permission=orjson.dumps(document))
        await self.event(tell=tell, permission_changed=fact)

    def add_user(self, user_id: str, *roles: str, active: bool = True) -> None:
        self.auth.users[user_id] = {"_id": user_id, "username": user_id.lower(), "roles": roles, "active": active}

    async def change_user(self, user_id: str, **fields: Any) -> None:
        self.auth.users[user_id].update(fields)
        await self.live.publish(USERS_CHANGED, user_id.encode())

    async def get_user(self, user_id: str) -> User:
        user = await self.access.find_user(user_id)
        assert user is not None
        return user
