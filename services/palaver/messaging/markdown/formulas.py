"""Formulas in the language of KaTeX: $x$ and \\(x\\) in a line, $$x$$ and \\[x\\] as blocks."""

from palaver.messaging.markdown.nodes import Node
from palaver.messaging.markdown.options import Options

_INLINE = "INLINE_KATEX"
_BLOCK = "KATEX"


class Finder:
    """Finds the formulas of one text. One ends at the first sign that closes any of its kind, whichever opened it."""

    def __init__(self, text: str, options: Options) -> None:
        self._text = text
        self.dollars = options.dollar_formulas and "$" in text
        self.parentheses = options.parenthesis_formulas and "\\" in text
        self._nearest: dict[str, tuple[int, int]] = {}

    def inline(self, start: int) -> tuple[Node, int] | None:
        """The formula that begins in a line at `start`, and its end."""
        return self._formula(_INLINE, start, ("$", "$"), ("\\(", "\\)"))

    def block(self, start: int) -> tuple[Node, int] | None:
        """The block of a formula that begins at `start`, and its end."""
        return self._formula(_BLOCK, start, ("$$", "$$"), ("\\[", "\\]"))

    def dollar_after(self, start: int) -> int:
        """Where the first dollar from `start` on is; the text's length if there is none."""
        return self._after("$", start)

    def _formula(
        self, kind: str, start: int, dollars: tuple[str, str], parentheses: tuple[str, str]
    ) -> tuple[Node, int] | None:
        signs = [*((dollars,) if self.dollars else ()), *((parentheses,) if self.parentheses else ())]
        opening = next((opening for opening, _ in signs if self._text.startswith(opening, start)), None)
        if opening is None:
            return None
        begin = start + len(opening)
        end, closing = min((self._after(closing, begin), closing) for _, closing in signs)
        if end == len(self._text):
            return None
        return {"type": kind, "value": self._text[begin:end]}, end + len(closing)

    def _after(self, sign: str, start: int) -> int:
        """Where the first such sign from `start` on is. However it is asked in order, the text is searched but once."""
        since, nearest = self._nearest.get(sign, (0, -1))
        if not since <= start <= nearest:
            found = self._text.find(sign, start)
            nearest = found if found >= 0 else len(self._text)
            self._nearest[sign] = (start, nearest)
        return nearest
