"""The team of a day (`day.py`): who is there, what they should see, and whether they do."""

import asyncio
import random
from typing import Any

from rocketchat_API.rocketchat import RocketChat

from tests.e2e.day_people import Message, Person, Room, shows

WORDS = (
    "the",
    "build",
    "is",
    "green",
    "again",
    "who",
    "takes",
    "lunch",
    "at",
    "noon",
    "please",
    "review",
    "we",
    "ship",
)


class Team:
    """Alice, who has started the workspace, Bob, a bot and two webhooks."""

    def __init__(self, url: str, site_url: str, seed: int) -> None:
        """`url` is the server's; `site_url` where the outgoing webhook posts to."""
        self.url = url
        self.site_url = site_url
        self.random = random.Random(seed)
        self.alice = Person("alice", "choose-one-of-your-own", url)
        self.bob = Person("bob", "another-one-of-bobs-own", url)
        self.people = (self.alice, self.bob)
        self.rooms: list[Room] = []
        self.bot: RocketChat = None
        self.hook = ""
        self.number = 0

    # -- the beginning -------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Registers everybody, and makes what the day needs."""
        general = Room("GENERAL", "c", "general", "", {"alice", "bob", "robot"})
        self.rooms.append(general)
        await self._register(self.alice)
        await self.alice.log_in([general])
        assert "admin" in (await self.alice.get("me"))["roles"]
        # People are slower than this day is, and come from more than one address.
        await self.alice.post("settings/API_Enable_Rate_Limiter", value=False)
        await self._register(self.bob)
        await self.bob.log_in([general])
        assert "admin" not in (await self.bob.get("me"))["roles"]
        await self.bob.post("settings/API_Enable_Rate_Limiter", 403, value=True)
        robot = {"username": "robot", "name": "Robot", "email": "robot@example.org", "password": "of a robot"}
        await self.alice.post("users.create", **robot, roles=["bot"])
        self.bot = await asyncio.to_thread(RocketChat, "robot", "of a robot", server_url=self.url)
        integration = {"enabled": True, "username": "alice", "channel": "#general", "scriptEnabled": False}
        made = await self.alice.post("integrations.create", type="webhook-incoming", name="builds", **integration)
        self.hook = f"{self.url}/hooks/{made['integration']['_id']}/{made['integration']['token']}"
        await self.alice.post(
            "integrations.create",
            type="webhook-outgoing",
            name="asks",
            event="sendMessage",
            triggerWords=["!ask"],
            urls=[f"{self.site_url}/ask"],
            **integration,
        )

    async def _register(self, person: Person) -> None:
        about = {"username": person.name, "name": person.name.title(), "email": f"{person.name}@example.org"}
        await person.post("users.register", **about, **{"pass": person.password})

    async def close(self) -> None:
        for person in self.people:
            await person.close()
        if self.bot is not None:
            self.bot.session.close()

    async def compare(self, newest: int | None) -> None:
        """Everybody's rooms hold what they should: `newest` messages of each, or all."""
        for person in self.people:
            for room in self.rooms:
                if person.name not in room.members:
                    # A discussion may be read by whoever may read the room above it.
                    if room.type != "c" and not room.parent:
                        await person.get(f"{room.face}.messages", 400, roomId=room.id)
                    continue
                found = await self._read(person, room, newest)
                wanted = list(room.messages.values())[-newest if newest else None :]
                by_id = {message["_id"]: message for message in found}
                for message in wanted:
                    assert message.id in by_id, f"{person.name} lacks {message} in {room.name}"
                    shown = by_id[message.id]
                    assert shows(shown, message), f"{person.name} sees {shown}, not {message}"
                    starred = any(star["_id"] == person.id for star in shown.get("starred", ()))
                    assert starred == (message.id in person.starred), f"{person.name}'s star of {message}"
                surplus = {id for id, message in by_id.items() if "t" not in message} - room.messages.keys()
                assert not surplus, f"{person.name} sees in {room.name} besides {[by_id[id] for id in surplus]}"

    async def _read(self, person: Person, room: Room, newest: int | None) -> list[dict[str, Any]]:
        """At least that many of the newest messages that people wrote, or all."""
        found: list[dict[str, Any]] = []
        while True:
            page = await person.get(f"{room.face}.messages", roomId=room.id, offset=len(found), count=100)
            found += page["messages"]
            written = sum("t" not in message for message in found)
            if len(found) >= page["total"] or (newest is not None and written >= newest):
                return found

    # -- whoever is there ----------------------------------------------------------------------------------------------

    def somebody(self) -> Person:
        return self.random.choice(self.people)

    def other(self, person: Person) -> Person:
        return self.bob if person is self.alice else self.alice

    def room_of(self, person: Person, *types: str) -> Room:
        """A room that somebody is in."""
        return self.random.choice(
            [r for r in self.rooms if person.name in r.members and (not types or r.type in types)]
        )

    def members_of(self, room: Room) -> list[Person]:
        return [person for person in self.people if person.name in room.members]

    def message_of(self, person: Person, *, own: bool = False) -> tuple[Room, Message] | None:
        """One of the newest messages of a room of theirs."""
        room = self.room_of(person)
        newest = [m for m in list(room.messages.values())[-30:] if not own or m.author == person.name]
        return (room, self.random.choice(newest)) if newest else None

    def words(self) -> str:
        self.number += 1
        return " ".join(self.random.choices(WORDS, k=self.random.randint(1, 12))) + f" {self.number}"

    async def everybody_sees(self, room: Room, message: Message) -> None:
        for person in self.members_of(room):
            await person.sees(message)

    async def wrote(self, room: Room, found: dict[str, Any], author: str, text: str, thread: str = "") -> Message:
        """A message that was just sent: remembered, and seen by everybody."""
        message = Message(found["_id"], text, author, thread)
        room.messages[message.id] = message
        await self.everybody_sees(room, message)
        return message
