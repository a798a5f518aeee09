"""Who is online, and what users choose to show of themselves."""

import msgspec

from palaver.gateway.call import Call
from palaver.gateway.ejson import parse_iso
from palaver.gateway.operations import presence
from palaver.gateway.operations.policy import update_setting
from palaver.gateway.operations.users import get_document, get_user, is_myself
from palaver.gateway.rest.endpoint import Answer, LooseParams, endpoint
from palaver.gateway.rest.errors import Failure, Forbidden


class WhichUser(LooseParams, rename="camel"):
    """One user by id or by name, in the three ways that clients know. Nobody named is the caller."""

    user_id: str | None = None
    username: str | None = None
    user: str | None = None

    @property
    def name(self) -> str | None:
        return self.username or self.user


class StatusBody(WhichUser, rename="camel"):
    status: str | None = None
    message: str | None = None


class PresenceQuery(LooseParams):
    ids: list[str] | str = ""
    since: str = msgspec.field(name="from", default="")


@endpoint("POST", "users.setStatus", body=StatusBody)
async def set_status(call: Call, body: StatusBody) -> Answer:
    if body.status is None and body.message is None:
        raise Failure("Match error: Failed Match.OneOf, Match.Maybe or Match.Optional validation")
    user_id = ""
    if not is_myself(call, body.user_id, body.name):
        if not call.may("edit-other-user-info"):
            raise Forbidden
        user_id = (await get_user(call, body.user_id, body.name)).id
    await presence.set_status(call, user_id, status=body.status, text=body.message)
    return {}


@endpoint("GET", "users.getStatus", query=WhichUser)
async def get_status(call: Call, query: WhichUser) -> Answer:
    myself = is_myself(call, query.user_id, query.name)
    user_id = call.me.id if myself else (await get_user(call, query.user_id, query.name)).id
    found = await presence.find_presence(call, user_id)
    own = {"connectionStatus": presence.status_name(found.connection_status)} if myself else {}
    return {"_id": user_id, "message": found.status_text, "status": presence.status_name(found.status), **own}


@endpoint("GET", "users.getPresence", query=WhichUser)
async def get_presence(call: Call, query: WhichUser) -> Answer:
    if not is_myself(call, query.user_id, query.name):
        found = await presence.find_presence(call, (await get_user(call, query.user_id, query.name)).id)
        return {"presence": presence.status_name(found.status)}
    me = await get_document(call, call.me.id)
    login = {"lastLogin": me["lastLogin"]} if "lastLogin" in me else {}
    return {"presence": me["status"], "connectionStatus": me["statusConnection"], **login}


@endpoint("GET", "presence.getConnections", permissions=["manage-user-status"])
async def get_connections(call: Call) -> Answer:
    """Connections of the whole workspace. There is no limit to them: `max` is 0."""
    return {"current": await presence.count_connections(call), "max": 0}


@endpoint("POST", "presence.enableBroadcast", permissions=["manage-user-status"], second_factor=True)
async def enable_broadcast(call: Call) -> Answer:
    """Has everybody be told again of everybody's presence, where settings have switched that off."""
    for setting_id in ("Presence_broadcast_disabled", "Troubleshoot_Disable_Presence_Broadcast"):
        if call.setting(setting_id):
            await update_setting(call, setting_id, False)
    return {}


@endpoint("GET", "users.presence", query=PresenceQuery)
async def list_presence(call: Call, query: PresenceQuery) -> Answer:
    """The users of `ids`, or everybody who is not offline. What changed since `from` is not kept: all are answered."""
    if query.since:
        parse_iso(query.since)
    ids = query.ids.split(",") if isinstance(query.ids, str) else query.ids
    wanted = [id for id in ids if id]
    found = await presence.list_presence(call, wanted)
    return {"users": [presence.shown_presence(one) for one in found], "full": not wanted}
