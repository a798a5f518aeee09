"""A message as bots and webhooks write it: to rooms by name, with many fields under two names. Used by chat.py and
`gateway/hooks.py`."""

from typing import Any, NamedTuple

import msgspec

from palaver.gateway.rest.endpoint import LooseParams


class Sender(NamedTuple):
    """How somebody wants to be shown; None where they don't say."""

    alias: str | None
    emoji: str | None
    avatar: str | None


class Posting(LooseParams, rename="camel"):
    """What somebody wants to be said, and where."""

    room_id: str | list[str] | None = None
    channel: str | list[str] | None = None
    text: str | None = None
    msg: str | None = None
    alias: str | None = None
    username: str | None = None
    emoji: str | None = None
    icon_emoji: str | None = msgspec.field(name="icon_emoji", default=None)
    avatar: str | None = None
    icon_url: str | None = msgspec.field(name="icon_url", default=None)
    attachments: list[dict[str, Any]] | None = None
    groupable: bool | None = None
    parse_urls: bool | None = None
    tmid: str | None = None

    def list_targets(self) -> list[str]:
        """The rooms that it names: ids, names, "#name" or "@username"."""
        chosen = self.channel or self.room_id or []
        return [chosen] if isinstance(chosen, str) else chosen

    def list_attachments(self) -> list[dict[str, Any]] | None:
        """What is attached. An attachment's text may be called `msg`, as the message's own."""
        return None if self.attachments is None else [_with_text(attachment) for attachment in self.attachments]

    def get_text(self) -> str:
        """What it says, without space around."""
        return (self.text or self.msg or "").strip()

    def get_sender(self) -> Sender:
        """As whom it wants to be shown."""
        return Sender(
            self.username or self.alias or None,
            self.icon_emoji or self.emoji or None,
            self.icon_url or self.avatar or None,
        )


def _with_text(attachment: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(message := attachment.get("msg"), str):
        return attachment
    others = {name: value for name, value in attachment.items() if name != "msg"}
    return {**others, "text": message.strip()} if message else others
