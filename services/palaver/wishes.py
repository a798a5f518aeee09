"""Of what a user wants to be told by desktop notifications, in all of their rooms alike; a part of `access.User`.

Made of the user's document; what they have chosen of single rooms, their subscriptions say. Used by the gateway.
"""

from dataclasses import dataclass

from palaver.database import Document

MAX_HIGHLIGHTS = 100
MAX_HIGHLIGHT_LENGTH = 50
"""Each of a user's words is looked for in each message of their rooms: what is more, or longer, is not."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """`desktop` is all, mentions or nothing; "" is as the settings have it. `highlights` are words as they wrote them,
    `is_busy` is their choice of a status: who is busy wants to be told of nothing."""

    desktop: str = ""
    highlights: tuple[str, ...] = ()
    is_busy: bool = False


NO_WISHES = Wishes()


def wishes_of(document: Document, before: Wishes = NO_WISHES) -> Wishes:
    """From a user's document, or from what has changed of it: what that doesn't name is as it was `before`."""
    desktop, highlights, is_busy = before.desktop, before.highlights, before.is_busy
    if "settings" in document:
        preferences = (document["settings"] or {}).get("preferences") or {}
        chosen = str(preferences.get("desktopNotifications") or "")
        desktop = "" if chosen == "default" else chosen
        words = preferences.get("highlights")
        highlights = tuple(filter(_is_word, words if isinstance(words, list) else ()))[:MAX_HIGHLIGHTS]
    if "statusDefault" in document:
        is_busy = document["statusDefault"] == "busy"
    return Wishes(desktop, highlights, is_busy)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_HIGHLIGHT_LENGTH
