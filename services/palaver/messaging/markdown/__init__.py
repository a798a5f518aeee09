"""The `md` tree of a message's text: what clients render. Called for every message, so it has to be cheap.

The language is that of Rocket.Chat's message parser (npm `@rocket.chat/message-parser` 0.31.35), as clients know it,
with each of its options, down to its oddities: tests compare the trees. Where it differs on purpose:

- The time is linear in the text; there, some texts take minutes, and its answer may depend on texts it parsed before.
- A host counts by its form and its top-level domain alone; punycode and the numbers of IPv4 addresses are not checked.
- A closing bracket ends the target of a link, even behind a hyphen.
- What begins with "localhost_" is text as a whole, whatever is joined to it.
- In what the letters behind it keep from being italic, signs of emoji stay emoji; there, some do.
- Scripts that joined Unicode after version 9 count as letters.
- A moment outside the years that 32 bits hold keeps its value; there, it wraps around.
- Domains that got hosts right below them (.bd) after that parser's list of public suffixes was made have them.
- "\\r" ends a line wherever it stands; the number of a list's item has at most 15 digits.
"""

from palaver.messaging.markdown.blocks import Blocks, big_emoji
from palaver.messaging.markdown.nodes import Node, paragraph, plain
from palaver.messaging.markdown.options import NOTHING, Options
from palaver.messaging.markdown.words import lines_pattern

__all__ = ["NOTHING", "Options", "parse"]


def parse(text: str, options: Options = NOTHING) -> list[Node]:
    """The blocks of the text, in their order. Any text has a tree; an empty one has no blocks."""
    if lines_pattern(options.emoticons, options.dollar_formulas).fullmatch(text) and "localhost" not in text:
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        return [paragraph([plain(line)]) if line else {"type": "LINE_BREAK"} for line in lines]
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if big := big_emoji(text, options.emoticons):
        return [big]
    return Blocks(text, options).parse()
