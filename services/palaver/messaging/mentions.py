"""Who and what a message's text names: @users, @all, #rooms and links. Cheap where a text has none of the signs.

A name in code, a span of it or a block, names nobody.
"""

import re
from dataclasses import dataclass

from palaver.access import Access, User
from palaver.database import Database
from palaver.errors import NotAllowed

EVERYBODY = ("all", "here")

# A mention costs a write, so a message has a limit of them.
_MAX_NAMES = 100

_USER = re.compile(r"(?:^|[\s>(*_~\"'`,;:/\[])@([^\s@#,;:!?()\[\]{}<>*~\"'`]+)")
_ROOM = re.compile(r"(?:^|[\s>(*_~\"'`,;:\[])#([^\s@#,;:!?()\[\]{}<>*~\"'`]+)")
# Blocks and spans of code: they show names without naming anybody.
_CODE = re.compile(r"^```[^\n`]*\n(?:(?:(?!```)[^\n])*+\n)++```|(?<!\\)`[^`\n]+`", re.MULTILINE)
_LINK = re.compile(r"https?://[^\s<>\"'`|]+", re.IGNORECASE)
_AFTER_NAME = ".-_"
_AFTER_LINK = ".,;:!?*_~)"


@dataclass(frozen=True, slots=True)
class Mentions:
    """What a text names, resolved. `everybody`: @all or @here, and the sender may."""

    users: tuple[User, ...] = ()
    everybody: tuple[str, ...] = ()
    rooms: tuple[dict[str, str], ...] = ()

    def user_entries(self) -> list[dict[str, str]]:
        """The `mentions` of the message."""
        named = [{"_id": user.id, "username": user.username, "name": user.name, "type": "user"} for user in self.users]
        return [{"_id": word, "username": word} for word in self.everybody] + named


NOBODY = Mentions()


def usernames(text: str) -> list[str]:
    """The names after each "@", once each, in their order: as written, and without trailing punctuation."""
    return _names(_USER, "@", text)


def room_names(text: str) -> list[str]:
    """The names after each "#"."""
    return _names(_ROOM, "#", text)


def links(text: str) -> list[str]:
    """The http(s) addresses in the text, once each."""
    if "://" not in text:
        return []
    return list(dict.fromkeys(found.rstrip(_AFTER_LINK) for found in _LINK.findall(text)))


def _names(pattern: re.Pattern[str], sign: str, text: str) -> list[str]:
    if sign not in text:
        return []
    if "`" in text:
        text = _CODE.sub(" ", text)
    names: dict[str, None] = {}
    for found in pattern.findall(text):
        names[found] = None
        if (shorter := found.rstrip(_AFTER_NAME)) and shorter != found:
            names[shorter] = None
    return list(names)[:_MAX_NAMES]


async def resolve(text: str, sender: User, access: Access, database: Database) -> Mentions:
    """Finds those whom the text names. Raises NotAllowed when the sender may not mention everybody.

    Rooms are resolved among the public channels only, and not those of private teams: nobody learns of a private one's
    existence.
    """
    names = usernames(text)
    rooms = room_names(text)
    if not names and not rooms:
        return NOBODY
    everybody = tuple(word for word in EVERYBODY if word in names)
    wanted = [name for name in names if name not in EVERYBODY]
    users = await access.find_users_by_name(wanted) if wanted else {}
    where = {"t": "c", "team_private": None, "name": {"$in": rooms}}
    found = await database.find("rooms", where) if rooms else []
    known = {room["name"]: room for room in found if not room.get("deleted_at")}
    return Mentions(
        users=tuple({users[name].id: users[name] for name in wanted if name in users}.values()),
        everybody=everybody,
        rooms=tuple({"_id": known[name]["_id"], "name": name} for name in rooms if name in known),
    )


def check_everybody(mentions: Mentions, sender: User, access: Access, room_roles: tuple[str, ...]) -> None:
    """Raises NotAllowed unless the sender may mention everybody of the room as the message does."""
    for word in mentions.everybody:
        if not access.may(sender, f"mention-{word}", room_roles):
            raise NotAllowed(
                f"Notify {word} in this room not allowed",
                code="error-action-not-allowed",
                details={"action": f"Notify_{word}"},
            )
