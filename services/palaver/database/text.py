"""What a text is found by: the keys that both adapters index, and the parts of a query that are looked up in them.

A word is a run of letters and digits, without regard to case, accents and width ("Straße" is "strasse", "İ" and "ı"
are "i"). Its keys are its ends: "chat" has "chat", "hat", "at" and "t". So whatever stands in a word is the beginning
of a key, and an ordered index finds it. Writings without spaces between words (Chinese, Japanese, Korean, Thai …) and
pictures (emoji) have the same, shorter: a sentence of them is one run.

A key has a few characters, so that a text has about as many bytes of keys as of its own for each of these. What is
longer is looked up in pieces of that length. So a text that has all pieces of a word, but apart, is found, too.

Of a text the first 100,000 characters are searched. Its keys have up to 32 bytes for each of these, so they fit into a
document of MongoDB (16 MB) beside it, however large messages may be.

An index has what `keys_of` said when a text was written: a change here needs a migration that begins it anew. (A word's
first key is longer than the others, because the release before knows words by nothing else.)
"""

import re
import unicodedata
from collections.abc import Iterable

KEY_LENGTH = 8
DENSE_KEY_LENGTH = 4
_WORD_LENGTH = 32
SEARCHED_LENGTH = 100_000

# Thai, Lao, Tibetan, Myanmar, jamo, Khmer, symbols and emoji, CJK without its punctuation, Yi, Hangul.
_DENSE = (
    "\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17d3\u2190-\u21ff\u2300-\u27bf\u2900-\u297f"
    "\u2b00-\u2bff\u2e80-\u2fdf\u3005-\u3007\u3021-\u302f\u3031-\u303c\u3041-\u30fa\u30fc-\u4dbf\u4e00-\ua4cf"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff"
)
# Vowel signs of Indic writings are no letters to Python, and no accents either.
_SIGNS = "\u0900-\u0963\u0966-\u0dff"
_RUN = re.compile(f"([{_DENSE}]+)|(?:(?![{_DENSE}])[^\\W_]|[{_SIGNS}])+")
_ASCII_RUN = re.compile("[a-z0-9]+")


def keys_of(text: str) -> list[str]:
    """What a text is found by, each key once."""
    keys: dict[str, None] = {}
    for word, is_dense in _runs_of(text):
        length = DENSE_KEY_LENGTH if is_dense else KEY_LENGTH
        keys[word[: length if is_dense else _WORD_LENGTH]] = None
        for start in range(1, len(word)):
            keys[word[start : start + length]] = None
    return list(keys)


def parts_of(query: str) -> list[str]:
    """The parts that a text must have to be found, each once: every one is the beginning of one of its keys."""
    parts: dict[str, None] = {}
    for word, is_dense in _runs_of(query):
        length = DENSE_KEY_LENGTH if is_dense else KEY_LENGTH
        for start in range(0, len(word), length):
            # The last piece is as long as the others: it begins earlier.
            start = max(0, min(start, len(word) - length))
            parts[word[start : start + length]] = None
    return list(parts)


def has_parts(text: str, parts: Iterable[str]) -> bool:
    """Whether each part is the beginning of a key of the text."""
    # No part has a space in it, so it stands within one word. Looking at word after word takes a hundred times as long.
    words = " ".join(word for word, _ in _runs_of(text))
    return all(part in words for part in parts)


def _runs_of(text: str) -> list[tuple[str, bool]]:
    """The words of what is searched of the text, folded, and whether each is of a writing without spaces."""
    if text.isascii():
        return [(word, False) for word in _ASCII_RUN.findall(text[:SEARCHED_LENGTH].lower())]
    # One character may become several.
    folded = fold(text[:SEARCHED_LENGTH])[:SEARCHED_LENGTH]
    return [(found[0], found[1] is not None) for found in _RUN.finditer(folded)]


def fold(text: str) -> str:
    """The text without what a search does not tell apart: case, accents, width."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join("i" if c == "ı" else c for c in decomposed if not _is_accent(c))
    # Syllables of Hangul and kana with their marks are one letter again.
    return unicodedata.normalize("NFC", kept)


def _is_accent(character: str) -> bool:
    """Marks that are written above, below or within a letter and don't make another one of it."""
    code = ord(character)
    if code < 0x300 or 0x900 <= code < 0x1AB0 or 0x2100 <= code < 0xFE00:
        return False
    return unicodedata.category(character) == "Mn"
