"""What is shown of a picture that was sent as a file: how large it is, a few blurred pixels, and a smaller picture.

The file itself stays as it is. What can't be read, or is larger than what is unpacked here, is a file like any other.
Pictures of several frames have no smaller one: it would stand still. Called by `uploads.py`.
"""

import asyncio
import base64
import io
from dataclasses import dataclass, replace
from typing import Any

from palaver.blobs import BlobNotFound, Blobs
from palaver.errors import Unavailable
from palaver.gateway import drawings
from palaver.gateway.pictures import InvalidPicture, Pictures, mode_of, opened_picture

_MAX_BYTES = 20 * 1024 * 1024  # of the file: it is held as a whole, one at a time
_PREVIEW_SIDE = 32
_MIN_SIDE, _MAX_SIDE = 16, 2048
_WHITE = (255, 255, 255)
_ORIENTATION, _LYING = 0x0112, (5, 6, 7, 8)  # of EXIF: pictures that are shown turned by 90 degrees


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A smaller picture: its bytes, its type ("image/png" or "image/jpeg"), and its size in pixels."""

    data: bytes
    type: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Look:
    """A picture's format ("png"), its size in pixels as it is shown, and what stands for it."""

    format: str
    width: int
    height: int
    preview: str  # a JPEG in base64
    thumbnail: Thumbnail | None


async def find_look(
    pictures: Pictures, blobs: Blobs, key: str, type: str, size: int, within: tuple[int, int] | None
) -> Look | None:
    """What is shown of a stored picture of this type and so many bytes; None for what can't be read as one.

    `within`: the largest size of its thumbnail; None: it gets none. Drawings (SVG) are seen by their thumbnail alone,
    as they are handed out for downloading only.
    """
    if size > _MAX_BYTES:
        return None
    try:
        async with pictures.turn():
            data = b"".join([piece async for piece in await blobs.read(key)])
            if type != drawings.TYPE:
                return await asyncio.to_thread(look_at, data, within)
            drawn, width, height = await drawings.draw(data, _sides(within))
            look = await asyncio.to_thread(look_at, drawn, within)
            return replace(look, format="svg", width=width, height=height)
    except (InvalidPicture, BlobNotFound, Unavailable):
        return None  # the file is stored all the same


def look_at(data: bytes, within: tuple[int, int] | None) -> Look:
    """The same of the picture's bytes. Raises InvalidPicture."""
    from PIL import Image, ImageFilter, ImageOps

    width, height = _sides(within)
    with opened_picture(data, (width, height)) as (opened, full_width, full_height):
        is_animated = bool(getattr(opened, "is_animated", False))
        format, mode = str(opened.format).lower(), mode_of(opened)
        if opened.getexif().get(_ORIENTATION) in _LYING:
            full_width, full_height = full_height, full_width
        ImageOps.exif_transpose(opened, in_place=True)
        small = opened if opened.mode == mode else opened.convert(mode)
        small.thumbnail((width, height))
        thumbnail = None if within is None or is_animated else _write(small, "PNG" if format == "png" else "")
        preview = small.copy()
        preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        if mode == "RGBA":
            preview = Image.alpha_composite(Image.new("RGBA", preview.size, (*_WHITE, 255)), preview).convert("RGB")
        written = io.BytesIO()
        preview.filter(ImageFilter.GaussianBlur(1)).save(written, "JPEG", quality=60)
    return Look(format, full_width, full_height, base64.b64encode(written.getvalue()).decode(), thumbnail)


def _sides(within: tuple[int, int] | None) -> tuple[int, int]:
    width, height = within or (_PREVIEW_SIDE, _PREVIEW_SIDE)
    return min(max(width, _MIN_SIDE), _MAX_SIDE), min(max(height, _MIN_SIDE), _MAX_SIDE)


def _write(small: Any, format: str) -> Thumbnail:
    format = format or ("PNG" if small.mode == "RGBA" else "JPEG")
    written = io.BytesIO()
    small.info.clear()  # colour profiles and texts are nobody's concern here
    small.save(written, format, **({"quality": 85} if format == "JPEG" else {}))
    return Thumbnail(written.getvalue(), f"image/{format.lower()}", small.width, small.height)
