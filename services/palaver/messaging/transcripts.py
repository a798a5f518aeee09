"""Messages as people and programs read them outside: HTML and JSON. Pure; called by `archives.py` and `exports.py`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote

import orjson

from palaver.database import Document
from palaver.documents import public_message
from palaver.messaging.rules import is_system, milliseconds

HTML_END = "</body></html>\n"

_STYLE = (
    "body{font-family:sans-serif;max-width:50em;margin:2em auto}p{margin:.6em 0}time{color:#667;font-size:.8em}"
    ".system{color:#667;font-style:italic}blockquote{margin:.2em 1em;border-left:3px solid #ccd;padding-left:.6em}"
)


def html_head(title: str) -> str:
    shown = escape(title)
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{shown}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{shown}</h1>\n"
    )


def html_of(message: Document, files: Mapping[str, str]) -> str:
    """One message. `files`: where the files of messages are, by their ids."""
    at = f"{datetime.fromtimestamp(milliseconds(message['ts']) / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    head = f"<b>{escape(_author(message))}</b> <time>{at} UTC</time>"
    text = _lines(str(message.get("msg", "")))
    if is_system(message):
        return f'<p class="system">{head}<br>{escape(str(message["t"]))} {text}</p>\n'
    parts = [f"<p>{head}<br>{text}</p>\n"]
    file = message.get("file") or {}
    if (path := files.get(str(file.get("_id", "")))) is not None:
        parts.append(f'<p><a href="{quote(path)}">{escape(str(file.get("name", path)))}</a></p>\n')
    parts += [_attachment(one) for one in message.get("attachments") or () if isinstance(one, dict)]
    return "".join(parts)


def json_of(message: Document) -> bytes:
    """One message with dates in the form of ISO 8601, without the tree that clients draw."""
    shown = {name: value for name, value in public_message(message).items() if name != "md"}
    return orjson.dumps(_plain(shown))


def _author(message: Document) -> str:
    user = message.get("u", {})
    return str(message.get("alias") or user.get("name") or user.get("username", ""))


def _attachment(attachment: Document) -> str:
    texts = [attachment.get(name) for name in ("author_name", "title", "description", "text")]
    said = "<br>".join(_lines(text) for text in texts if isinstance(text, str) and text)
    return f"<blockquote>{said}</blockquote>\n" if said else ""


def _lines(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$date"} and isinstance(value["$date"], int):
            return f"{datetime.fromtimestamp(value['$date'] / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value
