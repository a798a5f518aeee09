"""What a message may have attached: an object with fields of known types, and any others besides."""

from typing import Any

import msgspec

from palaver.gateway.ddp.method import MatchFailed
from palaver.gateway.validation import match_words

_WEB = ("http://", "https://")

Number = int | float


class Field(msgspec.Struct):
    """A row of a small table in an attachment."""

    title: Any = None
    value: Any = None
    short: bool | None = None


class Attachment(msgspec.Struct):
    color: str | None = None
    text: str | None = None
    description: str | None = None
    title: str | None = None
    title_link: str | None = None
    title_link_download: bool | None = None
    message_link: str | None = None
    author_name: str | None = None
    author_link: str | None = None
    author_icon: str | None = None
    thumb_url: str | None = None
    collapsed: bool | None = None
    fields: list[Field] | None = None
    actions: list[dict[str, Any]] | None = None
    button_alignment: str | None = None
    image_url: str | None = None
    image_preview: str | None = None
    image_type: str | None = None
    image_size: Number | None = None
    image_dimensions: dict[str, Any] | None = None
    audio_url: str | None = None
    audio_type: str | None = None
    audio_size: Number | None = None
    video_url: str | None = None
    video_type: str | None = None
    video_size: Number | None = None
    attachments: "list[Attachment] | None" = None


class _Message(msgspec.Struct):
    """Only for the errors: they name a field from here on."""

    attachments: list[Attachment]


def check_attachments(attachments: list[dict[str, Any]]) -> None:
    """Raises MatchFailed for a field of a wrong type, and for a link that is no address of the web."""
    try:
        message = msgspec.convert({"attachments": attachments}, _Message)
    except msgspec.ValidationError as error:
        raise MatchFailed(said=match_words(error)) from error
    except RecursionError as error:
        raise MatchFailed from error
    for attachment in message.attachments:
        _check_links(attachment)


def _check_links(attachment: Attachment) -> None:
    for name in ("message_link", "author_link"):
        link = getattr(attachment, name)
        if link and not link.lower().startswith(_WEB):
            raise MatchFailed(said=f"Failed Match.Where validation in field {name}")
    # Files of this server have addresses without a host.
    link = attachment.title_link
    if link and ":" in link.partition("/")[0] and not link.lower().startswith((*_WEB, "mailto:")):
        raise MatchFailed(said="Failed Match.Where validation in field title_link")
    for inner in attachment.attachments or ():
        _check_links(inner)
