"""What a message may have attached: an object with fields of known types, and any others besides."""

from typing import Any

import msgspec

from palaver.gateway.ddp.method import MatchFailed

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


def check_attachments(attachments: list[dict[str, Any]]) -> None:
    """Raises MatchFailed for a field of a wrong type, and for a link that is no address of the web."""
    try:
        parsed = msgspec.convert(attachments, list[Attachment])
    except (msgspec.ValidationError, RecursionError) as error:
        raise MatchFailed(details={"field": str(error)[:200]}) from error
    for attachment in parsed:
        _check_links(attachment)


def _check_links(attachment: Attachment) -> None:
    for link in (attachment.message_link, attachment.author_link):
        if link and not link.lower().startswith(_WEB):
            raise MatchFailed(details={"field": "a link must be an address of the web"})
    # Files of this server have addresses without a host.
    link = attachment.title_link
    if link and ":" in link.partition("/")[0] and not link.lower().startswith((*_WEB, "mailto:")):
        raise MatchFailed(details={"field": "title_link must be an address of the web"})
    for inner in attachment.attachments or ():
        _check_links(inner)
