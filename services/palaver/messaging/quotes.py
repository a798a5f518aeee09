"""Quotes: what a message shows of another one, as an attachment. Called where the server makes them."""

from typing import Any
from urllib.parse import quote as encode

from palaver.database import Document


def quote(message: Document, depth: int, **more: Any) -> Document:
    """The attachment that shows this message, with no more than `depth` quotes within each other."""
    username = message["u"].get("username", "")
    attachment = {
        "text": message.get("msg", ""),
        "author_name": message.get("alias") or username,
        "author_icon": f"/avatar/{encode(username, safe='')}",
        "ts": message["ts"],
        **more,
    }
    if attachments := trim(message.get("attachments", ()), depth - 1):
        attachment["attachments"] = attachments
    return attachment


def trim(attachments: Any, depth: int) -> list[Document]:
    """The attachments without the quotes that lie deeper than this within each other. Pictures and files stay."""
    kept = []
    for attachment in attachments if isinstance(attachments, list | tuple) else ():
        if not isinstance(attachment, dict):
            continue
        if is_quote(attachment):
            if depth <= 0:
                continue
            inner = trim(attachment.get("attachments"), depth - 1)
            attachment = {name: value for name, value in attachment.items() if name != "attachments"}
            if inner:
                attachment["attachments"] = inner
        kept.append(attachment)
    return kept


def is_quote(attachment: Document) -> bool:
    """Whether an attachment shows another message."""
    return "message_link" in attachment or ("author_name" in attachment and "ts" in attachment)
