"""Usernames that are free. Shared by `rest/users.py` and `ddp/methods/users.py`."""

import re
import unicodedata

import orjson

from palaver.account_names import is_blocked
from palaver.errors import UserNotFound
from palaver.gateway.call import Call
from palaver.gateway.operations.users import get_document
from palaver.ids import new_id
from palaver.v1.auth_pb2 import GetUserRequest, GetUsersRequest

_SUGGESTIONS = 20
_MAX_SUGGESTED = 50


async def is_free(call: Call, username: str) -> bool:
    """Whether the caller may choose a username: nobody else has it, whatever its case, and it is not blocked."""
    if username == call.me.username:
        return True
    if is_blocked(username, call.setting):
        return False
    try:
        await call.services.auth.get_user(GetUserRequest(actor=call.actor, username=username))
    except UserNotFound:
        return True
    return False


async def suggest(call: Call) -> str:
    """A username that is free, made of the caller's name or address."""
    me = await get_document(call, call.me.id)
    address = next((email["address"] for email in me.get("emails", ())), "")
    return await suggest_for(call, me.get("name", ""), address, user_id=call.me.id)


async def suggest_for(call: Call, name: str, address: str, *, user_id: str = "") -> str:
    """A username that is free, or that user's already, made of somebody's name or address."""
    prefix = str(call.setting("Accounts_DefaultUsernamePrefixSuggestion") or "user")
    for text in (name, address.partition("@")[0], prefix):
        base = _as_username(text)
        if not base:
            continue
        wanted = [base, *(f"{base}-{number}" for number in range(1, _SUGGESTIONS))]
        reply = await call.services.auth.get_users(GetUsersRequest(usernames=wanted))
        taken = {user["username"].lower() for user in map(orjson.loads, reply.documents) if user["_id"] != user_id}
        free = (one for one in wanted if one not in taken and not is_blocked(one, call.setting))
        if found := next(free, ""):
            return found
    return f"{_as_username(prefix) or 'user'}-{new_id().lower()}"


def _as_username(text: str) -> str:
    """What of a name can be in a username everywhere: small letters without marks, digits, dots between words."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return ".".join(re.findall(r"[a-z0-9]+", plain))[:_MAX_SUGGESTED]
