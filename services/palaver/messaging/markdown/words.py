"""Whole words that mean nothing, with what parts them: most of most texts. These need no more than a glance."""

import re
from functools import lru_cache

from palaver.messaging.markdown import emoji

_CHARACTERS = r"0-9A-Za-z'\",;?()/%&=\-\xa1-\u1fff\u2010-\u22ff\u3001-\ud7ff"


@lru_cache(maxsize=4)
def words_pattern(emoticons: bool, dollars: bool) -> re.Pattern[str]:
    """What matches such words up to the next one that may mean something, or to the line's end. Which of the options
    count is asked for, since an emoticon may look like a word, and so may a formula between dollars."""
    return re.compile(_words(emoticons, dollars))


@lru_cache(maxsize=4)
def lines_pattern(emoticons: bool, dollars: bool) -> re.Pattern[str]:
    """What matches a text of such words that is no list, as a whole."""
    return re.compile(rf"(?:(?:(?!-|\d+\.[ \t]){_words(emoticons, dollars)})?+(?:\n|\Z))*")


def _words(emoticons: bool, dollars: bool) -> str:
    characters = _CHARACTERS if dollars else _CHARACTERS + "$"
    unsmiling = rf"(?!(?:{emoji.WORDY_EMOTICON})++(?=[ \t\n]|\Z))" if emoticons else ""
    return rf"(?:{unsmiling}[{characters}]++[.!:]*+(?=[ \t\n]|\Z)[ \t]*)++"
