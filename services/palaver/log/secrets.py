"""What of an event stays between the database and the services that project it: hashes of passwords and of tokens, and
the tokens of webhooks.

Projections read the database's own events. Whatever leaves, by the log or by a call, goes through here. Called by the
log's adapter and by `auth/feeds.py`.
"""

import orjson

from palaver.v1.event_pb2 import Event

_SECRETS = ("services", "token")


def without_secrets(event: Event) -> Event:
    """The event itself, or a copy that lacks what only auth may know. A revoked token's hash is no secret any more."""
    match event.WhichOneof("fact"):
        case "user_created":
            user = _without(event.user_created.user)
            if user is not None:
                event = _copy(event)
                event.user_created.user = user
        case "user_changed":
            changes = _without(event.user_changed.set)
            if changes is not None:
                event = _copy(event)
                event.user_changed.set = changes
        case "token_issued":
            event = _copy(event)
            event.token_issued.ClearField("hashed_token")
        case "integration_saved":
            integration = _without(event.integration_saved.integration)
            if integration is not None:
                event = _copy(event)
                event.integration_saved.integration = integration
    return event


def _without(data: bytes) -> bytes | None:
    """The document without its secrets; None when it has none. Of what can't be read nothing leaves."""
    try:
        document = orjson.loads(data or b"{}")
    except orjson.JSONDecodeError:
        return b"{}"
    kept = {name: value for name, value in document.items() if name not in _SECRETS}
    return None if len(kept) == len(document) else orjson.dumps(kept)


def _copy(event: Event) -> Event:
    copy = Event()
    copy.CopyFrom(event)
    return copy
