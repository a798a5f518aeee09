"""Quotes: what a message shows of another one, as an attachment.

A link to a message of this site, in the text, makes the server add one, if the sender may read that message. Called
when a message is sent, edited or pinned.
"""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit
from urllib.parse import quote as encode

from palaver.access import User
from palaver.database import Document
from palaver.messaging import mentions
from palaver.messaging.views import Views
from palaver.node import Node

_MAX_QUOTES = 10
_ID = re.compile(r"[^\s)\]>]{1,64}")


class Quotes:
    """Finds what a text links to."""

    def __init__(self, node: Node, views: Views) -> None:
        self._node = node
        self._views = views

    async def find(self, text: str, sender: User) -> list[Document]:
        """The attachments for those messages of this site that the text links to, and that the sender may read."""
        if "msg=" not in text or not (depth := int(self._node.access.setting("Message_QuoteChainLimit"))) > 0:
            return []
        site = str(self._node.access.setting("Site_Url") or self._node.config.site_url).rstrip("/") + "/"
        found = []
        for link in [link for link in mentions.links(text) if link.startswith(site)][:_MAX_QUOTES]:
            message = await self._views.find_readable(sender, linked_id(link))
            if message is not None:
                tree = {"md": message["md"]} if "md" in message else {}
                found.append(quote(message, depth, message_link=link, **tree))
        return found


def linked_id(link: str) -> str:
    """The id of the message that an address of this site shows; empty for another one."""
    try:
        [id] = parse_qs(urlsplit(link).query).get("msg", [""])
    except ValueError:
        return ""
    match = _ID.match(id)
    return match.group() if match else ""


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
    """Whether an attachment shows another message: by its link, or as a pin does."""
    return "message_link" in attachment or ("author_name" in attachment and "ts" in attachment)
