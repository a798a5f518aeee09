"""What a page says of itself for others to show: its title, and the `meta` elements of its head. Pure.

The parser takes time that grows with the square of a hostile text, so it gets one element at a time, of bounded length.
"""

import re
from html.parser import HTMLParser

MAX_VALUE = 1000
_MAX_VALUES = 6000  # characters of all values together: many pages are remembered
_MAX_ELEMENTS = 100
_MAX_ELEMENT = 3000
_MAX_NAME = 60
_ELEMENT = re.compile(r"<(?:meta|title)[\s/>]", re.IGNORECASE)
_BODY = re.compile(r"<body[\s/>]", re.IGNORECASE)
_is_name = re.compile(r"[a-z][a-z0-9:_.-]*", re.IGNORECASE).fullmatch
_is_wanted = re.compile(r"(?:og|twitter|fb|article)[:_-]|(?:description|author|keywords|theme-color)$").match


class _Element(HTMLParser):
    """One element's beginning, and the text behind it."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.attributes: dict[str, str] = {}
        self.tag = ""
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        self.attributes = {name: value or "" for name, value in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def read_page(html: str) -> dict[str, str]:
    """The metas by the names that clients know (`ogTitle`, `twitterImage`, `description`), and `pageTitle`."""
    body = _BODY.search(html)
    end = body.start() if body else len(html)
    found: dict[str, str] = {}
    for count, match in enumerate(_ELEMENT.finditer(html, 0, end)):
        if count == _MAX_ELEMENTS:
            break
        last = min(match.start() + _MAX_ELEMENT, end)
        closing = html.find("<", match.end(), last)
        element = _Element(html[match.start() : last if closing < 0 else closing])
        if element.tag == "title":
            if title := " ".join(element.text.split()):
                _add(found, "pageTitle", title)
            continue
        name = (element.attributes.get("property") or element.attributes.get("name") or "").strip()
        content = element.attributes.get("content", "").strip()
        if content and len(name) <= _MAX_NAME and _is_name(name) and _is_wanted(name.lower()):
            _add(found, _camel(name), content)
    return found


def _add(found: dict[str, str], name: str, value: str) -> None:
    """Unless there is one, or enough of others."""
    value = value[:MAX_VALUE]
    if name not in found and sum(map(len, found.values())) + len(value) <= _MAX_VALUES:
        found[name] = value


def _camel(name: str) -> str:
    first, *rest = re.split(r"[:_.-]+", name.lower())
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
