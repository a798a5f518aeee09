"""What is inside a line: emphasis, code, links, mentions, emoji.

One walk from left to right. A sign of markup is tried where it stands, and what a try found is kept, whether it came to
something or not: no part of a text is walked twice for the same purpose, and the time is linear in the text.
"""

import re
from typing import NamedTuple

from palaver.messaging.markdown import addresses, emoji, links, timestamps
from palaver.messaging.markdown.characters import LETTERS, PLAIN
from palaver.messaging.markdown.nodes import Node, Piece, emoji_sign, joined, link, plain, short_code

# What surrounds a walk.
BOLD, ITALIC, STRIKE, SPOILER, LABEL, IN_LABEL = 1, 2, 4, 8, 16, 32
_EMPHASIZED = BOLD | ITALIC | STRIKE
_RESTRICTED = _EMPHASIZED | LABEL

_EMPHASIS = {"*": (BOLD, "BOLD"), "_": (ITALIC, "ITALIC"), "~": (STRIKE, "STRIKE")}
_ESCAPED = "*_~`#."

# Whole words that mean nothing, with what parts them: most of most texts.
WORDS = r"(?:[0-9A-Za-z'\",;?()/%&=$\-\xa1-\u1fff\u2010-\u22ff\u3001-\ud7ff]++[.!:]*+(?=[ \t\n]|\Z)[ \t]*)++"
_WORDS = re.compile(WORDS)
_SIGNS = frozenset("*_~`|<[]!@#:+\\")
_ORDINARY = re.compile(r"[^*_~`|<\[\]!@#:+\\ \t\n]+")
_SPACE = re.compile(r"[ \t]+")
_CODE = re.compile(r"`([^`\n]+)`")
_USER = re.compile(rf"([{LETTERS}\-_.]+(?:[:@][{LETTERS}\-_.]+)?)")
_CHANNEL = re.compile(rf"#([{LETTERS}\-_.]+)")
_BEFORE_MENTION = re.compile(rf"(?! )[{PLAIN}]")
_MENTIONABLE = re.compile(rf"[{LETTERS}]")
_SNAKE = re.compile(r"[A-Za-z0-9]_{1,2}")
_BLANK = {sign: re.compile(rf"[ \t]+{re.escape(sign)}+") for sign in _EMPHASIS}
# What makes no italic text of what is before it, by how many low lines there are.
_AFTER_ITALIC = {1: re.compile(r"[A-Za-z]+"), 2: re.compile(r"[0-9A-Za-z]+")}


class Walk(NamedTuple):
    """What was found, and where it ended."""

    pieces: list[Piece]
    end: int


class Line(NamedTuple):
    """The nodes of a line, and where it ends: at a line feed or at the text's end."""

    nodes: list[Node]
    end: int


class Scanner:
    """Walks over one text. `steps` counts what it tried: tests hold that against the text's length."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.steps = 0
        self._walks: dict[tuple[int, int, str], Walk | None] = {}
        self._barren: set[tuple[int, int, str, bool]] = set()
        self._last_signs: dict[str, int] = {}
        self._addresses = addresses.Finder(text) if "." in text or "localhost" in text else None
        self._wordy = "localhost" not in text
        self._links = links.Finder(text)
        self._sign_runs: dict[str, tuple[int, int]] = {}
        self._blank_ends: dict[int, int] = {}
        self._ordinary_since = self._ordinary_end = -1

    def line(self, start: int, refused: str = "") -> Line | None:
        """The line that begins at `start`; None if the refused sign is in it and means nothing there."""
        walk = self._walk(start, 0, "", refused)
        return Line(joined(walk.pieces), walk.end) if walk else None

    def _between(self, start: int, context: int, sign: str) -> Walk | None:
        """What is from `start` to the next `sign`; None without one."""
        key = (start, context, sign)
        if key not in self._walks:
            if (last := self._last_signs.get(sign)) is None:
                last = self._last_signs[sign] = self.text.rfind(sign)
            self._walks[key] = self._walk(start, context, sign) if last >= start else None
        return self._walks[key]

    def _walk(self, position: int, context: int, sign: str, refused: str = "") -> Walk | None:
        """What is from `position` to the sign; without a sign, to the line's end."""
        text = self.text
        pieces: list[Piece] = []
        visited: list[tuple[int, int, str, bool]] = []
        fresh = True  # at the beginning of a word, or behind markup
        loose = bool(refused) or sign in ("~", "||")  # emoji count within words, too
        while position < len(text):
            self.steps += 1
            character = text[position]
            if sign:
                if character == sign[0] and text.startswith(sign, position):
                    if sign == "](" and not self._links.target(position + 2):
                        break
                    return Walk(pieces, position)
                here = (position, context, sign, fresh)
                if here in self._barren:
                    break
                visited.append(here)
            if character == "\n" and not context & LABEL:
                break
            if fresh and self._wordy and (words := _WORDS.match(text, position)):
                pieces.append(words[0])
                position = words.end()
            elif space := _SPACE.match(text, position):
                pieces.append(space[0])
                position = space.end()
                fresh = True
            elif character not in _SIGNS:
                position, fresh = self._word(position, context, fresh, pieces, loose)
            elif character in _EMPHASIS and (emphasis := self._emphasis(position, character, context)):
                pieces.extend(emphasis[0])
                position = emphasis[1]
                fresh = True
            elif character == "+" and not context & _RESTRICTED:
                position, fresh = self._plus(position, fresh, pieces)
            elif found := self._marked(position, character, context, fresh or loose, sign):
                pieces.append(found[0])
                position = found[1]
                fresh = True
            elif character == refused:
                return None
            else:
                pieces.append(character)
                position += 1
                fresh = False
        if not sign:
            return Walk(pieces, position)
        self._barren.update(visited)
        return None

    def _word(self, start: int, context: int, fresh: bool, pieces: list[Piece], loose: bool) -> tuple[int, bool]:
        """Adds what begins with a character that is no sign of markup. Returns its end, and whether what follows is
        fresh."""
        text = self.text
        end = self._ordinary_run(start)
        if loose and (sign := emoji.SIGN.search(text, start + 1, end)):
            end = sign.start()
        finder = None if context & _RESTRICTED else self._addresses
        email = finder.email(start, end) if finder else None
        here = email is not None and email.start == start
        if finder and fresh and not here and (web := finder.web(start)):
            pieces.append(web.piece)
            return web.end, True
        inside = finder.web_inside(start + fresh, min(email.start + 1, end) if email else end) if finder else None
        if not here and (fresh or (loose and not (inside and inside.start == start))):
            sign = emoji.SIGN.match(text, start) if text[start] > "\u22ff" and not context & LABEL else None
            # On UTF-16 only a sign of the basic plane is a single character that takes a mention's sign along.
            if sign and (text[start] > "\uffff" or not self._no_mention(start)):
                pieces.append(emoji_sign(sign[0]))
                return sign.end(), True
        if found := inside or email or (finder.mailto(start, end) if finder else None):
            pieces.extend(filter(None, (text[start : found.start], found.piece)))
            return found.end, True
        if not context & ITALIC and (snake := _SNAKE.match(text, end - 1)):
            pieces.append(text[start : snake.end()])
            return snake.end(), True
        if no_mention := self._no_mention(end - 1):
            pieces.append(text[start : end - 1] + no_mention[0])
            return no_mention[1], True
        pieces.append(text[start:end])
        return end, False

    def _ordinary_run(self, start: int) -> int:
        """Where the characters end that are no signs of markup."""
        if not self._ordinary_since <= start < self._ordinary_end:
            run = _ORDINARY.match(self.text, start)
            # The label of a link may hold line feeds.
            self._ordinary_since, self._ordinary_end = start, run.end() if run else start + 1
        return self._ordinary_end

    def _marked(self, start: int, character: str, context: int, fresh: bool, around: str) -> tuple[Piece, int] | None:
        """What the sign at `start` makes, and where that ends. `around`: the sign that the walk goes to."""
        if context & LABEL:
            return None
        text = self.text
        if no_mention := self._no_mention(start):
            return no_mention
        if character == "[":
            return None if context & IN_LABEL else self._link(start, context)
        if character == "`":
            code = _CODE.match(text, start)
            return ({"type": "INLINE_CODE", "value": plain(code[1])}, code.end()) if code else None
        if character == "@":
            user = _USER.match(text, self._signs_end(start, "@"))
            return ({"type": "MENTION_USER", "value": plain(user[1])}, user.end()) if user else None
        if character == "#":
            channel = _CHANNEL.match(text, start)
            return ({"type": "MENTION_CHANNEL", "value": plain(channel[1])}, channel.end()) if channel else None
        if character == ":":
            code = emoji.SHORT_CODE.match(text, start) if fresh else None
            return (short_code(code[1]), code.end()) if code else None
        if character == "<":
            moment = timestamps.match(text, start) if around not in ("*", "_") else None
            if moment:
                return moment
            angle = None if context & IN_LABEL else self._links.angle(start)
            return (link(angle.source, [plain(angle.label)]), angle.end) if angle else None
        if context & _EMPHASIZED:
            return None
        if character == "\\":
            escaped = text[start + 1 : start + 2]
            return (escaped, start + 2) if escaped and escaped in _ESCAPED else None
        if character == "|":
            return self._spoiler(start, context)
        if character == "!":
            return self._image(start)
        return None

    def _plus(self, start: int, fresh: bool, pieces: list[Piece]) -> tuple[int, bool]:
        """Adds what begins with a plus: a telephone number or text. Returns what `_word` does."""
        text = self.text
        if no_mention := self._no_mention(start):
            pieces.append(no_mention[0])
            return no_mention[1], True
        if fresh:
            found = addresses.phone(text, start)
            if not found and self._addresses and addresses.number_end(text, start) == start + 1:
                found = self._addresses.web(start)
            if found:
                pieces.append(found.piece)
                return found.end, True
        # A number that is too short, or within a word, is text. Then one right behind it may count.
        end = addresses.number_end(text, start)
        pieces.append(text[start:end])
        if end > start + 1 and not fresh and addresses.number_end(text, end) > end + 1:
            return self._plus(end, True, pieces)
        return end, fresh and end > start + 1

    def _no_mention(self, start: int) -> tuple[str, int] | None:
        """What begins here as text and goes on as a mention would: with it, there is none. Of several @ one stays."""
        text = self.text
        sign = text[start + 1 : start + 2]
        if sign not in ("@", "#") or not _BEFORE_MENTION.match(text, start):
            return None
        end = self._signs_end(start + 1, "@") if sign == "@" else start + 2
        if not _MENTIONABLE.match(text, end):
            return None
        return text[start : start + 2] + text[end], end + 1

    def _signs_end(self, start: int, sign: str) -> int:
        """Where the sign at `start` and those of its kind that follow it end."""
        since, end = self._sign_runs.get(sign, (-1, -1))
        if not since <= start < end:
            end = start
            while self.text.startswith(sign, end):
                end += 1
            self._sign_runs[sign] = (start, end)
        return end

    def _blank_end(self, start: int, sign: str) -> int:
        """Where signs that have but white space between them end, which are text; 0 if there is more."""
        signs_end = self._signs_end(start, sign)
        if signs_end not in self._blank_ends:
            blank = _BLANK[sign].match(self.text, signs_end)
            self._blank_ends[signs_end] = blank.end() if blank else 0
        return self._blank_ends[signs_end]

    def _emphasis(self, start: int, sign: str, context: int) -> tuple[list[Piece], int] | None:
        kind, name = _EMPHASIS[sign]
        if context & kind:
            return None
        text = self.text
        if not context & _RESTRICTED and (end := self._blank_end(start, sign)):
            return [text[start:end]], end
        for width in (2, 1):
            marker = sign * width
            if not text.startswith(marker, start) or text.startswith(sign, start + width):
                continue
            inner = self._between(start + width, (context | kind) & ~LABEL, sign)
            if inner is None or not text.startswith(marker, inner.end):
                continue
            end = inner.end + width
            if sign == "_" and (letters := _AFTER_ITALIC[width].match(text, end)):
                return [marker, *inner.pieces, text[inner.end : letters.end()]], letters.end()
            return [{"type": name, "value": joined(inner.pieces)}], end
        return None

    def _spoiler(self, start: int, context: int) -> tuple[Piece, int] | None:
        if context & SPOILER or not self.text.startswith("||", start):
            return None
        inner = self._between(start + 2, SPOILER, "||")
        if inner is None or not inner.pieces:
            return None
        return {"type": "SPOILER", "value": joined(inner.pieces)}, inner.end + 2

    def _link(self, start: int, context: int) -> tuple[Piece, int] | None:
        label = self._between(start + 1, context | LABEL | IN_LABEL, "](")
        target = self._links.target(label.end + 2) if label else None
        if label is None or target is None:
            return None
        return link(target.source, joined(label.pieces) or [plain(target.source)]), target.end

    def _image(self, start: int) -> tuple[Piece, int] | None:
        found = self._links.image(start)
        if found is None:
            return None
        label, target = found
        value = {"src": plain(target.source), "label": plain(label or target.source)}
        return {"type": "IMAGE", "value": value}, target.end
