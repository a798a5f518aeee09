"""Pictures without what cameras and programs say of them (where, when, by whom), taken out as the bytes pass.

The picture itself stays byte for byte what it was, and keeps its colour profile and which way up it is. Read are JPEG,
PNG and WebP; anything else passes as it is, and so does the rest of what breaks its format's rules. Nothing larger
than a segment (64 KiB) is held. Called by `uploads.py`.
"""

import re
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator
from typing import Literal

from palaver.blobs import BlobTooLarge

_HEADER_BYTES = 12  # formats are told apart by these
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_METADATA = frozenset((b"eXIf", b"tEXt", b"zTXt", b"iTXt", b"tIME"))
_WEBP_METADATA = frozenset((b"EXIF", b"XMP "))
_WEBP_SAYS_METADATA = 0x08 | 0x04  # bits of its first chunk: there is EXIF, there is XMP
# Within the pixels of a JPEG: a marker that is none of those which stand among the pixels.
_find_marker = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]").search
_find_other_than_fill = re.compile(rb"[^\xff]").search
_EXIF = b"Exif\x00\x00"
_ORIENTATION = 0x0112

_Fate = Literal["kept", "dropped", "blanked"]
_EVERYTHING = 2**62
# Pictures have some thousands of parts. More than these are looked at only where they are large: the event loop waits.
_MAX_PARTS = 20_000
_SMALL_PART = 64


async def without_metadata(content: AsyncIterable[bytes], max_size: int) -> AsyncIterator[bytes]:
    """What stays of the content. Raises BlobTooLarge where more than `max_size` bytes come, with what goes."""
    size, header = 0, b""
    reader: _Reader | None = None
    async for chunk in content:
        size += len(chunk)
        if size > max_size:
            raise BlobTooLarge(details={"max_size": max_size})
        if reader is None:
            header += chunk
            if len(header) < _HEADER_BYTES:
                continue
            reader, chunk = _choose(header), header
        if kept := reader.read(chunk):
            yield kept
    if rest := header if reader is None else reader.end():
        yield rest


class _Reader(ABC):
    """Takes a format apart as it comes. `_step` looks at the start of what has come, and says what becomes of it."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._kept = bytearray()
        self._decided = 0  # so many bytes …
        self._fate: _Fate = "kept"  # … have this fate
        self._parts_left = _MAX_PARTS

    def read(self, chunk: bytes) -> bytes:
        """What is kept for certain, of this chunk and those before."""
        self._buffer += chunk
        self._parts_left += len(chunk) // _SMALL_PART
        while self._buffer:
            if self._decided:
                count = min(self._decided, len(self._buffer))
                if self._fate == "kept":
                    self._kept += self._buffer[:count]
                elif self._fate == "blanked":
                    self._kept += bytes(count)
                del self._buffer[:count]
                self._decided -= count
            elif self._parts_left < 0:
                self._decide(_EVERYTHING, "kept")
            elif self._step():
                self._parts_left -= 1
            else:
                break
        return self._give()

    def end(self) -> bytes:
        """The rest: what was begun and has no end."""
        self._kept += self._buffer
        return self._give()

    @abstractmethod
    def _step(self) -> bool:
        """Decides (`_decide`, `_replace`) on what comes next. False: it needs to see more."""

    def _decide(self, count: int, fate: _Fate) -> bool:
        self._decided, self._fate = count, fate
        return True

    def _replace(self, count: int, by: bytes) -> bool:
        self._kept += by
        del self._buffer[:count]
        return True

    def _give(self) -> bytes:
        kept = bytes(self._kept)
        self._kept.clear()
        return kept


class _Other(_Reader):
    def _step(self) -> bool:
        return self._decide(_EVERYTHING, "kept")


class _Jpeg(_Reader):
    """Segments, pixels up to the next marker, and so on; what follows the end are other pictures, or anything."""

    _is_in_pixels = False
    _is_over = False

    def _step(self) -> bool:
        data = self._buffer
        if self._is_over:
            return self._decide(_EVERYTHING, "dropped")
        if self._is_in_pixels:
            found = _find_marker(data)
            self._is_in_pixels = found is None
            count = len(data) - (data[-1] == 0xFF) if found is None else found.start()
            return (count > 0 and self._decide(count, "kept")) or found is not None
        if len(data) < 2:
            return False
        if data[0] != 0xFF:
            return self._decide(_EVERYTHING, "kept")
        kind = data[1]
        if kind == 0xFF:  # fills, as often as it likes
            other = _find_other_than_fill(data)
            return self._decide((len(data) if other is None else other.start()) - 1, "kept")
        if kind in (0x01, 0xD8, 0xD9) or 0xD0 <= kind <= 0xD7:
            self._is_over = kind == 0xD9
            return self._decide(2, "kept")
        if len(data) < 4:
            return False
        size = 2 + int.from_bytes(data[2:4], "big")
        if size < 4:
            return self._decide(_EVERYTHING, "kept")
        self._is_in_pixels = kind == 0xDA
        if not (0xE0 <= kind <= 0xEF or kind == 0xFE):
            return self._decide(size, "kept")
        return len(data) >= size and self._replace(size, _kept_segment(bytes(data[:size])))


def _kept_segment(segment: bytes) -> bytes:
    """What stays of an application's segment, or of a comment."""
    kind, content = segment[1], segment[4:]
    if kind == 0xE1 and content.startswith(_EXIF):
        turned = _find_orientation(content[len(_EXIF) :])
        return b"" if turned in (None, 1) else _orientation_segment(turned or 1)
    colours = (0xE0, b"JFIF\0"), (0xE2, b"ICC_PROFILE\0"), (0xEE, b"Adobe")
    return segment if any(kind == of and content.startswith(name) for of, name in colours) else b""


def _find_orientation(tiff: bytes) -> int | None:
    """Which way up the picture is (1 to 8), by what stands in EXIF; None for what can't be read."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for number in range(count):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * number)
            if tag == _ORIENTATION:
                return value if kind == 3 and 1 <= value <= 8 else None
    except struct.error:
        return None
    return None


def _orientation_segment(value: int) -> bytes:
    """EXIF that says nothing but which way up the picture is."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _ORIENTATION, 3, 1, value, 0, 0)
    return b"\xff\xe1" + struct.pack(">H", 2 + len(_EXIF) + len(tiff)) + _EXIF + tiff


class _Png(_Reader):
    _is_over = False
    _has_begun = False

    def _step(self) -> bool:
        if self._is_over:
            return self._decide(_EVERYTHING, "dropped")
        if not self._has_begun:
            self._has_begun = True
            return self._decide(len(_PNG), "kept")
        if len(self._buffer) < 8:
            return False
        size, kind = int.from_bytes(self._buffer[:4], "big"), bytes(self._buffer[4:8])
        if not kind.isalpha():
            return self._decide(_EVERYTHING, "kept")
        self._is_over = kind == b"IEND"
        return self._decide(12 + size, "dropped" if kind in _PNG_METADATA else "kept")


class _WebP(_Reader):
    """The length of all stands at its start, so what goes is blanked instead."""

    _left = -1

    def _step(self) -> bool:
        data = self._buffer
        if self._left < 0:
            self._left = int.from_bytes(data[4:8], "little") - 4
            return self._decide(_HEADER_BYTES, "kept")
        if self._left == 0:
            return self._decide(_EVERYTHING, "dropped")
        if len(data) < 9:
            return False
        kind, size = bytes(data[:4]), int.from_bytes(data[4:8], "little")
        whole = 8 + size + size % 2
        self._left = max(0, self._left - whole)
        if kind == b"VP8X" and size:
            self._decided, self._fate = whole - 9, "kept"
            return self._replace(9, bytes(data[:8]) + bytes([data[8] & ~_WEBP_SAYS_METADATA]))
        if kind in _WEBP_METADATA:
            self._decided, self._fate = whole - 8, "blanked"
            return self._replace(8, b"JUNK" + bytes(data[4:8]))
        return self._decide(whole, "kept")


def _choose(header: bytes) -> _Reader:
    if header.startswith(b"\xff\xd8\xff"):
        return _Jpeg()
    if header.startswith(_PNG):
        return _Png()
    if header.startswith(b"RIFF") and header[8:12] == b"WEBP":
        return _WebP()
    return _Other()
