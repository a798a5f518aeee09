"""Use cases: authenticator apps as a second factor: set up, proven, given up, and their backup codes.

A user's document has it as `services.totp`: {enabled, secret, tempSecret, hashedBackup}. The secret is stored as it is:
the server has to compute with it, and a key beside the database would be wherever the database is. It leaves auth only
once, to whoever sets it up. Called by role.py and `second_factor.py`.
"""

from palaver.access import User
from palaver.auth import totp
from palaver.auth.accounts import Accounts, Change
from palaver.auth.second_factor import SETTINGS, SecondFactor, has_authenticator
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens, is_personal
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import (
    AuthenticatorRequest,
    BackupCodesReply,
    BeginAuthenticatorReply,
    DisableAuthenticatorReply,
    Empty,
)


class InvalidTotp(InvalidInput):
    code = "invalid-totp"
    reason = "Invalid two factor code"


class Authenticators:
    """Sets them up and gives them up."""

    def __init__(
        self, node: Node, store: Store, accounts: Accounts, tokens: Tokens, second_factor: SecondFactor
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._tokens = tokens
        self._second_factor = second_factor

    async def begin(self, request: AuthenticatorRequest) -> BeginAuthenticatorReply:
        """A new secret, which counts when a code of it was shown (`enable`)."""
        user = await self._node.access.get_actor(request.actor)
        self._check_offered()
        await self._second_factor.check_shown(user, request.hashed_token)
        secret = totp.new_secret()

        async def decide(document: Document) -> Change:
            if has_authenticator(document):
                raise InvalidInput("Two factor authentication is already enabled", code="error-2fa-already-enabled")
            return _changed(document, {**_stored(document), "enabled": False, "tempSecret": secret})

        await self._accounts.change(user.id, user_actor(user.id), decide)
        issuer = str(self._node.access.setting("Site_Name") or "Palaver")
        url = totp.provisioning_url(secret, issuer=issuer, account=user.username)
        return BeginAuthenticatorReply(secret=secret, url=url)

    async def enable(self, request: AuthenticatorRequest) -> BackupCodesReply:
        """The app is set up: its code says so. Ends the user's other logins. Raises InvalidTotp."""
        user = await self._node.access.get_actor(request.actor)
        self._check_offered()
        document = await self._get(user)
        secret = _stored(document).get("tempSecret")
        if not isinstance(secret, str) or not await self._second_factor.check_code(user.id, secret, request.code):
            raise InvalidTotp()
        codes = totp.new_backup_codes()

        async def decide(current: Document) -> Change:
            if _stored(current).get("tempSecret") != secret:
                raise InvalidTotp()
            hashed = [totp.hash_backup_code(code) for code in codes]
            return _changed(current, {"enabled": True, "secret": secret, "hashedBackup": hashed})

        by = user_actor(user.id)
        await self._accounts.change(user.id, by, decide, tell=False)
        kept = request.hashed_token
        await self._tokens.revoke(user.id, by, lambda token: token["_id"] != kept and not is_personal(token))
        return BackupCodesReply(codes=codes, remaining=len(codes))

    async def disable(self, request: AuthenticatorRequest) -> DisableAuthenticatorReply:
        """The user gives it up, which takes a code; says whether that was right."""
        user = await self._node.access.get_actor(request.actor)
        if not await self._is_proven(user, request.code):
            return DisableAuthenticatorReply()
        await self._remove(user.id, user)
        return DisableAuthenticatorReply(disabled=True)

    async def renew_codes(self, request: AuthenticatorRequest) -> BackupCodesReply:
        """New backup codes in the place of the old ones. Raises InvalidTotp."""
        user = await self._node.access.get_actor(request.actor)
        if not await self._is_proven(user, request.code):
            raise InvalidTotp()
        codes = totp.new_backup_codes()

        async def decide(current: Document) -> Change:
            if not has_authenticator(current):
                raise InvalidTotp()
            hashed = [totp.hash_backup_code(code) for code in codes]
            return _changed(current, {**_stored(current), "hashedBackup": hashed})

        await self._accounts.change(user.id, user_actor(user.id), decide)
        return BackupCodesReply(codes=codes, remaining=len(codes))

    async def count_codes(self, request: AuthenticatorRequest) -> BackupCodesReply:
        """How many backup codes are left. Raises InvalidTotp for who has no app."""
        user = await self._node.access.get_actor(request.actor)
        document = await self._get(user)
        if not has_authenticator(document):
            raise InvalidTotp()
        return BackupCodesReply(remaining=len(_stored(document).get("hashedBackup", ())))

    async def reset(self, request: AuthenticatorRequest) -> Empty:
        """For whoever has lost app and codes: takes it away from oneself or, with the permission, from somebody else.

        All their logins end.
        """
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user_id = request.user_id or actor.id
        if user_id != actor.id and not access.may(actor, "edit-other-user-totp"):
            raise NotAllowed("Not allowed", code="error-not-allowed")
        self._check_offered()
        await self._second_factor.check_shown(actor, request.hashed_token)
        if await self._store.find_user(user_id) is None:
            raise InvalidInput("Invalid user id", code="error-invalid-user-id")
        await self._remove(user_id, actor)
        await self._tokens.revoke(user_id, user_actor(actor.id))
        return Empty()

    def _check_offered(self) -> None:
        setting = self._node.access.setting
        if not setting(SETTINGS + "Enabled") or not setting(SETTINGS + "By_TOTP_Enabled"):
            raise NotAllowed("Two factor authentication is not enabled", code="error-two-factor-not-enabled")

    async def _is_proven(self, user: User, code: str) -> bool:
        """Whether it is a code of the app, or a backup code (which is used up by it)."""
        document = await self._get(user)
        return has_authenticator(document) and await self._second_factor.check_authenticator(document, code)

    async def _remove(self, user_id: str, actor: User) -> None:
        async def decide(document: Document) -> Change:
            return _changed(document, None)

        await self._accounts.change(user_id, user_actor(actor.id), decide)

    async def _get(self, user: User) -> Document:
        document = await self._store.find_user(user.id)
        if document is None:
            raise UserNotFound()
        return document


def _stored(user: Document) -> Document:
    found: Document = user.get("services", {}).get("totp", {})
    return found


def _changed(user: Document, stored: Document | None) -> Change:
    """The change of `services` that makes this the user's authenticator, or none."""
    services = {name: value for name, value in user.get("services", {}).items() if name != "totp"}
    return Change({"services": services if stored is None else {**services, "totp": stored}})
