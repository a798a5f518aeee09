"""Pictures that people upload: read, made small and square, and written anew, before they are stored as blobs.

Nothing of what was sent is kept or served: no metadata, no second meaning of the bytes, no size but ours. A picture has
an id of its own (the `avatarETag` of whose it is), and never changes. Used by `operations/avatars.py` and `avatars.py`.
The workspace's own media are kept as they were sent: for `operations/assets.py` and `operations/media.py`.
How a picture is opened at all is here for `thumbnails.py`, too.
"""

import asyncio
import io
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from prometheus_client import Counter

from palaver.blobs import AVATARS, MEDIA, Blobs, one_piece
from palaver.errors import InvalidInput, PalaverError, Unavailable
from palaver.http import Http, Limits
from palaver.ids import new_id

MAX_BYTES = 10 * 1024 * 1024
_MAX_PIXELS = 40_000_000
_MAX_UNPACKED = 16_000_000  # pixels; each takes some twenty bytes for a moment, and a few bytes may claim them all
_MIN_SIDE, _MAX_SIDE = 16, 1024
_FORMATS = ("PNG", "JPEG", "GIF", "WEBP")
_MAX_WAITING = 50

ADDED = Counter("palaver_pictures_added_total", "Pictures of users and rooms that were made and stored")
REFUSED = Counter("palaver_pictures_refused_total", "Pictures that could not be read, or were too large")


class InvalidPicture(InvalidInput):
    code = "error-avatar-invalid-image"
    reason = "This is no picture that the server can read"


class Pictures:
    """Makes and keeps the pictures of one gateway's clients."""

    def __init__(self, blobs: Blobs, http: Http) -> None:
        self.blobs = blobs
        self._http = http
        self._turn = asyncio.Semaphore(1)  # one at a time: each may take many MiB for a moment
        self._waiting = 0

    async def add(self, data: bytes, side: int) -> str:
        """Stores a square of so many pixels made of the picture; returns its id. Raises InvalidPicture, Unavailable."""
        async with self.turn():
            made = await asyncio.to_thread(make_square, data, min(max(side, _MIN_SIDE), _MAX_SIDE))
        picture_id = new_id()
        await self.blobs.put(f"{AVATARS}/{picture_id}", one_piece(made), max_size=len(made))
        ADDED.inc()
        return picture_id

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """For work on a picture, which only one has at a time. Raises Unavailable where too many wait."""
        if self._waiting >= _MAX_WAITING:
            raise Unavailable("Too many pictures at once; try again")
        self._waiting += 1
        try:
            async with self._turn:
                yield
        except InvalidPicture:
            REFUSED.inc()
            raise
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def kept(self, data: bytes) -> AsyncIterator[str]:
        """Stores a file among the workspace's media, and deletes it if what is done with its id is refused.

        Raises Unavailable.
        """
        file_id = new_id()
        await self.blobs.put(f"{MEDIA}/{file_id}", one_piece(data), max_size=len(data))
        try:
            yield file_id
        except Unavailable:
            raise  # it may be in use
        except BaseException:
            await self.blobs.delete(f"{MEDIA}/{file_id}")
            raise

    async def fetch(self, url: str) -> bytes:
        """The bytes of a picture somewhere on the web. Raises what `Http.fetch` does, InvalidPicture."""
        fetched = await self._http.fetch("avatar", url, limits=Limits(bytes=MAX_BYTES, types=("image/",)))
        if not fetched.is_success:
            raise InvalidPicture(f"The address answered {fetched.status}", code="error-avatar-invalid-url")
        return fetched.body

    async def discard(self, picture_id: str) -> None:
        """For one that nobody was given after all."""
        await self.blobs.delete(f"{AVATARS}/{picture_id}")

    async def read(self, picture_id: str) -> tuple[bytes, str]:
        """A picture and its type. Raises BlobNotFound."""
        pieces = await self.blobs.read(f"{AVATARS}/{picture_id}")
        data = b"".join([piece async for piece in pieces])
        return data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"


@contextmanager
def opened_picture(data: bytes, wanted: tuple[int, int]) -> Iterator[tuple[Any, int, int]]:
    """A picture (Pillow's, not unpacked yet) with its width and height; large JPEGs are unpacked smaller, but not
    below what is wanted. Raises InvalidPicture, also for whatever goes wrong while it is open.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that nobody reads; the size is checked here
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                width, height = opened.size
                # What it says of itself, before a single pixel is unpacked.
                if width * height > _MAX_PIXELS:
                    raise InvalidPicture("The picture has too many pixels", code="error-file-too-large")
                opened.draft("RGB", wanted)
                if opened.width * opened.height > _MAX_UNPACKED:
                    raise InvalidPicture("The picture has too many pixels", code="error-file-too-large")
                yield opened, width, height
    except PalaverError:
        raise
    except Exception as error:  # decoders fail in every way on what was made to break them
        raise InvalidPicture from error


def mode_of(opened: Any) -> str:
    """In which form a picture's pixels are worked with."""
    return "RGBA" if opened.mode in ("RGBA", "LA", "PA") or "transparency" in opened.info else "RGB"


def make_square(data: bytes, side: int) -> bytes:
    """A square PNG or JPEG of the picture's middle. Raises InvalidPicture."""
    from PIL import ImageOps

    if len(data) > MAX_BYTES:
        raise InvalidPicture("The picture is too large", code="error-file-too-large")
    with opened_picture(data, (side * 2, side * 2)) as (opened, _, _):
        mode = mode_of(opened)
        ImageOps.exif_transpose(opened, in_place=True)
        square = ImageOps.fit(opened if opened.mode == mode else opened.convert(mode), (side, side))
        written = io.BytesIO()
        if mode == "RGBA":
            square.save(written, "PNG", optimize=True)
        else:
            square.save(written, "JPEG", quality=88, optimize=True)
    return written.getvalue()
