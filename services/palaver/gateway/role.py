"""The gateway role: assembles the surfaces over the services, and hands every event to who must hear of it."""

from typing import Any

import orjson

from palaver.access import (
    AVATAR_CHANGED,
    KEYS_REQUESTED,
    MEDIA_CHANGED,
    ROLE_ASSIGNED,
    STATUS_CHANGED,
    USER_DELETED,
    USER_RENAMED,
)
from palaver.events import ROOM_READ
from palaver.gateway import rest
from palaver.gateway.admission import Admission
from palaver.gateway.app import build_app
from palaver.gateway.ddp import methods
from palaver.gateway.ddp.method import methods_of
from palaver.gateway.ddp.server import DdpServer
from palaver.gateway.ddp.signals import Signals
from palaver.gateway.ddp.streams import Streams
from palaver.gateway.ddp.writing import Writing
from palaver.gateway.documentation import Documentation
from palaver.gateway.ephemeral import Ephemeral
from palaver.gateway.fanout import Room, Rooms, tell_my_messages
from palaver.gateway.following import Following
from palaver.gateway.limits import RateLimiter
from palaver.gateway.notifications import Notifications
from palaver.gateway.people import People
from palaver.gateway.pictures import Pictures
from palaver.gateway.presence_reports import PresenceReports
from palaver.gateway.rest.dispatch import RestSurface
from palaver.gateway.rest.endpoint import endpoints_of
from palaver.gateway.session import NOTIFY_USER_BITS
from palaver.gateway.state import RoomStates
from palaver.node import Node
from palaver.v1.event_pb2 import Event, MessageDeleted, MessageSent, MessagesErased, MessagesPruned

# Permissions that let somebody hear rooms or settings: who loses one is to hear no more.
_HEARING_PERMISSIONS = frozenset(
    {
        "view-c-room",
        "view-p-room",
        "view-d-room",
        "preview-c-room",
        "view-privileged-setting",
        "edit-privileged-setting",
        "manage-selected-settings",
    }
)


class Gateway:
    """Nobody calls it: it serves `app` to clients, and follows the log."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.rooms = Rooms(node, self._on_room_event)
        self.states = RoomStates(node)
        self.presence = PresenceReports(node, lambda: len(self.ddp))
        self.people = People(node, self.rooms, self.states, self.presence)
        self.streams = Streams(node, self.rooms, self.people)
        self.people.on_roles_changed = self.streams.recheck_all
        self._notifications = Notifications(node, self.people.find)
        self._ephemeral = Ephemeral(node, self.people)
        self._signals = Signals(node, self.rooms, self.people)
        known_methods = methods_of(*methods.METHOD_MODULES)
        admission = Admission(node.config)
        self.following = Following(node, self.rooms, self.people)
        self.pictures = Pictures(node.blobs, node.http)
        self.limiter = RateLimiter(node)
        self.ddp = DdpServer(
            node,
            self.streams,
            Writing(node, self._signals),
            self.people,
            self.following,
            known_methods,
            admission,
            self.presence,
            self.pictures,
            self.limiter,
        )
        endpoints = [declared for module in rest.ENDPOINT_MODULES for declared in endpoints_of(module)]
        rest_surface = RestSurface(
            node, endpoints, admission, self.presence, self.pictures, self.limiter, known_methods
        )
        documentation = Documentation(endpoints, node.config.api_version)
        self.app = build_app(node, rest_surface, self.ddp, self.pictures, documentation)

    async def open(self) -> None:
        self._node.access.on_change(self._on_policy_event)
        await self.following.open()
        await self.presence.keep_lease()
        self._node.spawn(self.presence.run_lease(), "lease of this node")
        self._node.spawn(self.presence.run(), "presence reports")
        await self.streams.open()
        await self.limiter.open()
        await self._ephemeral.open()
        await self._signals.open()
        await self._node.live.subscribe(USER_RENAMED, self._on_user_renamed)
        await self._node.live.subscribe(USER_DELETED, self._on_user_deleted)
        await self._node.live.subscribe(AVATAR_CHANGED, self._on_avatar_changed)
        await self._node.live.subscribe(STATUS_CHANGED, self._on_status_changed)
        await self._node.live.subscribe(MEDIA_CHANGED, self._on_media_changed)
        await self._node.live.subscribe(ROLE_ASSIGNED, self._on_role_assigned)
        await self._node.live.subscribe(ROOM_READ, self._on_room_read)
        await self._node.live.subscribe(KEYS_REQUESTED, self._on_keys_requested)
        self._node.spawn(self.ddp.run_heartbeat(), "heartbeat")

    async def drain(self) -> None:
        await self.ddp.drain(self._node.config.drain_seconds)

    async def close(self) -> None:
        await self.presence.close()

    def _on_room_event(self, room: Room, event: Event) -> None:
        """The table of what each event of a room means to the sockets here. In order, once."""
        match event.WhichOneof("fact"):
            case "message_sent":
                self._on_message(room, event.message_sent)
            case "message_changed":
                room.queue_message(event.message_changed.message)
                tell_my_messages(room, event.message_changed.message)
                self._on_system_message(room, event.message_changed.notice)
            case "message_deleted":
                self._on_deleted(room, event.message_deleted)
                if event.message_deleted.thread_root:
                    room.queue_message(event.message_deleted.thread_root)
            case "messages_pruned":
                self._on_pruned(room, event.messages_pruned)
            case "messages_erased":
                self._on_erased(room, event.messages_erased)
            case "member_joined":
                room.size = event.member_joined.members
                self._on_system_message(room, event.member_joined.message)
            case "member_left":
                room.size = event.member_left.members
                self._on_system_message(room, event.member_left.message)
                self.people.on_member_left(room, event)
                self._on_left(room, event.member_left.user_id)
            case "member_changed":
                self._on_system_message(room, event.member_changed.message)
            case "room_changed":
                self._on_room_changed(room, orjson.loads(event.room_changed.set or b"{}"))
                self._on_system_message(room, event.room_changed.message)
            case "room_deleted":
                room.access_changes += 1
                self.streams.evict(room)
                self.people.on_room_deleted(room)
        self.states.on_event(room, event)

    def _on_erased(self, room: Room, fact: MessagesErased) -> None:
        """What was unlinked stays: clients hear once of the user (Users:Deleted)."""
        if not fact.author:
            for message_id in fact.message_ids:
                room.queue_event("deleteMessage", orjson.dumps({"_id": message_id}))
        for root in fact.thread_roots:
            room.queue_message(root)

    def _on_user_renamed(self, message: bytes) -> None:
        self.streams.tell("stream-notify-logged", "Users:NameChanged", message)

    def _on_user_deleted(self, message: bytes) -> None:
        self.streams.tell("stream-notify-logged", "Users:Deleted", message)

    def _on_avatar_changed(self, message: bytes) -> None:
        self.streams.tell("stream-notify-logged", "updateAvatar", message)

    def _on_status_changed(self, message: bytes) -> None:
        event, argument = orjson.loads(message)
        self.streams.tell("stream-notify-logged", event, orjson.dumps(argument))

    def _on_media_changed(self, message: bytes) -> None:
        stream, event, argument = orjson.loads(message)
        self.streams.tell(stream, event, orjson.dumps(argument))
        if stream == "stream-notify-all":
            self.streams.tell(stream, "public-info", orjson.dumps([event, [argument]]))

    def _on_role_assigned(self, message: bytes) -> None:
        """The workspace's roles are everybody's to see; those of a room concern its members alone."""
        room_id = orjson.loads(message).get("scope")
        if room_id is None:
            self.streams.tell("stream-notify-logged", "roles-change", message)
        elif (room := self.rooms.find(room_id)) is not None:
            connections = [connection for session in room.members for connection in session.connections]
            self.streams.tell("stream-notify-logged", "roles-change", message, only=connections)

    def _on_deleted(self, room: Room, fact: MessageDeleted) -> None:
        if fact.shown:
            room.queue_message(fact.shown)
        else:
            room.queue_event("deleteMessage", orjson.dumps({"_id": fact.message_id}))

    def _on_room_read(self, message: bytes) -> None:
        """Everybody has read a room, or a thread of it."""
        told = orjson.loads(message)
        if (room := self.rooms.find(told.pop("rid"))) is not None:
            told["until"] = {"$date": told["until"]}
            room.queue_event("messagesRead", orjson.dumps(told))

    def _on_keys_requested(self, message: bytes) -> None:
        room_id, key_id = orjson.loads(message)
        room = self.rooms.find(room_id)
        if room is not None:
            room.queue_event("e2e.keyRequest", orjson.dumps(key_id))
            for session in room.members:
                session.tell(NOTIFY_USER_BITS["e2ekeyRequest"], orjson.dumps([room_id, key_id])[1:-1])

    def _on_pruned(self, room: Room, fact: MessagesPruned) -> None:
        if fact.message_ids:
            asked = {**orjson.loads(fact.asked), "ids": list(fact.message_ids)}
            room.queue_event("deleteMessageBulk", orjson.dumps(asked))
        for message in fact.changed:
            room.queue_message(message)

    def _on_left(self, room: Room, user_id: str) -> None:
        """Who is no member may still hear a public room, if the permissions say so."""
        room.access_changes += 1
        if room.type == "c":
            self.streams.recheck(room, user_id)
        else:
            self.streams.evict(room, user_id)
        for discussion in list(room.discussions):
            self.streams.recheck(discussion, user_id)

    def _on_room_changed(self, room: Room, changes: dict[str, Any]) -> None:
        room.name = changes.get("name", room.name)
        if ("t" in changes and changes["t"] != room.type) or "team_private" in changes:
            room.type = changes.get("t", room.type)
            if changes.get("team_private"):
                # Whom the team lets hear it hears it as long as they are in the team: that is followed from the start.
                self.streams.evict_outsiders(room)
            self.streams.recheck(room)
            for discussion in list(room.discussions):
                self.streams.recheck(discussion)

    def _on_message(self, room: Room, fact: MessageSent) -> None:
        room.queue_message(fact.message)
        if fact.thread_root:
            room.queue_message(fact.thread_root)
        tell_my_messages(room, fact.message)
        self._notifications.on_message(room, fact)

    def _on_system_message(self, room: Room, fact: MessageSent) -> None:
        if fact.message:
            room.queue_message(fact.message)
            tell_my_messages(room, fact.message)

    def _on_policy_event(self, event: Event) -> None:
        match event.WhichOneof("fact"):
            case "setting_changed":
                self._on_setting(orjson.loads(event.setting_changed.setting))
            case "permission_changed":
                permission = event.permission_changed.permission
                self.streams.tell("stream-notify-logged", "permissions-changed", b'"updated",' + permission)
                if event.permission_changed.permission_id in _HEARING_PERMISSIONS:
                    self.streams.recheck_all()
            case "role_saved":
                role = {"type": "changed", **orjson.loads(event.role_saved.role)}
                self.streams.tell("stream-roles", "roles", orjson.dumps(role))
            case "role_deleted":
                role = {"type": "removed", "_id": event.role_deleted.role_id}
                self.streams.tell("stream-roles", "roles", orjson.dumps(role))

    def _on_setting(self, setting: dict[str, object]) -> None:
        if setting["_id"] == "Accounts_AllowAnonymousRead":
            self.streams.recheck_all()
        if setting.get("public"):
            shown = {name: setting.get(name) for name in ("_id", "value", "type", "enterprise")}
            shown["properties"] = {}
            arguments = b'"updated",' + orjson.dumps(shown)
            self.streams.tell("stream-notify-all", "public-settings-changed", arguments)
            self.streams.tell("stream-notify-all", "public-info", b'["public-settings-changed",[' + arguments + b"]]")
        else:
            # Only those with a settings permission subscribe: see Streams.
            self.streams.tell("stream-notify-logged", "private-settings-changed", b'"updated",' + orjson.dumps(setting))


def build(node: Node) -> Gateway:
    return Gateway(node)
