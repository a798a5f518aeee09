"""Use case: asking once more who it is, before what a stolen login must not be enough for.

The one factor besides the login is, so far, the password itself. Called by role.py.
"""

from typing import Any

from palaver.access import User
from palaver.auth.attempts import Attempts
from palaver.auth.passwords import Passwords, stored_hash
from palaver.auth.store import Store
from palaver.database import Document
from palaver.errors import LoginFailed, NotAllowed, SecondFactorRequired, UserNotFound
from palaver.ids import encode_subject_token
from palaver.node import Node
from palaver.v1.auth_pb2 import CheckSecondFactorRequest, Empty

_SETTING = "Accounts_TwoFactorAuthentication_"
_CALL_SECONDS = 10  # from showing it to what it is for, at most


class SecondFactorInvalid(NotAllowed):
    code = "totp-invalid"
    reason = "TOTP Invalid"


class TooManySecondFactors(NotAllowed):
    code = "totp-max-attempts"
    reason = "TOTP Maximum Failed Attempts Reached"


class SecondFactor:
    """Checks it, and remembers for which logins that went well."""

    def __init__(self, node: Node, store: Store, passwords: Passwords) -> None:
        self._node = node
        self._store = store
        self._passwords = passwords
        self._attempts = Attempts(lambda: node.access)

    async def check(self, request: CheckSecondFactorRequest) -> Empty:
        """Raises SecondFactorRequired or NotAllowed, unless the settings ask for none."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user = await self._find_asked(actor)
        if user is None:
            return Empty()
        seconds = int(access.setting(_SETTING + "RememberFor"))
        remembered = _remembered(actor, request.hashed_token)
        if request.hashed_token and seconds > 0 and await self._node.live.get(remembered) is not None:
            return Empty()
        details = _details(actor)
        if not request.code or request.method not in ("", "password"):
            raise SecondFactorRequired(details=details)
        try:
            self._attempts.check(actor.id, "")
        except LoginFailed:
            raise TooManySecondFactors(details=details) from None
        if not await self._passwords.verify_given(user, request.code):
            self._attempts.failed(actor.id, "")
            raise SecondFactorInvalid(details=details)
        self._attempts.succeeded(actor.id)
        if request.hashed_token:
            await self._node.live.put(remembered, b"1", max(seconds, _CALL_SECONDS))
        return Empty()

    async def check_shown(self, actor: User, hashed_token: str) -> None:
        """Raises SecondFactorRequired, unless `check` went well for this login, or the settings ask for none."""
        if await self._find_asked(actor) is not None and (
            not hashed_token or await self._node.live.get(_remembered(actor, hashed_token)) is None
        ):
            raise SecondFactorRequired(details=_details(actor))

    async def _find_asked(self, actor: User) -> Document | None:
        """The actor's document, if they have a second factor and the settings ask for it. Raises UserNotFound."""
        setting = self._node.access.setting
        fallback = setting(_SETTING + "Enabled") and setting(_SETTING + "Enforce_Password_Fallback")
        if self._node.config.test_mode or not fallback:
            return None
        user = await self._store.find_user(actor.id)
        if user is None:
            raise UserNotFound()
        return None if stored_hash(user) is None else user


def _remembered(actor: User, hashed_token: str) -> str:
    """The live key of a login that has shown it."""
    return f"second-factor.{encode_subject_token(f'{actor.id} {hashed_token}')}"


def _details(actor: User) -> dict[str, Any]:
    return {"method": "password", "availableMethods": [], "emailOrUsername": actor.username}
