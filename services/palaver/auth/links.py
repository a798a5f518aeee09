"""Use cases: letters with a link that works once, and what it is for: a new password, a proven address. Called by
role.py.

The link holds a token, of which the user's document has the hash (`services.password.reset`,
`services.email.verification`) until it is used, another one is sent, or its day is over. The token begins with the
user's id, so no search is needed. Nobody who asks for a link learns whether there is such a user: neither by the
answer nor by its time.
"""

import hmac
import logging
from typing import Any

from palaver.access import User
from palaver.account_names import fold
from palaver.auth import rules
from palaver.auth.accounts import Accounts, Change
from palaver.auth.letters import Letters, site_url
from palaver.auth.logins import Logins
from palaver.auth.passwords import Passwords, check_password, with_password
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens, hash_token
from palaver.commit import now
from palaver.database import Document
from palaver.errors import InvalidInput, LoginFailed, NotAllowed, PalaverError, UserNotFound
from palaver.events import SYSTEM, user_actor
from palaver.ids import encode_subject_token, new_id, new_token
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    Empty,
    LoginReply,
    ResetPasswordRequest,
    SendInvitationsRequest,
    SendLetterRequest,
    SendTakeoutLinkRequest,
    SendTestLetterReply,
    VerifyEmailRequest,
)

logger = logging.getLogger(__name__)

_LIFE = 86_400_000  # milliseconds
_MAX_INVITED = 100  # in one call
_PAUSE_SECONDS = 60  # between two letters of a kind to the same user
_RESET = ("password", "reset")
_VERIFICATION = ("email", "verification")


class LinkExpired(LoginFailed):
    code = "403"
    reason = "Token expired"


class Links:
    """Sends links, and does what they are for."""

    def __init__(
        self,
        node: Node,
        store: Store,
        accounts: Accounts,
        passwords: Passwords,
        tokens: Tokens,
        logins: Logins,
        letters: Letters,
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._tokens = tokens
        self._logins = logins
        self._letters = letters

    # -- a new password ------------------------------------------------------------------------------------------------

    async def send_password_link(self, request: SendLetterRequest) -> Empty:
        """To whoever has this address. Raises MailNotConfigured, NotAllowed where the settings want none."""
        if not self._node.access.setting("Accounts_PasswordReset"):
            raise NotAllowed("Password reset is not allowed", code="error-password-reset-disabled")
        self._letters.check_configured()
        user = await self._store.find_user_by_email(request.email.strip())
        if user is not None and user.get("active") and user.get("type") == "user":
            address = _address(user, request.email.strip())
            self._node.spawn(self._send_unseen("forgot-password", user, address, _RESET), "link")
        return Empty()

    async def reset_password(self, request: ResetPasswordRequest) -> LoginReply:
        """The link's user gets this password, all their logins end, and they are logged in, if that is enough for it.

        Raises LinkExpired, InvalidInput; SecondFactorRequired when the password is new and they have to log in.
        """
        user, link = await self._find_link(request.token, _RESET)
        if request.WhichOneof("secret") == "sha256":
            digest = rules.normal_digest(request.sha256)
            if digest is None or self._node.access.setting("Accounts_Password_Policy_Enabled"):
                raise InvalidInput("The password itself is needed here", code="error-invalid-password")
        else:
            check_password(self._node.access, request.plain)
            digest = rules.digest_of(request.plain)
        await self._passwords.check_unused(self._node.access, user, digest)
        password = await self._passwords.make(digest)

        async def decide(current: Document) -> Change:
            if _find_stored(current, _RESET) != link:
                raise LinkExpired()
            change = _verified(current, link["address"])
            if not change.set:
                raise LinkExpired()  # who reads the letters of an address that was given up is not the user
            # The link goes with the password that it replaces.
            change.set["services"] = with_password(self._node.access, current, password)
            change.unset = ("requirePasswordChange", "requirePasswordChangeReason")
            return change

        by = user_actor(user["_id"])
        await self._accounts.change(user["_id"], by, decide, tell=False)
        await self._tokens.revoke(user["_id"], by)
        return await self._logins.log_in_by_link(user["_id"], request)

    # -- a proven address ----------------------------------------------------------------------------------------------

    async def send_confirmation(self, request: SendLetterRequest) -> Empty:
        """To an address of the actor's own, or with the permission of anybody's. Raises MailNotConfigured."""
        actor = await self._node.access.get_actor(request.actor)
        self._letters.check_configured()
        user = await self._find_permitted(actor, request.email.strip())
        await self._send("verification", user, _address(user, request.email.strip()), _VERIFICATION)
        return Empty()

    async def confirm_new(self, user: Document) -> None:
        """Somebody has registered: where the settings let only proven addresses in, they are sent a link."""
        if (
            self._node.access.setting("Accounts_EmailVerification")
            and user.get("emails")
            and self._letters.is_configured
        ):
            await self._send("verification", user, user["emails"][0]["address"], _VERIFICATION)

    async def verify(self, request: VerifyEmailRequest) -> LoginReply:
        """The link's address is its user's. Logs them in, if that is enough for it. Raises LinkExpired."""
        user, link = await self._find_link(request.token, _VERIFICATION)

        async def decide(current: Document) -> Change:
            if _find_stored(current, _VERIFICATION) != link:
                raise LinkExpired()
            change = _verified(current, link["address"])
            if not change.set:
                raise LinkExpired()  # it is not their address any more
            change.set["services"] = _with_link(current, _VERIFICATION, None)
            return change

        await self._accounts.change(user["_id"], user_actor(user["_id"]), decide)
        return await self._logins.log_in_by_link(user["_id"], request)

    # -- letters without a link ----------------------------------------------------------------------------------------

    async def send_welcome(self, request: SendLetterRequest) -> Empty:
        """To the user of this address. Raises NotAllowed, MailNotConfigured, MailFailed."""
        access = self._node.access
        access.check(await access.get_actor(request.actor), "send-mail")
        self._letters.check_configured()
        user = await self._store.find_user_by_email(request.email.strip())
        if user is None:
            raise _no_such_address(request.email)
        await self._letters.send("welcome", user, _address(user, request.email.strip()))
        return Empty()

    async def send_invitations(self, request: SendInvitationsRequest) -> Empty:
        """To addresses of nobody here, in the background. Raises NotAllowed, MailNotConfigured, InvalidInput."""
        access = self._node.access
        access.check(await access.get_actor(request.actor), "bulk-register-user")
        self._letters.check_configured()
        emails = list(dict.fromkeys(email.strip() for email in request.emails))
        if len(emails) > _MAX_INVITED:
            raise InvalidInput(f"At most {_MAX_INVITED} addresses at once", code="error-user-limit-exceeded")
        if wrong := [email for email in emails if not rules.is_email(email)]:
            raise _no_such_address(wrong[0])
        for email in emails:
            self._letters.post("invitation", {}, email)
        return Empty()

    async def send_takeout_link(self, request: SendTakeoutLinkRequest) -> Empty:
        """For messaging: somebody's data can be taken away, by them. Raises UserNotFound, InvalidInput, MailFailed."""
        user = await self._store.find_user(request.user_id)
        if user is None:
            raise UserNotFound()
        if not user.get("emails"):
            raise InvalidInput("They have no e-mail address", code="error-invalid-email")
        url = f"{site_url(self._node)}/data-export/{request.takeout_id}"
        await self._letters.send("takeout", user, str(user["emails"][0]["address"]), Download_Url=url)
        return Empty()

    async def send_test(self, request: SendLetterRequest) -> SendTestLetterReply:
        """To the actor's own first address. Raises MailNotConfigured, MailFailed."""
        actor = await self._node.access.get_actor(request.actor)
        self._letters.check_configured()
        user = await self._store.find_user(actor.id)
        if user is None or not user.get("emails"):
            raise InvalidInput("You have no e-mail address", code="error-invalid-email")
        address = str(user["emails"][0]["address"])
        await self._letters.send("test", user, address)
        return SendTestLetterReply(email=address)

    # -- links ---------------------------------------------------------------------------------------------------------

    async def _send(self, kind: str, user: Document, address: str, place: tuple[str, str]) -> None:
        user_id = user["_id"]
        if not await self._node.live.acquire(
            f"letter.{kind}.{encode_subject_token(user_id)}", new_id(), _PAUSE_SECONDS
        ):
            return  # one is on its way
        token = f"{user_id}.{new_token()}"
        link = {"hashed": hash_token(token), "address": address, "until": {"$date": now() + _LIFE}}

        async def decide(current: Document) -> Change:
            return Change({"services": _with_link(current, place, link)})

        await self._accounts.change(user_id, SYSTEM, decide, tell=False)
        page = "reset-password" if place == _RESET else "verify-email"
        url = f"{site_url(self._node)}/{page}/{token}"
        self._letters.post(kind, user, address, Forgot_Password_Url=url, Verification_Url=url)

    async def _send_unseen(self, kind: str, user: Document, address: str, place: tuple[str, str]) -> None:
        """The same in the background: who asks learns neither by an error nor by the time whether a link is sent."""
        try:
            await self._send(kind, user, address, place)
        except PalaverError as error:
            logger.warning("a link is lost: %s", error)

    async def _find_link(self, token: str, place: tuple[str, str]) -> tuple[Document, dict[str, Any]]:
        """The user and what is stored of the link. Raises LinkExpired."""
        user = await self._store.find_user(token.rpartition(".")[0][:200])
        link = _find_stored(user, place) if user is not None else None
        if user is None or link is None or not hmac.compare_digest(link["hashed"], hash_token(token)):
            raise LinkExpired()
        if link["until"]["$date"] <= now():
            raise LinkExpired()
        return user, link

    async def _find_permitted(self, actor: User, email: str) -> Document:
        user = await self._store.find_user_by_email(email)
        if user is not None and user["_id"] != actor.id and not self._node.access.may(actor, "edit-other-user-info"):
            user = None
        if user is None:
            raise _no_such_address(email)
        return user


def _no_such_address(email: str) -> InvalidInput:
    return InvalidInput(f"Invalid email {email[: rules.MAX_EMAIL]}", code="error-invalid-email")


def _address(user: Document, typed: str) -> str:
    """The user's address as they wrote it, by one that differs in case."""
    return next((str(email["address"]) for email in user["emails"] if fold(email["address"]) == fold(typed)), typed)


def _find_stored(user: Document, place: tuple[str, str]) -> dict[str, Any] | None:
    service, name = place
    found = user.get("services", {}).get(service, {}).get(name)
    return found if isinstance(found, dict) else None


def _with_link(user: Document, place: tuple[str, str], link: dict[str, Any] | None) -> Document:
    """The user's `services` with this link in its place, or without one."""
    service, name = place
    services = user.get("services", {})
    kept = {key: value for key, value in services.get(service, {}).items() if key != name}
    return {**services, service: kept if link is None else {**kept, name: link}}


def _verified(user: Document, address: str) -> Change:
    """The change that says so of one of the user's addresses; none if it is not theirs."""
    emails = user.get("emails", [])
    if not any(email["address"] == address for email in emails):
        return Change()
    return Change(
        {"emails": [{**email, "verified": True} if email["address"] == address else email for email in emails]}
    )
