"""Names of rooms: what they may look like, and that there is one room of a name.

A name is claimed before the event that gives it to a room, and freed after the event that takes it away; a crash
between the two leaves a claim without a room, which the next who wants the name takes over.
"""

import asyncio
import re
import unicodedata

from palaver import failpoints
from palaver.database import Document
from palaver.errors import Conflict, InvalidInput
from palaver.node import Node

# How long somebody else may take between claiming a name and giving it to a room.
_GRACE_SECONDS = 1.0
_MAX_LENGTH = 200
_DEFAULT_PATTERN = "[0-9a-zA-Z-_.]+"
_ACCENTS = frozenset(map(chr, range(0x300, 0x370)))


def _key(name: str) -> str:
    return f"room:{name.lower()}"


def list_keys(room: Document) -> list[str]:
    """All claims that stand for what this room has."""
    if room.get("deleted_at"):
        return []
    keys = [_key(room["name"])] if room.get("name") else []
    return keys + ([f"direct:{room['members_key']}"] if room.get("members_key") else [])


class Names:
    """Checks and claims names of rooms."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def parse(self, text: str) -> tuple[str, str]:
        """A room's `name` and `fname` for what somebody typed. Raises InvalidInput."""
        shown = text.strip()
        if not shown:
            raise InvalidInput("Invalid name", code="error-invalid-name")
        name = shown
        if self._node.access.setting("UI_Allow_room_names_with_special_chars"):
            name = _slug(shown)
        elif not _matches(self._node.access.setting("UTF8_Channel_Names_Validation"), shown):
            name = ""
        if not name or len(shown) > _MAX_LENGTH:
            raise InvalidInput(
                f"{shown[:_MAX_LENGTH]} is not a valid room name.",
                code="error-invalid-room-name",
                details={"channel_name": shown[:_MAX_LENGTH]},
            )
        return name, shown

    async def claim(self, name: str, room_id: str) -> None:
        """Makes this room the only one that may get the name. Raises Conflict."""
        key = _key(name)
        deadline = asyncio.get_running_loop().time() + _GRACE_SECONDS
        while not await self._node.database.claim(key, room_id):
            owner = await self._node.database.find_claim(key)
            if owner is None:
                continue
            room = await self._node.database.get("rooms", owner)
            if room is not None and _key(room.get("name", "")) == key and not room.get("deleted_at"):
                raise _taken(name, room)
            if asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(0.05)
            else:
                await self._node.database.release(key, owner)
        failpoints.reach("claim.after_claim")

    async def check_claim(self, name: str, room_id: str) -> None:
        """Raises Conflict unless the claim still stands; asked right before the name is given."""
        if await self._node.database.find_claim(_key(name)) != room_id:
            raise _taken(name, {})

    async def release(self, name: str, room_id: str) -> None:
        await self._node.database.release(_key(name), room_id)


def _taken(name: str, room: Document) -> Conflict:
    if room.get("archived"):
        return Conflict(
            f"There's an archived channel with name {name}",
            code="error-archived-duplicate-name",
            details={"channel_name": name},
        )
    return Conflict(
        f"A channel with name '{name}' exists", code="error-duplicate-channel-name", details={"channel_name": name}
    )


def _matches(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return re.fullmatch(_DEFAULT_PATTERN, name) is not None


def _slug(text: str) -> str:
    """The text without accents, signs and spaces. Letters of every script stay: other names, other slugs."""
    plain = "".join(character for character in unicodedata.normalize("NFKD", text) if character not in _ACCENTS)
    kept = (
        character if character in "_." or unicodedata.category(character)[0] in "LNM" else "-" for character in plain
    )
    slug = re.sub("-+", "-", unicodedata.normalize("NFC", "".join(kept))).strip("-")
    return slug or re.sub(r"\s+", "-", text)
