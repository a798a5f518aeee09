"""Pictures that are sent as files: what is shown of them, and what becomes of those that nobody should unpack."""

import base64
import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from palaver.gateway.pictures import InvalidPicture
from palaver.gateway.thumbnails import look_at
from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel
from tests.gateway.test_metadata import SECRET, exif, jpeg
from tests.gateway.test_uploads import fetch, set_setting, stored, upload


def picture(format: str = "PNG", size: tuple[int, int] = (1200, 600), mode: str = "RGB", **options: Any) -> bytes:
    written = io.BytesIO()
    Image.new(mode, size, "green" if mode != "RGBA" else (0, 128, 0, 100)).save(written, format, **options)
    return written.getvalue()


def animation() -> bytes:
    written = io.BytesIO()
    frames = [Image.new("RGB", (500, 400), colour) for colour in ("red", "green", "blue")]
    frames[0].save(written, "GIF", save_all=True, append_images=frames[1:])
    return written.getvalue()


def claiming(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG of a few bytes that says that it is so large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("format", "mode", "type", "made"),
    [
        ("PNG", "RGB", "image/png", "png"),
        ("PNG", "RGBA", "image/png", "png"),
        ("JPEG", "RGB", "image/jpeg", "jpeg"),
        ("JPEG", "CMYK", "image/jpeg", "jpeg"),
        ("WEBP", "RGBA", "image/webp", "png"),
        ("GIF", "L", "image/gif", "jpeg"),
    ],
)
async def test_a_picture_has_a_smaller_one(alice: Client, format: str, mode: str, type: str, made: str) -> None:
    room_id = await make_channel(alice, "dev")
    data = picture(format, mode=mode)
    message = (await upload(alice, room_id, data, name="a b.pic", type=type))["message"]
    original, thumbnail = message["files"]
    (shown,) = message["attachments"]
    assert (original["_id"], original["size"], original["type"]) == (message["file"]["_id"], len(data), type)
    assert thumbnail["_id"] != original["_id"]
    assert (thumbnail["name"], thumbnail["type"], thumbnail["format"]) == ("thumb-a b.pic", f"image/{made}", made)
    assert shown["title_link"] == f"/file-upload/{original['_id']}/a%20b.pic"
    assert shown["image_url"] == f"/file-upload/{thumbnail['_id']}/thumb-a%20b.pic"
    assert (shown["image_type"], shown["image_size"]) == (f"image/{made}", len(data))
    assert shown["image_dimensions"] == {"width": 480, "height": 240}
    small = (await fetch(alice, shown["image_url"])).content
    with Image.open(io.BytesIO(small)) as opened:
        assert (opened.size, opened.format, len(small)) == ((480, 240), made.upper(), thumbnail["size"])
    with Image.open(io.BytesIO(base64.b64decode(shown["image_preview"]))) as opened:
        assert opened.size == (32, 16)
    if format != "JPEG":
        assert (await fetch(alice, shown["title_link"])).content == data
    listed = await alice.get("channels.files", roomId=room_id)
    assert [file["name"] for file in listed["files"]] == ["a b.pic"]
    assert listed["files"][0]["identify"] == {"format": format.lower(), "size": {"width": 1200, "height": 600}}
    assert not {"preview", "thumbnail_id", "sha256"} & listed["files"][0].keys()
    assert (await alice.get("rooms.images", roomId=room_id))["total"] == 1


async def test_a_thumbnail_goes_where_its_picture_goes(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    file = (await upload(alice, room_id, picture(), path="rooms.media"))["file"]
    message = (await alice.post(f"rooms.mediaConfirm/{room_id}/{file['_id']}"))["message"]
    url = message["attachments"][0]["image_url"]
    assert [(await fetch(who, url)).status_code for who in (alice, bob)] == [200, 200]
    anybody = Client(alice.http, alice.node)
    assert (await fetch(anybody, url)).status_code == 403
    answer = await alice.post(f"rooms.mediaConfirm/{room_id}/{message['files'][1]['_id']}", 400)
    assert answer["errorType"] == "invalid-file"  # it is no file of its own
    await alice.post("chat.delete", roomId=room_id, msgId=message["_id"])
    assert (await fetch(alice, url)).status_code == 404


async def test_the_settings_say_how_large_and_whether(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    await set_setting(admin, "Message_Attachments_Thumbnails_Width", 100)
    await set_setting(admin, "Message_Attachments_Thumbnails_Height", 25)
    (shown,) = (await upload(alice, room_id, picture()))["message"]["attachments"]
    assert shown["image_dimensions"] == {"width": 50, "height": 25}
    await set_setting(admin, "Message_Attachments_Thumbnails_Enabled", False)
    message = (await upload(alice, room_id, picture()))["message"]
    assert message["attachments"][0]["image_url"] == message["attachments"][0]["title_link"]
    assert message["attachments"][0]["image_dimensions"] == {"width": 1200, "height": 600}
    assert len(message["files"]) == 1


async def test_what_a_camera_says_is_taken_out_unless_the_settings_say_otherwise(admin: Client, alice: Client) -> None:
    room_id, photo = await make_channel(alice, "dev"), jpeg()
    message = (await upload(alice, room_id, photo, name="a.jpg", type="image/jpeg"))["message"]
    kept = (await fetch(alice, message["attachments"][0]["title_link"])).content
    assert SECRET not in kept
    assert message["file"]["size"] == len(kept)
    assert message["attachments"][0]["image_dimensions"] == {"width": 40, "height": 60}  # it was taken upright
    await set_setting(admin, "Message_Attachments_Strip_Exif", False)
    message = (await upload(alice, room_id, photo, name="a.jpg", type="image/jpeg"))["message"]
    assert (await fetch(alice, message["attachments"][0]["title_link"])).content == photo
    assert SECRET not in (await fetch(alice, message["attachments"][0]["image_url"])).content


NO_PICTURES = {
    "nothing": b"",
    "half": picture("JPEG", (900, 900))[:200],
    "another": b"<script>alert(1)</script>",
    "gigantic": claiming(30_000, 30_000),
    "no pixels": claiming(100, 100),
    "zip bomb": claiming(4000, 4000, zlib.compress(bytes(60_000_000), 9)),
    "unknown": b"BM" + bytes(200),
    "script": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
}


@pytest.mark.parametrize("data", NO_PICTURES.values(), ids=NO_PICTURES)
async def test_what_can_not_be_read_is_a_file_like_any_other(alice: Client, data: bytes) -> None:
    room_id = await make_channel(alice, "dev")
    message = (await upload(alice, room_id, data, name="x.png"))["message"]
    (shown,) = message["attachments"]
    if len(data) < 1000:
        assert not {"image_preview", "image_dimensions"} & shown.keys()
        assert len(message["files"]) == 1
    answer = await fetch(alice, shown["title_link"])
    assert (answer.content, answer.headers["x-content-type-options"]) == (data, "nosniff")


async def test_moving_pictures_keep_moving(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    message = (await upload(alice, room_id, animation(), name="a.gif", type="image/gif"))["message"]
    (shown,) = message["attachments"]
    assert shown["image_url"] == shown["title_link"]
    assert shown["image_dimensions"] == {"width": 500, "height": 400}
    assert len(message["files"]) == 1


async def test_a_name_is_no_path(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    message = (await upload(alice, room_id, picture(), name="../../etc/passwd.png"))["message"]
    assert [file["name"] for file in message["files"]] == ["passwd.png", "thumb-passwd.png"]
    assert "/.." not in message["attachments"][0]["image_url"]


async def test_drawings_in_svg_are_downloads(admin: Client, alice: Client) -> None:
    """Nothing here runs what may be in them, unpacks them or fetches what they name."""
    await set_setting(admin, "FileUpload_MediaTypeBlackList", "")
    room_id = await make_channel(alice, "dev")
    data = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><image href="file:///etc/passwd"/></svg>'
    message = (await upload(alice, room_id, data, name="x.svg", type="image/svg+xml"))["message"]
    assert len(message["files"]) == 1
    answer = await fetch(alice, message["attachments"][0]["image_url"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.content == data


async def test_who_may_not_send_leaves_nothing(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev")
    two = [("file", ("a.png", picture(), "image/png")), ("file", ("b.png", picture(), "image/png"))]
    answer = await alice.request("POST", f"rooms.upload/{room_id}", files=two)
    assert answer.status_code == 400
    assert await stored(alice) == []


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_upright(orientation: int) -> None:
    look = look_at(picture("JPEG", (300, 100), exif=exif(orientation)), (100, 100))
    assert look.thumbnail is not None
    wide = (100, 33) if orientation < 5 else (33, 100)
    assert (look.thumbnail.width, look.thumbnail.height) == wide
    assert (look.width, look.height) == ((300, 100) if orientation < 5 else (100, 300))


def test_large_photos_are_unpacked_smaller() -> None:
    look = look_at(picture("JPEG", (7000, 5000)), (480, 360))
    assert (look.width, look.height) == (7000, 5000)
    with pytest.raises(InvalidPicture):
        look_at(picture("PNG", (7000, 5000)), (480, 360))


def test_nothing_is_made_larger() -> None:
    look = look_at(picture(size=(20, 10)), (480, 360))
    assert look.thumbnail is not None
    assert (look.thumbnail.width, look.thumbnail.height) == (20, 10)
