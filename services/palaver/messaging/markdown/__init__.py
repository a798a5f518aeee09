"""The `md` tree of a message's text: what clients render. Called for every message, so it has to be cheap.

The language is that of Rocket.Chat's message parser (npm `@rocket.chat/message-parser` 0.31.35, without options), as
clients know it, down to its oddities: tests compare the trees. Where it differs on purpose:

- The time is linear in the text; there, some texts take minutes, and its answer may depend on texts it parsed before.
- A host counts by its form and its top-level domain alone; punycode and the numbers of IPv4 addresses are not checked.
- A closing bracket ends the target of a link, even behind a hyphen.
- Scripts that joined Unicode after version 9 count as letters.
- A moment outside the years that 32 bits hold keeps its value; there, it wraps around.
- "\\r" ends a line wherever it stands; the number of a list's item has at most 15 digits.
"""

import re

from palaver.messaging.markdown.blocks import Blocks, big_emoji
from palaver.messaging.markdown.inline import WORDS
from palaver.messaging.markdown.nodes import Node, paragraph, plain

# Texts that are whole words which mean nothing, and no list: a glance is enough for most messages.
_PLAIN = re.compile(rf"(?:(?:(?!-|\d+\.[ \t]){WORDS})?+(?:\n|\Z))*")


def parse(text: str) -> list[Node]:
    """The blocks of the text, in their order. Any text has a tree; an empty one has no blocks."""
    if _PLAIN.fullmatch(text) and "localhost" not in text:
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return [paragraph([plain(line)]) if line else {"type": "LINE_BREAK"} for line in lines]
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if big := big_emoji(text):
        return [big]
    return Blocks(text).parse()
