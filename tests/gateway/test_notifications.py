"""Whom a message's `notification` reaches: as the room's member, the user and the settings want it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.ddp import DdpClient, RunningGateway, running_gateway
from tests.services import TRANSPORTS

Headers = dict[str, str]


@pytest.fixture(params=TRANSPORTS)
async def gateway(tmp_path: Path, request: pytest.FixtureRequest, cheap_hashes: None) -> AsyncIterator[RunningGateway]:
    async with running_gateway(tmp_path, request.param) as running:
        yield running


class Listener:
    """A user who hears one room, and what they are told of it."""

    def __init__(self, gateway: RunningGateway, headers: Headers, client: DdpClient, room_id: str) -> None:
        self.headers = headers
        self._gateway = gateway
        self._client = client
        self._room_id = room_id

    @classmethod
    async def connect(cls, gateway: RunningGateway, headers: Headers, room_id: str) -> "Listener":
        client = await gateway.client(headers)
        for event in ("notification", "subscriptions-changed", "userData"):
            assert (await client.sub("stream-notify-user", f"{client.user_id}/{event}", False))["msg"] == "ready"
        assert (await client.sub("stream-room-messages", room_id, False))["msg"] == "ready"
        return cls(gateway, headers, client, room_id)

    async def is_told(self, sender: Headers, text: str, **fields: Any) -> bool:
        """Whether they are told of what the sender writes now."""
        message = {"rid": self._room_id, "msg": text, **fields}
        sent = (await self._gateway.post("chat.sendMessage", sender, message=message))["message"]["_id"]
        # Notifications go out before what the room hears.
        await self._client.wait_change("stream-room-messages", self._room_id, lambda args: args[0]["_id"] == sent)
        told = self._client.changes("stream-notify-user", f"{self._client.user_id}/notification")
        return [args[0]["payload"]["rid"] for args in told if args[0]["payload"]["_id"] == sent] == [self._room_id]

    async def choose(self, name: str, value: str, shown: Any) -> None:
        """Sets how they hear of the room, and waits until that is so here."""
        before = len(self._client.frames)
        await self._gateway.post(
            "rooms.saveNotification", self.headers, roomId=self._room_id, notifications={name: value}
        )
        await self._wait_own("subscriptions-changed", before, lambda args: args[1].get(name) == shown)

    async def ignore(self, user: Headers, ignore: bool) -> None:
        before = len(self._client.frames)
        user_id = user["X-User-Id"]
        assert "error" not in await self._client.call(
            "ignoreUser", {"rid": self._room_id, "userId": user_id, "ignore": ignore}
        )
        await self._wait_own(
            "subscriptions-changed", before, lambda args: (user_id in args[1].get("ignored", [])) is ignore
        )

    async def prefer(self, **preferences: Any) -> None:
        """Sets what holds for all of their rooms."""
        before = len(self._client.frames)
        await self._gateway.post("users.setPreferences", self.headers, data=preferences)
        await self._wait_own("userData", before, lambda args: True)

    async def show(self, status: str) -> None:
        """Sets what the others see of them."""
        before = len(self._client.frames)
        await self._gateway.post("users.setStatus", self.headers, status=status, message="")
        await self._wait_own("userData", before, lambda args: True)

    async def leave(self) -> None:
        await self._client.close()

    async def _wait_own(self, event: str, after: int, matches: Any) -> None:
        name = f"{self._client.user_id}/{event}"
        await self._client.wait_for(
            lambda frame: (
                frame.get("msg") == "changed"
                and frame["fields"]["eventName"] == name
                and matches(frame["fields"]["args"])
            ),
            after,
        )


async def _make_room(gateway: RunningGateway, *names: str) -> tuple[str, list[Headers]]:
    """A public room of these users, of whom the first has made it."""
    users = [await gateway.make_user(name) for name in names]
    made = await gateway.post("channels.create", users[0], name="notified", members=list(names[1:]))
    return made["channel"]["_id"], users


async def _set(gateway: RunningGateway, setting: str, value: Any) -> None:
    await gateway.post(f"settings/{setting}", gateway.admin, value=value)
    async with asyncio.timeout(30):
        while gateway.node.access.setting(setting) != value:
            await asyncio.sleep(0.01)


async def test_what_a_member_has_chosen_of_the_room(gateway: RunningGateway) -> None:
    room_id, (alice, bob) = await _make_room(gateway, "alice", "bob")
    his = await Listener.connect(gateway, bob, room_id)
    assert await his.is_told(alice, "plain")
    assert not await his.is_told(bob, "his own for @all")
    await his.choose("desktopNotifications", "mentions", "mentions")
    assert not await his.is_told(alice, "plain")
    assert await his.is_told(alice, "for @bob")
    assert await his.is_told(alice, "for @all")
    await his.choose("muteGroupMentions", "1", True)
    assert not await his.is_told(alice, "for @all")
    assert await his.is_told(alice, "for @all and @bob")
    await his.choose("desktopNotifications", "nothing", "nothing")
    assert not await his.is_told(alice, "for @bob")
    await his.choose("desktopNotifications", "default", None)
    assert await his.is_told(alice, "plain")
    await his.choose("disableNotifications", "1", True)
    assert not await his.is_told(alice, "for @bob")
    await his.choose("disableNotifications", "0", False)
    await his.ignore(alice, True)
    assert not await his.is_told(alice, "for @bob")
    await his.ignore(alice, False)
    assert await his.is_told(alice, "plain")


async def test_what_holds_for_all_rooms(gateway: RunningGateway) -> None:
    room_id, (alice, bob) = await _make_room(gateway, "alice", "bob")
    his = await Listener.connect(gateway, bob, room_id)
    await his.prefer(desktopNotifications="mentions")
    assert not await his.is_told(alice, "plain")
    assert await his.is_told(alice, "for @bob")
    await his.choose("desktopNotifications", "all", "all")
    assert await his.is_told(alice, "plain")
    await his.choose("desktopNotifications", "default", None)
    hers = await Listener.connect(gateway, alice, room_id)
    assert await hers.is_told(bob, "plain")
    await _set(gateway, "Accounts_Default_User_Preferences_desktopNotifications", "nothing")
    assert not await hers.is_told(bob, "for @alice")
    assert await his.is_told(alice, "for @bob")
    await his.prefer(desktopNotifications="default")
    assert not await his.is_told(alice, "for @bob")
    await _set(gateway, "Accounts_Default_User_Preferences_desktopNotifications", "all")
    assert await his.is_told(alice, "plain")


async def test_what_was_chosen_before_connecting(gateway: RunningGateway) -> None:
    room_id, (alice, bob, carol) = await _make_room(gateway, "alice", "bob", "carol")
    silent = {"disableNotifications": "1"}
    await gateway.post("rooms.saveNotification", bob, roomId=room_id, notifications=silent)
    await gateway.post("users.setPreferences", carol, data={"desktopNotifications": "mentions"})
    his = await Listener.connect(gateway, bob, room_id)
    hers = await Listener.connect(gateway, carol, room_id)
    assert not await his.is_told(alice, "for @bob")
    assert not await hers.is_told(alice, "plain")
    assert await hers.is_told(alice, "for @carol")


async def test_who_follows_a_thread_is_told_of_its_replies(gateway: RunningGateway) -> None:
    room_id, (alice, bob, carol) = await _make_room(gateway, "alice", "bob", "carol")
    root = (await gateway.post("chat.postMessage", bob, roomId=room_id, text="root"))["message"]["_id"]
    his = await Listener.connect(gateway, bob, room_id)
    hers = await Listener.connect(gateway, carol, room_id)
    assert await his.is_told(alice, "first", tmid=root)
    assert not await hers.is_told(alice, "second", tmid=root), "she follows nothing"
    assert await hers.is_told(alice, "for @carol", tmid=root)
    await his.choose("desktopNotifications", "mentions", "mentions")
    assert await his.is_told(alice, "third", tmid=root)
    await gateway.post("chat.unfollowMessage", bob, mid=root)
    assert not await his.is_told(alice, "fourth", tmid=root)


async def test_large_rooms_tell_whom_a_message_asks(gateway: RunningGateway) -> None:
    room_id, (alice, bob, carol) = await _make_room(gateway, "alice", "bob", "carol")
    his = await Listener.connect(gateway, bob, room_id)
    await _set(gateway, "Notifications_Max_Room_Members", 2)
    assert not await his.is_told(alice, "plain")
    assert await his.is_told(alice, "for @bob")
    assert await his.is_told(alice, "for @all")
    await his.choose("desktopNotifications", "all", "all")
    assert await his.is_told(alice, "plain")
    await his.choose("desktopNotifications", "default", None)
    assert not await his.is_told(alice, "plain")
    await gateway.post("channels.leave", carol, roomId=room_id)
    assert await his.is_told(alice, "plain"), "the room is a small one now"
    await _set(gateway, "Notifications_Max_Room_Members", 0)
    await gateway.post("channels.join", carol, roomId=room_id)
    assert await his.is_told(alice, "plain"), "no room is too large"


async def test_a_users_own_words_ask_them(gateway: RunningGateway) -> None:
    room_id, (alice, bob) = await _make_room(gateway, "alice", "bob")
    his = await Listener.connect(gateway, bob, room_id)
    await his.prefer(desktopNotifications="mentions", highlights=["Deploy", "release train", "C++"])
    assert await his.is_told(alice, "we DEPLOY, now")
    assert await his.is_told(alice, "all aboard: _release  train_")
    assert await his.is_told(alice, "c++?")
    assert not await his.is_told(alice, "redeploy the released trains in c")
    assert not await his.is_told(bob, "deploy"), "his own"
    root = (await gateway.post("chat.postMessage", alice, roomId=room_id, text="root"))["message"]["_id"]
    assert await his.is_told(alice, "deploy", tmid=root)
    assert not await his.is_told(alice, "nothing", tmid=root)
    subscription = await gateway.http.get("subscriptions.getOne", params={"roomId": room_id}, headers=bob)
    assert subscription.json()["subscription"]["userMentions"] == 0, "it is a mention for notifications alone"
    await his.choose("muteGroupMentions", "1", True)
    assert not await his.is_told(alice, "for @all")
    assert await his.is_told(alice, "deploy for @all")
    await his.ignore(alice, True)
    assert not await his.is_told(alice, "deploy")
    await his.ignore(alice, False)
    await his.choose("disableNotifications", "1", True)
    assert not await his.is_told(alice, "deploy")
    await his.choose("disableNotifications", "0", False)
    await his.prefer(desktopNotifications="nothing")
    assert not await his.is_told(alice, "deploy")
    await his.prefer(desktopNotifications="mentions", highlights=[])
    assert not await his.is_told(alice, "deploy")


async def test_words_are_looked_for_only_where_somebody_has_some(gateway: RunningGateway) -> None:
    room_id, (alice, bob, carol) = await _make_room(gateway, "alice", "bob", "carol")
    await _set(gateway, "Notifications_Max_Room_Members", 2)
    await gateway.post("users.setPreferences", bob, data={"highlights": ["deploy"]})
    hers = await Listener.connect(gateway, carol, room_id)
    assert not await hers.is_told(alice, "deploy")
    await _have_words(gateway, room_id)
    his = await Listener.connect(gateway, bob, room_id)
    await _have_words(gateway, room_id, bob)
    assert await his.is_told(alice, "deploy")
    assert not await his.is_told(alice, "plain")
    assert not await hers.is_told(alice, "deploy")
    await hers.prefer(highlights=["x", "plain"])
    await _have_words(gateway, room_id, bob, carol)
    assert await hers.is_told(alice, "plain")
    assert not await his.is_told(alice, "plain")
    await hers.prefer(highlights=[])
    await _have_words(gateway, room_id, bob)
    other_id = (await gateway.post("channels.create", alice, name="other", members=["bob", "carol"]))["channel"]["_id"]
    await _have_words(gateway, other_id, bob)
    await gateway.post("channels.leave", bob, roomId=other_id)
    await _have_words(gateway, other_id)
    await his.leave()
    await _have_words(gateway, room_id)


async def _have_words(gateway: RunningGateway, room_id: str, *users: Headers) -> None:
    """Waits until these are whose words are looked for in the room."""
    rooms = gateway.node.roles["gateway"].rooms  # type: ignore[attr-defined]
    wanted = {user["X-User-Id"] for user in users}
    async with asyncio.timeout(30):
        while {session.user_id for session in rooms.find(room_id).highlighters} != wanted:
            await asyncio.sleep(0.01)


async def test_nobodys_words_are_in_what_is_encrypted(gateway: RunningGateway) -> None:
    room_id, (alice, bob) = await _make_room(gateway, "alice", "bob")
    his = await Listener.connect(gateway, bob, room_id)
    await his.prefer(desktopNotifications="mentions", highlights=["x1"])
    assert await his.is_told(alice, "x1 for all to read")
    content = {"algorithm": "a", "ciphertext": "x1"}
    assert not await his.is_told(alice, "x1", t="e2e", content=content)


async def test_who_is_busy_is_told_of_nothing(gateway: RunningGateway) -> None:
    room_id, (alice, bob) = await _make_room(gateway, "alice", "bob")
    await gateway.post("users.setStatus", bob, status="busy", message="")
    his = await Listener.connect(gateway, bob, room_id)
    assert not await his.is_told(alice, "for @bob")
    await his.show("away")
    assert await his.is_told(alice, "for @bob")
    await his.show("busy")
    assert not await his.is_told(alice, "plain")
    await his.choose("desktopNotifications", "all", "all")
    assert not await his.is_told(alice, "for @all and @bob")
    await his.prefer(desktopNotifications="all")
    assert not await his.is_told(alice, "plain"), "a preference says nothing of their status"
    await his.show("online")
    assert await his.is_told(alice, "plain")
