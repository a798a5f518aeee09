"""The stored and public documents, in Rocket.Chat's shapes: the data contract of the whole project.

A date is {"$date": epoch milliseconds} everywhere inside (the form of DDP); only REST writes ISO 8601, and only the
MongoDB adapter stores real dates. Fields that no client sees are listed with each document and taken out by `public_…`.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

Date = TypedDict("Date", {"$date": int})


def with_iso_dates(value: Any) -> Any:
    """A stored value as people and other programs read it: with every date as an ISO 8601 text."""
    if isinstance(value, dict):
        date = value.get("$date")
        if len(value) == 1 and isinstance(date, int):
            moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=date)
            return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {name: with_iso_dates(part) for name, part in value.items()}
    return [with_iso_dates(part) for part in value] if isinstance(value, list) else value


_matches_asset = re.compile(r"assets/[a-z0-9_]{1,40}\.([a-z]{2,5})\?([A-Za-z0-9]{1,64})").fullmatch


def find_asset_file(setting: Mapping[str, Any]) -> tuple[str, str] | None:
    """The id of the blob that an asset's setting names in its address, and its extension; None for its default."""
    value = setting.get("value")
    found = _matches_asset(str(value.get("url", ""))) if isinstance(value, dict) else None
    return None if found is None else (found[2], found[1])


class UserReference(TypedDict, total=False):
    """Who, inside another document."""

    _id: str
    username: str
    name: str


class Message(TypedDict, total=False):
    _id: str
    rid: str
    msg: str
    ts: Date
    u: UserReference
    _updatedAt: Date
    t: str  # a system message's type; absent for what somebody wrote
    md: list[dict[str, Any]]
    urls: list[dict[str, Any]]
    mentions: list[dict[str, str]]
    channels: list[dict[str, str]]
    attachments: list[dict[str, Any]]
    reactions: dict[str, dict[str, list[str]]]
    editedAt: Date
    editedBy: UserReference
    alias: str
    emoji: str
    avatar: str
    groupable: bool
    parseUrls: bool
    bot: dict[str, Any]
    customFields: dict[str, Any]
    tmid: str
    tshow: bool
    tcount: int
    tlm: Date
    replies: list[str]
    unread: bool  # sent while read receipts were on, and somebody has not read it
    pinned: bool
    pinnedAt: Date
    pinnedBy: UserReference
    starred: list[dict[str, str]]  # of whoever looks at it; never stored
    role: str  # of subscription-role-added
    drid: str  # the discussion that this message tells of …
    dcount: int  # … its messages …
    dlm: Date  # … and its last one
    # inside only
    _hidden: bool
    deleted_at: Date


class Room(TypedDict, total=False):
    _id: str
    t: str
    name: str
    fname: str
    topic: str
    description: str
    announcement: str
    msgs: int
    usersCount: int
    u: UserReference
    ts: Date
    lm: Date
    lastMessage: Message
    ro: bool
    reactWhenReadOnly: bool
    sysMes: bool | list[str]
    default: bool
    archived: bool
    broadcast: bool
    encrypted: bool
    joinCodeRequired: bool
    featured: bool
    favorite: bool  # who enters a default room has it among their favourites
    retention: dict[str, Any]  # enabled, overrideGlobal, maxAge (days), excludePinned, filesOnly, ignoreThreads
    sidepanel: dict[str, list[str]]
    prid: str  # the parent, of a discussion
    teamId: str  # the team that the room belongs to: the id of its main room
    teamMain: bool  # the room is a team's main room: it *is* the team
    teamDefault: bool  # who enters the team enters this room, too
    uids: list[str]
    usernames: list[str]
    muted: list[str]
    unmuted: list[str]
    customFields: dict[str, Any]
    _updatedAt: Date
    # inside only
    applied_seq: int
    counted: int  # messages that can make the room unread
    group_mentions: int  # messages that mentioned everybody
    members_key: str  # of a direct room with more than two: its sorted user ids
    join_code: str
    changed_at: Date  # last change that `updatedSince` tells of
    deleted_at: Date
    cleared_at: Date  # a deleted direct room that came back is empty before this
    parent_message_id: str  # what a discussion is about
    gone: int  # deleted messages that `msgs` no longer counts
    blockers: list[str]  # who of a direct room's two wants to hear nothing of the other
    team_private: bool  # its team, or what it is beside, is private: the room is public for those alone who see that
    team_created: dict[str, Any]  # of a main room: since when it is a team, and who made it one


class ReadMark(TypedDict):
    """The ordinals at a moment: a subscription's unread counters are what came after."""

    counted: int
    own: int
    mentioned: int
    group_mentions: int


class Subscription(TypedDict, total=False):
    _id: str
    rid: str
    u: UserReference
    t: str
    name: str
    fname: str
    ts: Date
    ls: Date
    lr: Date
    open: bool
    alert: bool
    unread: int
    userMentions: int
    groupMentions: int
    roles: list[str]
    f: bool
    _updatedAt: Date
    # inside only; written by the room's stream …
    own: int
    own_group_mentions: int
    mentioned: int
    seq: int  # which state of the room these counters belong to
    left_at: Date
    changed_at: Date
    added_by: str  # who let the member in: a user id
    # … and by the user's
    read: ReadMark
    hidden_at_counted: int  # the user hid the room when it had so many counted messages
    forced_alert: bool  # marked unread by hand
    read_changed_at: Date


class Invite(TypedDict, total=False):
    """A link that lets people into a room."""

    _id: str
    rid: str
    userId: str  # who made it
    days: int  # until it expires; 0 is never
    maxUses: int  # 0 is any number
    uses: int
    createdAt: Date
    expires: Date | None
    _updatedAt: Date
    # inside only
    removed_at: Date


class User(TypedDict, total=False):
    _id: str
    username: str
    name: str
    emails: list[dict[str, Any]]
    roles: list[str]
    type: str
    active: bool
    status: str
    statusDefault: str
    statusConnection: str
    statusText: str
    utcOffset: float
    language: str
    bio: str
    nickname: str
    avatarETag: str
    createdAt: Date
    lastLogin: Date
    settings: dict[str, Any]
    customFields: dict[str, Any]
    requirePasswordChange: bool
    _updatedAt: Date
    # inside only
    applied_seq: int
    services: dict[str, Any]
    username_lower: str
    emails_lower: list[str]
    deleted_at: Date


_INSIDE_MESSAGE = ("_hidden", "deleted_at", "parent", "starred")
_INSIDE_ROOM = (
    "applied_seq",
    "counted",
    "group_mentions",
    "members_key",
    "join_code",
    "changed_at",
    "deleted_at",
    "cleared_at",
    "parent_message_id",
    "gone",
    "blockers",
    "team_private",
    "team_created",
)
_INSIDE_SUBSCRIPTION = (
    "own",
    "own_group_mentions",
    "mentioned",
    "seq",
    "left_at",
    "changed_at",
    "added_by",
    "read",
    "hidden_at_counted",
    "forced_alert",
    "read_changed_at",
)
_INSIDE_USER = ("applied_seq", "services", "username_lower", "emails_lower", "deleted_at", "leaving_admins")


def public_message(message: dict[str, Any], starred_by: str = "") -> dict[str, Any]:
    """What the clients see of a message; stars are each user's own, so only who looks at it is said to have one."""
    shown = {name: value for name, value in message.items() if name not in _INSIDE_MESSAGE}
    if starred_by:
        shown["starred"] = [{"_id": starred_by}]
    return shown


def is_open(room: dict[str, Any]) -> bool:
    """Whether the room is public, and not for those alone who see a private team, or a private room beside it."""
    return room.get("t") == "c" and not room.get("team_private")


def public_room(room: dict[str, Any], *, outside: bool = False) -> dict[str, Any]:
    """What the clients see of a room. Who is `outside` sees nothing of what was said in it."""
    shown = {name: value for name, value in room.items() if name not in _INSIDE_ROOM}
    if outside:
        shown.pop("lastMessage", None)
    return shown


def public_subscription(subscription: dict[str, Any]) -> dict[str, Any]:
    """Without the counters: they are computed from the room, by messaging/rules.py."""
    return {name: value for name, value in subscription.items() if name not in _INSIDE_SUBSCRIPTION}


def public_invite(invite: dict[str, Any]) -> dict[str, Any]:
    """What its maker sees of an invite."""
    return {name: value for name, value in invite.items() if name != "removed_at"}


def public_user(user: dict[str, Any]) -> dict[str, Any]:
    """Everything but secrets; who may see which of it is auth's to say."""
    return {name: value for name, value in user.items() if name not in _INSIDE_USER}


def own_user(user: dict[str, Any]) -> dict[str, Any]:
    """The same for themself, and for who may see everything: with what there is to log in with, without what it is."""
    services = user.get("services", {})
    shown: dict[str, Any] = {}
    if services.get("password"):
        shown["password"] = {"exists": True}
    for name in ("totp", "email2fa"):
        if name in services:
            shown[name] = {"enabled": bool(services[name].get("enabled"))}
    return {**public_user(user), "services": shown} if shown else public_user(user)
