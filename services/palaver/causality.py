"""What a client was told is done, its next request to the same gateway finds done, whoever answers behind that.

News of a change (the log, the live port) reaches every process, but a moment later, perhaps after that request. So
calls between processes bear what their caller knows, as metadata:

- the `seq` of the policy that the caller obeys: who is called obeys no older one before the call begins;
- changes of users: who is called forgets what is remembered of these users. They are borne for as long as anybody may
  remember the user as they were.

The answer to a call that has changed one or the other says so in the same way, and whoever hears it goes by it at once.

Used by `rpc/` at both ends of a call; `auth` notes what has changed, and messaging what else counts as policy.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice

import msgspec
import orjson

from palaver.clock import elapsed
from palaver.ids import new_id

POLICY_KEY = "palaver-policy-seq"
USERS_KEY = "palaver-users-changed-bin"
TRUST_SECONDS = 3.0
"""The longest that a process answers by what it remembers of a user, or of a login, without having it confirmed."""
_MAX_BORNE = 64
_MAX_KNOWN = 10_000

Metadata = tuple[str, str | bytes]
_Change = tuple[str, str, int]
"""Its id, the user's id, and for how many milliseconds it is still borne."""


@dataclass(slots=True)
class Told:
    """What the answer to a call is to tell."""

    policy_seq: int = 0
    changes: list[_Change] = field(default_factory=list)

    def describe(self) -> tuple[Metadata, ...]:
        """Trailing metadata of the answer."""
        policy: tuple[Metadata, ...] = ((POLICY_KEY, str(self.policy_seq)),) if self.policy_seq else ()
        return (*policy, (USERS_KEY, orjson.dumps(self.changes[-_MAX_BORNE:]))) if self.changes else policy


_told: ContextVar[Told | None] = ContextVar("told", default=None)
_decoder = msgspec.json.Decoder(list[_Change])


class Causality:
    """What this process knows. `policy_seq`, `catch_up`: of its `Access`."""

    def __init__(
        self,
        policy_seq: Callable[[], int],
        catch_up: Callable[[int], Awaitable[None]],
        clock: Callable[[], float] = elapsed,
    ) -> None:
        self._policy_seq = policy_seq
        self._catch_up = catch_up
        self._clock = clock
        # Of the last seconds, the newest last: by id the user, and until when somebody may need it.
        self._changes: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._on_user_changed: list[Callable[[str], object]] = []

    def on_user_changed(self, forget: Callable[[str], object]) -> None:
        """Has `forget` called with the id of each user whose change a call or an answer tells of."""
        self._on_user_changed.append(forget)

    def note_user(self, user_id: str) -> None:
        """This process has changed the user, and has forgotten them."""
        change = (new_id(), user_id, int(TRUST_SECONDS * 1000))
        self._keep(change)
        if (told := _told.get()) is not None:
            told.changes.append(change)

    def note_policy(self, seq: int) -> None:
        """What was asked for counts in the policy of this `seq`."""
        if (told := _told.get()) is not None:
            told.policy_seq = max(told.policy_seq, seq)

    # -- who calls -----------------------------------------------------------------------------------------------------

    def describe(self) -> tuple[Metadata, ...]:
        """Metadata for a call that this process makes."""
        policy = (POLICY_KEY, str(self._policy_seq()))
        if not self._changes:
            return (policy,)
        self._prune()
        now = self._clock()
        newest = islice(reversed(self._changes.items()), _MAX_BORNE)
        borne = [(id, user_id, int((until - now) * 1000)) for id, (user_id, until) in newest]
        borne.reverse()
        return (policy, (USERS_KEY, orjson.dumps(borne))) if borne else (policy,)

    async def hear(self, trailing: Iterable[tuple[str, str | bytes]]) -> None:
        """Goes by what an answer says; who waits for an answer of this process hears it, too. Raises Unavailable when
        the policy can't be had."""
        told, seq = _told.get(), 0
        for key, value in trailing:
            if key == POLICY_KEY:
                seq = _parse_seq(str(value))
                self.note_policy(seq)
            elif key == USERS_KEY:
                changes = _decoded(value)
                self._take(changes)
                if told is not None:
                    told.changes.extend(changes)
        if seq:
            await self._catch_up(seq)

    # -- who is called -------------------------------------------------------------------------------------------------

    def begin(self) -> Told:
        """Begins to collect what the answer to the call at hand is to tell."""
        told = Told()
        _told.set(told)
        return told

    async def precede(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Returns when this process knows what the caller of a call knows. Raises Unavailable."""
        for key, value in metadata:
            if key == POLICY_KEY:
                await self._catch_up(_parse_seq(str(value)))
            elif key == USERS_KEY:
                self._take(_decoded(value))

    def _take(self, changes: Iterable[_Change]) -> None:
        for change in changes:
            if change[2] > 0 and change[0] not in self._changes:
                self._keep(change)
                for forget in self._on_user_changed:
                    forget(change[1])

    def _keep(self, change: _Change) -> None:
        id, user_id, left = change
        self._changes[id] = user_id, self._clock() + min(left / 1000, TRUST_SECONDS)
        self._prune()

    def _prune(self) -> None:
        """Drops what nobody needs more. One that is behind another that lives waits for it: seconds, at most."""
        now = self._clock()
        while self._changes:
            id, (_, until) = next(iter(self._changes.items()))
            if until > now and len(self._changes) <= _MAX_KNOWN:
                return
            del self._changes[id]


def _decoded(value: str | bytes) -> list[_Change]:
    try:
        changes = _decoder.decode(value)[:_MAX_BORNE]
    except (msgspec.MsgspecError, UnicodeError):
        return []
    return [(id, user_id, min(left, 3000)) for id, user_id, left in changes]


def _parse_seq(text: str) -> int:
    return int(text) if len(text) < 19 and text.isascii() and text.isdigit() else 0
