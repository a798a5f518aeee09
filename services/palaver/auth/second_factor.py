"""Use case: asking once more who it is, before what a stolen login must not be enough for.

The one factor besides the login is, so far, the password itself. Called by role.py.
"""

from palaver.auth.attempts import Attempts
from palaver.auth.passwords import Passwords, stored_hash
from palaver.auth.store import Store
from palaver.errors import LoginFailed, NotAllowed, SecondFactorRequired, UserNotFound
from palaver.ids import encode_subject_token
from palaver.node import Node
from palaver.v1.auth_pb2 import CheckSecondFactorRequest, Empty

_SETTING = "Accounts_TwoFactorAuthentication_"


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
        fallback = access.setting(_SETTING + "Enabled") and access.setting(_SETTING + "Enforce_Password_Fallback")
        if self._node.config.test_mode or not fallback:
            return Empty()
        user = await self._store.find_user(actor.id)
        if user is None:
            raise UserNotFound()
        if stored_hash(user) is None:
            return Empty()
        remembered = f"second-factor.{encode_subject_token(f'{actor.id} {request.hashed_token}')}"
        if request.hashed_token and await self._node.live.get(remembered) is not None:
            return Empty()
        details = {"method": "password", "availableMethods": [], "emailOrUsername": actor.username}
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
        seconds = int(access.setting(_SETTING + "RememberFor"))
        if request.hashed_token and seconds > 0:
            await self._node.live.put(remembered, b"1", seconds)
        return Empty()
