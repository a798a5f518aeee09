"""The `md` tree of a message's text: what clients render. Called for every message, so it has to be cheap."""

from typing import Any


def parse(text: str) -> list[dict[str, Any]]:
    """The text as paragraphs of plain text, one a line; an empty line is a line break."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [
        {"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": line}]} if line else {"type": "LINE_BREAK"}
        for line in lines
    ]
