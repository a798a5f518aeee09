"""Login tokens: issued, recognized, revoked. The database knows only base64(sha256(token)).

Recognizing is the hottest path of the service: what was recognized stays in memory until it is revoked here, until the
user changes anywhere (`access.USERS_CHANGED`), or for three seconds; then the database is asked again.
"""

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import Counter

from palaver.auth.accounts import Accounts
from palaver.auth.store import Store
from palaver.causality import TRUST_SECONDS
from palaver.clock import elapsed
from palaver.commit import Draft, now
from palaver.database import Document
from palaver.errors import LoginFailed, UserNotFound
from palaver.events import user_stream
from palaver.ids import new_token
from palaver.node import Node
from palaver.v1.event_pb2 import Actor, Event, TokenIssued, TokensRevoked

ISSUED = Counter("palaver_tokens_issued_total", "Login tokens issued", ["type"])
REVOKED = Counter("palaver_tokens_revoked_total", "Login tokens revoked")

LOGGED_OUT = "You've been logged out by the server. Please log in again."
EXPIRED = "Your session has expired. Please log in again."

PERSONAL = "personal"
"""The type of personal access tokens (`personal_tokens.py`)."""

_MAX_KNOWN = 100_000
_MAX_TOKEN = 512


class Recognized:
    """A token that works, as far as is known."""

    __slots__ = ("expires_at", "hashed_token", "trusted_until", "user_id")

    def __init__(self, hashed_token: str, user_id: str, expires_at: int, trusted_until: float) -> None:
        self.hashed_token = hashed_token
        self.user_id = user_id
        self.expires_at = expires_at
        self.trusted_until = trusted_until


def is_personal(token: Document) -> bool:
    """Whether it is a personal access token: no device's login, and meant to outlive those."""
    return token.get("type") == PERSONAL


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return base64.b64encode(hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()).decode()


class Tokens:
    """Issues, recognizes and revokes tokens."""

    def __init__(self, node: Node, store: Store, accounts: Accounts, clock: Callable[[], float] = elapsed) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._known: OrderedDict[str, Recognized] = OrderedDict()
        self._of_user: dict[str, set[str]] = {}
        self._forgotten = 0  # counts, so that what was read before a revocation is not remembered after it
        accounts.on_changed(self.forget_user)

    async def recognize(self, token: str) -> Recognized:
        """Whose token this is. Raises LoginFailed for an unknown, revoked or expired one; says nothing of the user."""
        hashed = hash_token(token)
        known = self._known.get(hashed)
        if known is None or known.trusted_until < self._clock():
            known = await self._read(token, hashed)
        if known.expires_at and known.expires_at <= now():
            self._forget(hashed)
            raise LoginFailed(EXPIRED)
        return known

    async def issue(
        self,
        user_id: str,
        actor: Actor,
        *,
        type: str,
        days: int,
        about: Document,
        check: Callable[[Draft, Document], Awaitable[None]],
        token: str = "",
    ) -> tuple[str, str, int]:
        """A new token, its hash and when it expires; 0 days: never. `check` may refuse, as all stands at that moment.

        `token`: one that the caller has just made by `ids.new_token`.
        """
        token = token or new_token()
        hashed = hash_token(token)
        expires_at = now() + days * 86_400_000 if days else 0

        async def decide(draft: Draft) -> None:
            user = await draft.get_own()
            if user is None or "deleted_at" in user:
                raise UserNotFound()
            await check(draft, user)
            fact = TokenIssued(hashed_token=hashed, expires_at=expires_at, token=orjson.dumps({"type": type, **about}))
            draft.append(Event(token_issued=fact), actor=actor)

        await self._node.commits.execute(user_stream(user_id), decide)
        ISSUED.labels(type).inc()
        return token, hashed, expires_at

    async def revoke(
        self, user_id: str, actor: Actor, chosen_by: Callable[[Document], bool] = lambda token: True
    ) -> int:
        """Revokes those of the user's tokens for which `chosen_by` holds, and tells of it; returns how many."""

        async def decide(draft: Draft) -> int:
            chosen = [token["_id"] for token in await self._store.list_tokens(user_id) if chosen_by(token)]
            if chosen:
                draft.append(Event(tokens_revoked=TokensRevoked(hashed_tokens=chosen)), actor=actor)
            return len(chosen)

        try:
            count = await self._node.commits.execute(user_stream(user_id), decide)
        finally:
            self.forget_user(user_id)  # an unknown outcome, too
        REVOKED.inc(count)
        # Even when none was left: whoever asks again may do so because telling failed.
        await self._accounts.tell(user_id)
        return count

    def on_user_changed(self, message: bytes) -> None:
        """Hears on the live subject that something about a user changed."""
        self.forget_user(message.decode(errors="replace"))

    def forget_user(self, user_id: str) -> None:
        """Asks the database the next time, for each token of this user."""
        self._forgotten += 1
        for hashed in self._of_user.pop(user_id, ()):
            self._known.pop(hashed, None)

    def forget_all(self) -> None:
        """The same for everybody: the live subject may have lost something."""
        self._forgotten += 1
        self._known.clear()
        self._of_user.clear()

    async def _read(self, token: str, hashed: str) -> Recognized:
        self._forget(hashed)
        forgotten, asked = self._forgotten, self._clock()
        stored = await self._store.find_token(hashed) if 0 < len(token) <= _MAX_TOKEN else None
        if stored is None or "revoked_at" in stored:
            raise LoginFailed(LOGGED_OUT)
        expires_at = stored.get("expires_at", {}).get("$date", 0)
        known = Recognized(hashed, stored["user_id"], expires_at, asked + TRUST_SECONDS)
        if forgotten == self._forgotten:
            self._remember(known)
        return known

    def _remember(self, known: Recognized) -> None:
        self._known[known.hashed_token] = known
        self._of_user.setdefault(known.user_id, set()).add(known.hashed_token)
        while len(self._known) > _MAX_KNOWN:
            self._forget(next(iter(self._known)))

    def _forget(self, hashed: str) -> None:
        known = self._known.pop(hashed, None)
        if known is not None and (of_user := self._of_user.get(known.user_id)) is not None:
            of_user.discard(hashed)
            if not of_user:
                del self._of_user[known.user_id]
