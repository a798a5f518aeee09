"""SVG drawings that are sent as files: seen by a thumbnail, and by nothing that could reach beyond it."""

import io
from pathlib import Path

import pytest
from PIL import Image

from palaver.gateway import drawings
from palaver.gateway.drawings import draw, measure
from palaver.gateway.pictures import InvalidPicture
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel
from tests.gateway.test_uploads import fetch, set_setting, upload


def drawing(
    inside: str = '<rect width="9999" height="9999" fill="red"/>', about: str = 'viewBox="0 0 200 100"'
) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg" {about}>{inside}</svg>'.encode()


async def test_a_drawing_is_seen_by_its_thumbnail(admin: Client, alice: Client) -> None:
    await set_setting(admin, "FileUpload_MediaTypeBlackList", "")
    room_id, data = await make_channel(alice, "dev"), drawing('<rect width="200" height="100" fill="red"/>')
    message = (await upload(alice, room_id, data, name="a.svg", type="image/svg+xml"))["message"]
    (shown,) = message["attachments"]
    assert (shown["image_type"], shown["image_dimensions"]) == ("image/png", {"width": 480, "height": 240})
    small = await fetch(alice, shown["image_url"])
    with Image.open(io.BytesIO(small.content)) as opened:
        assert (opened.size, opened.convert("RGB").getpixel((240, 120))) == ((480, 240), (255, 0, 0))
    original = await fetch(alice, shown["title_link"])
    assert (original.content, original.headers["content-type"]) == (data, "application/octet-stream")
    assert original.headers["content-disposition"].startswith("attachment")
    listed = await alice.get("channels.files", roomId=room_id)
    assert listed["files"][0]["identify"] == {"format": "svg", "size": {"width": 200, "height": 100}}


async def test_what_is_not_drawn_is_a_file_like_any_other(admin: Client, alice: Client) -> None:
    await set_setting(admin, "FileUpload_MediaTypeBlackList", "")
    room_id, data = await make_channel(alice, "dev"), drawing('<image href="/etc/passwd"/>')
    message = (await upload(alice, room_id, data, name="a.svg", type="image/svg+xml"))["message"]
    assert [file["name"] for file in message["files"]] == ["a.svg"]


@pytest.mark.parametrize(
    ("about", "size"),
    [
        ('viewBox="0 0 200 100"', (200, 100)),
        ('viewBox="0,0,200,100" width="50"', (50, 25)),
        ('viewBox="0 0 200 100" height="50px"', (100, 50)),
        ('width="30" height="40.5px"', (30, 40.5)),
        ('width="100%"', (300, 300)),
        ("", (300, 300)),
    ],
)
def test_how_large_a_drawing_is(about: str, size: tuple[float, float]) -> None:
    assert measure(drawing(about=about)) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<html/>",
        b"<svg>",
        b'<!DOCTYPE svg [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><svg/>',
        b'<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>',
        drawing(about='width="1e9" height="1"'),
        drawing(about='viewBox="0 0 0 100" width="0" height="-3"').replace(b'"-3"', b'"1e99"'),
        drawing("<g>" * 300 + "</g>" * 300),
        drawing('<image href="/etc/passwd"/>'),
        drawing('<image href=" file:///etc/passwd"/>'),
        drawing('<use href="other.svg#a"/>'),
        drawing('<image href="data:image/svg+xml,..."/>'),
        drawing('<image xlink:href="HTTP://example.org"/>', 'xmlns:xlink="http://www.w3.org/1999/xlink"'),
        drawing(" " * 1024 * 1024),
    ],
)
def test_what_reaches_out_or_is_none_is_not_drawn(data: bytes) -> None:
    with pytest.raises(InvalidPicture):
        measure(data)


async def test_what_takes_too_much_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "_SECONDS", 1)
    blurs = (
        '<filter id="f" x="-9" y="-9" width="99" height="99"><feGaussianBlur stdDeviation="50"/></filter>'
        + '<rect width="200" height="100" filter="url(#f)"/>' * 20_000
    )
    uses = "".join(f'<g id="g{n}">' + f'<use href="#g{n + 1}"/>' * 10 + "</g>" for n in range(10)) + '<rect id="g10"/>'
    for inside in (blurs, uses):
        with pytest.raises(InvalidPicture):
            await draw(drawing(inside), (480, 360))


async def test_who_waits_too_long_waits_no_longer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a process that neither reads what it gets nor ends."""
    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setattr(drawings, "_PATIENCE", 0.01)
    with pytest.raises(InvalidPicture):
        await draw(drawing(" " * 500_000), (480, 360))


async def test_the_process_that_draws_has_nothing_of_this_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not its variables, among which are passwords; and it writes no file."""
    told = tmp_path / "told"
    (tmp_path / "python").write_text(f"#!/bin/sh\n(env; pwd) > {told}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PALAVER_ADMIN_PASSWORD", "secret")
    await draw(drawing(), (480, 360))
    assert "secret" not in told.read_text()
    assert told.read_text().splitlines()[-1] == "/"
