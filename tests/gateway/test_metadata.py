"""What is taken out of pictures on their way in, whatever pieces they come in, and what stays."""

import asyncio
import io
import struct
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from palaver.blobs import BlobTooLarge
from palaver.gateway.metadata import without_metadata

SECRET = b"47.3769 N, 8.5417 E"
NO_LIMIT = 10**9


def cleaned(data: bytes, step: int = 1000, max_size: int = NO_LIMIT) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), step):
            yield data[start : start + step]

    async def gather() -> bytes:
        return b"".join([piece async for piece in without_metadata(chunks(), max_size)])

    return asyncio.run(gather())


def picture(size: tuple[int, int] = (60, 40)) -> Image.Image:
    image = Image.effect_noise(size, 90).convert("RGB")
    image.putpixel((0, 0), (255, 0, 0))
    return image


def exif(orientation: int = 6) -> bytes:
    written = Image.Exif()
    written[0x0112] = orientation
    written[0x010E] = SECRET.decode()
    return written.tobytes()


def jpeg(**options: object) -> bytes:
    written = io.BytesIO()
    picture().save(written, "JPEG", exif=exif(), comment=SECRET, xmp=b"<x>" + SECRET + b"</x>", **options)
    return written.getvalue()


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as opened:
        return ImageOps.exif_transpose(opened).convert("RGB").tobytes()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"icc_profile": b"colours" * 20}, {"quality": 100}])
def test_a_photo_keeps_its_pixels_and_nothing_that_is_said_of_it(options: dict[str, object]) -> None:
    before = jpeg(**options)
    assert before.count(SECRET) == 3
    after = cleaned(before)
    assert SECRET not in after
    assert pixels(after) == pixels(before)
    with Image.open(io.BytesIO(after)) as opened:
        assert dict(opened.getexif()) == {0x0112: 6}
        assert opened.info.get("icc_profile") == options.get("icc_profile")


def test_what_follows_a_photos_end_goes() -> None:
    before = jpeg()
    assert cleaned(before + jpeg() + SECRET) == cleaned(before)


def test_a_drawing_keeps_its_pixels_and_nothing_that_is_said_of_it() -> None:
    said = PngImagePlugin.PngInfo()
    said.add_text("Author", SECRET.decode())
    said.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    written = io.BytesIO()
    picture().save(written, "PNG", pnginfo=said, exif=exif(1), icc_profile=b"colours")
    before = written.getvalue() + SECRET
    assert before.count(SECRET) == 4
    after = cleaned(before)
    assert SECRET not in after
    assert pixels(after) == pixels(before)
    with Image.open(io.BytesIO(after)) as opened:
        opened.load()
        assert opened.info.keys() == {"icc_profile"}


def test_a_webp_keeps_its_pixels_and_nothing_that_is_said_of_it() -> None:
    written = io.BytesIO()
    picture().save(written, "WEBP", lossless=True, exif=exif(1), xmp=SECRET)
    before = written.getvalue()
    assert before.count(SECRET) == 2
    after = cleaned(before + SECRET)
    assert SECRET not in after
    assert len(after) == len(before)
    assert pixels(after) == pixels(before)
    with Image.open(io.BytesIO(after)) as opened:
        assert not opened.info.keys() & {"exif", "xmp"}


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"<svg/>" * 5000, jpeg()[:500], b"\xff\xd8\xffno"])
def test_what_is_no_whole_picture_passes(data: bytes) -> None:
    kept = cleaned(data)
    assert data.endswith(kept[-5:])
    if not data.startswith(b"\xff\xd8\xff\xe0"):
        assert kept == data


def formats() -> list[bytes]:
    return [jpeg(), *(_saved(format) for format in ("PNG", "WEBP", "GIF"))]


def _saved(format: str) -> bytes:
    written = io.BytesIO()
    picture().save(written, format, exif=exif())
    return written.getvalue()


@given(st.sampled_from(formats()), st.integers(1, 400))
def test_it_does_not_matter_in_which_pieces_a_picture_comes(data: bytes, step: int) -> None:
    assert cleaned(data, step) == cleaned(data, len(data))


@given(st.sampled_from([*formats(), b""]), st.integers(0, 300), st.binary(max_size=60), st.integers(1, 50))
def test_nothing_that_is_broken_breaks_it(data: bytes, cut: int, broken: bytes, step: int) -> None:
    whole = data[:cut] + broken + data[cut + len(broken) :]
    assert len(cleaned(whole, step)) <= len(whole) + 36


@given(st.binary(max_size=80))
def test_exif_that_is_broken_breaks_nothing(content: bytes) -> None:
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 6 + len(content)) + b"Exif\0\0" + content
    with_it = b"\xff\xd8" + segment + jpeg()[2:]
    assert pixels(cleaned(with_it))


def test_what_goes_counts_as_well() -> None:
    before = jpeg()
    with pytest.raises(BlobTooLarge):
        cleaned(before + bytes(10_000), max_size=len(before) + 9_999)
    assert cleaned(before + bytes(10_000), max_size=len(before) + 10_000)


@pytest.mark.parametrize(
    ("begin", "part"),
    [(b"\xff\xd8\xff\x01", b"\xff\x01"), (b"\x89PNG\r\n\x1a\n", b"\0\0\0\0abcd\0\0\0\0")],
)
def test_what_has_more_parts_than_pictures_have_is_not_looked_through(begin: bytes, part: bytes) -> None:
    last = b"\xff\xfe\0\x15" + SECRET if begin.startswith(b"\xff") else b"\0\0\0\x13tEXt" + SECRET + bytes(4)
    for count, is_kept in ((1000, False), (100_000, True)):
        after = cleaned(begin + part * count + last)
        assert (SECRET in after) == is_kept
        assert after.startswith(begin + part * count)


def test_fill_bytes_are_one_part_however_many() -> None:
    before = b"\xff\xd8" + b"\xff" * 500_000
    after = cleaned(before + b"\xff\xfe\0\x15" + SECRET + b"\xff\xd9", 65536)
    assert SECRET not in after
    assert after.startswith(before[:1000])
