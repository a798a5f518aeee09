"""Use cases: changing users and their status. Called by role.py."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from palaver.access import User
from palaver.account_names import fold, is_reserved
from palaver.auth import rules
from palaver.auth.accounts import Accounts, Change, check_known_roles, name_taken
from palaver.auth.letters import Letters
from palaver.auth.passwords import Passwords, check_password, stored_hash, with_password
from palaver.auth.preferences import check_preferences
from palaver.auth.second_factor import SecondFactor
from palaver.auth.store import Store
from palaver.auth.tokens import Tokens, is_personal
from palaver.auth.users import Users
from palaver.database import Document
from palaver.documents import public_user
from palaver.errors import InvalidInput, NotAllowed, SecondFactorRequired, UserNotFound
from palaver.events import user_actor
from palaver.node import Node
from palaver.v1.auth_pb2 import SetUserStatusRequest, UpdateUserRequest, UserReply

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


class Changes(msgspec.Struct, forbid_unknown_fields=True):
    """What `UpdateUserRequest.set` may hold."""

    name: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    email: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    roles: list[str] | UnsetType = UNSET
    bio: str | UnsetType = UNSET
    nickname: str | UnsetType = UNSET
    statusText: str | UnsetType = UNSET
    customFields: dict[str, Any] | UnsetType = UNSET
    verified: bool | UnsetType = UNSET
    requirePasswordChange: bool | UnsetType = UNSET
    preferences: dict[str, Any] | UnsetType = UNSET
    language: str | UnsetType = UNSET
    utcOffset: float | UnsetType = UNSET
    avatarETag: str | UnsetType | None = UNSET
    avatarOrigin: str | UnsetType | None = UNSET

    def given(self) -> set[str]:
        return {name for name in self.__struct_fields__ if getattr(self, name) is not UNSET}

    def drop_unchanged(self, user: Document) -> None:
        """Forgets what the user's document says already: clients send a whole form, with what nobody may change."""
        for name in ("name", "username", "bio", "nickname", "statusText"):
            if getattr(self, name) == user.get(name, ""):
                setattr(self, name, UNSET)
        if self.email == next((email["address"] for email in user.get("emails", ())), ""):
            self.email = UNSET


# What a user may change of themself, and the settings that must allow it.
_OWN: dict[str, tuple[str, ...]] = {
    "name": ("Accounts_AllowUserProfileChange", "Accounts_AllowRealNameChange"),
    "username": ("Accounts_AllowUserProfileChange", "Accounts_AllowUsernameChange"),
    "email": ("Accounts_AllowUserProfileChange", "Accounts_AllowEmailChange"),
    "password": ("Accounts_AllowPasswordChange",),
    "bio": ("Accounts_AllowUserProfileChange",),
    "nickname": ("Accounts_AllowUserProfileChange",),
    "statusText": ("Accounts_AllowUserProfileChange", "Accounts_AllowUserStatusMessageChange"),
    "customFields": ("Accounts_AllowUserProfileChange",),
    "preferences": (),
    "language": (),
    "utcOffset": (),
    "avatarETag": ("Accounts_AllowUserAvatarChange",),
    "avatarOrigin": ("Accounts_AllowUserAvatarChange",),
}
# What a login alone is enough for when it is somebody else's.
_HARMLESS = {"preferences", "language", "avatarETag", "avatarOrigin"}
# What needs another permission than edit-other-user-info when it is somebody else's.
_OTHERS: dict[str, str] = {
    "password": "edit-other-user-password",
    "avatarETag": "edit-other-user-avatar",
    "avatarOrigin": "edit-other-user-avatar",
    "roles": "assign-roles",
}


class Profiles:
    """Changes what a user's document says."""

    def __init__(
        self,
        node: Node,
        store: Store,
        accounts: Accounts,
        passwords: Passwords,
        tokens: Tokens,
        users: Users,
        second_factor: SecondFactor,
        letters: Letters,
    ) -> None:
        self._node = node
        self._store = store
        self._accounts = accounts
        self._passwords = passwords
        self._tokens = tokens
        self._users = users
        self._second_factor = second_factor
        self._letters = letters

    async def update(self, request: UpdateUserRequest) -> UserReply:
        """Changes fields of a user: their own, or with permissions somebody else's."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user_id = request.user_id or actor.id
        changes = _decoded(request.set)
        given = changes.given()
        if request.own and user_id != actor.id:
            raise NotAllowed("Only one's own data can be changed so")
        # An administrator who edits themself among the others is bound by what an administrator is bound by.
        own = request.own or (user_id == actor.id and not access.may(actor, "edit-other-user-info"))
        if not own:
            self._check_others(actor, changes)
            if not given <= _HARMLESS:
                await self._second_factor.check_shown(actor, request.hashed_token)
        target = await self._store.find_user(user_id)
        if target is None:
            raise UserNotFound()
        if own:
            changes.drop_unchanged(target)
            given = changes.given()
            self._check_own(given, target)
        if own and isinstance(changes.username, str):
            self._users.check_not_blocked(changes.username)
        if own and given & {"email", "password"}:
            await self._check_current_password(target, request.current_password)
        if own and _gives_up_address(target, changes):
            # Who reads somebody's letters gets a new password by one of them.
            await self._second_factor.check_shown(actor, request.hashed_token, besides_password=True)
        password = None
        if changes.password is not UNSET:
            check_password(access, changes.password)
            digest = rules.digest_of(changes.password)
            if own:
                await self._passwords.check_unused(access, target, digest)
            password = await self._passwords.make(digest)
        self._check_fields(changes, target)

        async def decide(user: Document) -> Change:
            return self._decide(user, changes, password, own=own)

        renamed = changes.username if isinstance(changes.username, str) else ""
        email = changes.email if isinstance(changes.email, str) else ""
        by = user_actor(actor.id)
        if changes.roles is not UNSET:
            self._check_may_assign(actor, target, changes.roles)
        if changes.roles is not UNSET and "admin" not in changes.roles:
            refusal = InvalidInput("You need to have at least one admin", code="error-admin-required")
            async with self._accounts.keeping_an_admin(user_id, refusal):
                user = await self._accounts.rename(user_id, by, decide, username=renamed, email=email, tell=False)
        else:
            user = await self._accounts.rename(user_id, by, decide, username=renamed, email=email, tell=False)
        if _gives_up_address(target, changes) and self._letters.is_configured:
            self._letters.post("email-changed", user, str(target["emails"][0]["address"]))
        if password is not None:
            await self._tokens.revoke(
                user_id, by, _ended_by_password(request.hashed_token if user_id == actor.id else None)
            )
        else:
            await self._accounts.tell(user_id)
        return UserReply(user=orjson.dumps(public_user(user)))

    def _check_own(self, given: set[str], user: Document) -> None:
        for name in sorted(given):
            if name == "password" and user.get("requirePasswordChange"):
                continue  # nobody is asked for what they may not do
            settings = _OWN.get(name)
            if settings is None or not all(self._node.access.setting(setting) for setting in settings):
                raise NotAllowed(f"Changing {name} is not allowed", details={"field": name})

    def _check_others(self, actor: User, changes: Changes) -> None:
        access = self._node.access
        given = changes.given()
        takes_picture = given == {"avatarETag", "avatarOrigin"} and not changes.avatarETag and not changes.avatarOrigin
        if takes_picture and access.may(actor, "manage-moderation-actions"):
            return
        plain = given - _OTHERS.keys()
        if (plain or not given) and not access.may(actor, "edit-other-user-info"):
            raise NotAllowed(
                "Editing user is not allowed", code="error-action-not-allowed", details={"action": "Editing_user"}
            )
        for name in sorted(given & _OTHERS.keys()):
            if not access.may(actor, _OTHERS[name]):
                raise NotAllowed(
                    f"Changing {name} is not allowed", code="error-action-not-allowed", details={"field": name}
                )

    def _check_may_assign(self, actor: User, target: Document, roles: list[str]) -> None:
        access = self._node.access
        check_known_roles(roles, access.policy.roles)
        changes_admin = ("admin" in roles) != ("admin" in target.get("roles", ()))
        if changes_admin and not access.may(actor, "assign-admin-role"):
            raise NotAllowed(
                "Assigning admin is not allowed", code="error-action-not-allowed", details={"action": "Assign_admin"}
            )

    async def _check_current_password(self, user: Document, current: str) -> None:
        """Asks for the password again before what would let somebody else keep the account."""
        if stored_hash(user) is None or (not current and self._node.config.test_mode):
            return
        if not current:
            raise SecondFactorRequired(details={"method": "password", "availableMethods": []})
        if not await self._second_factor.check_password(user, current):
            raise NotAllowed("Invalid password", code="error-invalid-password")

    def _check_fields(self, changes: Changes, user: Document) -> None:
        """Raises InvalidInput when a value can't be."""
        setting = self._node.access.setting
        if isinstance(changes.username, str) and changes.username != user.get("username"):
            rules.check_username(changes.username, setting("UTF8_User_Names_Validation"))
            if is_reserved(changes.username):
                raise name_taken(changes.username)
        if changes.email:
            self._users.check_email(changes.email)
        limits = (
            ("Name", changes.name, rules.MAX_NAME, "error-name-size-exceeded"),
            ("Bio", changes.bio, rules.MAX_BIO, "error-bio-size-exceeded"),
            ("Nickname", changes.nickname, rules.MAX_NICKNAME, "error-nickname-size-exceeded"),
            ("Status text", changes.statusText, rules.MAX_STATUS_TEXT, "error-status-text-size-exceeded"),
            ("Avatar", changes.avatarETag or "", 200, "error-avatar-invalid"),
            ("Avatar", changes.avatarOrigin or "", 200, "error-avatar-invalid"),
        )
        for field, text, longest, code in limits:
            if isinstance(text, str):
                rules.check_length(field, text, longest, code)
        if changes.language and not _LANGUAGE.fullmatch(changes.language):
            raise InvalidInput("Invalid language", code="error-invalid-language")
        if isinstance(changes.utcOffset, float) and not -14 <= changes.utcOffset <= 14:
            raise InvalidInput("Invalid offset", code="error-invalid-utc-offset")

    def _decide(self, user: Document, changes: Changes, password: Document | None, *, own: bool) -> Change:
        """The change of the document as it stands."""
        found = Change()
        unset: list[str] = []
        for name in ("name", "bio", "nickname", "statusText", "avatarETag", "avatarOrigin"):
            value = getattr(changes, name)
            if value is UNSET:
                continue
            if value or name == "statusText":
                found.set[name] = value
            else:
                unset.append(name)
        if changes.username is not UNSET:
            found.set |= {"username": changes.username, "username_lower": fold(changes.username)}
        if changes.roles is not UNSET:
            found.set["roles"] = list(dict.fromkeys(changes.roles))
        if isinstance(changes.language, str):
            found.set["language"] = changes.language
        if isinstance(changes.utcOffset, float):
            found.set["utcOffset"] = changes.utcOffset
        if changes.customFields is not UNSET:
            declared = rules.declared_custom_fields(self._node.access.setting("Accounts_CustomFields"))
            merged = {**user.get("customFields", {}), **changes.customFields}
            found.set["customFields"] = rules.check_custom_fields(merged, declared)
        if changes.preferences is not UNSET:
            checked = check_preferences(changes.preferences, self._node.access.policy.settings)
            own_settings = user.get("settings", {})
            preferences = {**own_settings.get("preferences", {}), **checked}
            found.set["settings"] = {**own_settings, "preferences": preferences}
            if checked.get("language"):
                found.set["language"] = checked["language"]
        emails = _emails(user, changes)
        if emails is not None:
            found.set |= {"emails": emails, "emails_lower": [fold(email["address"]) for email in emails]}
        if password is not None:
            found.set["services"] = with_password(self._node.access, user, password)
        if changes.requirePasswordChange is True:
            found.set["requirePasswordChange"] = True
        elif changes.requirePasswordChange is False or (password is not None and own):
            unset += ["requirePasswordChange", "requirePasswordChangeReason"]
        found.unset = tuple(unset)
        return found

    # -- status ------------------------------------------------------------------------------------------------------

    async def set_status(self, request: SetUserStatusRequest) -> UserReply:
        """What a user chooses to show: stored here, made into what others see by presence."""
        access = self._node.access
        actor = await access.get_actor(request.actor)
        user_id = request.user_id or actor.id
        if user_id != actor.id and not access.may(actor, "edit-other-user-info"):
            raise NotAllowed(code="unauthorized")
        change = Change()
        if request.HasField("status"):
            if request.status not in rules.STATUSES:
                raise InvalidInput(
                    "Valid status types include online, away, offline, and busy.", code="error-invalid-status"
                )
            if request.status == "offline" and not access.setting("Accounts_AllowInvisibleStatusOption"):
                raise NotAllowed("Invisible status is disabled", code="error-status-not-allowed")
            change.set["statusDefault"] = request.status
        if request.HasField("status_text"):
            await self._check_may_change_text(user_id, request.status_text)
            rules.check_length(
                "Status text", request.status_text, rules.MAX_STATUS_TEXT, "error-status-text-size-exceeded"
            )
            change.set["statusText"] = request.status_text

        async def decide(_: Document) -> Change:
            return change

        user = await self._accounts.change(user_id, user_actor(actor.id), decide)
        return UserReply(user=orjson.dumps(public_user(user)))

    async def _check_may_change_text(self, user_id: str, text: str) -> None:
        if self._node.access.setting("Accounts_AllowUserStatusMessageChange"):
            return
        user = await self._store.find_user(user_id)
        if user is None or user.get("statusText", "") != text:
            raise NotAllowed("Change status is not allowed")


def _ended_by_password(own_login: str | None) -> Callable[[Document], bool]:
    """Which tokens a new password ends: all, or if the user chose it themself the logins of their other devices."""
    if own_login is None:
        return lambda token: True
    return lambda token: token["_id"] != own_login and not is_personal(token)


def _decoded(data: bytes) -> Changes:
    try:
        changes = msgspec.json.decode(data or b"{}", type=Changes)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InvalidInput(f"Invalid user data: {error}") from error
    if changes.username == "":
        raise InvalidInput(
            "The field Username is required", code="error-the-field-is-required", details={"field": "Username"}
        )
    return changes


def _gives_up_address(user: Document, changes: Changes) -> bool:
    """Whether the user's first address is replaced or taken away."""
    emails = user.get("emails") or [{"address": ""}]
    return changes.email is not UNSET and emails[0]["address"] not in ("", changes.email)


def _emails(user: Document, changes: Changes) -> list[Document] | None:
    """The addresses as they will be, or None when they stay. The first one is the one that is changed."""
    emails: list[Document] = list(user.get("emails", ()))
    if changes.email is not UNSET:
        if not changes.email:
            return emails[1:]
        if not emails or emails[0]["address"] != changes.email:
            emails = [{"address": changes.email, "verified": False}, *emails[1:]]
    elif changes.verified is UNSET:
        return None
    if changes.verified is not UNSET and emails:
        emails = [{**emails[0], "verified": changes.verified}, *emails[1:]]
    return emails
