"""The nodes of the tree, and how pieces of a line become its nodes."""

from typing import Any

Node = dict[str, Any]
Piece = Node | str


def plain(text: str) -> Node:
    return {"type": "PLAIN_TEXT", "value": text}


def paragraph(value: list[Node]) -> Node:
    return {"type": "PARAGRAPH", "value": value}


def short_code(name: str) -> Node:
    return {"type": "EMOJI", "value": plain(name), "shortCode": name}


def emoticon(sign: str, name: str) -> Node:
    return {"type": "EMOJI", "value": plain(sign), "shortCode": name}


def emoji_sign(sign: str) -> Node:
    return {"type": "EMOJI", "unicode": sign}


def link(source: str, label: list[Node]) -> Node:
    return {"type": "LINK", "value": {"src": plain(source), "label": label}}


def joined(pieces: list[Piece]) -> list[Node]:
    """The pieces of a line with neighbouring texts made one.

    The short code of an emoji, or an emoticon, counts only beside white space or markup: not beside text, nor beside
    another emoji.
    """
    nodes: list[Node] = []
    texts: list[str] = []
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            texts.append(piece)
        elif "shortCode" not in piece or (
            (index == 0 or _parts(pieces[index - 1], -1)) and (index == last or _parts(pieces[index + 1], 0))
        ):
            if texts:
                nodes.append(plain("".join(texts)))
                texts = []
            nodes.append(piece)
        else:
            texts.append(as_written(piece))
    if texts:
        nodes.append(plain("".join(texts)))
    return nodes


def as_written(code: Node) -> str:
    """The short code of an emoji, or an emoticon, as the text that it was."""
    written: str = code["value"]["value"]
    return f":{written}:" if written == code["shortCode"] else written


def _parts(piece: Piece, side: int) -> bool:
    return piece[side].isspace() if isinstance(piece, str) else piece["type"] != "EMOJI"
