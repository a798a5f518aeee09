"""What is beside the API: pictures of users and rooms, and /websocket for who does not upgrade."""

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import ExifTags, Image

from palaver.blobs import AVATARS
from palaver.commit import now
from palaver.gateway import pictures
from palaver.gateway.avatars import initials
from tests.gateway.ddp import running_gateway
from tests.gateway.rest import Client, read

ORIGIN = "http://chat.example.org"


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("alice", "AL"),
        ("ada.king.lovelace", "AL"),
        ("@general", "GE"),
        ("x", "X"),
        ("<&>", "?"),
        ("", "?"),
        ("ßß", "SS"),
        ("中村 さん", "中さ"),
        ("\x00a\ud800", "A"),
    ],
)
def test_initials(name: str, letters: str) -> None:
    assert initials(name) == letters


async def test_avatars(anybody: Client, bob: Client) -> None:
    known = await anybody.request("GET", f"{ORIGIN}/avatar/bob")
    assert known.status_code == 200
    assert known.headers["content-type"] == "image/svg+xml"
    assert known.headers["cache-control"] == "public, max-age=3600"
    assert ">BO</text>" in known.text
    unknown = await anybody.request("GET", f"{ORIGIN}/avatar/nobody")
    assert (unknown.status_code, unknown.headers.keys()) == (200, known.headers.keys())
    assert (await anybody.request("GET", f"{ORIGIN}/avatar/BOB")).text == known.text
    hostile = await anybody.request("GET", f"{ORIGIN}/avatar/%3Cscript%3E%00%FF%22")
    assert "script" not in hostile.text
    assert ">SC</text>" in hostile.text
    room = await anybody.request("GET", f"{ORIGIN}/avatar/room/GENERAL")
    assert (room.headers["content-type"], ">#</text>" in room.text) == ("image/svg+xml", True)
    address = (await bob.get("me"))["avatarUrl"]
    assert address.endswith("/avatar/bob")


async def test_websocket_without_an_upgrade(anybody: Client) -> None:
    answer = await anybody.request("GET", f"{ORIGIN}/websocket")
    assert (answer.status_code, answer.text) == (400, 'Can "Upgrade" only to "WebSocket".')
    assert answer.headers["content-type"].startswith("text/plain")


def picture(size: tuple[int, int] = (300, 100), kind: str = "PNG", mode: str = "RGB", colour: str = "red") -> bytes:
    written = io.BytesIO()
    Image.new(mode, size, colour).save(written, kind)
    return written.getvalue()


async def upload(client: Client, data: bytes, status: int = 200, **fields: str) -> dict[str, Any]:
    answer = await client.request("POST", "users.setAvatar", files={"image": ("a.png", data, "image/png")}, data=fields)
    return read(answer, status)


async def shown(client: Client, path: str, **headers: str) -> httpx.Response:
    return await client.request("GET", f"{ORIGIN}/avatar/{path}", headers=headers)


@pytest.mark.parametrize(
    ("kind", "mode", "made"),
    [
        ("PNG", "RGB", "JPEG"),
        ("JPEG", "RGB", "JPEG"),
        ("GIF", "RGB", "JPEG"),
        ("WEBP", "RGB", "JPEG"),
        ("WEBP", "RGBA", "PNG"),
    ],
)
async def test_a_picture_of_oneself(alice: Client, anybody: Client, kind: str, mode: str, made: str) -> None:
    await upload(alice, picture(kind=kind, mode=mode, colour="red" if mode == "RGB" else "#ff000080"))
    for path in ("alice", "ALICE", f"uid/{alice.user_id}"):
        answer = await shown(alice, path)
        assert answer.headers["content-type"] == f"image/{made.lower()}"
        assert Image.open(io.BytesIO(answer.content)).size == (200, 200)
    etag = (await shown(alice, "alice")).headers["etag"]
    assert (await alice.get("me"))["avatarETag"] == etag.strip('"')
    again = await shown(alice, "alice", **{"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    # Who is not logged in sees what they would see of nobody.
    assert (await shown(anybody, "alice")).headers["content-type"] == "image/svg+xml"
    await alice.post("users.resetAvatar")
    assert (await shown(alice, "alice")).headers["content-type"] == "image/svg+xml"
    assert "avatarETag" not in await alice.get("me")


async def test_anybody_may_see_pictures_where_the_settings_say_so(
    admin: Client, alice: Client, anybody: Client
) -> None:
    await upload(alice, picture())
    await admin.post("settings/Accounts_AvatarBlockUnauthenticatedAccess", value=False)
    await admin.post("settings/Accounts_AvatarSize", value=64)
    assert (await shown(anybody, "alice")).headers["content-type"] == "image/jpeg"
    await upload(alice, picture())
    answer = await shown(anybody, "alice")
    assert Image.open(io.BytesIO(answer.content)).size == (64, 64)
    location = await anybody.request("GET", "users.getAvatar", params={"username": "alice"})
    assert (location.status_code, location.headers["location"]) == (307, f"{ORIGIN}/avatar/alice")


def bomb() -> bytes:
    """A small file that claims a hundred megapixels, with pixels enough."""
    return picture((10_000, 10_000), mode="1", colour="white")


@pytest.mark.parametrize(
    "data",
    [b"", b"no picture", picture()[:60], picture().replace(b"IDAT", b"JDAT"), bomb(), b"<svg xmlns='x'/>"],
    ids=["nothing", "text", "half", "broken", "bomb", "svg"],
)
async def test_what_is_no_picture(alice: Client, data: bytes) -> None:
    answer = await upload(alice, data, 400)
    assert answer["errorType"] in ("error-avatar-invalid-image", "error-file-too-large")
    assert "avatarETag" not in await alice.get("me")


async def test_what_few_bytes_claim_is_not_unpacked(alice: Client) -> None:
    """A picture of one colour needs next to none, and what it is unpacked to would be hundreds of MiB."""
    written = io.BytesIO()
    Image.new("RGBA", (4_100, 4_100), "red").save(written, "WEBP", lossless=True, method=0)
    assert len(written.getvalue()) < 100
    answer = await upload(alice, written.getvalue(), 400)
    assert answer["errorType"] == "error-file-too-large"
    # A photograph of that size is unpacked smaller.
    await upload(alice, picture((4_100, 4_100), "JPEG"))


async def test_a_picture_stands_upright(alice: Client) -> None:
    lying = Image.new("RGB", (100, 100), "red")
    lying.paste("blue", (0, 0, 50, 100))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # its left side is the top
    written = io.BytesIO()
    lying.save(written, "JPEG", exif=exif)
    await upload(alice, written.getvalue())
    made = Image.open(io.BytesIO((await shown(alice, "alice")).content)).convert("RGB")
    top, bottom = made.getpixel((100, 20)), made.getpixel((100, 180))
    assert isinstance(top, tuple)
    assert isinstance(bottom, tuple)
    assert (top[2] > 200, bottom[0] > 200) == (True, True)


async def test_a_picture_that_is_too_large(alice: Client) -> None:
    answer = await upload(alice, picture() + bytes(pictures.MAX_BYTES), 400)
    assert answer["errorType"] == "error-file-too-large"


async def test_whose_picture_may_be_changed(admin: Client, alice: Client, bob: Client) -> None:
    assert (await upload(bob, picture(), 400, username="alice"))["errorType"] == "error-not-allowed"
    assert (await bob.post("users.resetAvatar", 400, userId=alice.user_id))["errorType"] == "error-not-allowed"
    assert (await upload(admin, picture(), 400, username="nobody"))["errorType"] == "error-invalid-user"
    await upload(admin, picture(), username="alice")
    assert (await shown(bob, "alice")).headers["content-type"] == "image/jpeg"
    # Who moderates may take a picture away, but give none.
    permission = {"_id": "manage-moderation-actions", "roles": ["admin", "user"]}
    await admin.post("permissions.update", permissions=[permission])
    assert (await upload(bob, picture(), 400, username="alice"))["errorType"] == "error-not-allowed"
    await bob.post("users.resetAvatar", userId=alice.user_id)
    assert (await shown(bob, "alice")).headers["content-type"] == "image/svg+xml"
    await admin.post("permissions.update", permissions=[{**permission, "roles": ["admin"]}])
    await admin.post("settings/Accounts_AllowUserAvatarChange", value=False)
    assert (await upload(alice, picture(), 400))["errorType"] == "error-not-allowed"
    assert (await alice.post("users.resetAvatar", 400))["errorType"] == "error-not-allowed"
    await upload(admin, picture())


async def test_who_may_not_is_asked_for_no_bytes(alice: Client, bob: Client) -> None:
    """A picture whose bytes never end is refused with its first ones."""
    sent = 0

    async def body(*fields: bytes) -> AsyncIterator[bytes]:
        nonlocal sent
        for field in fields:
            yield field
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        while True:
            sent += 1
            assert sent < 10
            yield bytes(64 * 1024)

    whose = b'--x\r\nContent-Disposition: form-data; name="username"\r\n\r\nalice\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await bob.request("POST", "users.setAvatar", content=body(whose), headers=headers)
    assert read(answer, 400)["errorType"] == "error-not-allowed"
    bob.node.access.policy.settings["Accounts_AllowUserAvatarChange"]["value"] = False
    answer = await bob.request("POST", "users.setAvatar", content=body(), headers=headers)
    assert read(answer, 400)["errorType"] == "error-not-allowed"


async def test_addresses_of_the_inside_are_not_fetched(alice: Client) -> None:
    for url in ("http://127.0.0.1:3000/a.png", "file:///etc/passwd", "http://[::1]/", "nonsense"):
        answer = await alice.post("users.setAvatar", 400, avatarUrl=url)
        assert answer["errorType"] in ("error-url-not-allowed", "error-invalid-url"), answer
    await alice.post("users.setAvatar", 400)
    await alice.post("users.setAvatar", 400, avatarUrl={"$ne": ""})


async def test_a_picture_by_a_method(alice: Client, bob: Client) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert "error" not in await alice.call("setAvatarFromService", uri, "image/png", "upload")
    assert (await shown(bob, "alice")).headers["content-type"] == "image/jpeg"
    for wrong in ("data:image/png;base64,%%", "data:text/plain;base64,AAAA", "", 7, {"$binary": 1}):
        frame = await alice.call("setAvatarFromService", wrong, "image/png", "upload")
        assert frame["error"]["error"] == "error-avatar-invalid-image"
    frame = await alice.call("setAvatarFromService", uri, "image/png", "upload", bob.user_id)
    assert frame["error"]["error"] == "error-not-allowed"
    assert "error" not in await alice.call("resetAvatar")
    assert (await shown(bob, "alice")).headers["content-type"] == "image/svg+xml"
    assert (await alice.call("getAvatarSuggestion"))["result"] == {}
    assert (await alice.get("users.getAvatarSuggestion"))["suggestions"] == {}


async def test_a_picture_of_a_room(alice: Client, bob: Client, anybody: Client) -> None:
    room_id = (await alice.post("groups.create", name="closed"))["group"]["_id"]
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    await bob.post("rooms.saveRoomSettings", 400, rid=room_id, roomAvatar=uri)
    await alice.post("rooms.saveRoomSettings", rid=room_id, roomAvatar=uri)
    assert (await shown(alice, f"room/{room_id}")).headers["content-type"] == "image/jpeg"
    for client in (bob, anybody):
        assert (await shown(client, f"room/{room_id}")).headers["content-type"] == "image/svg+xml"
    assert (await alice.call("saveRoomSettings", room_id, "roomAvatar", None))["result"]["result"] is True
    assert (await shown(alice, f"room/{room_id}")).headers["content-type"] == "image/svg+xml"
    assert "avatarETag" not in (await alice.get("rooms.info", roomId=room_id))["room"]


async def test_only_pictures_that_somebody_has_are_kept(admin: Client, alice: Client, bob: Client) -> None:
    for client in (alice, bob, alice):
        await upload(client, picture())
    room_id = (await alice.post("groups.create", name="closed"))["group"]["_id"]
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    await alice.post("rooms.saveRoomSettings", rid=room_id, roomAvatar=uri)
    await bob.post("rooms.saveRoomSettings", 400, rid=room_id, roomAvatar=uri)  # not even for a moment
    blobs = admin.node.blobs
    assert len([blob async for blob in blobs.list(AVATARS)]) == 4
    service: Any = admin.node.roles["messaging"]
    await service._uploads.clean(now())
    assert len([blob async for blob in blobs.list(AVATARS)]) == 4  # a backup may need them
    await service._uploads.clean(now() + 2 * 86_400_000)
    assert len([blob async for blob in blobs.list(AVATARS)]) == 3
    await admin.post("users.delete", userId=bob.user_id)
    await service._uploads.clean(now() + 2 * 86_400_000)
    assert len([blob async for blob in blobs.list(AVATARS)]) == 2
    assert (await shown(alice, "alice")).headers["content-type"] == "image/jpeg"


async def test_a_new_picture_is_heard(tmp_path: Path, cheap_hashes: None) -> None:
    async with running_gateway(tmp_path) as gateway:
        alice, bob = [await gateway.make_user(name) for name in ("alice", "bob")]
        hers, his = await gateway.client(alice), await gateway.client(bob)
        await his.sub("stream-notify-logged", "updateAvatar", False)
        uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
        await hers.call("setAvatarFromService", uri, "image/png", "upload")
        args = await his.wait_change("stream-notify-logged", "updateAvatar", lambda args: "etag" in args[0])
        assert args[0]["username"] == "alice"
        await hers.call("resetAvatar")
        await his.wait_change("stream-notify-logged", "updateAvatar", lambda args: args == [{"username": "alice"}])
