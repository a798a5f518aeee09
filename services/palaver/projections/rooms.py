"""Rooms, their members and the links that let people in."""

from palaver.database import Put
from palaver.projections.messages import system_message
from palaver.projections.values import date, loaded
from palaver.v1.event_pb2 import Event


def room_created(event: Event) -> list[Put]:
    fact = event.room_created
    puts = [Put("rooms", event.stream_id, insert=loaded(fact.room))]
    subscriptions = [loaded(data) for data in fact.subscriptions]
    return puts + [Put("subscriptions", s["_id"], insert=s) for s in subscriptions]


def room_changed(event: Event) -> list[Put]:
    fact = event.room_changed
    changes = {**loaded(fact.set), "changed_at": date(event.at), "_updatedAt": date(event.at)}
    puts = [Put("rooms", event.stream_id, set=changes, unset=tuple(fact.unset))]
    return puts + system_message(event, fact)


def room_deleted(event: Event) -> list[Put]:
    return [
        Put("rooms", event.stream_id, set={"deleted_at": date(event.at), "changed_at": date(event.at)}, unset=("name",))
    ]


def member_joined(event: Event) -> list[Put]:
    fact = event.member_joined
    subscription = loaded(fact.subscription)
    puts = [
        Put("subscriptions", subscription["_id"], insert=subscription),
        Put(
            "rooms",
            event.stream_id,
            set={"usersCount": fact.members, "changed_at": date(event.at), "_updatedAt": date(event.at)},
        ),
    ]
    if fact.invite_id:
        used = {"uses": fact.invite_uses, "_updatedAt": date(event.at)}
        puts.append(Put("invites", fact.invite_id, set=used))
    return puts + system_message(event, fact)


def member_left(event: Event) -> list[Put]:
    fact = event.member_left
    puts = [
        Put("subscriptions", fact.subscription_id, set={"left_at": date(event.at), "changed_at": date(event.at)}),
        Put(
            "rooms",
            event.stream_id,
            set={"usersCount": fact.members, "changed_at": date(event.at), "_updatedAt": date(event.at)},
        ),
    ]
    return puts + system_message(event, fact)


def member_changed(event: Event) -> list[Put]:
    fact = event.member_changed
    changes = {**loaded(fact.set), "changed_at": date(event.at)}
    puts = [Put("subscriptions", fact.subscription_id, set=changes, unset=tuple(fact.unset))]
    return puts + system_message(event, fact)


def member_renamed(event: Event) -> list[Put]:
    fact = event.member_renamed
    puts = [
        Put("subscriptions", renamed.subscription_id, set={**loaded(renamed.set), "changed_at": date(event.at)})
        for renamed in fact.subscriptions
    ]
    if fact.room:
        changes = {**loaded(fact.room), "changed_at": date(event.at), "_updatedAt": date(event.at)}
        puts.append(Put("rooms", event.stream_id, set=changes))
    return puts


def invite_made(event: Event) -> list[Put]:
    fact = event.invite_made
    return [Put("invites", fact.invite_id, insert=loaded(fact.invite))]


def invite_removed(event: Event) -> list[Put]:
    gone = {"removed_at": date(event.at), "_updatedAt": date(event.at)}
    return [Put("invites", event.invite_removed.invite_id, set=gone)]
