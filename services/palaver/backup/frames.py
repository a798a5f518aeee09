"""What a part of an archive holds: frames, one after another, compressed as a whole (zlib).

A frame is a letter for its kind, the length of its payload in four bytes (most significant first), and the payload.
Called by `archive.py`; `making.py` and `restoring.py` choose kinds and payloads.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from palaver.errors import InvalidInput

EVENT = b"E"  # an event, as its stream has it: protobuf
STREAM = b"S"  # after a stream's events: JSON {kind, id, head}
RECORD = b"R"  # JSON {kind, id, record}
UPLOAD = b"U"  # before an upload's bytes: JSON {id}
PIECE = b"P"  # some of its bytes
UPLOAD_END = b"Z"  # after them: JSON {size, sha256}

_HEADER = struct.Struct(">cI")
_INFLATED_BYTES = 256 * 1024
# The largest event that MongoDB bears is 16 MiB.
_MAX_PAYLOAD = 64 * 1024 * 1024


class DamagedArchive(InvalidInput):
    """What is there is not what was written."""

    code = "error-archive-damaged"
    reason = "The archive is damaged"


class Frame(NamedTuple):
    """One frame."""

    kind: bytes
    payload: bytes


class Deflater:
    """Frames on their way into a part."""

    def __init__(self, level: int) -> None:
        """`level`: of zlib, 1 (fast) to 9 (small)."""
        self._compressor = zlib.compressobj(level)
        self._raw = bytearray()
        self.compressed = bytearray()
        self.size = 0  # of all frames, before they are compressed

    def add(self, kind: bytes, payload: bytes) -> None:
        self._raw += _HEADER.pack(kind, len(payload))
        self._raw += payload
        self.size += _HEADER.size + len(payload)
        if len(self._raw) >= _INFLATED_BYTES:
            self.compressed += self._compressor.compress(self._raw)
            self._raw = bytearray()

    def end(self) -> bytearray:
        """The whole part."""
        self.compressed += self._compressor.compress(self._raw)
        self.compressed += self._compressor.flush()
        return self.compressed


def read_frames(part: bytes) -> Iterator[Frame]:
    """The frames of one part, inflated a piece at a time. Raises DamagedArchive."""
    decompressor = zlib.decompressobj()
    inflated = bytearray()
    left = part
    while not decompressor.eof:
        try:
            piece = decompressor.decompress(left, _INFLATED_BYTES)
        except zlib.error as error:
            raise DamagedArchive(f"A part can't be inflated: {error}") from error
        left = decompressor.unconsumed_tail
        if not piece and not left and not decompressor.eof:
            raise DamagedArchive("A part ends too early")
        inflated += piece
        taken = 0
        while len(inflated) - taken >= _HEADER.size:
            kind, length = _HEADER.unpack_from(inflated, taken)
            if length > _MAX_PAYLOAD:
                raise DamagedArchive(f"A frame of {length} bytes")
            end = taken + _HEADER.size + length
            if len(inflated) < end:
                break
            yield Frame(kind, bytes(inflated[taken + _HEADER.size : end]))
            taken = end
        del inflated[:taken]
    if inflated or decompressor.unused_data:
        raise DamagedArchive("A part ends within a frame")
