"""What a client was told is done, its next request finds done, whichever processes answer it.

News of a change (the log, the live port) reaches every process, but a moment later, perhaps after that request. So
calls between processes bear what their caller knows, as metadata:

- the `seq` of the policy that the caller obeys: who is called obeys no older one before the call begins;
- changes of users, told in the answer to the call that has made them: whoever was told, and whom they call, forgets
  what is remembered of these users. A change is borne for as long as anybody may remember the user as they were.

Used by `rpc/` at both ends of a call. One process alone forgets at once, and needs none of it.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar

import msgspec
import orjson

from palaver.clock import elapsed
from palaver.ids import new_id

POLICY_KEY = "palaver-policy-seq"
USERS_KEY = "palaver-users-changed-bin"
TRUST_SECONDS = 3.0
"""The longest that a process answers by what it remembers of a user, or of a login, without having it confirmed."""
_MAX_CHANGES = 64

Metadata = tuple[str, str | bytes]
_Change = tuple[str, str, int]
"""Its id, the user's id, and for how many milliseconds it is still borne."""

_changes_told: ContextVar[list[_Change] | None] = ContextVar("changes_told", default=None)
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
        self._changes: OrderedDict[str, tuple[str, float]] = OrderedDict()  # id → user, and when nobody needs it more
        self._on_user_changed: list[Callable[[str], object]] = []

    def on_user_changed(self, forget: Callable[[str], object]) -> None:
        """Has `forget` called with the id of each user whose change a call or an answer tells of."""
        self._on_user_changed.append(forget)

    def note(self, user_id: str) -> None:
        """This process has changed the user, and has forgotten them: the answer to the call at hand is to say so."""
        told = _changes_told.get()
        if told is not None:
            told.append((new_id(), user_id, int(TRUST_SECONDS * 1000)))

    # -- who calls -----------------------------------------------------------------------------------------------------

    def describe(self) -> tuple[Metadata, ...]:
        """Metadata for a call that this process makes."""
        policy = (POLICY_KEY, str(self._policy_seq()))
        if not self._changes:
            return (policy,)
        now = self._clock()
        living = [(id, user_id, int((until - now) * 1000)) for id, (user_id, until) in self._changes.items()]
        living = [change for change in living if change[2] > 0]
        if not living:
            self._changes.clear()
            return (policy,)
        return policy, (USERS_KEY, orjson.dumps(living))

    def hear(self, trailing: Iterable[tuple[str, str | bytes]]) -> None:
        """Takes what an answer says. Whoever waits for an answer of this process hears it, too."""
        for key, value in trailing:
            if key == USERS_KEY:
                changes = _decoded(value)
                self._take(changes)
                told = _changes_told.get()
                if told is not None:
                    told.extend(changes)

    # -- who is called -------------------------------------------------------------------------------------------------

    def begin(self) -> list[_Change]:
        """Begins to collect the changes of the call at hand, for `conclude`."""
        told: list[_Change] = []
        _changes_told.set(told)
        return told

    async def precede(self, metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Returns when this process knows what the caller of a call knows. Raises Unavailable."""
        for key, value in metadata:
            if key == POLICY_KEY:
                await self._catch_up(_parse_seq(str(value)))
            elif key == USERS_KEY:
                self._take(_decoded(value))

    @staticmethod
    def conclude(told: list[_Change]) -> tuple[Metadata, ...]:
        """Trailing metadata of the answer to a call."""
        return ((USERS_KEY, orjson.dumps(told[-_MAX_CHANGES:])),) if told else ()

    def _take(self, changes: Iterable[_Change]) -> None:
        now = self._clock()
        for id, user_id, left in changes:
            if left <= 0 or id in self._changes:
                continue
            self._changes[id] = user_id, now + min(left / 1000, TRUST_SECONDS)
            for forget in self._on_user_changed:
                forget(user_id)
        while len(self._changes) > _MAX_CHANGES:
            self._changes.popitem(last=False)


def _decoded(value: str | bytes) -> list[_Change]:
    try:
        return _decoder.decode(value)[:_MAX_CHANGES]
    except (msgspec.MsgspecError, UnicodeError):
        return []


def _parse_seq(text: str) -> int:
    return int(text) if len(text) < 19 and text.isascii() and text.isdigit() else 0
