"""Colors that a reader sees: color:#f00, with three or four digits, or twice as many."""

import re

from palaver.messaging.markdown.characters import PLAIN
from palaver.messaging.markdown.nodes import Node

NAME = "color"
_DIGITS = re.compile(rf":#([0-9A-Fa-f]{{8}}|[0-9A-Fa-f]{{6}}|[0-9A-Fa-f]{{3,4}})(?![{PLAIN}])")
_OPAQUE = 255


def match(text: str, colon: int) -> tuple[Node, int] | None:
    """The color with its name before the colon, and where it ends."""
    found = _DIGITS.match(text, colon)
    if not found:
        return None
    digits = found[1]
    if len(digits) < len("rrggbb"):
        digits = "".join(digit * 2 for digit in digits)
    red, green, blue, *rest = bytes.fromhex(digits)
    alpha = rest[0] if rest else _OPAQUE
    return {"type": "COLOR", "value": {"r": red, "g": green, "b": blue, "a": alpha}}, found.end()
