"""Links that are written as such: [label](target), ![label](source) and <target|label>."""

import re
from typing import NamedTuple

from palaver.messaging.markdown.characters import HOST, PLAIN

_INNER = r"!-'*-\[\]^-{}~\x80-\U0010ffff"
_TARGET = re.compile(rf"[({_INNER}]*")
_ANGLE_LABEL = re.compile(r"([ -;=?-{}-\U0010ffff]+)>")
_IMAGE_LABEL = re.compile(rf"!\[([{PLAIN}]*)\]\(")

_PHONE = re.compile(r"\+(?:\((\d+)\))?(\d+)(?:-(\d+))?", re.ASCII)
_LEADS = re.compile(rf"[A-Za-z0-9+\-]+:.|localhost|{HOST}")


class Target(NamedTuple):
    """Where a link leads, and where it ends in the text."""

    source: str
    end: int


class Angle(NamedTuple):
    """A link in angle brackets."""

    source: str
    label: str
    end: int


class Finder:
    """Finds the links of one text. What stands at a bracket is looked at once, whoever asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._targets: dict[int, Target | None] = {}
        self._round_ends: dict[int, int] = {}
        self._stop_since = self._stop = -1
        self._titles: dict[int, re.Match[str] | None] = {}

    def image(self, start: int) -> tuple[str, Target] | None:
        """The label and the source of the image at `start`."""
        label = _IMAGE_LABEL.match(self._text, start)
        target = self.target(label.end()) if label and (not label[1] or label[1].strip(" ")) else None
        return (label[1], target) if label and target else None

    def angle(self, start: int) -> Angle | None:
        """The link in angle brackets that begins at `start`."""
        bar = self._stop_after(start + 1)
        if bar not in self._titles:
            has_bar = self._text.startswith("|", bar)
            self._titles[bar] = _ANGLE_LABEL.match(self._text, bar + 1) if has_bar else None
        title = self._titles[bar]
        source = self._source(start + 1, bar) if title else None
        return Angle(source, title[1], title.end()) if title and source else None

    def target(self, start: int) -> Target | None:
        """What a link leads to whose target begins at `start`, behind the bracket."""
        if start not in self._targets:
            end = self._round_end(start)
            source = self._source(start, end) if self._text.startswith(")", end) else None
            self._targets[start] = Target(source, end + 1) if source else None
        return self._targets[start]

    def _round_end(self, start: int) -> int:
        """Where a target in round brackets ends: behind as many brackets as are closed right after they opened."""
        passed = []
        while (end := self._round_ends.get(start)) is None:
            passed.append(start)
            stop = self._stop_after(start)
            if not self._text.startswith(")", stop) or self._text.rfind("(", start, stop) < 0:
                end = stop
                break
            start = stop + 1
        self._round_ends.update(dict.fromkeys(passed, end))
        return end

    def _stop_after(self, start: int) -> int:
        """The first character from `start` on that no target may hold."""
        if not self._stop_since <= start <= self._stop:
            found = _TARGET.match(self._text, start)
            self._stop_since, self._stop = start, found.end() if found else start
        return self._stop

    def _source(self, start: int, end: int) -> str | None:
        """Where the target in these bounds leads; None for what is no target."""
        if phone := _PHONE.fullmatch(self._text, start, end):
            return "tel:" + "".join(part for part in phone.groups() if part)
        return self._text[start:end] if _LEADS.match(self._text, start, end) else None
