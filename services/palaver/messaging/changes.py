"""Changes of a room: each with its permission and, where people are told, its system message.

A command may change several things. Each that the room tells of becomes an event of its own; all others share one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from palaver.access import User
from palaver.commit import Draft, now
from palaver.errors import InvalidInput, NotAllowed
from palaver.events import room_stream
from palaver.messaging import rules
from palaver.messaging.names import Names
from palaver.messaging.notices import Notices
from palaver.messaging.rooms import Rooms, check_not_direct, parse_object
from palaver.messaging.views import View, Views
from palaver.node import Node
from palaver.v1.event_pb2 import Actor, Event
from palaver.v1.messaging_pb2 import RoomReply, UpdateRoomRequest

_MAX_TEXT = 10_000
_MAX_DAYS = 36_500
# What `retention` has: how long the room keeps its messages, instead of what the settings say.
_RETENTION: dict[str, type] = {
    "enabled": bool,
    "overrideGlobal": bool,
    "maxAge": int,
    "excludePinned": bool,
    "filesOnly": bool,
    "ignoreThreads": bool,
}
_SIDEPANEL_ITEMS = ("channels", "discussions")


@dataclass(slots=True)
class Change:
    """Fields to set and remove, and what is told of it."""

    set: dict[str, Any] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    notice: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class _Field:
    """What may be done to one field of a room. `permission`: none for what every member may.

    `notice`: the type of the system message for the new value.
    """

    type: type | tuple[type, ...]
    permission: Callable[[Any, View], str]
    notice: Callable[[Any], str] = lambda value: ""


def _always(permission: str) -> Callable[[Any, View], str]:
    return lambda value, view: permission


_EDIT = _always("edit-room")
_ADMINISTER = _always("view-room-administration")

_FIELDS: dict[str, _Field] = {
    "name": _Field(str, _EDIT),
    "fname": _Field(str, _EDIT, lambda value: "r"),
    "topic": _Field(str, _EDIT, lambda value: "room_changed_topic"),
    "description": _Field(str, _EDIT, lambda value: "room_changed_description"),
    "announcement": _Field(str, _EDIT, lambda value: "room_changed_announcement"),
    "customFields": _Field(dict, _EDIT),
    "sysMes": _Field((list, bool), _EDIT),
    "joinCode": _Field(str, _EDIT),
    "t": _Field(str, lambda value, view: f"create-{value}", lambda value: "room_changed_privacy"),
    "ro": _Field(
        bool, _always("set-readonly"), lambda value: "room-set-read-only" if value else "room-removed-read-only"
    ),
    "reactWhenReadOnly": _Field(
        bool,
        _always("set-react-when-readonly"),
        lambda value: "room-allowed-reacting" if value else "room-disallowed-reacting",
    ),
    "archived": _Field(
        bool,
        lambda value, view: "archive-room" if value else "unarchive-room",
        lambda value: "room-archived" if value else "room-unarchived",
    ),
    "default": _Field(bool, _ADMINISTER),
    "featured": _Field(bool, _ADMINISTER),
    "favorite": _Field(bool, _ADMINISTER),
    "retention": _Field(dict, _always("edit-room-retention-policy")),
    "sidepanel": _Field(dict, _EDIT),
    "encrypted": _Field(bool, _always("toggle-room-e2e-encryption")),
    "avatarETag": _Field(str, _always("edit-room-avatar"), lambda value: "room_changed_avatar"),
    "mute": _Field(str, _always("mute-user"), lambda value: "user-muted"),
    "unmute": _Field(str, _always("mute-user"), lambda value: "user-unmuted"),
    "block": _Field(str, _always("")),
    "unblock": _Field(str, _always("")),
}
# A direct room's own business; everything else is for rooms with a name.
_OF_DIRECT_ROOMS = frozenset(
    {
        "topic",
        "description",
        "announcement",
        "customFields",
        "encrypted",
        "mute",
        "unmute",
        "block",
        "unblock",
        "retention",
    }
)
# What is no part of editing a room, and is refused in the words of its own.
_OF_OWN_ACTS = frozenset({"archived", "mute", "unmute", "block", "unblock"})


class Changes:
    """The use case of changing a room."""

    def __init__(self, node: Node, views: Views, rooms: Rooms, names: Names, notices: Notices) -> None:
        self._node = node
        self._views = views
        self._rooms = rooms
        self._names = names
        self._notices = notices

    async def update(self, request: UpdateRoomRequest, *, permission: str = "") -> RoomReply:
        """Changes the fields of `set`, all or none where one is refused.

        `permission`: the one that stands for those of all fields.

        Raises RoomNotFound, NotAllowed, InvalidInput, Conflict (of the name).
        """
        user = await self._views.get_actor(request.actor)
        wanted = {name: value for name, value in parse_object(request.set).items() if value is not None}
        for name, value in wanted.items():
            if name not in _FIELDS:
                raise InvalidInput(f"must NOT have additional properties: {name}")
            if not isinstance(value, _FIELDS[name].type) or (isinstance(value, str) and len(value) > _MAX_TEXT):
                raise InvalidInput(f"{name} has the wrong type", code=f"error-invalid-room-{name}")

        async def check_all(draft: Draft) -> bool:
            view = await self._views.get_drafted(draft, user, administered=True)
            for name, value in wanted.items():
                self._check(view, name, value, permission)
                await self._add(Change(), view, name, value)
            return "prid" in view.room

        stream = room_stream(request.room_id)
        is_discussion = await self._node.commits.execute(stream, check_all)
        if is_discussion and (shown := wanted.pop("name", "").strip()):
            wanted["fname"] = shown  # its name is an id: any number of discussions may be called the same
        if "name" in wanted:  # before all others: it may be no name, or another room's
            await self._rename(request.actor, user, request.room_id, wanted.pop("name"), permission)
        silent = {name: value for name, value in wanted.items() if not _FIELDS[name].notice(value)}
        if silent:
            await self._apply(request.actor, user, request.room_id, silent, permission)
        for name, value in wanted.items():
            if name not in silent:
                await self._apply(request.actor, user, request.room_id, {name: value}, permission)
        return await self._rooms.reply(request.room_id, user)

    async def _apply(self, actor: Actor, user: User, room_id: str, wanted: dict[str, Any], permission: str) -> None:
        """One event for these fields; none when they are so already."""

        async def decide(draft: Draft) -> None:
            view = await self._views.get_drafted(draft, user, administered=True)
            change = Change()
            for name, value in wanted.items():
                self._check(view, name, value, permission)
                await self._add(change, view, name, value)
            self._append(draft, view, actor, user, change)

        await self._node.commits.execute(room_stream(room_id), decide)

    async def _rename(self, actor: Actor, user: User, room_id: str, text: str, permission: str) -> None:
        name, shown = self._names.parse(text)
        await self._names.claim(name, room_id)
        freed = ""

        async def decide(draft: Draft) -> str:
            view = await self._views.get_drafted(draft, user, administered=True)
            self._check(view, "name", text, permission)
            await self._names.check_claim(name, room_id)
            change = Change(set={"name": name, "fname": shown}, notice="r", text=shown)
            self._append(draft, view, actor, user, change)
            return str(view.room.get("name", ""))

        freed = name
        try:
            freed = await self._node.commits.execute(room_stream(room_id), decide)
        finally:
            await self._free(freed, room_id)

    async def _free(self, name: str, room_id: str) -> None:
        """Frees a name that the room does not have (any more)."""
        room = await self._node.database.get("rooms", room_id)
        if room is None or room.get("name", "").lower() != name.lower():
            await self._names.release(name, room_id)

    def _append(self, draft: Draft, view: View, actor: Actor, user: User, change: Change) -> None:
        changed = {name: value for name, value in change.set.items() if view.room.get(name) != value}
        removed = [name for name in change.unset if name in view.room]
        if not changed and not removed:
            return
        at = rules.event_time(view.room, now())
        event = Event()
        event.room_changed.set = orjson.dumps(changed)
        event.room_changed.unset.extend(removed)
        if change.notice:
            self._notices.add(event.room_changed.message, view.room, change.notice, change.text, user, at)
        draft.append(event, actor=actor, at=at)

    def _check(self, view: View, name: str, value: Any, permission: str) -> None:
        room = view.room
        if name == "archived" and room["t"] == "d":
            raise NotAllowed("Direct rooms are not archived", code="error-direct-message-room")
        if name not in _OF_DIRECT_ROOMS:
            check_not_direct(view)
        if name == "t" and value not in ("c", "p"):
            raise InvalidInput("A room is of type c or p", code="error-invalid-room-type")
        if needed := permission or _FIELDS[name].permission(value, view):
            self._check_may(view, name, needed)
        if name == "encrypted" and value:
            self._node.access.check_encryption()
        if name == "t":
            self._check_may(view, name, permission or "edit-room")
            if value == "p" and room.get("default") and not self._views.may(view.user, "view-room-administration"):
                raise NotAllowed("Default rooms are public", code="error-action-not-allowed")
        if room.get("archived") and name not in ("archived", "default", "featured"):
            raise NotAllowed("Room is archived", code="error-room-archived")

    def _check_may(self, view: View, name: str, permission: str) -> None:
        if name in _OF_OWN_ACTS:
            self._views.check(view.user, permission, view.roles)
        elif not self._views.may(view.user, permission, view.roles):
            raise NotAllowed(
                "Editing room is not allowed", code="error-action-not-allowed", details={"action": "Editing_room"}
            )

    async def _add(self, change: Change, view: View, name: str, value: Any) -> None:
        """Adds what one field asks for."""
        change.notice = _FIELDS[name].notice(value)
        match name:
            case "joinCode":
                if value:
                    change.set.update({"join_code": value, "joinCodeRequired": True})
                else:
                    change.unset += ["join_code", "joinCodeRequired"]
            case "mute" | "unmute":
                await self._add_mute(change, view, name, value)
            case "block" | "unblock":
                _add_block(change, view, name, value)
            case "retention":
                change.set[name] = {**view.room.get(name, {}), **_parse_retention(value)}
            case "sidepanel":
                if not view.room.get("teamMain"):
                    raise NotAllowed("Only the main room of a team has a side panel", code="error-action-not-allowed")
                change.set[name] = parse_sidepanel(value)
            case "sysMes" if isinstance(value, list) and not all(isinstance(item, str) for item in value):
                raise _invalid(name)
            case "avatarETag" if not value:
                change.unset.append(name)
            case "avatarETag":
                change.set[name] = value  # nobody wants to read its id
            case "t":
                change.set["t"] = value
                change.text = "public" if value == "c" else "private"
            case _:
                change.set[name] = value
                change.text = value if isinstance(value, str) else ""

    async def _add_mute(self, change: Change, view: View, name: str, username: str) -> None:
        target = (await self._node.access.find_users_by_name([username])).get(username)
        where = {"rid": view.room_id, "u._id": "" if target is None else target.id, "left_at": None}
        member = await self._node.database.find_one("subscriptions", where)
        if member is None:
            raise NotAllowed("User is not in this room", code="error-user-not-in-room")
        # The lists follow a new name when the subscription does, a moment later.
        names = {username, member["u"]["username"]}
        muted = [entry for entry in view.room.get("muted", ()) if entry not in names]
        unmuted = [entry for entry in view.room.get("unmuted", ()) if entry not in names]
        if name == "mute":
            muted.append(username)
        elif view.room.get("ro") or not names.isdisjoint(view.room.get("unmuted", ())):
            unmuted.append(username)
        for key, value in (("muted", muted), ("unmuted", unmuted)):
            if value:
                change.set[key] = value
            else:
                change.unset.append(key)
        change.text = username


def _add_block(change: Change, view: View, name: str, user_id: str) -> None:
    """A member of a direct room of two wants to hear nothing of the other one, or wants to again."""
    members = view.room.get("uids", ())
    if view.subscription is None or len(members) != 2 or user_id not in members or user_id == view.user.id:
        raise InvalidInput("Invalid room", code="error-invalid-room")
    blockers = [id for id in view.room.get("blockers", ()) if id != view.user.id]
    if name == "block":
        blockers.append(view.user.id)
    if blockers:
        change.set["blockers"] = blockers
    else:
        change.unset.append("blockers")


def _parse_retention(value: dict[str, Any]) -> dict[str, Any]:
    """What is to be different of a room's retention. Raises InvalidInput."""
    for name, one in value.items():
        if name not in _RETENTION or type(one) is not _RETENTION[name]:
            raise _invalid("retention")
    if not 1 <= value.get("maxAge", 1) <= _MAX_DAYS:
        raise _invalid("retention")
    return value


def parse_sidepanel(value: dict[str, Any]) -> dict[str, Any]:
    """What a team's main room lists beside itself. Raises InvalidInput."""
    items = value.get("items")
    if set(value) != {"items"} or not isinstance(items, list) or len(items) > len(_SIDEPANEL_ITEMS):
        raise _invalid("sidepanel")
    if any(item not in _SIDEPANEL_ITEMS for item in items) or len(set(items)) != len(items):
        raise _invalid("sidepanel")
    return value


def _invalid(name: str) -> InvalidInput:
    return InvalidInput(f"{name} is not what it may be", code=f"error-invalid-room-{name}")
