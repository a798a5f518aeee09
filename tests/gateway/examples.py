"""A valid call of each endpoint, for whoever it is to be tried by: made of its parameters' names.

`parameters_of` fills in what an endpoint's declaration asks for; `EXAMPLES` says what names alone don't. A value such
as "{room}" stands for a thing that a `World` makes when it is first asked for. `test_permissions.py` sees that the
example of whatever needs a permission is valid, so a new endpoint that needs one comes with its line here.
"""

import base64
import re
from dataclasses import dataclass
from itertools import count
from typing import Any

import msgspec

from palaver.gateway.rest.endpoint import Endpoint
from tests.gateway.rest import PASSWORD, Client, read
from tests.gateway.rooms import say
from tests.services import ADMIN_PASSWORD

NAMES: dict[str, Any] = {
    "roomId": "{room}",
    "rid": "{room}",
    "userId": "{target}",
    "username": "{target name}",
    "messageId": "{message}",
    "msgId": "{message}",
    "mid": "{message}",
    "description": "because",
    "topic": "T",
    "selector": '{"term":"a"}',
}
"""What a parameter of this name gets. Of those in one line of ALTERNATIVES, only the first that there is."""

ALTERNATIVES = (("roomId", "rid"), ("userId", "username"))

_FACES: dict[str, dict[str, Any]] = {
    "create": {"name": "{new name}", "username": "{target name}"},
    "counters": {"userId": "{target}"},
    "rename": {"name": "{new name}"},
    "setPurpose": {"purpose": "P"},
    "setAnnouncement": {"announcement": "A"},
    "setReadOnly": {"readOnly": True},
    "setType": {"type": "{other type}"},
    "setDefault": {"default": True},
    "setJoinCode": {"joinCode": "secret"},
    "setCustomFields": {"customFields": {"a": "b"}},
    "setEncrypted": {"encrypted": True},
    "invite": {"userId": "{stranger}"},
    "removeOwner": {"userId": "{another owner}"},
    "removeModerator": {"userId": "{another moderator}"},
    "removeLeader": {"userId": "{leader}"},
    "unarchive": {"roomId": "{archived room}"},
}
"""What the endpoints of `channels.`, `groups.` and `im.` have in common, by the ends of their names."""

_WHAT_INTEGRATION = {
    "type": "webhook-incoming",
    "name": "robot",
    "enabled": True,
    "username": "{own name}",
    "scriptEnabled": False,
    "channel": "#{room name}",
}

IN_ROOMS = re.compile(r"{(.* )?(team|room|message|invite|muted|leader|another .*)( name)?}")
"""What stands for something of a room: who has a role there has its permissions."""

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
"""What is uploaded: a dot."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "POST login": {"user": "boss", "password": ADMIN_PASSWORD, "username": None},
    "POST chat.update": {"text": "other"},
    "POST chat.unPinMessage": {"messageId": "{pinned message}"},
    "POST users.setActiveStatus": {"activeStatus": False},
    "POST users.deactivateIdle": {"daysIdle": 3000, "role": "user"},
    "POST rooms.createDiscussion": {"prid": "{room}", "t_name": "{new name}"},
    "POST findOrCreateInvite": {"days": 1, "maxUses": 5},
    "DELETE removeInvite/:_id": {"_id": "{invite}"},
    "POST users.sendWelcomeEmail": {"email": "boss@example.org"},
    "POST integrations.create": _WHAT_INTEGRATION,
    "PUT integrations.update": {**_WHAT_INTEGRATION, "integrationId": "{integration}", "username": "boss"},
    "POST integrations.remove": {"type": "webhook-incoming", "integrationId": "{integration}"},
    "GET integrations.history": {"id": "{outgoing integration}"},
    "GET moderation.reportInfo": {"reportId": "{report}"},
    "GET moderation.reports": {"msgId": "{reported message}"},
    "POST moderation.dismissReports": {"msgId": "{reported message}"},
    "POST moderation.user.deleteReportedMessages": {"userId": "{author of the reported}"},
    "POST permissions.update": {"permissions": [{"_id": "access-mailer", "roles": ["admin"]}]},
    "POST users.setStatus": {"message": "m", "status": "busy"},
    "POST users.setPreferences": {"data": {"useEmojis": True}},
    "POST rooms.cleanHistory": {"latest": "2020-01-02T00:00:00.000Z", "oldest": "2020-01-01T00:00:00.000Z"},
    "POST roles.create": {"name": "{new name}"},
    "POST roles.update": {"roleId": "{role}", "name": "{new name}"},
    "POST roles.delete": {"roleId": "{role}"},
    "POST roles.addUserToRole": {"username": "{target name}", "roleId": "{role}", "roomId": None},
    "POST roles.removeUserFromRole": {"username": "{target name}", "roleId": "{role of target}", "roomId": None},
    "GET roles.getUsersInRole": {"role": "admin", "roomId": None},
    "POST rooms.changeArchivationState": {"action": "archive"},
    "POST rooms.unmuteUser": {"userId": "{muted}"},
    "POST rooms.muteUser": {"userId": "{target}"},
    "POST rooms.saveRoomSettings": {"roomTopic": "T"},
    "GET sessions/info.admin": {"sessionId": "{session}"},
    "POST sessions/logout": {"sessionId": "{session}"},
    "GET settings/:_id": {"_id": "Message_AllowPinning"},
    "POST settings/:_id": {"_id": "Message_AllowPinning", "value": True},
    "GET directory": {"query": '{"text":"a","type":"users","workspace":"local"}'},
    "POST custom-user-status.create": {"name": "{new name}", "statusType": "busy"},
    "POST custom-user-status.update": {"_id": "{status}", "name": "{new name}", "statusType": "busy"},
    "POST custom-user-status.delete": {"customUserStatusId": "{status}"},
    "POST users.create": {
        "username": "{new name}",
        "name": "New",
        "email": "{new name}@example.org",
        "password": PASSWORD,
        "userId": None,
    },
    "POST users.update": {"data": {"name": "Another name"}},
    "POST rooms.delete": {"roomId": "{room}"},
    "POST assets.setAsset": {"assetName": "logo"},
    "POST assets.unsetAsset": {"assetName": "logo"},
    "POST emoji-custom.create": {"name": "{new name}", "aliases": ""},
    "POST emoji-custom.update": {"_id": "{emoji}", "name": "{new name}", "aliases": ""},
    "POST emoji-custom.delete": {"emojiId": "{emoji}"},
    "POST rooms.export": {"type": "file", "format": "json"},
    "POST sendInvitationEmail": {"emails": ["nobody@example.org"]},
    "POST users.setAvatar": {"userId": "{target}"},
    "POST channels.convertToTeam": {"channelId": "{room}"},
    "POST teams.create": {"name": "{new name}", "type": 0},
    "GET teams.info": {"teamId": "{team}"},
    "POST teams.update": {"teamId": "{team}", "data": {"name": "{new name}"}},
    "POST teams.delete": {"teamId": "{team}"},
    "POST teams.convertToChannel": {"teamId": "{team}"},
    "GET teams.members": {"teamId": "{team}", "username": None},
    "POST teams.addMembers": {"teamId": "{team}", "members": [{"userId": "{stranger}"}]},
    "POST teams.updateMember": {"teamId": "{team}", "member": {"userId": "{target}", "roles": []}},
    "POST teams.removeMember": {"teamId": "{team}", "userId": "{target}"},
    "POST teams.leave": {"teamId": "{team}"},
    "POST teams.addRooms": {"teamId": "{team}", "rooms": ["{everybodys room}"]},
    "POST teams.removeRoom": {"teamId": "{team}", "roomId": "{team room}"},
    "POST teams.updateRoom": {"roomId": "{team room}", "isDefault": True},
    "GET teams.listRooms": {"teamId": "{team}"},
    "GET teams.listRoomsOfUser": {"teamId": "{team}", "userId": "{target}"},
    "GET teams.listChildren": {"roomId": "{team}"},
}


@dataclass(frozen=True)
class Cast:
    """Who calls. All but nobody and the outsider are in the rooms that a World makes, with the role of their name."""

    nobody: Client
    admin: Client
    owner: Client
    moderator: Client
    member: Client
    guest: Client
    outsider: Client


class World:
    """Things for one caller to try an endpoint with, each made when it is first asked for, then kept: see `get`."""

    numbers = count(1)

    def __init__(self, cast: Cast, caller: Client, face: str, also: tuple[str, ...] = ()) -> None:
        """`face`: what the endpoint's name begins with; "groups" have private rooms, "im" direct ones.

        `also`: who else is in the rooms, by username.
        """
        self.also = also
        self.cast = cast
        self.caller = caller
        self.room_type = {"groups": "groups", "im": "im", "dm": "im"}.get(face, "channels")
        self.kept: dict[str, Any] = {}

    async def fill(self, value: Any) -> Any:
        """An example's value with the things themselves in it."""
        if isinstance(value, dict):
            return {name: await self.fill(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [await self.fill(inner) for inner in value]
        if isinstance(value, str):
            for name in re.findall(r"{([a-z ]+)}", value):
                value = value.replace(f"{{{name}}}", await self.get(name))
        return value

    async def get(self, name: str) -> str:
        """The thing of a name such as "target name". Raises AttributeError for one that nobody knows how to make."""
        if name not in self.kept:
            if name == "own name":
                return await self.make_own_name()
            self.kept[name] = await getattr(self, f"make_{name.replace(' ', '_')}")()
        found: str = self.kept[name]
        return found

    async def make_new_name(self) -> str:
        return f"thing{next(self.numbers)}"

    async def make_own_name(self) -> str:
        return str((await self.caller.get("me"))["username"]) if self.caller.user_id else "nobody"

    # -- people --------------------------------------------------------------------------------------------------------

    async def _make_user(self, **fields: Any) -> Client:
        return await self.cast.admin.make_user(f"person{next(self.numbers)}", **fields)

    async def make_target(self) -> str:
        """Somebody in the room."""
        self.kept["target client"] = target = await self._make_user()
        return target.user_id

    async def make_target_name(self) -> str:
        user = await self.cast.admin.get("users.info", userId=await self.get("target"))
        return str(user["user"]["username"])

    async def make_stranger(self) -> str:
        return (await self._make_user()).user_id

    async def make_stranger_name(self) -> str:
        user = await self.cast.admin.get("users.info", userId=await self.get("stranger"))
        return str(user["user"]["username"])

    async def _with_room_role(self, role: str) -> str:
        room_id, user_id = await self.get("room"), await self.get("target")
        await self.cast.owner.post(f"{self.room_type}.add{role}", roomId=room_id, userId=user_id)
        return user_id

    async def make_another_owner(self) -> str:
        return await self._with_room_role("Owner")

    async def make_another_moderator(self) -> str:
        return await self._with_room_role("Moderator")

    async def make_leader(self) -> str:
        return await self._with_room_role("Leader")

    async def make_muted(self) -> str:
        user_id = await self.get("target")
        await self.cast.owner.post("rooms.muteUser", roomId=await self.get("room"), userId=user_id)
        return user_id

    async def make_session(self) -> str:
        await self.get("target")
        listed = await self.kept["target client"].get("sessions/list")
        return str(listed["sessions"][0]["sessionId"])

    # -- rooms and messages --------------------------------------------------------------------------------------------

    async def make_room(self) -> str:
        names = ["boss", "mel", "max", "gus", *self.also, await self.get("target name")]
        if self.room_type == "im":
            other = self.caller if self.caller.user_id not in ("", self.cast.admin.user_id) else self.cast.member
            user = await self.cast.admin.get("users.info", userId=other.user_id)
            return str((await self.cast.admin.post("im.create", username=user["user"]["username"]))["room"]["_id"])
        name = await self.make_new_name()
        made = await self.cast.owner.post(f"{self.room_type}.create", name=name, members=names)
        room_id = str(made[self.room_type[:-1]]["_id"])
        moderator = self.cast.moderator.user_id
        await self.cast.owner.post(f"{self.room_type}.addModerator", roomId=room_id, userId=moderator)
        self.kept["room name"] = name
        return room_id

    async def make_direct_room(self) -> str:
        """The caller's with the target."""
        made = await self.caller.post("im.create", username=await self.get("target name"))
        return str(made["room"]["_id"])

    async def make_open_room(self) -> str:
        """A public room that the caller is not in."""
        made = await self.cast.admin.post("channels.create", name=await self.make_new_name())
        return str(made["channel"]["_id"])

    async def make_room_name(self) -> str:
        await self.get("room")
        return str(self.kept["room name"])

    async def make_archived_room(self) -> str:
        room_id = await self.get("room")
        await self.cast.admin.post(f"{self.room_type}.archive", roomId=room_id)
        return room_id

    async def make_everybodys_room(self) -> str:
        """A room that whoever is in it owns."""
        room_id = await self.get("room")
        others = {who.user_id for who in (self.cast.admin, self.cast.moderator, self.cast.member, self.cast.guest)}
        for user_id in others - {self.cast.owner.user_id}:  # where one plays several of them
            await self.cast.owner.post(f"{self.room_type}.addOwner", roomId=room_id, userId=user_id)
        return room_id

    async def make_team(self) -> str:
        name, target = await self.make_new_name(), await self.get("target")
        members = ["boss", "mel", "max", "gus", target]
        team_id = (await self.cast.owner.post("teams.create", name=name, type=0, members=members))["team"]["_id"]
        moderator = {"userId": self.cast.moderator.user_id, "roles": ["moderator"]}
        await self.cast.owner.post("teams.updateMember", teamId=team_id, member=moderator)
        return str(team_id)

    async def make_team_room(self) -> str:
        room_id = await self.get("room")
        await self.cast.owner.post("teams.addRooms", teamId=await self.get("team"), rooms=[room_id])
        return room_id

    async def make_other_type(self) -> str:
        return "c" if self.room_type == "groups" else "p"

    async def make_message(self) -> str:
        """What somebody else has said in the room."""
        room_id = await self.get("room")
        return str((await say(self.kept["target client"], room_id, "hello"))["_id"])

    async def make_own_message(self) -> str:
        """What the caller has said there."""
        return str((await say(self.caller, await self.get("room"), "hello"))["_id"])

    async def make_upload(self) -> str:
        """A file that the caller has sent there."""
        files = {"file": ("dot.png", PNG, "image/png")}
        answer = await self.caller.request("POST", f"rooms.upload/{await self.get('room')}", files=files)
        return str(read(answer)["message"]["file"]["_id"])

    async def make_pinned_message(self) -> str:
        message_id = await self.get("message")
        await self.cast.owner.post("chat.pinMessage", messageId=message_id)
        return message_id

    async def make_reported_message(self) -> str:
        message_id = await self.get("message")
        await self.cast.admin.post("chat.reportMessage", messageId=message_id, description="because")
        return message_id

    async def make_author_of_the_reported(self) -> str:
        await self.get("reported message")
        return await self.get("target")

    async def make_report(self) -> str:
        found = await self.cast.admin.get("moderation.reports", msgId=await self.get("reported message"))
        return str(found["reports"][0]["_id"])

    async def make_invite(self) -> str:
        room_id = await self.get("room")
        made = await self.cast.owner.post("findOrCreateInvite", rid=room_id, days=1, maxUses=5)
        return str(made["_id"])

    # -- the workspace's -----------------------------------------------------------------------------------------------

    async def make_role(self) -> str:
        return str((await self.cast.admin.post("roles.create", name=await self.make_new_name()))["role"]["_id"])

    async def make_role_of_target(self) -> str:
        role, name = await self.get("role"), await self.get("target name")
        await self.cast.admin.post("roles.addUserToRole", username=name, roleId=role)
        return role

    async def make_emoji(self) -> str:
        name = await self.make_new_name()
        form = {"data": {"name": name, "aliases": ""}, "files": {"emoji": ("dot.png", PNG, "image/png")}}
        read(await self.cast.admin.request("POST", "emoji-custom.create", **form))
        listed = (await self.cast.admin.get("emoji-custom.list"))["emojis"]["update"]
        return str(next(emoji["_id"] for emoji in listed if emoji["name"] == name))

    async def make_status(self) -> str:
        name = await self.make_new_name()
        made = await self.cast.admin.post("custom-user-status.create", name=name, statusType="busy")
        return str(made["customUserStatus"]["_id"])

    async def make_integration(self) -> str:
        body = await self.fill({**_WHAT_INTEGRATION, "username": "boss"})
        return str((await self.cast.admin.post("integrations.create", **body))["integration"]["_id"])

    async def make_outgoing_integration(self) -> str:
        body = await self.fill({**_WHAT_INTEGRATION, "username": "boss", "type": "webhook-outgoing"})
        more = {"event": "sendMessage", "urls": ["http://chat.example.org/"]}
        return str((await self.cast.admin.post("integrations.create", **body, **more))["integration"]["_id"])


def example_of(declared: Endpoint) -> dict[str, Any]:
    """The parameters of an endpoint's example, those in its path included, with "{…}" where a World has to fill in."""
    kinds = [kind for kind in (declared.query, declared.body) if kind is not None]
    names = [
        *declared.parameter_names,
        *(field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)),
    ]
    for line in ALTERNATIVES:
        for name in [name for name in line if name in names][1:]:
            names.remove(name)
    face, _, what = declared.path.partition(".")
    if face in ("im", "dm") and "roomId" in names:
        names = [name for name in names if name != "username"]
    found = {name: NAMES[name] for name in names if name in NAMES}
    if face in ("channels", "groups", "im", "dm"):
        found.update({name: value for name, value in _FACES.get(what, {}).items() if name in names})
    found.update(EXAMPLES.get(f"{declared.method} {declared.path}", {}))
    return {name: value for name, value in found.items() if value is not None}
