"""Users, their logins, and what each of them has read, preferred and starred."""

from palaver.database import Put
from palaver.projections.values import date, loaded
from palaver.v1.event_pb2 import Event

# What the document of a deleted user must not keep.
_PERSONAL = (
    "avatarETag",
    "avatarOrigin",
    "bio",
    "customFields",
    "e2e",
    "emails",
    "language",
    "lastLogin",
    "leaving_admins",
    "name",
    "nickname",
    "reason",
    "services",
    "settings",
    "statusText",
    "username",
    "username_lower",
    "utcOffset",
)


def user_created(event: Event) -> list[Put]:
    return [Put("users", event.stream_id, insert=loaded(event.user_created.user))]


def user_changed(event: Event) -> list[Put]:
    fact = event.user_changed
    changes = {**loaded(fact.set), "_updatedAt": date(event.at)}
    return [Put("users", event.stream_id, set=changes, unset=tuple(fact.unset))]


def user_deleted(event: Event) -> list[Put]:
    at = date(event.at)
    gone = {"deleted_at": at, "active": False, "emails_lower": [], "roles": [], "_updatedAt": at}
    puts = [Put("users", event.stream_id, set=gone, unset=_PERSONAL)]
    return puts + [Put("tokens", hashed, set={"revoked_at": at}) for hashed in event.user_deleted.hashed_tokens]


def token_issued(event: Event) -> list[Put]:
    fact = event.token_issued
    token = {**loaded(fact.token), "_id": fact.hashed_token, "user_id": event.stream_id, "issued_at": date(event.at)}
    if fact.expires_at:
        token["expires_at"] = date(fact.expires_at)
    puts = [Put("tokens", fact.hashed_token, insert=token)]
    if token.get("type") != "personal":  # a personal access token is made, not logged in with
        puts.append(Put("users", event.stream_id, set={"lastLogin": date(event.at)}))
    return puts


def tokens_revoked(event: Event) -> list[Put]:
    return [Put("tokens", hashed, set={"revoked_at": date(event.at)}) for hashed in event.tokens_revoked.hashed_tokens]


def room_read(event: Event) -> list[Put]:
    fact = event.room_read
    puts = []
    if not fact.thread_id:
        read = {
            "counted": fact.counted,
            "own": fact.own,
            "mentioned": fact.mentioned,
            "group_mentions": fact.group_mentions,
        }
        changes = {"read": read, "ls": date(fact.read_at), "read_changed_at": date(event.at)}
        puts.append(
            Put("subscriptions", fact.subscription_id, set=changes, unset=("forced_alert", "hidden_at_counted"))
        )
    else:
        puts.append(Put("subscriptions", fact.subscription_id, set={"read_changed_at": date(event.at)}))
    threads = [*fact.threads, *filter(None, [fact.thread_id])]
    read_at = {"read_at": date(fact.read_at)}
    return puts + [Put("thread_reads", f"{event.stream_id}/{thread_id}", set=read_at) for thread_id in threads]


def subscription_preferred(event: Event) -> list[Put]:
    fact = event.subscription_preferred
    changes = {**loaded(fact.set), "read_changed_at": date(event.at)}
    return [Put("subscriptions", fact.subscription_id, set=changes, unset=tuple(fact.unset))]


def message_starred(event: Event) -> list[Put]:
    fact = event.message_starred
    star = f"{event.stream_id}/{fact.message_id}"
    first = {"_id": star, "user_id": event.stream_id, "rid": fact.room_id, "message_id": fact.message_id}
    return [
        Put("stars", star, insert={**first, "starred": fact.starred}),
        Put("stars", star, set={"starred": fact.starred}),
    ]
