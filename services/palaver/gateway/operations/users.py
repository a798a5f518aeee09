"""Accounts: finding, creating and changing them. Shared by `rest/users*.py` and `ddp/methods/users.py`."""

import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson
from msgspec import UNSET, UnsetType

from palaver.access import User
from palaver.errors import InvalidInput, NotAllowed, UserNotFound
from palaver.events import user_actor
from palaver.gateway.call import Call
from palaver.gateway.ejson import encode
from palaver.gateway.operations import authentication, invites, letters
from palaver.gateway.operations.presence import join_status, set_status
from palaver.v1.auth_pb2 import (
    CreateUserRequest,
    DeactivateIdleRequest,
    DeleteUserRequest,
    GetUserRequest,
    ListUsersRequest,
    LogoutRequest,
    RegisterUserRequest,
    SetUserActiveRequest,
    UpdateUserRequest,
)
from palaver.v1.messaging_pb2 import CheckRelinquishRequest, JoinDefaultRoomsRequest

Document = dict[str, Any]

_QUERY_FIELDS = ("_id", "username", "name", "active", "type", "roles", "createdAt", "emails.address")
_MAX_DAYS = 1_000_000  # more than anybody means
_SORT_FIELDS = ("username", "name", "active", "type", "createdAt")
# Whose last login somebody may not see, they don't find out by looking for it either.
_SEEN_BY_FEW = ("lastLogin",)


async def get_user(call: Call, user_id: str | None, username: str | None) -> User:
    """A user by id, else by name. Raises InvalidInput when neither is given, UserNotFound for an unknown one."""
    if user_id:
        found = await call.access.find_user(user_id)
    elif username:
        found = next(iter((await call.access.find_users_by_name([username])).values()), None)
    else:
        raise InvalidInput(
            'The required "userId" or "username" param was not provided', code="error-user-param-not-provided"
        )
    if found is None:
        raise UserNotFound
    return found


def query_fields(call: Call) -> tuple[str, ...]:
    """What the caller may look for in lists of users."""
    return _QUERY_FIELDS + _SEEN_BY_FEW if call.may("view-full-other-user-info") else _QUERY_FIELDS


def sort_fields(call: Call) -> tuple[str, ...]:
    """What the caller may have lists of users sorted by."""
    return _SORT_FIELDS + _SEEN_BY_FEW if call.may("view-full-other-user-info") else _SORT_FIELDS


def is_myself(call: Call, user_id: str | None, username: str | None) -> bool:
    """Whether this is the caller; nobody named is the caller, too."""
    return user_id == call.me.id if user_id else (username or call.me.username) == call.me.username


async def get_document(call: Call, user_id: str = "", *, username: str = "", import_id: str = "") -> Document:
    """What the caller may see of a user, with the status of now. Raises UserNotFound."""
    request = GetUserRequest(actor=call.actor)
    if user_id:
        request.user_id = user_id
    elif username:
        request.username = username
    else:
        request.import_id = import_id
    reply = await call.services.auth.get_user(request)
    user: Document = orjson.loads(reply.user)
    await join_status(call, [user])
    return user


async def list_users(
    call: Call,
    *,
    where: Document | None = None,
    sort: Sequence[tuple[str, int]] = (),
    offset: int = 0,
    count: int = 0,
    term: str = "",
    exceptions: Sequence[str] = (),
    role: str = "",
    with_total: bool = True,
) -> tuple[list[Document], int]:
    """Users that match, with the status of now, and how many there are in all (without the total: in this answer). A
    count of 0 is everybody."""
    reply = await call.services.auth.list_users(
        ListUsersRequest(
            actor=call.actor,
            filter=orjson.dumps(where) if where else b"",
            sort=orjson.dumps(sort) if sort else b"",
            offset=offset,
            count=count,
            term=term,
            exceptions=exceptions,
            role=role,
            without_total=not with_total,
        )
    )
    users: list[Document] = [orjson.loads(document) for document in reply.documents]
    await join_status(call, users)
    return users, reply.total


class NewUser(msgspec.Struct, kw_only=True, rename="camel"):
    """A user that an administrator makes."""

    email: str
    name: str
    password: str
    username: str
    active: bool = True
    bio: str = ""
    nickname: str = ""
    status_text: str = ""
    roles: list[str] = []
    join_default_channels: bool = True
    require_password_change: bool = False
    set_random_password: bool = False
    verified: bool = False
    custom_fields: Document | None = None
    send_welcome_email: bool = False


async def create_user(call: Call, new: NewUser) -> Document:
    """Makes a user, who enters the default rooms unless it is said otherwise.

    Raises MailNotConfigured, before anything is made, where they are to be sent a letter and can't be.
    """
    if new.send_welcome_email:
        letters.check_mail_configured(call)
    reply = await call.services.auth.create_user(
        CreateUserRequest(
            actor=call.actor,
            username=new.username,
            email=new.email,
            password=authentication.random_password(call) if new.set_random_password else new.password,
            name=new.name,
            roles=new.roles,
            inactive=not new.active,
            verified=new.verified,
            require_password_change=new.require_password_change,
            custom_fields=_custom_fields(new.custom_fields),
            bio=new.bio,
            nickname=new.nickname,
            status_text=new.status_text,
            skip_default_rooms=not new.join_default_channels,
        )
    )
    user: Document = orjson.loads(reply.user)
    if new.join_default_channels and user.get("active", True):
        await _add_to_default_rooms(call, user["_id"])
    if new.send_welcome_email and new.email:
        await letters.send_welcome(call, new.email)
    await join_status(call, [user])
    return user


class Registration(msgspec.Struct, kw_only=True, rename="camel"):
    """What somebody says who registers themself."""

    username: str
    email: str
    password: str = msgspec.field(name="pass")
    name: str = ""
    secret: str = ""
    reason: str = ""
    custom_fields: Document | None = None


async def register_user(call: Call, form: Registration) -> Document:
    """Makes an account for whoever asks, as far as the settings allow. An invite's token is a secret, too."""
    reply = await call.services.auth.register_user(
        RegisterUserRequest(
            username=form.username,
            email=form.email,
            password=form.password,
            name=form.name,
            secret=form.secret,
            reason=form.reason,
            custom_fields=_custom_fields(form.custom_fields),
            address=call.address,
            invited=await _is_invited(call, form.secret),
        )
    )
    user: Document = orjson.loads(reply.user)
    if user.get("active", True):
        # They act for themself: nobody else has brought them about.
        request = JoinDefaultRoomsRequest(actor=user_actor(user["_id"]))
        await call.services.messaging.join_default_rooms(request)
    return user


async def is_registration_secret(call: Call, secret: str) -> bool:
    """Whether somebody who knows it may register: the workspace's own secret, or an invite's token."""
    own = str(call.setting("Accounts_RegistrationForm_SecretURL"))
    if call.setting("Accounts_RegistrationForm") != "Secret URL" or not secret:
        return False
    is_own = bool(own) and hmac.compare_digest(own.encode(), secret.encode(errors="replace"))
    return is_own or await _is_invited(call, secret)


async def _is_invited(call: Call, secret: str) -> bool:
    """Whether it is an invite's token, where such a one lets somebody in."""
    wanted = secret and call.setting("Accounts_RegistrationForm") == "Secret URL"
    return bool(wanted) and await invites.is_valid(call, secret)


class UserChanges(msgspec.Struct, kw_only=True, rename="camel"):
    """What an administrator changes of a user."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    password: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    bio: str | UnsetType = UNSET
    nickname: str | UnsetType = UNSET
    status_text: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    active: bool | UnsetType = UNSET
    roles: list[str] | UnsetType = UNSET
    verified: bool | UnsetType = UNSET
    require_password_change: bool | UnsetType = UNSET
    set_random_password: bool | UnsetType = UNSET
    custom_fields: Document | UnsetType = UNSET
    join_default_channels: bool | UnsetType = UNSET
    send_welcome_email: bool | UnsetType = UNSET


_SET_ELSEWHERE = (
    "_id",
    "active",
    "status",
    "statusText",
    "setRandomPassword",
    "joinDefaultChannels",
    "sendWelcomeEmail",
)


async def update_user(call: Call, user_id: str, changes: UserChanges, *, confirm_relinquish: bool = False) -> None:
    """Changes somebody else's data. `confirm_relinquish`: as for `set_active`. Raises UserNotFound, NotAllowed."""
    if not user_id:
        raise UserNotFound  # for auth, nobody is the caller
    given: Document = msgspec.to_builtins(changes)
    fields = {name: value for name, value in given.items() if name not in _SET_ELSEWHERE}
    if given.get("setRandomPassword"):
        fields["password"] = authentication.random_password(call)
    active, status, text = (given.get(name) for name in ("active", "status", "statusText"))
    if fields or (active is None and status is None and text is None):
        await call.services.auth.update_user(
            UpdateUserRequest(actor=call.actor, user_id=user_id, set=encode(fields), hashed_token=call.hashed_token)
        )
    if active is not None:
        await set_active(call, user_id, active, confirm_relinquish=confirm_relinquish)
    if status is not None or text is not None:
        await set_status(call, user_id, status=status, text=text)


async def update_own(
    call: Call,
    changes: Document,
    *,
    status: str | None = None,
    status_text: str | None = None,
    current_password: str = "",
) -> None:
    """Changes the caller's own data. The password may also come as the call's second factor.

    Raises SecondFactorRequired for another address of somebody who has one and has not shown it.
    """
    if call.second_factor_method == "password":
        current_password = current_password or call.second_factor_code
    elif "email" in changes and call.second_factor_code:
        await call.check_second_factor()
    if changes:
        await call.services.auth.update_user(
            UpdateUserRequest(
                actor=call.actor,
                user_id=call.me.id,
                set=encode(changes),
                own=True,
                current_password=current_password,
                hashed_token=call.hashed_token,
            )
        )
    if status is not None or status_text is not None:
        await set_status(call, status=status, text=status_text)


async def set_preferences(call: Call, user_id: str, preferences: Document) -> Document:
    """Changes preferences; returns the user's document afterwards."""
    own = user_id == call.me.id
    changes: Document = {"preferences": {name: value for name, value in preferences.items() if name != "language"}}
    if "language" in preferences:
        changes["language"] = preferences["language"]
    reply = await call.services.auth.update_user(
        UpdateUserRequest(actor=call.actor, user_id=user_id, set=encode(changes), own=own)
    )
    user: Document = orjson.loads(reply.user)
    return user


async def set_active(call: Call, user_id: str, active: bool, *, confirm_relinquish: bool = False) -> None:
    """Activates a user, who enters the default rooms as a new one does; or deactivates one and ends their logins.

    Raises NotAllowed (user-last-owner) for one who owns rooms alone, unless it is confirmed that others get them.
    """
    before = await call.access.find_user(user_id)
    if not active and not confirm_relinquish:
        await call.services.messaging.check_relinquish(CheckRelinquishRequest(actor=call.actor, user_id=user_id))
    await call.services.auth.set_user_active(
        SetUserActiveRequest(actor=call.actor, user_id=user_id, active=active, relinquish=confirm_relinquish)
    )
    if active and before is not None and not before.active:
        await _add_to_default_rooms(call, user_id)


async def deactivate_idle(call: Call, days: int, role: str) -> int:
    """Deactivates everybody with this role who has not logged in for so many days; answers how many those were."""
    request = DeactivateIdleRequest(actor=call.actor, days=max(0, min(days, _MAX_DAYS)), role=role)
    count = 0
    while True:
        reply = await call.services.auth.deactivate_idle(request)
        count += reply.count
        if not reply.more:
            return count


async def delete_user(call: Call, user_id: str, *, confirm_relinquish: bool = False) -> None:
    """Ends somebody's account. Raises what `set_active` does."""
    if not call.may("delete-user"):
        raise NotAllowed
    request = DeleteUserRequest(actor=call.actor, user_id=user_id)
    await _delete(call, request, user_id, confirm_relinquish)


async def delete_own(call: Call, password: str, *, confirm_relinquish: bool = False) -> None:
    """Ends the caller's own account. `password`: as it is, or its SHA-256 in hexadecimal."""
    if not call.access.setting("Accounts_AllowDeleteOwnAccount"):
        raise NotAllowed
    request = DeleteUserRequest(actor=call.actor, own=True, password=password)
    await _delete(call, request, call.me.id, confirm_relinquish)


async def _delete(call: Call, request: DeleteUserRequest, user_id: str, confirmed: bool) -> None:
    if not confirmed:
        await call.services.messaging.check_relinquish(CheckRelinquishRequest(actor=call.actor, user_id=user_id))
    await call.services.auth.delete_user(request)


async def logout_user(call: Call, user_id: str) -> None:
    """Ends every login of a user; somebody else's, with the permission."""
    await call.services.auth.logout(LogoutRequest(actor=call.actor, user_id=user_id, all=True))


async def _add_to_default_rooms(call: Call, user_id: str) -> None:
    """A user whom the caller has made or activated enters the default rooms."""
    await call.services.messaging.join_default_rooms(JoinDefaultRoomsRequest(actor=call.actor, user_id=user_id))


def _custom_fields(fields: Document | None) -> bytes:
    return encode(fields) if fields else b""
