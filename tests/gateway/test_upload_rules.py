"""Rules of files: ranges, names, types and forms."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.gateway.multipart import InvalidForm, MultipartForm
from palaver.gateway.uploads import clean_name, media_type, parse_range


@given(st.text(st.sampled_from("bytes=0123456789-, x"), max_size=20), st.integers(0, 100))
def test_a_range_is_within_the_file_or_nothing(header: str, size: int) -> None:
    found = parse_range(header, size)
    if found is not None and found[0] < found[1]:
        assert 0 <= found[0] < found[1] <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=5-", (5, 10)),
        ("bytes=5-99", (5, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("bytes=-0", (10, 10)),
        ("bytes=10-", (10, 10)),
        ("bytes=3-2", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_ranges(header: str, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 10) == expected


@pytest.mark.parametrize(
    ("given_name", "shown"),
    [
        ("a.png", "a.png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\x\\ü b.txt", "ü b.txt"),
        ("a\r\nSet-Cookie: x.png", "aSet-Cookie: x.png"),
        ("", "file"),
        ("..", "file"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("x" * 300 + ".png", "x" * 235 + ".png"),
    ],
)
def test_names(given_name: str, shown: str) -> None:
    assert clean_name(given_name) == shown


@pytest.mark.parametrize(
    ("said", "name", "expected"),
    [
        ("image/png", "a.txt", "image/png"),
        ("Text/HTML; charset=utf-8", "a", "text/html"),
        ("", "a.png", "image/png"),
        ("application/octet-stream", "a.mp4", "video/mp4"),
        ("x\r\nSet-Cookie: y", "a", "application/octet-stream"),
        ("nonsense", "a.unknown-extension", "application/octet-stream"),
    ],
)
def test_types(said: str, name: str, expected: str) -> None:
    assert media_type(said, name) == expected


async def chunked(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="msg"\r\n\r\nhi\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\nContent-Type: a/b\r\n\r\n'
    b"\r\n--c\r\n\r\n--b--\r\n"
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_a_form_is_the_same_in_any_chunks(size: int) -> None:
    form = MultipartForm("multipart/form-data; boundary=b", chunked(FORM, size))
    found = [
        (part.name, part.filename, part.content_type, b"".join([data async for data in part.chunks()]))
        async for part in form.parts()
    ]
    assert found == [("msg", None, "", b"hi"), ("file", "x", "a/b", b"\r\n--c\r\n")]


@given(st.binary(max_size=300), st.integers(0, len(FORM)))
async def test_what_is_no_form_is_refused_and_nothing_else(noise: bytes, place: int) -> None:
    form = MultipartForm("multipart/form-data; boundary=b", chunked(FORM[:place] + noise, 50))
    try:
        async for part in form.parts():
            async for _ in part.chunks():
                pass
    except InvalidForm:
        return
    assert b"--b--" in FORM[:place] + noise
