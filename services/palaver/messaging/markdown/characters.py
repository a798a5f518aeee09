"""What the markup language calls a letter, a word's character or plain: classes for the parser's regular expressions.

The language is defined on UTF-16: a letter is one of the basic plane, while everything beyond it counts as a symbol.
"""

import sys
import unicodedata


def _ranges(points: list[int]) -> str:
    """The body of a character class that holds these code points, given in order."""
    parts = []
    start = last = points[0]
    for point in [*points[1:], sys.maxunicode + 2]:
        if point != last + 1:
            parts.append(chr(start) + (f"-{chr(last)}" if last > start else ""))
            start = point
        last = point
    return "".join(parts)


def _of_basic_plane(*categories: str) -> list[int]:
    return [point for point in range(0x80, 0x10000) if unicodedata.category(chr(point)) in categories]


_LETTER_CATEGORIES = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd")
_BEYOND = "\U00010000-\U0010ffff"
# Symbols that are emoji, or were thought to become one, with the joiner between them.
_SYMBOLS = "©®\u200d‼⁉™←-⇿⌚⌛⌨⏏⏩-⏳⏸-⏺Ⓜ▪▫▶◀◻-◾☀-➿⤴⤵⬅-⬇⬛⬜⭐⭕〰〽㊗㊙"

# Letters and decimal digits: what names are made of.
LETTERS = "0-9A-Za-z" + _ranges(_of_basic_plane(*_LETTER_CATEGORIES))
# What the name in an e-mail address begins with: marks and symbols, too.
WORD = "0-9A-Za-z" + _ranges(_of_basic_plane(*_LETTER_CATEGORIES, "Mn", "Mc", "Me")) + _SYMBOLS + _BEYOND
# What means nothing by itself: no bracket, no sign of markup.
PLAIN = " -'+-Za-z\x80-\U0010ffff"
# What a host's name is made of. A hyphen or a low line takes its neighbour along, almost whatever that is.
HOST_NAME = r"0-9A-Za-z\^{}\x80-\U0010ffff"
HOST_PAIR = r"[_\-][^ \t\n%/<>\[\\\]`|]"
HOST_LABEL = rf"(?:[{HOST_NAME}]|{HOST_PAIR})++"
HOST = rf"(?!_){HOST_LABEL}(?:\.{HOST_LABEL})++"
