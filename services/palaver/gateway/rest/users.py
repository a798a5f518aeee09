"""Accounts: creating, finding and changing users."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from palaver.errors import Conflict, InvalidInput, UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.ejson import iso, loads
from palaver.gateway.operations import authentication, usernames, users
from palaver.gateway.rest.endpoint import Answer, Page, Params, RateLimit, endpoint
from palaver.gateway.rest.errors import Failure, Forbidden, check_one_given
from palaver.gateway.rest.query import page, parse_fields, parse_query, parse_sort, select
from palaver.v1.messaging_pb2 import ListSubscriptionsRequest

_AUTOCOMPLETED = {"username": True, "name": True, "nickname": True, "status": True, "avatarETag": True}
_AUTOCOMPLETE_COUNT = 10


class CreateBody(users.NewUser, kw_only=True, rename="camel", forbid_unknown_fields=True):
    fields: str = ""


class RegisterBody(users.Registration, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class InfoQuery(Params, rename="camel"):
    user_id: str | None = None
    username: str | None = None
    import_id: str | None = None
    fields: str = ""


class StatusQuery(Page, rename="camel"):
    status: Literal["active", "deactivated"] | None = None
    has_logged_in: bool | None = None
    type: str = ""
    roles: list[str] | str = ""
    search_term: str = ""


class UpdateData(users.UserChanges, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class UpdateBody(Params, rename="camel"):
    user_id: str
    data: UpdateData
    confirm_relinquish: bool = False


class OwnData(Params, rename="camel"):
    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    nickname: str | UnsetType = UNSET
    bio: str | UnsetType = UNSET
    status_text: str | None = None
    status_type: str | None = None
    current_password: str = ""
    new_password: str | UnsetType = UNSET


class OwnBody(Params, rename="camel"):
    data: OwnData
    custom_fields: dict[str, Any] | None = None


class PreferencesBody(Params, rename="camel"):
    data: dict[str, Any]
    user_id: str | None = None


class LogoutBody(Params, rename="camel"):
    user_id: str | None = None


class AutocompleteQuery(Params):
    selector: str


class Selector(msgspec.Struct):
    term: str = ""
    exceptions: list[str] = []
    conditions: dict[str, Any] | None = None


class UsernameQuery(Params):
    username: str


@endpoint("POST", "users.create", body=CreateBody, shows="user")
async def create(call: Call, body: CreateBody) -> Answer:
    fields = parse_fields(body.fields)
    return {"user": select(await users.create_user(call, body), fields)}


@endpoint(
    "POST",
    "users.register",
    body=RegisterBody,
    login="optional",
    rate_limit=RateLimit(1, 60, setting="Rate_Limiter_Limit_RegisterUser"),
    shows="user",
)
async def register(call: Call, body: RegisterBody) -> Answer:
    if call.user is not None:
        raise Failure("Logged in users can not register again.")
    try:
        return {"user": await users.register_user(call, body)}
    except (Conflict, InvalidInput) as error:  # clients tell by these words which field of their form is wrong
        match error.error_code, error.details.get("field"):
            case "error-field-unavailable", "username":
                raise Failure("Username is already in use") from error
            case "error-field-unavailable", "email":
                raise Conflict("Email already exists.", code="403") from error
            case "error-input-is-not-a-valid-field", "Username":
                raise Failure("The username provided is not valid") from error
        raise


@endpoint("GET", "users.info", query=InfoQuery, shows="user")
async def info(call: Call, query: InfoQuery) -> Answer:
    check_one_given(userId=query.user_id, username=query.username, importId=query.import_id)
    fields = parse_fields(query.fields)
    try:
        user = await users.get_document(
            call, query.user_id or "", username=query.username or "", import_id=query.import_id or ""
        )
    except UserNotFound as error:
        raise Failure("User not found.") from error
    with_rooms = fields.pop("userRooms", False)
    shown = select(user, fields)
    if with_rooms and (user["_id"] == call.me.id or call.may("view-other-user-channels")):
        shown["rooms"] = await _list_rooms(call, user["_id"])
    return {"user": shown}


async def _list_rooms(call: Call, user_id: str) -> list[dict[str, Any]]:
    """Where a user is."""
    reply = await call.services.messaging.list_subscriptions(
        ListSubscriptionsRequest(actor=call.actor, user_id=user_id, updated_since=-1)
    )
    names = ("rid", "name", "t", "roles", "unread")
    found = [loads(subscription) for subscription in reply.subscriptions]
    rooms = [{name: one[name] for name in names if name in one} for one in found]
    return sorted(rooms, key=lambda room: (room.get("t", ""), room.get("name", "")))


@endpoint("GET", "users.list", query=Page, lists="users")
async def list_users(call: Call, query: Page) -> Answer:
    offset, count = page(call, query)
    fields = parse_fields(query.fields)
    found, total = await users.list_users(
        call,
        where=parse_query(query.query, users.query_fields(call)),
        sort=parse_sort(query.sort, users.sort_fields(call)),
        offset=offset,
        count=count,
    )
    return {"users": [select(user, fields) for user in found], "count": len(found), "offset": offset, "total": total}


@endpoint("GET", "users.listByStatus", query=StatusQuery, permissions=["view-d-room"], lists="users")
async def list_by_status(call: Call, query: StatusQuery) -> Answer:
    """Users by whether they are active, and by whether they have ever logged in."""
    offset, count = page(call, query)
    conditions: list[dict[str, Any]] = [dict(parse_query(query.query, users.query_fields(call)))]
    if query.status is not None:
        conditions.append({"active": query.status == "active"})
    if query.has_logged_in is not None:
        conditions.append({"lastLogin": {"$exists": query.has_logged_in}})
    if query.type:
        conditions.append({"type": query.type})
    roles = query.roles.split(",") if isinstance(query.roles, str) else query.roles
    if wanted := [role for role in roles if role]:
        conditions.append({"roles": {"$in": wanted}})
    found, total = await users.list_users(
        call,
        where={"$and": [condition for condition in conditions if condition]} if any(conditions) else None,
        sort=parse_sort(query.sort, users.sort_fields(call)),
        offset=offset,
        count=count,
        term=query.search_term,
    )
    return {"users": found, "count": len(found), "offset": offset, "total": total}


@endpoint("POST", "users.update", body=UpdateBody, second_factor=True, shows="user")
async def update(call: Call, body: UpdateBody) -> Answer:
    await users.update_user(call, body.user_id, body.data, confirm_relinquish=body.confirm_relinquish)
    return {"user": await users.get_document(call, body.user_id)}


@endpoint("POST", "users.updateOwnBasicInfo", body=OwnBody, shows="user")
async def update_own(call: Call, body: OwnBody) -> Answer:
    changes = msgspec.to_builtins(body.data)
    for name in ("statusText", "statusType", "currentPassword"):
        changes.pop(name, None)
    if "newPassword" in changes:
        changes["password"] = changes.pop("newPassword")
    if body.custom_fields:
        changes["customFields"] = body.custom_fields
    await users.update_own(
        call,
        changes,
        status=body.data.status_type,
        status_text=body.data.status_text,
        current_password=body.data.current_password,
    )
    return {"user": await authentication.get_me(call)}


@endpoint("GET", "users.getPreferences")
async def get_preferences(call: Call) -> Answer:
    """One's own choices; what was never chosen is not among them."""
    me = await users.get_document(call, call.me.id)
    preferences = dict((me.get("settings") or {}).get("preferences") or {})
    if me.get("language"):
        preferences["language"] = me["language"]
    return {"preferences": preferences}


@endpoint("POST", "users.setPreferences", body=PreferencesBody, shows="user")
async def set_preferences(call: Call, body: PreferencesBody) -> Answer:
    user = await users.set_preferences(call, body.user_id or call.me.id, body.data)
    preferences = dict((user.get("settings") or {}).get("preferences") or {})
    if user.get("language"):
        preferences["language"] = user["language"]
    return {"user": {"_id": user["_id"], "settings": {"preferences": preferences}}}


@endpoint("POST", "users.logout", body=LogoutBody)
async def logout(call: Call, body: LogoutBody) -> Answer:
    user_id = body.user_id or call.me.id
    if user_id != call.me.id and not call.may("logout-other-user"):
        raise Forbidden
    if await call.access.find_user(user_id) is None:
        raise InvalidInput("Invalid user id", code="error-invalid-user-id")
    await users.logout_user(call, user_id)
    return {"message": f"User {user_id} has been logged out!"}


@endpoint("POST", "users.logoutOtherClients")
async def logout_other_clients(call: Call) -> Answer:
    await authentication.logout_others(call)
    return {"token": call.token, "tokenExpires": iso(call.token_expires_at) if call.token_expires_at else ""}


@endpoint("POST", "users.removeOtherTokens")
async def remove_other_tokens(call: Call) -> Answer:
    await authentication.logout_others(call)
    return {}


@endpoint("GET", "users.autocomplete", query=AutocompleteQuery)
async def autocomplete(call: Call, query: AutocompleteQuery) -> Answer:
    try:
        selector = msgspec.json.decode(query.selector, type=Selector)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidInput("Invalid selector parameter", code="error-invalid-selector") from error
    if not call.may("view-outside-room"):
        return {"items": []}
    where = parse_query(msgspec.json.encode(selector.conditions or {}).decode(), users.query_fields(call))
    found, _ = await users.list_users(
        call,
        where={"$and": [{"active": True}, where]} if where else {"active": True},
        term=selector.term,
        exceptions=selector.exceptions,
        count=_AUTOCOMPLETE_COUNT,
        with_total=False,
    )
    return {"items": [select(user, _AUTOCOMPLETED) for user in found]}


@endpoint("GET", "users.checkUsernameAvailability", query=UsernameQuery)
async def check_username_availability(call: Call, query: UsernameQuery) -> Answer:
    return {"result": await usernames.is_free(call, query.username)}


@endpoint("GET", "users.getUsernameSuggestion")
async def get_username_suggestion(call: Call) -> Answer:
    return {"result": await usernames.suggest(call)}
