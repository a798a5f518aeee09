"""What every role of a node must know at any moment: users' roles, permissions and settings, in memory.

The auth service owns all of it; this is one cached view for the whole process, so that a message needs no call.
The policy follows the workspace's stream; a cached user is dropped when auth says that they changed. Either news may
get lost, so neither is trusted for more than three seconds: a user is read again then, and every second auth confirms
that the policy is the same. While auth doesn't answer, nobody may do anything (`Unavailable`).
Every service asks `Access` whether an actor may; no other code compares roles.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson
from prometheus_client import Counter, Gauge

from palaver.api import Auth
from palaver.causality import TRUST_SECONDS as _TRUST_SECONDS
from palaver.clock import elapsed
from palaver.database import Document
from palaver.errors import LoginRequired, NotAllowed, PalaverError, Unavailable
from palaver.events import WORKSPACE
from palaver.live import Live
from palaver.log import Log, OnEvent
from palaver.policy import Policy
from palaver.v1.auth_pb2 import GetPolicyRequest, GetUsersRequest
from palaver.v1.event_pb2 import Actor, Event
from palaver.wishes import NO_WISHES, Wishes, wishes_of

logger = logging.getLogger(__name__)

LOOKUPS = Counter("palaver_access_lookups_total", "Users asked for, by whether this process knew them", ["outcome"])
POLICY_READS = Counter("palaver_policy_reads_total", "Times that the whole policy was read from auth")
POLICY_FAILURES = Counter("palaver_policy_failures_total", "Times that auth did not confirm the policy")
POLICY_AGE = Gauge(
    "palaver_policy_age_seconds", "How long ago auth confirmed the policy; above 3 nobody may do anything"
)
CACHED_USERS = Gauge("palaver_access_users_cached", "Users that this process remembers")

USERS_CHANGED = "users"
"""Live subject: auth publishes the id of each user whose document changed, before it answers."""
USER_RENAMED = "renamed"
"""Live subject: everybody hears who is called what from now on: {"_id", "name", "username"}."""
AVATAR_CHANGED = "avatars"
"""Live subject: everybody hears of another picture: {"username" or "rid", "etag"?}; without an etag there is none."""
KEYS_REQUESTED = "keys"
"""Live subject: somebody has not got the key of a room, whose members may have it: [room id, id of the key]."""
STATUS_CHANGED = "statuses"
"""Live subject: everybody hears of a kind of status of the workspace's own: the stream's event, and its argument."""
MEDIA_CHANGED = "media"
"""Live subject: everybody hears of an emoji or a sound: the stream, its event, and the event's argument."""
ROLE_ASSIGNED = "roles"
"""Live subject: everybody hears who has another role, or one less: {"type": "added" or "removed", "_id", "u": {"_id",
"username", "name"}, "scope"?}. `scope`: the room that it counts in; without one it counts in the workspace."""
USER_DELETED = "deleted"
"""Live subject: everybody hears of an account that is no more: {"userId", "messageErasureType", "replaceByUser"?}."""

_RENEW_SECONDS = 1.0
_MAX_USERS = 50_000


@dataclass(frozen=True, slots=True)
class User:
    """The few facts about a user that decisions need."""

    id: str
    username: str
    name: str
    roles: tuple[str, ...]
    active: bool
    type: str
    utc_offset: float
    language: str
    wishes: Wishes = NO_WISHES


class Access:
    """The node's view of who may do what."""

    def __init__(self, auth: Auth, log: Log, live: Live, clock: Callable[[], float] = elapsed) -> None:
        self._auth = auth
        self._log = log
        self._live = live
        self._clock = clock
        self._users: OrderedDict[str, tuple[User, float]] = OrderedDict()  # with the time until which to trust it
        self.policy = Policy()
        self._trusted_until = 0.0  # the policy
        self._reload_needed = True
        self._wake = asyncio.Event()  # something has changed
        self._reloading = asyncio.Lock()
        self._failures = 0  # how often auth did not answer
        self._hits = self._misses = 0  # users that were asked for since the last `measure`
        self._arrived: list[Event] | None = None  # events that were taken while the policy was being read
        self._losses = 0  # how often something may have been missed
        self._on_change: list[OnEvent] = []
        self._dropped: list[set[str]] = []  # for each reading of users under way: who changed meanwhile

    async def open(self) -> None:
        """Loads the policy and begins to follow it."""
        await self._log.follow(WORKSPACE, self._on_told)
        await self._live.subscribe(USERS_CHANGED, self._on_user_changed)
        self._log.on_gap(self._on_gap)
        await self.reload()

    def on_change(self, callback: OnEvent) -> None:
        """Has `callback` called with every event of the policy, in order, as soon as it counts here.

        What was missed comes when the policy is read again: for each thing that differs one event, as it is then.
        """
        self._on_change.append(callback)

    async def catch_up(self, seq: int) -> None:
        """Returns when the policy here is the one of this event of the workspace, a later one, or the newest that auth
        knows. Raises Unavailable; then nothing is decided here before auth answers.
        """
        if self.policy.seq < seq:
            failures = self._failures
            async with self._reloading:
                if self.policy.seq < seq:
                    self._reload_needed = True
                    if failures != self._failures:
                        raise Unavailable
                    await self._renew()

    async def reload(self) -> None:
        """Reads the whole policy from auth, and forgets every cached user."""
        async with self._reloading:
            await self._reload()

    async def _reload(self) -> None:
        self._reload_needed = True
        while self._reload_needed:
            losses, self._arrived = self._losses, []
            asked = self._clock()
            POLICY_READS.inc()
            try:
                reply = await self._auth.get_policy(GetPolicyRequest())
                policy = Policy()
                policy.seq = reply.seq
                for kind, documents in (
                    (policy.permissions, reply.permissions),
                    (policy.roles, reply.roles),
                    (policy.settings, reply.settings),
                ):
                    for data in documents:
                        document = orjson.loads(data)
                        kind[document["_id"]] = document
                before, self.policy = self.policy, policy
                self._trusted_until = asked + _TRUST_SECONDS
                self._users.clear()
                self._reload_needed = losses != self._losses
            finally:
                arrived, self._arrived = self._arrived, None
            if before.settings:  # it is not the first one
                self._tell(policy.list_changes(before))
            for event in arrived:
                self.take(event)

    async def run_renewing(self) -> None:
        """The background task that has auth confirm the policy every second, and reads what has changed at once.

        Runs until it is cancelled.
        """
        answers = True
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_RENEW_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            try:
                async with self._reloading:
                    await self._renew()
                answers = True
            except PalaverError as error:
                if answers:
                    logger.warning("auth does not confirm the policy: %s", error)
                answers = False

    async def _refresh(self) -> None:
        """Has the policy confirmed, or read again; one answer, or its absence, serves all who wait for it."""
        failures = self._failures
        async with self._reloading:
            if self.is_trusted():
                return
            if failures != self._failures:
                raise Unavailable
            await self._renew()

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(_TRUST_SECONDS):
                if self._reload_needed or not await self._is_current():
                    await self._reload()
        except TimeoutError as error:
            self._failures += 1
            POLICY_FAILURES.inc()
            raise Unavailable from error
        except PalaverError:
            self._failures += 1
            POLICY_FAILURES.inc()
            raise

    async def _is_current(self) -> bool:
        """Whether the policy here is the one that auth knows."""
        asked = self._clock()
        reply = await self._auth.get_policy(GetPolicyRequest(known_seq=self.policy.seq))
        if reply.seq != self.policy.seq:
            return False
        self._trusted_until = asked + _TRUST_SECONDS
        return True

    def measure(self) -> None:
        """Sets the gauges, and counts the lookups since the last time: one is cheaper than counting it."""
        LOOKUPS.labels("hit").inc(self._hits)
        LOOKUPS.labels("miss").inc(self._misses)
        self._hits = self._misses = 0
        CACHED_USERS.set(len(self._users))
        POLICY_AGE.set(max(0.0, self._clock() - self._trusted_until + _TRUST_SECONDS))

    def is_trusted(self) -> bool:
        """Whether the policy here still counts. Where it does not, `find_users` has auth say what does."""
        return not self._reload_needed and self._clock() < self._trusted_until

    def setting(self, setting_id: str) -> Any:
        return self.policy.setting(setting_id)

    async def find_user(self, user_id: str) -> User | None:
        """The user, or None for an unknown or deleted one."""
        known = self._users.get(user_id)
        if known is not None and not self._reload_needed and self._clock() < min(known[1], self._trusted_until):
            self._hits += 1
            return known[0]
        return (await self.find_users([user_id])).get(user_id)

    async def find_users(self, user_ids: Iterable[str]) -> dict[str, User]:
        """Several users by their ids; unknown ones are left out."""
        if not self.is_trusted():
            await self._refresh()
        now = self._clock()
        found: dict[str, User] = {}
        missing: list[str] = []
        for user_id in user_ids:
            if (known := self._users.get(user_id)) is not None and now < known[1]:
                found[user_id] = known[0]
            else:
                missing.append(user_id)
        self._hits += len(found)
        self._misses += len(missing)
        if missing:
            found.update(await self._read_users(missing))
        return found

    async def _read_users(self, user_ids: list[str]) -> dict[str, User]:
        """Asks auth, and remembers the users of whom no change was told meanwhile."""
        dropped: set[str] = set()
        self._dropped.append(dropped)
        losses, asked = self._losses, self._clock()
        try:
            reply = await self._auth.get_users(GetUsersRequest(user_ids=user_ids))
        finally:
            self._dropped = [other for other in self._dropped if other is not dropped]
        found = {user.id: user for user in map(user_from, map(orjson.loads, reply.documents))}
        if losses == self._losses:
            trusted_until = asked + _TRUST_SECONDS
            for id in user_ids:
                self._users.pop(id, None)
            self._users.update((id, (user, trusted_until)) for id, user in found.items() if id not in dropped)
        while len(self._users) > _MAX_USERS:
            self._users.popitem(last=False)
        return found

    async def find_users_by_name(self, usernames: Iterable[str]) -> dict[str, User]:
        """Several users by their usernames (as key); unknown ones are left out."""
        reply = await self._auth.get_users(GetUsersRequest(usernames=list(usernames)))
        users = [user_from(orjson.loads(data)) for data in reply.documents]
        return {user.username: user for user in users}

    async def get_actor(self, actor: Actor) -> User:
        """The user who acts. Raises LoginRequired when it is no active user."""
        user = await self.find_user(actor.id) if actor.kind == Actor.USER and actor.id else None
        if user is None or not user.active:
            raise LoginRequired("Invalid user", code="error-invalid-user")
        return user

    def may(self, user: User, permission_id: str, room_roles: Iterable[str] = ()) -> bool:
        """Whether one of the user's roles, or of their roles in the room at hand, has the permission."""
        granted = self.policy.roles_of(permission_id)
        return any(role in granted for role in user.roles) or any(role in granted for role in room_roles)

    def check(self, user: User, permission_id: str, room_roles: Iterable[str] = ()) -> None:
        """Raises NotAllowed unless `may`."""
        if not self.may(user, permission_id, room_roles):
            raise NotAllowed(details={"permission": permission_id})

    def check_encryption(self) -> None:
        """Raises NotAllowed where the settings have nobody begin to encrypt."""
        if not self.setting("E2E_Enable"):
            raise NotAllowed("End-to-end encryption is not enabled", code="error-action-not-allowed")

    def take(self, event: Event) -> None:
        """An event of the workspace's stream, from who has just committed it in this process."""
        if self._arrived is not None:
            self._arrived.append(event)
        if event.seq <= self.policy.seq:
            return
        if event.seq > self.policy.seq + 1:
            self._reload_needed = True
        self.policy.apply(event)
        self._tell([event])

    def _on_told(self, event: Event) -> None:
        """An event of the workspace's stream, from the log, has auth asked: whoever reaches NATS can write one.

        Nothing is decided before auth has answered.
        """
        if event.seq > self.policy.seq:
            self._losses += 1  # what is being read just now may be older
            self._reload_needed = True
            self._wake.set()

    def _tell(self, changes: Iterable[Event]) -> None:
        for event in changes:
            for callback in self._on_change:
                try:
                    callback(event)
                except Exception:
                    logger.exception("a change of the policy could not be followed")

    def forget_user(self, user_id: str) -> None:
        """Asks auth about this user the next time."""
        self._users.pop(user_id, None)
        for dropped in self._dropped:
            dropped.add(user_id)

    def _on_user_changed(self, message: bytes) -> None:
        self.forget_user(message.decode(errors="replace"))

    def _on_gap(self) -> None:
        self._losses += 1
        self._users.clear()
        self._reload_needed = True


def user_from(document: Document) -> User:
    """The facts of a user's document that decisions need."""
    return User(
        id=document["_id"],
        username=document.get("username", ""),
        name=document.get("name", ""),
        roles=tuple(document.get("roles", ())),
        active=bool(document.get("active")),
        type=document.get("type", "user"),
        utc_offset=document.get("utcOffset", 0),
        language=document.get("language", ""),
        wishes=wishes_of(document),
    )
