"""Signs that stand in a row."""

import re

_BLANK = {sign: re.compile(rf"[ \t]+{re.escape(sign)}+") for sign in "*_~"}


class Signs:
    """The rows of one text. Each is walked once, wherever in it somebody asks."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rows: dict[str, tuple[int, int]] = {}
        self._blank_ends: dict[int, int] = {}

    def end(self, start: int, sign: str) -> int:
        """Where the sign at `start` and those of its kind that follow it end."""
        since, end = self._rows.get(sign, (-1, -1))
        if not since <= start < end:
            end = start
            while self._text.startswith(sign, end):
                end += 1
            self._rows[sign] = (start, end)
        return end

    def blank_end(self, start: int, sign: str) -> int:
        """Where signs of emphasis that have but white space between them end, which are text; 0 if there is more."""
        row_end = self.end(start, sign)
        if row_end not in self._blank_ends:
            blank = _BLANK[sign].match(self._text, row_end)
            self._blank_ends[row_end] = blank.end() if blank else 0
        return self._blank_ends[row_end]
