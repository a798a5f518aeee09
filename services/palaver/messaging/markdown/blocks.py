"""The blocks of a message: paragraphs, headings, lists, quotes, code, spoilers."""

import re
from collections.abc import Callable

from palaver.messaging.markdown import emoji
from palaver.messaging.markdown.inline import Scanner
from palaver.messaging.markdown.nodes import Node, emoji_sign, emoticon, paragraph, plain, short_code
from palaver.messaging.markdown.options import NOTHING, Options

_CODE = re.compile(r"```([A-Za-z0-9 \-_.]*)\n\n?+((?:(?:(?!```)[^\n])*+\n)++)```")
_HEADING = re.compile(r"(#{1,4})[ \t]+([^ \t\n][^\n]*)")
_TASK = re.compile(r"- \[([ x])\][ \t]+(?=[^ \t\n])")
_DASH = re.compile(r"-[ \t]+(?=[^ \t\n])")
_STAR = re.compile(r"\*[ \t]+(?=[^ \t\n])")
_NUMBER = re.compile(r"(\d{1,15})\.[ \t]+(?=[^ \t\n])", re.ASCII)
_QUOTE = re.compile(r">[ \t]*+(?!\Z)")
_BLANK = re.compile(r"[ \t]*\n")
_EMOJI = (emoji.SIGN, emoji.SHORT_CODE)
_SPOILER_END = re.compile(r"\n?+\|\|")
_BIG_EMOJI = {
    emoticons: re.compile(rf"[ \t\n]*(?:(?>{'|'.join(kind.pattern for kind in kinds)})[ \t\n]*+){{1,3}}")
    for emoticons, kinds in ((False, _EMOJI), (True, (*_EMOJI, emoji.EMOTICON)))
}

Item = Callable[[re.Match[str], list[Node]], Node]


def _quoted(_: re.Match[str], value: list[Node]) -> Node:
    return paragraph(value or [plain("")])


def _task(found: re.Match[str], value: list[Node]) -> Node:
    return {"type": "TASK", "status": found[1] == "x", "value": value}


def _numbered(found: re.Match[str], value: list[Node]) -> Node:
    return {"type": "LIST_ITEM", "value": value, "number": int(found[1])}


def _item(_: re.Match[str], value: list[Node]) -> Node:
    return {"type": "LIST_ITEM", "value": value}


# What a line may begin, by its first character: in the order in which it is tried.
_LISTS: dict[str, tuple[tuple[str, re.Pattern[str], Item], ...]] = {
    "-": (("TASKS", _TASK, _task), ("UNORDERED_LIST", _DASH, _item)),
    "*": (("UNORDERED_LIST", _STAR, _item),),
    ">": (("QUOTE", _QUOTE, _quoted),),
    "1": (("ORDERED_LIST", _NUMBER, _numbered),),
}


class Blocks:
    """One text, block by block. `steps` counts what was tried inside its lines."""

    def __init__(self, text: str, options: Options = NOTHING) -> None:
        self._text = text
        self._scanner = Scanner(text, options)

    @property
    def steps(self) -> int:
        return self._scanner.steps

    def parse(self) -> list[Node]:
        """The blocks in their order."""
        nodes: list[Node] = []
        position = 0
        while position < len(self._text):
            node, position = self._break(position) or self._block(position) or self._paragraph(position)
            nodes.append(node)
        return nodes

    def _break(self, start: int) -> tuple[Node, int] | None:
        blank = _BLANK.match(self._text, start)
        return ({"type": "LINE_BREAK"}, blank.end()) if blank else None

    def _paragraph(self, start: int) -> tuple[Node, int]:
        line = self._scanner.line(start)
        assert line  # nothing is refused
        return paragraph(line.nodes), line.end + 1

    def _block(self, start: int) -> tuple[Node, int] | None:
        """The block that a line's first signs begin, if they do."""
        text = self._text
        character = text[start]
        if character == "`" and (code := _CODE.match(text, start)):
            lines = [{"type": "CODE_LINE", "value": plain(line)} for line in code[2].split("\n")[:-1]]
            return {"type": "CODE", "language": code[1] or "none", "value": lines}, code.end()
        if character == "#" and (heading := _HEADING.match(text, start)):
            return {"type": "HEADING", "level": len(heading[1]), "value": [plain(heading[2])]}, heading.end()
        if character == "|":
            return self._spoiler(start)
        if character in "$\\" and (formula := self._scanner.formulas.block(start)):
            return formula
        for kind, marker, item in _LISTS.get("1" if character.isdigit() else character, ()):
            if found := self._list(start, kind, marker, item):
                return found
        return None

    def _spoiler(self, start: int) -> tuple[Node, int] | None:
        """The paragraphs between two lines of bars."""
        text = self._text
        if not text.startswith("||\n", start):
            return None
        paragraphs = []
        position = start + len("||\n")
        while position < len(text) and text[position] != "\n" and not text.startswith("||", position):
            node, position = self._paragraph(position)
            paragraphs.append(node)
        end = _SPOILER_END.match(text, position) if position <= len(text) else None
        return ({"type": "SPOILER_BLOCK", "value": paragraphs}, end.end()) if paragraphs and end else None

    def _list(self, position: int, kind: str, marker: re.Pattern[str], item: Item) -> tuple[Node, int] | None:
        """The items that follow each other from this position, one a line."""
        items: list[Node] = []
        while found := marker.match(self._text, position):
            line = self._scanner.line(found.end(), refused="*" if marker is _STAR else "")
            if line is None:
                break
            items.append(item(found, line.nodes))
            position = line.end + 1
        return ({"type": kind, "value": items}, position) if items else None


def big_emoji(text: str, emoticons: bool) -> Node | None:
    """The message as large emoji, if it is three at most and nothing else."""
    if not _BIG_EMOJI[emoticons].fullmatch(text):
        return None
    value: list[Node] = []
    position = 0
    while position < len(text):
        if sign := emoji.SIGN.match(text, position):
            value.append(emoji_sign(sign[0]))
            position = sign.end()
        elif code := emoji.SHORT_CODE.match(text, position):
            value.append(short_code(code[1]))
            position = code.end()
        elif emoticons and (smiley := emoji.EMOTICON.match(text, position)):
            value.append(emoticon(smiley[0], emoji.EMOTICONS[smiley[0]]))
            position = smiley.end()
        else:
            position += 1
    return {"type": "BIG_EMOJI", "value": value}
