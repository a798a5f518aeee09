"""Words that the administrator does not want to be read: asterisks stand for them. Called where texts are written.

There is no list but the administrator's own: what is bad differs from one workspace to the next.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

_WORD = re.compile(r"\w+")


def censor(text: str, setting: Callable[[str], Any]) -> str:
    """The text as everybody may read it: whole words are compared, in any case."""
    if not setting("Message_AllowBadWordsFilter"):
        return text
    bad = _words_of(str(setting("Message_BadWordsFilterList"))) - _words_of(str(setting("Message_BadWordsWhitelist")))
    if not bad:
        return text
    return _WORD.sub(lambda found: "*" * len(found[0]) if found[0].casefold() in bad else found[0], text)


@lru_cache(maxsize=4)
def _words_of(listed: str) -> frozenset[str]:
    """Of a list with commas between its words."""
    return frozenset(word.strip().casefold() for word in listed.split(",")) - {""}
