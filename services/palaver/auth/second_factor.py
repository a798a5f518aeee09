"""Use case: asking once more who it is: at a login by password, and before what a stolen login must not be enough
for.

One policy for every way in. Which factors a user has: a code of their authenticator app (`authenticators.py`), a code
by e-mail (`email_codes.py`), and where they have none of them the password again, which is never asked for at the
login itself. Called by role.py, and by the use cases that need it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from palaver.access import User
from palaver.auth import totp
from palaver.auth.accounts import Accounts, Change
from palaver.auth.attempts import Attempts
from palaver.auth.email_codes import EmailCodes, verified_address
from palaver.auth.letters import Letters
from palaver.auth.passwords import Passwords, stored_hash
from palaver.auth.store import Store
from palaver.database import Document
from palaver.errors import InvalidInput, LoginFailed, NotAllowed, PalaverError, SecondFactorRequired, UserNotFound
from palaver.events import user_actor
from palaver.ids import encode_subject_token, new_id
from palaver.node import Node
from palaver.v1.auth_pb2 import CheckSecondFactorRequest, Empty, SendLetterRequest, SetEmailSecondFactorRequest

logger = logging.getLogger(__name__)

Match = Callable[[Document, str], Awaitable[bool]]
"""Whether this is what the user has to show."""

SETTINGS = "Accounts_TwoFactorAuthentication_"

_CALL_SECONDS = 10  # from showing it to what it is for, at most
_MAX_DELTA = 10
_MAX_CODE = 1024


class SecondFactorInvalid(SecondFactorRequired):
    code = "totp-invalid"
    reason = "TOTP Invalid"


class TooManySecondFactors(SecondFactorRequired):
    code = "totp-max-attempts"
    reason = "TOTP Maximum Failed Attempts Reached"


class SecondFactor:
    """Checks it, and remembers for which logins that went well."""

    def __init__(
        self,
        node: Node,
        store: Store,
        accounts: Accounts,
        passwords: Passwords,
        letters: Letters,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._letters = letters
        self._email_codes = EmailCodes(node, letters)
        self._clock = clock
        self._attempts = Attempts(node, "second-factors", always=True)

    async def open(self) -> None:
        """Begins to hear of what fails in other processes."""
        await self._attempts.open()

    async def check(self, request: CheckSecondFactorRequest) -> Empty:
        """Raises SecondFactorRequired, unless it is shown or was lately, or the settings ask for none."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user = await self._get(actor.id)
        methods = self._list_methods(user) or self._list_fallbacks(user)
        if not methods or await self._bypasses(actor.id, request.hashed_token):
            return Empty()
        lasts = int(access.setting(SETTINGS + "RememberFor")) > 0
        if lasts and await self._is_remembered(actor.id, request.hashed_token):
            return Empty()
        await self._check_shown_now(user, methods, request.code, request.method)
        await self._remember(actor.id, request.hashed_token)
        return Empty()

    async def check_login(self, user: Document, code: str, method: str) -> bool:
        """Whether somebody who has logged in by password has shown one; False: they have none to show.

        Raises SecondFactorRequired.
        """
        methods = self._list_methods(user)
        if methods:
            await self._check_shown_now(user, methods, code, method)
        return bool(methods)

    async def remember_login(self, user_id: str, hashed_token: str) -> None:
        """The login that was just made has shown it."""
        await self._remember(user_id, hashed_token)

    async def check_shown(self, actor: User, hashed_token: str, *, besides_password: bool = False) -> None:
        """Raises SecondFactorRequired, unless `check` went well for this login, or the settings ask for none.

        `besides_password`: the password is asked for in any case, so it is no factor here.
        """
        user = await self._get(actor.id)
        methods = self._list_methods(user) or ([] if besides_password else self._list_fallbacks(user))
        if not methods or await self._bypasses(actor.id, hashed_token):
            return
        if not await self._is_remembered(actor.id, hashed_token):
            raise SecondFactorRequired(details=_details(user, methods))

    # -- codes by e-mail -----------------------------------------------------------------------------------------------

    async def set_email(self, request: SetEmailSecondFactorRequest) -> Empty:
        """Whether the actor is sent codes. Raises NotAllowed, MailNotConfigured; SecondFactorRequired to end it."""
        actor = await self._node.access.get_actor(request.actor)
        user = await self._get(actor.id)
        if request.enabled:
            setting = self._node.access.setting
            if not setting(SETTINGS + "Enabled") or not setting(SETTINGS + "By_Email_Enabled"):
                raise NotAllowed("Two factor authentication is not enabled", code="error-two-factor-not-enabled")
            self._letters.check_configured()
            if verified_address(user) is None:
                raise InvalidInput("You have no verified e-mail address", code="error-no-verified-email")
        else:
            await self.check_shown(actor, request.hashed_token)

        async def decide(current: Document) -> Change:
            return Change({"services": {**current.get("services", {}), "email2fa": {"enabled": request.enabled}}})

        await self._accounts.change(actor.id, user_actor(actor.id), decide)
        return Empty()

    async def send_code(self, request: SendLetterRequest) -> Empty:
        """A code for whoever is logging in with this name or address, if they can use one. Raises MailNotConfigured."""
        self._letters.check_configured()
        who = request.email.strip()
        user = await self._store.find_user_by_email(who) if "@" in who else await self._store.find_user_by_name(who)
        if user is not None and user.get("active") and "email" in self._list_methods(user):
            self._node.spawn(self._send_unseen(user), "code")
        return Empty()

    async def _send_unseen(self, user: Document) -> None:
        """In the background: who asks learns neither by an error nor by the time whether a code is sent."""
        try:
            await self._email_codes.send_another(user)
        except PalaverError as error:
            logger.warning("a code is lost: %s", error)

    # -- what there is -------------------------------------------------------------------------------------------------

    def _list_methods(self, user: Document) -> list[str]:
        """The factors that the user has set up and the settings let count, in the order in which they are asked for."""
        setting = self._node.access.setting
        if self._node.config.test_mode or not setting(SETTINGS + "Enabled"):
            return []
        found = []
        if setting(SETTINGS + "By_TOTP_Enabled") and has_authenticator(user):
            found.append("totp")
        if setting(SETTINGS + "By_Email_Enabled") and self._email_codes.counts_for(user):
            found.append("email")
        return found

    def _list_fallbacks(self, user: Document) -> list[str]:
        """The password, for who has set up nothing, if the settings ask for it."""
        setting = self._node.access.setting
        wanted = setting(SETTINGS + "Enabled") and setting(SETTINGS + "Enforce_Password_Fallback")
        if self._node.config.test_mode or not wanted or stored_hash(user) is None:
            return []
        return ["password"]

    # -- checking ------------------------------------------------------------------------------------------------------

    async def _check_shown_now(self, user: Document, methods: list[str], code: str, method: str) -> None:
        details = _details(user, methods)
        method = method or methods[0]
        if not code or method not in methods:
            if "email" in (method, details["method"]) and "email" in methods:
                details |= {"method": "email", **await self._email_codes.ensure(user)}
            raise SecondFactorRequired(details=details)
        match: Match = {
            "totp": self._match_authenticator,
            "email": self._email_codes.match,
            "password": self._passwords.verify_given,
        }[method]
        if not await self._attempt(user["_id"], details, partial(match, user, code)):
            raise SecondFactorInvalid(details=details)

    async def check_password(self, user: Document, given: str) -> bool:
        """Whether it is the user's password, which was asked for once more. Raises TooManySecondFactors."""
        return await self._attempt(user["_id"], {}, partial(self._passwords.verify_given, user, given))

    async def check_authenticator(self, user: Document, code: str) -> bool:
        """Whether it is a code of the user's app, or a backup code, which is used up. Raises TooManySecondFactors."""
        return await self._attempt(user["_id"], {}, partial(self._match_authenticator, user, code))

    async def check_code(self, user_id: str, secret: str, code: str) -> bool:
        """Whether it is the code that this secret gives now, for the first time. Raises TooManySecondFactors."""
        return await self._attempt(user_id, {}, partial(self._match_code, user_id, secret, code))

    async def _match_authenticator(self, user: Document, code: str) -> bool:
        code = code.strip()
        stored = user.get("services", {}).get("totp", {})
        if not 0 < len(code) <= _MAX_CODE:
            return False
        if await self._match_code(user["_id"], stored["secret"], code):
            return True
        hashed = totp.hash_backup_code(code)
        return hashed in stored.get("hashedBackup", ()) and await self._use_up(user["_id"], hashed)

    async def _match_code(self, user_id: str, secret: str, code: str) -> bool:
        delta = max(0, min(int(self._node.access.setting(SETTINGS + "MaxDelta")), _MAX_DELTA))
        step = totp.find_step(secret, code.strip(), self._clock(), delta)
        if step is None:
            return False
        # A lease that nobody else can take, as long as the code might count: who has looked over a shoulder is late.
        used = encode_subject_token(f"{user_id} {step}")
        seconds = (2 * delta + 2) * totp.STEP_SECONDS
        return await self._node.live.acquire(f"second-factor-used.{used}", new_id(), seconds)

    async def _use_up(self, user_id: str, hashed: str) -> bool:
        """Takes a backup code away; False when somebody else was faster."""
        used = False

        async def decide(current: Document) -> Change:
            nonlocal used
            services = current.get("services", {})
            stored = services.get("totp", {})
            left = [other for other in stored.get("hashedBackup", ()) if other != hashed]
            used = len(left) < len(stored.get("hashedBackup", ()))
            return Change({"services": {**services, "totp": {**stored, "hashedBackup": left}}}) if used else Change()

        await self._accounts.change(user_id, user_actor(user_id), decide)
        return used

    async def _attempt(self, user_id: str, details: dict[str, Any], match: Callable[[], Awaitable[bool]]) -> bool:
        """Whether what was shown is right. Raises TooManySecondFactors.

        It counts as a failure before it is looked at: many guesses at once are no more than one after another.
        """
        try:
            self._attempts.check(user_id, "")
        except LoginFailed:
            raise TooManySecondFactors(details=details) from None
        await self._attempts.failed(user_id, "")
        right = await match()
        if right:
            await self._attempts.succeeded(user_id)
        return right

    # -- remembering ---------------------------------------------------------------------------------------------------

    async def _remember(self, user_id: str, hashed_token: str) -> None:
        if hashed_token:
            seconds = max(int(self._node.access.setting(SETTINGS + "RememberFor")), _CALL_SECONDS)
            await self._node.live.put(_remembered(user_id, hashed_token), b"1", seconds)

    async def _is_remembered(self, user_id: str, hashed_token: str) -> bool:
        """Whether this login has shown it lately."""
        return bool(hashed_token) and await self._node.live.get(_remembered(user_id, hashed_token)) is not None

    async def _bypasses(self, user_id: str, hashed_token: str) -> bool:
        """Whether it is a personal access token that was made to need no second factor."""
        token = await self._store.find_token(hashed_token) if hashed_token else None
        return token is not None and token["user_id"] == user_id and bool(token.get("bypass_second_factor"))

    async def _get(self, user_id: str) -> Document:
        user = await self._store.find_user(user_id)
        if user is None:
            raise UserNotFound()
        return user


def has_authenticator(user: Document) -> bool:
    """Whether the user has set up an authenticator app."""
    stored = user.get("services", {}).get("totp", {})
    return bool(stored.get("enabled")) and isinstance(stored.get("secret"), str)


def _remembered(user_id: str, hashed_token: str) -> str:
    """The live key of a login that has shown it."""
    return f"second-factor.{encode_subject_token(f'{user_id} {hashed_token}')}"


def _details(user: Document, methods: list[str]) -> dict[str, Any]:
    """What tells a client how to ask. Clients know the password as what there is when nothing else is available."""
    available = [method for method in methods if method != "password"]
    return {"method": methods[0], "availableMethods": available, "emailOrUsername": user.get("username", "")}
