"""The words of which a user wants to be told whoever writes them, and whether a text holds one of them.

As whole words, in upper or lower case. A word is a run of letters and digits, and every other sign stands for itself:
"C++" is found in "c++, again", "deploy" in "_deploy_", and neither "art" nor "start" in "restart". What is chosen may
be several words: one after another, whatever space is between them. Used by `people.py` and `notifications.py`.
"""

import re
from collections.abc import Iterable

_PART = re.compile(r"[^\W_]+|\S")


class Text:
    """What a message says, made ready for any number of users' words."""

    __slots__ = ("joined", "parts")

    def __init__(self, text: str) -> None:
        found = _split(text)
        self.parts = frozenset(found)
        self.joined = _join(found)


class Highlights:
    """The words of one user; false if there are none."""

    __slots__ = ("_phrases", "_words")

    def __init__(self, words: Iterable[str] = ()) -> None:
        split = [_split(word) for word in words]
        self._words = frozenset(parts[0] for parts in split if len(parts) == 1)
        self._phrases = tuple(_join(parts) for parts in split if len(parts) > 1)

    def __bool__(self) -> bool:
        return bool(self._words or self._phrases)

    def are_in(self, text: Text) -> bool:
        """Whether the text holds at least one of them."""
        return not self._words.isdisjoint(text.parts) or any(phrase in text.joined for phrase in self._phrases)


NO_HIGHLIGHTS = Highlights()


def _split(text: str) -> list[str]:
    return _PART.findall(text.casefold())


def _join(parts: list[str]) -> str:
    return f" {' '.join(parts)} "
