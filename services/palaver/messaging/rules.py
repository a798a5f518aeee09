"""The rules of rooms and messages: pure functions, no I/O. Called by the use cases beside this module.

**Unread.** Nothing is written per member. A room counts its messages (`counted`) and those that mentioned everybody
(`group_mentions`); a subscription counts what is its member's own (`own`, `own_group_mentions`) and the direct
mentions of them (`mentioned`), and keeps the values of its last read (or of the join) in `read`. The difference is:

    others  = messages of others since        (counted - read.counted) - (own - read.own)
    direct  = direct mentions since           mentioned - read.mentioned
    group   = mentions of everybody since     group_mentions - own_group_mentions - read.group_mentions; 0 if the
                                              subscription mutes group mentions (muteGroupMentions)

What a message moves, in this order of precedence:

    message                       counted  own, of its sender  mentioned, of others it names      group_mentions
    system (t)                    -        -                   -                                  -
    thread reply, not shown       -        -                   - (the thread's record instead)    -
    backfilled, imported          -        -                   -                                  -
    any other                     +1       +1                  +1                                 +1 if @all, @here (*)
    (*) and +1 on own_group_mentions of its sender

    edited, reacted, deleted: nothing moves.

What a member sees:

    setting of the room's type    unread                    userMentions  groupMentions  alert
    all_messages                  others                    direct        group          others > 0
    user_and_group_mentions_only  min(direct+group, others) direct        group          others > 0
    mentions_only (direct rooms)  min(direct+group, others) direct        group          others > 0
    user_mentions_only            min(direct, others)       direct        group          others > 0
    group_mentions_only           min(group, others)        direct        group          others > 0

    The setting is Unread_Count_DM for direct rooms, Unread_Count_Omni for livechat, Unread_Count for all others.
    others = 0 (read, or only one's own)       all of it 0, no alert
    unread threads (tunread)                   alert, counters untouched
    marked as unread by hand (forced_alert)    alert, counters untouched, until the room is read
    hideUnreadStatus                           no alert, unless somebody mentioned the member
    hidden (see `open`)                        no alert
    disableNotifications and the like          nothing: they concern telling, not counting

`open` is false while the member hides the room: until `counted` is beyond what it was when they hid it.

**Threads.** A follower's record of a thread against the thread's head: unread while `tlm` is later than what they read
and what they wrote; mentioned while that is true of `mentioned_at`, too.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palaver.database import Document
from palaver.documents import ReadMark, public_subscription
from palaver.v1.event_pb2 import Remaining

# A room's clock may run ahead of the wall clock by this much, so that its events' times rise strictly even where that
# one is set back, or another process's is slow: the order of what was said is worth more than an hour. Beyond a day,
# somebody has corrected a clock that was plainly wrong, and what was written by it stays in its future.
_MAX_AHEAD = 86_400_000

# What a subscription shows of its room, so that renaming a room of 50,000 is one write.
_FROM_ROOM = ("prid", "teamId", "teamMain", "archived", "broadcast", "encrypted", "onHold")

SYSTEM_MESSAGE_GROUPS = {"mute_unmute": ("user-muted", "user-unmuted")}

MEMBER_ROLES = frozenset({"owner", "moderator", "leader"})

# What the main room of a team says instead.
_TEAM_NOTICES = {"uj": "ujt", "ul": "ult", "au": "added-user-to-team", "ru": "removed-user-from-team"}

_EMOJI = re.compile(r"[\w+\-]{1,64}")


@dataclass(frozen=True, slots=True)
class UnreadSettings:
    """The three settings that decide what an unread count counts."""

    rooms: str = "user_and_group_mentions_only"
    direct: str = "all_messages"
    livechat: str = "all_messages"

    def of(self, room_type: str) -> str:
        return {"d": self.direct, "l": self.livechat}.get(room_type, self.rooms)


@dataclass(frozen=True, slots=True)
class UnreadThreads:
    """Ids of the threads of one room that a user follows and has not read, and when the last of them changed."""

    all: tuple[str, ...] = ()
    mentioning: tuple[str, ...] = ()
    changed_at: int = 0


NO_THREADS = UnreadThreads()


@dataclass(frozen=True, slots=True)
class Counters:
    """What a member sees of a room's unread messages. `others`: messages of others since the last read."""

    others: int
    unread: int
    user_mentions: int
    group_mentions: int
    alert: bool
    open: bool


def milliseconds(date: Any) -> int:
    """Of a stored date; 0 when there is none."""
    return int(date["$date"]) if isinstance(date, dict) and "$date" in date else 0


def member_notice(message_type: str, room: Mapping[str, Any]) -> str:
    """The type of the system message for who comes and goes ("uj", "ul", "au", "ru"), as this room has it."""
    return _TEAM_NOTICES.get(message_type, message_type) if room.get("teamMain") else message_type


def team_fields(main: Mapping[str, Any]) -> Document:
    """What a room of the team has, of which this is the main room."""
    fields: Document = {"teamId": main["_id"]}
    if is_of_private_team(main):
        fields["team_private"] = True
    return fields


def is_of_private_team(room: Mapping[str, Any]) -> bool:
    """Whether the room is for the members of a private team: the team itself, or a room that says so."""
    return room["t"] != "c" if room.get("teamMain") else bool(room.get("team_private"))


def find_gate(room: Mapping[str, Any]) -> str:
    """The id of the room that lets its members see this one: a discussion's parent, a public room's team; or ""."""
    if parent_id := room.get("prid"):
        return str(parent_id)
    return "" if room.get("t") != "c" or room.get("teamMain") else str(room.get("teamId", ""))


def is_gone(room: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether a message of the room was deleted: itself, or with the room before it came back."""
    return bool(message.get("_hidden")) or milliseconds(message["ts"]) <= milliseconds(room.get("cleared_at"))


def not_cleared(room: Mapping[str, Any]) -> dict[str, Any]:
    """The condition for messages that did not go with the room before it came back: empty for nearly every room."""
    cleared = room.get("cleared_at")
    return {"ts": {"$gt": cleared}} if cleared else {}


def count_unread(
    room: Mapping[str, Any], subscription: Mapping[str, Any], settings: UnreadSettings, threads: UnreadThreads
) -> Counters:
    """The truth table above."""
    read = subscription.get("read") or {}
    counted = room.get("counted", 0)
    others = max(0, counted - read.get("counted", 0) - (subscription.get("own", 0) - read.get("own", 0)))
    direct = max(0, subscription.get("mentioned", 0) - read.get("mentioned", 0)) if others else 0
    group = max(0, group_mentions_of_others(room, subscription) - read.get("group_mentions", 0)) if others else 0
    if subscription.get("muteGroupMentions"):
        group = 0
    match settings.of(room.get("t", "c")):
        case "all_messages":
            unread = others
        case "user_mentions_only":
            unread = min(direct, others)
        case "group_mentions_only":
            unread = min(group, others)
        case _:
            unread = min(direct + group, others)
    alert = bool(others or threads.all or subscription.get("forced_alert"))
    if subscription.get("hideUnreadStatus") and not (direct or group or threads.mentioning):
        alert = False
    hidden_at = subscription.get("hidden_at_counted")
    is_open = hidden_at is None or counted > hidden_at
    return Counters(others, unread, direct, group, alert and is_open, is_open)


def group_mentions_of_others(room: Mapping[str, Any], subscription: Mapping[str, Any]) -> int:
    return int(room.get("group_mentions", 0)) - int(subscription.get("own_group_mentions", 0))


def read_mark(room: Mapping[str, Any], subscription: Mapping[str, Any]) -> ReadMark:
    """The ordinals at this moment, for a member who has read everything (or has just become one: {})."""
    return {
        "counted": room.get("counted", 0),
        "own": subscription.get("own", 0),
        "mentioned": subscription.get("mentioned", 0),
        "group_mentions": group_mentions_of_others(room, subscription),
    }


def is_consistent(room: Mapping[str, Any], subscription: Mapping[str, Any]) -> bool:
    """Whether a subscription that was read after its room has seen no later event than the room.

    Otherwise own messages would count as others', or others' as own.
    """
    return int(subscription.get("seq", 0)) <= int(room.get("applied_seq", 0))


def find_unread_threads(records: Iterable[Document], heads: Mapping[str, Document]) -> dict[str, UnreadThreads]:
    """By room id, from a user's records of threads and the threads' first messages."""
    found: dict[str, tuple[list[str], list[str], int]] = {}
    for record in records:
        head = heads.get(record["thread_id"])
        if head is None or head.get("_hidden") or not record.get("following"):
            continue
        seen = max(milliseconds(record.get("read_at")), milliseconds(record.get("replied_at")))
        last = milliseconds(head.get("tlm"))
        if last <= seen:
            continue
        every, mentioning, changed = found.setdefault(record["rid"], ([], [], 0))
        every.append(record["thread_id"])
        if milliseconds(record.get("mentioned_at")) > seen:
            mentioning.append(record["thread_id"])
        found[record["rid"]] = (every, mentioning, max(changed, last))
    return {rid: UnreadThreads(tuple(a), tuple(m), changed) for rid, (a, m, changed) in found.items()}


def remaining(room: Mapping[str, Any], gone: int, uncounted: int = 0) -> Remaining:
    """How many messages the room has when so many more are gone, and some besides that it has never counted."""
    messages = max(0, int(room.get("msgs", 0)) - gone)
    return Remaining(messages=messages, gone=int(room.get("gone", 0)) + gone + uncounted)


# -- documents as the clients see them ---------------------------------------------------------------------------------


def present_subscription(
    subscription: Document, room: Document, settings: UnreadSettings, threads: UnreadThreads = NO_THREADS
) -> Document:
    """A subscription as the clients see it: with its counters, and with what it shows of its room."""
    shown = public_subscription(subscription)
    if room.get("t") != "d":
        shown["t"] = room.get("t", "c")
        shown["name"] = room.get("name", "")
        shown["fname"] = room.get("fname", shown["name"])
        for name in _FROM_ROOM:
            if name in room:
                shown[name] = room[name]
    elif blockers := room.get("blockers"):
        own = subscription["u"]["_id"]
        if own in blockers:
            shown["blocker"] = True
        if blockers != [own]:
            shown["blocked"] = True
    counters = count_unread(room, subscription, settings, threads)
    shown["open"] = counters.open
    shown["alert"] = counters.alert
    shown["unread"] = counters.unread
    shown["userMentions"] = counters.user_mentions
    shown["groupMentions"] = counters.group_mentions
    if threads.all:
        shown["tunread"] = list(threads.all)
    if threads.mentioning:
        shown["tunreadUser"] = list(threads.mentioning)
    shown["_updatedAt"] = {"$date": subscription_changed_at(subscription, room, threads)}
    return shown


def subscription_changed_at(subscription: Document, room: Document, threads: UnreadThreads = NO_THREADS) -> int:
    """The last change of anything that `present_subscription` shows."""
    return max(
        milliseconds(subscription.get("ts")),
        milliseconds(subscription.get("changed_at")),
        milliseconds(subscription.get("read_changed_at")),
        milliseconds(room.get("changed_at")),
        threads.changed_at,
    )


def room_changed_at(room: Document) -> int:
    return max(milliseconds(room.get("_updatedAt")), milliseconds(room.get("changed_at")))


def new_subscription(
    subscription_id: str, room: Document, user: Mapping[str, str], at: int, *, roles: Sequence[str] = ()
) -> Document:
    """The document of somebody who becomes a member now: everything before is read."""
    subscription: Document = {
        "_id": subscription_id,
        "rid": room["_id"],
        "u": {"_id": user["_id"], "username": user["username"], "name": user.get("name", "")},
        "t": room["t"],
        "name": room.get("name", ""),
        "fname": room.get("fname", room.get("name", "")),
        "ts": {"$date": at},
        "_updatedAt": {"$date": at},
        "changed_at": {"$date": at},
        "own": 0,
        "mentioned": 0,
        "read": read_mark(room, {}),
    }
    if roles:
        subscription["roles"] = list(roles)
    return subscription


# -- messages ----------------------------------------------------------------------------------------------------------


def event_time(room: Mapping[str, Any], now: int) -> int:
    """The time of the room's next event: now, but later than the last one: history keeps the order of arrival."""
    last = milliseconds(room.get("_updatedAt"))
    return last + 1 if now <= last < now + _MAX_AHEAD else now


def preference_time(subscription: Document, room: Document, now: int) -> int:
    """The time of the next event of a subscription in its user's stream: later than all that it has shown so far."""
    return event_time({"_updatedAt": {"$date": subscription_changed_at(subscription, room)}}, now)


def is_system(message: Mapping[str, Any]) -> bool:
    """Whether the room itself says it. An encrypted message has a type, too, but a sender who wrote it."""
    return bool(message.get("t", "e2e") != "e2e")


def is_counted(message: Mapping[str, Any]) -> bool:
    """Whether a message can make its room unread."""
    return not is_system(message) and (not message.get("tmid") or bool(message.get("tshow")))


def is_type_allowed(type: str, allowed: str, refused: str) -> bool:
    """Whether a file of this media type may be sent. The lists are as the settings have them: "image/*, text/plain"."""

    def is_in(listed: str) -> bool:
        patterns = [pattern.strip().lower() for pattern in listed.split(",") if pattern.strip()]
        kind = type.lower()
        return any(
            pattern in ("*", "*/*", kind) or (pattern.endswith("/*") and kind.startswith(pattern[:-1]))
            for pattern in patterns
        )

    return not is_in(refused) and (not allowed.strip() or is_in(allowed))


def is_within_minutes(sent_at: int, minutes: float, now: int) -> bool:
    """For the settings that block changes of a message after some minutes; 0 is no limit."""
    return minutes <= 0 or now - sent_at <= minutes * 60_000


def is_shown(system_type: str, room: Mapping[str, Any], hidden_types: Sequence[str]) -> bool:
    """Whether a room shows system messages of this type."""
    own = room.get("sysMes")
    hidden = [*hidden_types, *(own if isinstance(own, list) else ())]
    if any(system_type == name or system_type in SYSTEM_MESSAGE_GROUPS.get(name, ()) for name in hidden):
        return False
    return own is not False


def reaction_name(emoji: str) -> str | None:
    """ ":name:" for "name" or ":name:"; None for anything else."""
    name = emoji[1:-1] if len(emoji) > 2 and emoji[0] == emoji[-1] == ":" else emoji
    return f":{name}:" if _EMOJI.fullmatch(name) else None


def react(
    reactions: Mapping[str, Mapping[str, Sequence[str]]], emoji: str, username: str, should_react: bool | None
) -> dict[str, dict[str, list[str]]] | None:
    """The reactions after a user's own is set, removed or toggled (None); None when nothing changes."""
    has = username in reactions.get(emoji, {}).get("usernames", ())
    wanted = not has if should_react is None else should_react
    if wanted == has:
        return None
    changed = {name: {"usernames": list(value["usernames"])} for name, value in reactions.items()}
    if wanted:
        changed.setdefault(emoji, {"usernames": []})["usernames"].append(username)
    else:
        changed[emoji]["usernames"].remove(username)
        if not changed[emoji]["usernames"]:
            del changed[emoji]
    return changed


@dataclass(frozen=True, slots=True)
class ThreadReply:
    """What a reply does to its thread: the first message as it is then, and who follows from now on."""

    root: Document
    new_followers: list[str] = field(default_factory=list)


def reply_to(root: Document, sender_id: str, mentioned_ids: Iterable[str], at: int) -> ThreadReply:
    """The first reply makes the root's author a follower; each one its sender and the members it mentions."""
    replies = list(root.get("replies", ()))
    followers = [] if root.get("tcount") else [root.get("u", {}).get("_id")]
    new = [id for id in dict.fromkeys([*followers, sender_id, *mentioned_ids]) if id and id not in replies]
    changed = {
        **root,
        "replies": [*replies, *new],
        "tcount": root.get("tcount", 0) + 1,
        "tlm": {"$date": at},
        "_updatedAt": {"$date": at},
    }
    return ThreadReply(changed, [id for id in new if id != sender_id])
