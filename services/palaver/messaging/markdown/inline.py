"""What is inside a line: emphasis, code, links, mentions, emoji.

One walk from left to right. A sign of markup is tried where it stands, and what a try found is kept, whether it came to
something or not: no part of a text is walked twice for the same purpose, and the time is linear in the text.
"""

import re
from bisect import bisect_left

from palaver.messaging.markdown import addresses, colors, emoji, formulas, links, mentions, timestamps, walks
from palaver.messaging.markdown.nodes import (
    Node,
    Piece,
    as_written,
    emoji_sign,
    emoticon,
    joined,
    link,
    plain,
    short_code,
)
from palaver.messaging.markdown.options import NOTHING, Options
from palaver.messaging.markdown.signs import Signs
from palaver.messaging.markdown.walks import EMPHASES, EMPHASIZED, ITALIC, LABEL, RESTRICTED, Line, Walk
from palaver.messaging.markdown.words import words_pattern

_ESCAPED = "*_~`#."

_SIGNS = frozenset("*_~`|<[]!@#:+\\")
_ORDINARY = re.compile(r"[^*_~`|<\[\]!@#:+\\ \t\n]+")
_SPACE = re.compile(r"[ \t]+")
_CODE = re.compile(r"`([^`\n]+)`")
# Brackets that stand before a link are none of its label.
_NEXT_LABEL = re.compile(r"\] \[[^\]]*\]\(")
_SNAKE = re.compile(r"[A-Za-z0-9]_{1,2}")
_SNAKE_WORD = re.compile(r"[A-Za-z0-9]++_")
# What makes no italic text of what is before it, by how many low lines there are.
_AFTER_ITALIC = {1: re.compile(r"[A-Za-z]+"), 2: re.compile(r"[0-9A-Za-z]+")}


class Scanner:
    """Walks over one text. `steps` counts what it tried: tests hold that against the text's length."""

    def __init__(self, text: str, options: Options = NOTHING) -> None:
        self.text = text
        self.formulas = formulas.Finder(text, options)
        self.steps = 0
        self._walks: dict[tuple[int, int, str], Walk | None] = {}
        self._barren: set[tuple[int, int, str, bool]] = set()
        self._last_signs: dict[str, int] = {}
        self._words = words_pattern(options.emoticons, options.dollar_formulas)
        self._colors = options.colors and "color:#" in text
        self._emoticons = options.emoticons
        self._emoticon_places: list[int] | None = None
        self._followed: dict[tuple[int, int, str], bool] = {}
        named = "." in text or "localhost" in text
        self._addresses = addresses.Finder(text, options.custom_domains) if named else None
        self._wordy = "localhost" not in text
        self._links = links.Finder(text)
        self._signs = Signs(text)
        self._mentions = mentions.Finder(text, self._signs)
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
        wordy = self._wordy
        loose = bool(refused) or sign in ("~", "||")  # emoji count within words, too
        while position < len(text):
            self.steps += 1
            character = text[position]
            if sign:
                if (
                    character == sign[0]
                    and text.startswith(sign, position)
                    and not (fresh and self._is_starred_emoticon(position, context, sign))
                ):
                    if sign == "](" and not self._links.target(position + 2):
                        break
                    return Walk(pieces, position)
                here = (position, context, sign, fresh)
                if here in self._barren:
                    break
                visited.append(here)
            if character == "\n" and not context & LABEL:
                break
            if fresh and wordy and character not in _SIGNS and (skipped := self._words.match(text, position)):
                pieces.append(skipped[0])
                position = skipped.end()
            elif character in " \t":
                space = _SPACE.match(text, position)
                assert space
                pieces.append(space[0])
                position = space.end()
                fresh = True
            elif character == "$" and (formula := self._formula(position, context)):
                pieces.append(formula[0])
                position = formula[1]
                fresh = True
            elif character not in _SIGNS:
                position, fresh = self._word(position, context, fresh, pieces, loose, sign)
            elif character in EMPHASES and (emphasis := self._emphasis(position, character, context)):
                pieces.extend(emphasis[0])
                position = emphasis[1]
                fresh = True
            elif character == "+" and not context & RESTRICTED:
                position, fresh = self._plus(position, fresh, pieces)
            elif (found := self._marked(position, character, context, fresh or loose, sign)) or (
                self._emoticons and (fresh or loose) and (found := self._emoticon(position, context, sign))
            ):
                pieces.append(found[0])
                position = found[1]
                fresh = True
            elif character == refused:
                return None
            elif character == "]" and sign == "](" and _NEXT_LABEL.match(text, position):
                break
            else:
                pieces.append(character)
                position += 1
                fresh = False
        if not sign:
            return Walk(pieces, position)
        self._barren.update(visited)
        return None

    def _word(
        self, start: int, context: int, fresh: bool, pieces: list[Piece], loose: bool, around: str
    ) -> tuple[int, bool]:
        """Adds what begins with a character that is no sign of markup. Returns its end, and whether what follows is
        fresh."""
        text = self.text
        end = self._ordinary_run(start)
        if loose and (sign := emoji.SIGN.search(text, start + 1, end)):
            end = sign.start()
        if loose and self._emoticons:
            end = min(end, self._emoticon_after(start + 1))
        if self.formulas.dollars and not context & RESTRICTED:
            end = max(start + 1, min(end, self.formulas.dollar_after(start)))
        finder = None if context & RESTRICTED else self._addresses
        email = finder.email(start, end) if finder else None
        here = email is not None and email.start == start
        if finder and fresh and not here and (web := finder.web(start)):
            pieces.append(web.piece)
            return web.end, True
        inside = finder.web_inside(start + fresh, min(email.start + 1, end) if email else end) if finder else None
        if not here and (fresh or (loose and not (inside and inside.start == start))):
            sign = emoji.SIGN.match(text, start) if text[start] > "\u22ff" and not context & LABEL else None
            # On UTF-16 only a sign of the basic plane is a single character that takes a mention's sign along.
            if sign and (text[start] > "\uffff" or not self._mentions.broken(start)):
                pieces.append(emoji_sign(sign[0]))
                return sign.end(), True
            if self._emoticons and (found_smiley := self._emoticon(start, context, around)):
                pieces.append(found_smiley[0])
                return found_smiley[1], True
        if (
            found := inside
            or email
            or (finder.mailto(start, end) if finder else None)
            or self._color(start, end, context)
        ):
            pieces.extend(filter(None, (text[start : found.start], found.piece)))
            return found.end, True
        if not context & ITALIC and (snake := _SNAKE.match(text, end - 1)):
            pieces.append(text[start : snake.end()])
            return snake.end(), True
        if broken := self._mentions.broken(end - 1):
            pieces.append(text[start : end - 1] + broken[0])
            return broken[1], True
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
        if broken := self._mentions.broken(start):
            return broken
        if character == "[":
            return None if context & walks.IN_LABEL else self._link(start, context)
        if character == "`":
            code = _CODE.match(text, start)
            return ({"type": "INLINE_CODE", "value": plain(code[1])}, code.end()) if code else None
        if character == "@":
            return self._mentions.user(start)
        if character == "#":
            return self._mentions.channel(start)
        if character == ":":
            code = emoji.SHORT_CODE.match(text, start) if fresh else None
            return (short_code(code[1]), code.end()) if code else None
        if character == "<":
            moment = timestamps.match(text, start) if around not in ("*", "_") else None
            if moment:
                return moment
            angle = None if context & walks.IN_LABEL else self._links.angle(start)
            return (link(angle.source, [plain(angle.label)]), angle.end) if angle else None
        if context & EMPHASIZED:
            return None
        if character == "\\":
            if formula := self.formulas.inline(start):
                return formula
            escaped = text[start + 1 : start + 2]
            return (escaped, start + 2) if escaped and escaped in _ESCAPED else None
        if character == "|":
            return self._spoiler(start, context)
        if character == "!":
            return self._image(start)
        return None

    def _formula(self, start: int, context: int) -> tuple[Node, int] | None:
        if context & RESTRICTED or self._mentions.broken(start):
            return None
        return self.formulas.inline(start)

    def _color(self, start: int, colon: int, context: int) -> addresses.Found | None:
        """The color whose name ends at the colon."""
        name = colon - len(colors.NAME)
        if not self._colors or context & RESTRICTED or name < start or not self.text.startswith(colors.NAME, name):
            return None
        color = colors.match(self.text, colon)
        return addresses.Found(name, color[1], color[0]) if color else None

    def _emoticon(self, start: int, context: int, around: str) -> tuple[Piece, int] | None:
        """The emoticon at `start`. Outside of struck text it counts only before something that is no plain sign."""
        if context & LABEL or (not context & ITALIC and _SNAKE.match(self.text, start)):
            return None
        found = emoji.EMOTICON.match(self.text, start)
        if not found:
            return None
        if around != "~" and not self._is_followed(start, context, around):
            return None
        return emoticon(found[0], emoji.EMOTICONS[found[0]]), found.end()

    def _is_starred_emoticon(self, start: int, context: int, around: str) -> bool:
        """Whether an emoticon begins here with a star, which then neither opens nor closes anything."""
        return self._emoticons and around == "*" and self._emoticon(start, context, around) is not None

    def _emoticon_after(self, start: int) -> int:
        """Where the first of what might be emoticons is from `start` on; the text's length if there is none."""
        if self._emoticon_places is None:
            self._emoticon_places = [found.start() for found in emoji.EMOTICON_PLACE.finditer(self.text)]
            self._emoticon_places.append(len(self.text))
        return self._emoticon_places[bisect_left(self._emoticon_places, start)]

    def _is_followed(self, start: int, context: int, around: str) -> bool:
        """Whether the emoticons that follow each other from `start` on are followed by more than a plain sign."""
        passed = []
        verdict: bool | None = None
        while verdict is None:
            key = (start, context, around)
            if key in self._followed:
                verdict = self._followed[key]
            elif found := emoji.EMOTICON.match(self.text, start):
                passed.append(key)
                start = found.end()
                verdict = True if self._opens(start, context, around) else None
            else:
                verdict = False
        self._followed.update(dict.fromkeys(passed, verdict))
        return verdict

    def _opens(self, start: int, context: int, around: str) -> bool:
        """Whether more than a plain sign begins here."""
        text = self.text
        if start == len(text):
            return True
        self.steps += 1
        character = text[start]
        if character in " \t\n*" or character == around:
            return True
        if self._formula(start, context):
            return True
        if character in EMPHASES and self._emphasis(start, character, context):
            return True
        if character == "+" and not context & RESTRICTED:
            return self._plus(start, True, [])[0] > start + 1
        if character == "|" and context & walks.SPOILER and not context & walks.AHEAD:
            return self._spoiler(start, walks.AHEAD) is not None
        if character in _SIGNS:
            return self._marked(start, character, context, True, around) is not None
        return self._word_opens(start, context)

    def _word_opens(self, start: int, context: int) -> bool:
        text = self.text
        if emoji.SIGN.match(text, start) or self._mentions.broken(start):
            return True
        if not context & ITALIC and _SNAKE_WORD.match(text, start):
            return True
        if context & RESTRICTED:
            return False
        color = self._color(start, self._ordinary_run(start), context)
        if color and color.start == start:
            return True
        finder = self._addresses
        return finder is not None and bool(
            finder.email(start, start + 1) or finder.web(start) or finder.mailto(start, start + len("mailto"))
        )

    def _plus(self, start: int, fresh: bool, pieces: list[Piece]) -> tuple[int, bool]:
        """Adds what begins with a plus: a telephone number or text. Returns what `_word` does."""
        text = self.text
        if broken := self._mentions.broken(start):
            pieces.append(broken[0])
            return broken[1], True
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

    def _emphasis(self, start: int, sign: str, context: int) -> tuple[list[Piece], int] | None:
        kind, name = EMPHASES[sign]
        if context & kind:
            return None
        text = self.text
        if not context & RESTRICTED and (end := self._signs.blank_end(start, sign)):
            return [text[start:end]], end
        for width in (2, 1):
            marker = sign * width
            within = (context | kind) & ~LABEL
            if not text.startswith(marker, start) or (
                text.startswith(sign, start + width) and not self._is_starred_emoticon(start + width, within, sign)
            ):
                continue
            inner = self._between(start + width, within, sign)
            if inner is None or not text.startswith(marker, inner.end):
                continue
            end = inner.end + width
            if sign == "_" and (letters := _AFTER_ITALIC[width].match(text, end)):
                pieces = [
                    piece if isinstance(piece, str) or "shortCode" not in piece else as_written(piece)
                    for piece in inner.pieces
                ]
                return [marker, *pieces, text[inner.end : letters.end()]], letters.end()
            return [{"type": name, "value": joined(inner.pieces)}], end
        return None

    def _spoiler(self, start: int, context: int) -> tuple[Piece, int] | None:
        if context & walks.SPOILER or not self.text.startswith("||", start):
            return None
        inner = self._between(start + 2, walks.SPOILER | context & walks.AHEAD, "||")
        if inner is None or not inner.pieces:
            return None
        return {"type": "SPOILER", "value": joined(inner.pieces)}, inner.end + 2

    def _link(self, start: int, context: int) -> tuple[Piece, int] | None:
        label = self._between(start + 1, context | LABEL | walks.IN_LABEL, "](")
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
