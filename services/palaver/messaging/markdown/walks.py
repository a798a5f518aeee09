"""What surrounds a walk through a line, and what it brings. For `inline.py`."""

from typing import NamedTuple

from palaver.messaging.markdown.nodes import Node, Piece

# What surrounds a walk: any of these together. AHEAD: it only looks whether something begins there.
BOLD, ITALIC, STRIKE, SPOILER, LABEL, IN_LABEL, AHEAD = 1, 2, 4, 8, 16, 32, 64
EMPHASIZED = BOLD | ITALIC | STRIKE
RESTRICTED = EMPHASIZED | LABEL

EMPHASES = {"*": (BOLD, "BOLD"), "_": (ITALIC, "ITALIC"), "~": (STRIKE, "STRIKE")}
"""By its sign: how an emphasis surrounds what is in it, and its node's type."""


class Walk(NamedTuple):
    """What was found, and where it ended."""

    pieces: list[Piece]
    end: int


class Line(NamedTuple):
    """The nodes of a line, and where it ends: at a line feed or at the text's end."""

    nodes: list[Node]
    end: int
