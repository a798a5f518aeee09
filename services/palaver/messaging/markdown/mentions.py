"""Mentions of users and channels, and what only looks like one."""

import re

from palaver.messaging.markdown.characters import LETTERS, PLAIN
from palaver.messaging.markdown.nodes import Node, plain
from palaver.messaging.markdown.signs import Signs

_USER = re.compile(rf"([{LETTERS}\-_.]+(?:[:@][{LETTERS}\-_.]+)?)")
_CHANNEL = re.compile(rf"#([{LETTERS}\-_.]+)")
_BEFORE = re.compile(rf"(?! )[{PLAIN}]")
_LETTER = re.compile(rf"[{LETTERS}]")


class Finder:
    """Finds the mentions of one text."""

    def __init__(self, text: str, signs: Signs) -> None:
        self._text = text
        self._signs = signs

    def user(self, start: int) -> tuple[Node, int] | None:
        """The user that the @ at `start` mentions, and where the name ends."""
        found = _USER.match(self._text, self._signs.end(start, "@"))
        return ({"type": "MENTION_USER", "value": plain(found[1])}, found.end()) if found else None

    def channel(self, start: int) -> tuple[Node, int] | None:
        """The channel that the # at `start` mentions, and where its name ends."""
        found = _CHANNEL.match(self._text, start)
        return ({"type": "MENTION_CHANNEL", "value": plain(found[1])}, found.end()) if found else None

    def broken(self, start: int) -> tuple[str, int] | None:
        """What begins here as text and goes on as a mention would: with it, there is none. Of several @ one stays."""
        text = self._text
        sign = text[start + 1 : start + 2]
        if sign not in ("@", "#") or not _BEFORE.match(text, start):
            return None
        end = self._signs.end(start + 1, "@") if sign == "@" else start + 2
        if not _LETTER.match(text, end):
            return None
        return text[start : start + 2] + text[end], end + 1
