"""Each endpoint obeys the permissions of the public surface: who has what it needs gets on, who has not is refused.

What is expected comes from the lists of that surface alone (tests/api: which permissions an endpoint's path needs,
which roles have them), not from the code that checks.
"""

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from palaver.gateway import rest
from palaver.gateway.rest.endpoint import Endpoint, endpoints_of
from tests.gateway.examples import IN_ROOMS, PNG, Cast, World, example_of
from tests.gateway.rest import Client
from tests.gateway.test_every_endpoint import name, short_name

_FACTS = Path(__file__).parents[1] / "api"


def load(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_FACTS / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()]


ROLES: dict[str, frozenset[str]] = {
    row["permission"]: frozenset(row["roles"]) for row in load("permissions") if "permission" in row
}
"""The roles that have a permission from the beginning."""

LISTED: dict[str, tuple[str, ...]] = {
    row["path"].removeprefix("/api/v1/"): tuple(row["permissions"])
    for row in load("rest-endpoints")
    if "permissions" in row
}
"""What the lists say of a path: one permission that it needs, or several that play a part."""

_INVITING = ("add-user-to-joined-room", "add-user-to-any-c-room")
_INTEGRATING = (
    "manage-incoming-integrations",
    "manage-own-incoming-integrations",
    "manage-outgoing-integrations",
    "manage-own-outgoing-integrations",
)

NEEDS: dict[str, tuple[str, ...]] = {
    "channels.create": ("create-c",),
    "channels.invite": _INVITING,
    "groups.invite": ("add-user-to-joined-room", "add-user-to-any-p-room"),
    "channels.leave": ("leave-c",),
    "groups.leave": ("leave-p",),
    "rooms.leave": ("leave-c",),
    "channels.rename": ("edit-room",),
    "groups.rename": ("edit-room",),
    "channels.setTopic": ("edit-room",),
    "groups.setTopic": ("edit-room",),
    "channels.setPurpose": ("edit-room",),
    "groups.setPurpose": ("edit-room",),
    "channels.setDescription": ("edit-room",),
    "groups.setDescription": ("edit-room",),
    "channels.setAnnouncement": ("edit-room",),
    "groups.setAnnouncement": ("edit-room",),
    "channels.setCustomFields": ("edit-room",),
    "groups.setCustomFields": ("edit-room",),
    "channels.setJoinCode": ("edit-room",),
    "channels.setReadOnly": ("set-readonly",),
    "groups.setReadOnly": ("set-readonly",),
    "channels.setType": ("edit-room",),
    "groups.setType": ("edit-room",),
    "channels.delete": ("delete-c",),
    "groups.delete": ("delete-p",),
    "rooms.delete": ("delete-c",),
    "im.create": ("create-d",),
    "dm.create": ("create-d",),
    "im.delete": ("delete-d",),
    "dm.delete": ("delete-d",),
    "rooms.saveRoomSettings": ("edit-room",),
    "rooms.changeArchivationState": ("archive-room",),
    "rooms.createDiscussion": ("start-discussion",),
    "rooms.autocomplete.adminRooms": ("view-room-administration", "can-audit"),
    "chat.update": ("edit-message",),
    "chat.delete": ("delete-message", "force-delete-message"),
    "channels.getIntegrations": _INTEGRATING,
    "groups.getIntegrations": _INTEGRATING,
    "integrations.create": _INTEGRATING[:2],
    "integrations.update": _INTEGRATING[:1],
    "integrations.remove": _INTEGRATING[:1],
    "integrations.list": _INTEGRATING,
    "integrations.history": _INTEGRATING[2:3],
    "roles.addUserToRole": ("access-permissions",),
    "roles.getUsersInRole": ("access-permissions",),
    "users.create": ("create-user",),
    "emoji-custom.create": ("manage-emoji",),
    "users.update": ("edit-other-user-info",),
    "users.setActiveStatus": ("edit-other-user-active-status", "manage-moderation-actions"),
    "users.resetAvatar": ("edit-other-user-avatar", "manage-moderation-actions"),
    "users.list": ("view-d-room",),
    "users.listByStatus": ("view-d-room",),
    "directory": ("view-outside-room",),
    "settings/:_id": ("view-privileged-setting",),
    "POST settings/:_id": ("edit-privileged-setting",),
    "channels.convertToTeam": ("edit-room",),
    "groups.convertToTeam": ("edit-room",),
    "teams.addMembers": ("add-team-member", "edit-team-member"),
    "teams.removeRoom": ("remove-team-channel",),
    "teams.updateRoom": ("edit-team-channel",),
    "statistics": ("view-statistics",),
    "statistics.list": ("view-statistics",),
}
"""Any of these is enough for the example of a path of whose permissions the lists name several, or none because they
are checked deeper: then a permission's own name tells where it belongs."""

ENDS_LOGINS = frozenset({"logout", "users.logoutOtherClients", "users.removeOtherTokens", "users.deleteOwnAccount"})
"""After these the next example's caller would be nobody."""

OPEN = frozenset(
    {
        *("channels.list", "rooms.get", "users.autocomplete"),  # what is in the list
        *("users.info", "im.members", "dm.members"),  # what is told of a user
        *("channels.history", "groups.history", "im.history", "dm.history", "channels.messages"),  # who is no member
        *("licenses.info", "settings"),  # how much is told
        *("channels.members", "groups.members"),  # rooms that are for announcements
        *("teams.info", "teams.members", "users.listTeams"),  # private teams of others
        *("teams.listRooms", "teams.listRoomsOfUser"),  # private rooms, too
    }
)
"""Paths whose permissions decide about something else than whether their example is answered."""


def needs_of(declared: Endpoint) -> tuple[str, ...]:
    """The permissions of which any one is enough for the endpoint's example; none if everybody may."""
    found = NEEDS.get(name(declared)) or NEEDS.get(declared.path)
    if found is not None or declared.path in OPEN:
        return found or ()
    listed = LISTED.get(declared.path, ())
    assert len(listed) < 2, f"{name(declared)}: which of {listed} does its example need?"
    return listed


ACTORS = {
    "nobody": (frozenset[str](), frozenset[str]()),
    "outsider": (frozenset({"user"}), frozenset[str]()),
    "guest": (frozenset({"guest"}), frozenset[str]()),
    "member": (frozenset({"user"}), frozenset[str]()),
    "moderator": (frozenset({"user"}), frozenset({"moderator"})),
    "owner": (frozenset({"user"}), frozenset({"owner"})),
    "admin": (frozenset({"admin"}), frozenset[str]()),
}
"""Their roles in the workspace, and in the rooms of the examples."""

REFUSALS = re.compile(r"error-([a-z]+-)*not-(allowed|authorized)|not[-_]authorized|error-unauthorized")
"""The codes by which clients know that they may not do something."""


WITHOUT = dict.fromkeys(("users.sendWelcomeEmail", "sendInvitationEmail"), "error-smtp-not-configured")
"""What the examples get to hear that need more than these tests have."""


def is_refused(answer: httpx.Response) -> bool:
    if answer.status_code != 400:
        return answer.status_code in (401, 403)
    body = answer.json()
    return REFUSALS.fullmatch(str(body.get("errorType", body["error"]))) is not None


def is_documented_refusal(answer: httpx.Response) -> bool:
    body = answer.json()
    if answer.status_code == 401:
        return bool(body == {"status": "error", "message": "You must be logged in to do this."})
    return bool(body["success"] is False) and isinstance(body["error"], str)


@pytest.fixture
async def cast(anybody: Client, admin: Client) -> Cast:
    for setting in ("API_Enable_Direct_Message_History_EndPoint", "E2E_Enable"):
        await admin.post(f"settings/{setting}", value=True)
    return Cast(
        nobody=anybody,
        admin=admin,
        owner=await admin.make_user("olga"),
        moderator=await admin.make_user("max"),
        member=await admin.make_user("mel"),
        guest=await admin.make_user("gus", roles=["guest"]),
        outsider=await admin.make_user("uma"),
    )


async def ask(declared: Endpoint, caller: Client, world: World) -> tuple[httpx.Response, dict[str, Any]]:
    """The answer to the endpoint's example, and its parameters."""
    parameters = await world.fill(example_of(declared))
    path = "/".join(
        parameters.pop(part[1:], "unknown") if part.startswith(":") else part for part in declared.path.split("/")
    )
    options: dict[str, Any] = {"params": parameters} if declared.body is None else {"json": parameters}
    if declared.form:
        options = {"data": parameters, "files": {declared.form[0]: ("dot.png", PNG, "image/png")}}
    return await caller.request(declared.method, path, **options), parameters


class Worlds:
    """Things are made anew for each endpoint that changes them, after each call that did; a refused one does not."""

    def __init__(self, cast: Cast) -> None:
        self.cast = cast
        self.kept: dict[tuple[str, ...], World] = {}

    def get(self, declared: Endpoint, caller: Client) -> World:
        found = self.kept.setdefault(self._key(declared, caller), World(self.cast, caller, self._face(declared)))
        found.caller = caller
        return found

    def forget(self, declared: Endpoint, caller: Client) -> None:
        del self.kept[self._key(declared, caller)]

    def _key(self, declared: Endpoint, caller: Client) -> tuple[str, ...]:
        face = self._face(declared)
        what = "" if declared.method == "GET" else declared.path
        return (face, what, caller.user_id if face in ("im", "dm") else "")

    def _face(self, declared: Endpoint) -> str:
        return declared.path.partition(".")[0]


@pytest.mark.parametrize("module", rest.ENDPOINT_MODULES, ids=short_name)
async def test_who_may_gets_on_and_who_may_not_is_refused(cast: Cast, module: ModuleType) -> None:
    wrong: list[str] = []
    told = ""
    worlds = Worlds(cast)
    for declared in endpoints_of(module):
        needs = needs_of(declared)
        in_room = IN_ROOMS.search(str(example_of(declared))) is not None
        answered = False
        for actor, (roles, room_roles) in ACTORS.items():
            if actor != "nobody" and declared.path in ENDS_LOGINS:
                continue
            caller: Client = getattr(cast, actor)
            answer, parameters = await ask(declared, caller, worlds.get(declared, caller))
            if answer.status_code < 400 and declared.method != "GET":
                worlds.forget(declared, caller)
            held = roles | room_roles if in_room else roles
            told = f"{name(declared)} {parameters} by {actor}: {answer.status_code} {answer.text[:300]}"
            if is_refused(answer) and not is_documented_refusal(answer):
                wrong.append(f"not the documented refusal: {told}")
            if actor == "nobody":
                if (declared.login == "required") != (answer.status_code == 401):
                    wrong.append(f"login: {told}")
            elif not needs:
                if answer.status_code in (401, 403):
                    wrong.append(f"needs nothing: {told}")
            elif not any(ROLES[permission] & held for permission in needs):
                # Who is not in a room hears of none.
                if not is_refused(answer) and not (actor == "outsider" and answer.status_code >= 400):
                    wrong.append(f"may not: {told}")
            elif actor != "outsider" or not in_room:
                answered = (
                    answered
                    or answer.status_code < 400
                    or answer.json().get("errorType") == WITHOUT.get(declared.path, "")
                )
                if is_refused(answer):
                    wrong.append(f"may: {told}")
        if needs and not answered:
            wrong.append(f"the example is not valid: {told}")
    assert not wrong, "\n".join(wrong)
