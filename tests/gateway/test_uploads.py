"""Files sent and fetched over HTTP: who may, in which form, and what a browser is told of them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.gateway.rest import Client, read
from tests.gateway.rooms import make_channel, make_group

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


async def upload(
    client: Client,
    room_id: str,
    content: bytes = PNG,
    *,
    name: str = "a picture.png",
    type: str = "image/png",
    path: str = "rooms.upload",
    status: int = 200,
    **fields: str,
) -> dict[str, Any]:
    answer = await client.request("POST", f"{path}/{room_id}", files={"file": (name, content, type)}, data=fields)
    return read(answer, status)


async def fetch(client: Client, url: str, **headers: str) -> httpx.Response:
    return await client.request("GET", f"http://chat.example.org{url}", headers=headers)


async def set_setting(admin: Client, setting_id: str, value: Any) -> None:
    await admin.post(f"settings/{setting_id}", value=value)
    async with asyncio.timeout(30):
        while admin.node.access.setting(setting_id) != value:
            await asyncio.sleep(0.005)


async def stored(client: Client) -> list[bytes]:
    """What is kept, whoever may have it."""
    blobs = client.node.blobs
    keys = [blob.key async for blob in blobs.list("files")]
    return [b"".join([piece async for piece in await blobs.read(key)]) for key in keys]


# -- sending -----------------------------------------------------------------------------------------------------------


async def test_a_picture_becomes_a_message_that_shows_it(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    answer = await upload(alice, room_id, msg="look", description="my cat", groupable="false")
    message = answer["message"]
    file = {"_id": message["file"]["_id"], "name": "a picture.png", "type": "image/png", "size": len(PNG)}
    path = f"/file-upload/{file['_id']}/a%20picture.png"
    assert message["file"] == file
    assert message["files"] == [{**file, "format": "png"}]
    assert message["msg"] == "look"
    assert message["groupable"] is False
    assert message["attachments"] == [
        {
            "ts": message["attachments"][0]["ts"],
            "title": "a picture.png",
            "title_link": path,
            "title_link_download": True,
            "type": "file",
            "fileId": file["_id"],
            "description": "my cat",
            "descriptionMd": [{"type": "PARAGRAPH", "value": [{"type": "PLAIN_TEXT", "value": "my cat"}]}],
            "image_url": path,
            "image_type": "image/png",
            "image_size": len(PNG),
        }
    ]
    history = await alice.get("channels.history", roomId=room_id)
    assert history["messages"][0] == {**message, "_updatedAt": history["messages"][0]["_updatedAt"]}
    assert (await fetch(alice, path)).content == PNG


@pytest.mark.parametrize(
    ("name", "type", "expected"),
    [
        ("song.mp3", "audio/mpeg", {"audio_type": "audio/mpeg", "audio_size": 3}),
        ("film.mp4", "video/mp4", {"video_type": "video/mp4", "video_size": 3}),
        ("notes.txt", "text/plain", {"format": "TXT", "size": 3}),
        ("README", "", {"format": "", "size": 3}),
    ],
)
async def test_each_kind_of_file_has_its_attachment(
    alice: Client, name: str, type: str, expected: dict[str, Any]
) -> None:
    room_id = await make_channel(alice, "dev")
    (attachment,) = (await upload(alice, room_id, b"abc", name=name, type=type))["message"]["attachments"]
    assert expected.items() <= attachment.items()
    assert (await fetch(alice, attachment["title_link"])).content == b"abc"


async def test_what_is_said_may_come_after_the_file(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    boundary = "xXx"
    lines = [
        "--xXx", 'Content-Disposition: form-data; name="file"; filename="a.txt"', "Content-Type: text/plain", "", "abc",
        "--xXx", 'Content-Disposition: form-data; name="msg"', "", "after",
        "--xXx--", "",
    ]  # fmt: skip
    answer = await alice.request(
        "POST",
        f"rooms.upload/{room_id}",
        content="\r\n".join(lines).encode(),
        headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    assert read(answer)["message"]["msg"] == "after"


async def test_a_file_may_be_stored_first_and_sent_later(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    file = (await upload(alice, room_id, path="rooms.media"))["file"]
    assert set(file) == {"_id", "url"}
    assert (await fetch(alice, file["url"])).content == PNG
    assert (await fetch(bob, file["url"])).status_code == 404  # nobody has sent it yet
    confirm = f"rooms.mediaConfirm/{room_id}/{file['_id']}"
    assert (await bob.post(confirm, 400))["errorType"] == "invalid-file"
    other = await make_channel(alice, "other")
    assert (await alice.post(f"rooms.mediaConfirm/{other}/{file['_id']}", 400))["errorType"] == "invalid-file"
    message = (await alice.post(confirm, msg="here", description="it is"))["message"]
    assert message["file"]["_id"] == file["_id"]
    assert message["attachments"][0]["description"] == "it is"
    assert (await fetch(bob, file["url"])).content == PNG
    assert (await alice.post(confirm, 400))["errorType"] == "invalid-file"  # once


async def test_a_stored_file_is_sent_by_method(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    file = (await upload(alice, room_id, path="rooms.media"))["file"]
    stored = {"_id": file["_id"], "name": "dot.png", "type": "image/png", "size": 1, "url": "elsewhere"}
    said = {"msg": "here", "description": "it is"}
    for caller, parameters in (
        (bob, (room_id, "GridFS", stored, said)),
        (alice, (await make_channel(alice, "other"), "GridFS", stored, said)),
        (alice, (room_id, "GridFS", {}, said)),
    ):
        assert (await caller.call("sendFileMessage", *parameters))["error"]["error"] == "invalid-file"
    assert (await alice.call("sendFileMessage", room_id, None, stored, said))["result"] is True
    message = (await bob.get("channels.messages", roomId=room_id))["messages"][0]
    assert (message["msg"], message["file"]["_id"], message["u"]["username"]) == ("here", file["_id"], "alice")
    assert message["attachments"][0]["title_link"] == file["url"]
    assert (await alice.call("sendFileMessage", room_id, None, stored))["error"]["error"] == "invalid-file"  # once


async def test_a_file_answers_in_a_thread(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    root = (await upload(alice, room_id))["message"]
    reply = (await upload(alice, room_id, tmid=root["_id"]))["message"]
    assert reply["tmid"] == root["_id"]


async def test_forms_of_another_shape_are_refused(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    two = [("file", ("a", b"a", "text/plain")), ("file", ("b", b"b", "text/plain"))]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"files": {"other": ("a", b"a", "text/plain")}}, "[invalid-field]"),
        ({"files": two}, "[Just 1 file is allowed]"),
        ({"data": {"msg": "x"}, "files": {"nothing": (None, b"")}}, "[No file uploaded]"),
    ]
    for options, error in refused:
        for path in ("rooms.upload", "rooms.media"):
            answer = await alice.request("POST", f"{path}/{room_id}", **options)
            assert read(answer, 400)["error"] == error
    answer = await alice.request("POST", f"rooms.upload/{room_id}", json={"file": "x"})
    assert read(answer, 400)["errorType"] == "error-invalid-form"
    assert await stored(alice) == []


async def test_who_may_not_write_in_a_room_stores_nothing(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_group(alice, "secret")
    for path in ("rooms.upload", "rooms.media"):
        assert (await upload(bob, room_id, path=path, status=400))["errorType"] == "error-room-not-found"
        await upload(bob, "no-such-room", path=path, status=400)
        anybody = Client(alice.http, alice.node)
        await upload(anybody, room_id, path=path, status=401)
    assert await stored(alice) == []


async def test_the_settings_are_obeyed(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    assert (await upload(alice, room_id, name="x.svg", type="image/svg+xml", status=400))["errorType"] == (
        "error-invalid-file-type"
    )
    await set_setting(admin, "FileUpload_MediaTypeWhiteList", "image/*, text/plain")
    assert (await upload(alice, room_id, name="x.zip", type="application/zip", status=400))["errorType"] == (
        "error-invalid-file-type"
    )
    await upload(alice, room_id, name="x.txt", type="text/plain; charset=utf-8")
    await set_setting(admin, "FileUpload_MaxFileSize", 1000)
    assert (await upload(alice, room_id, bytes(1001), status=400))["errorType"] == "error-file-too-large"
    await upload(alice, room_id, bytes(1000))
    await set_setting(admin, "FileUpload_MaxFileSize", -1)
    await upload(alice, room_id, bytes(1_000_000))
    await set_setting(admin, "FileUpload_Enabled_Direct", False)
    direct = (await alice.post("im.create", username="boss"))["room"]["_id"]
    assert (await upload(alice, direct, status=400))["errorType"] == "error-direct-message-file-upload-not-allowed"
    await set_setting(admin, "FileUpload_Enabled", False)
    assert (await upload(alice, room_id, status=400))["errorType"] == "error-file-upload-disabled"
    assert len(await stored(alice)) == 3


async def test_a_client_that_goes_away_leaves_nothing(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")

    async def half() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + bytes(500_000)

    answer = await alice.request(
        "POST",
        f"rooms.upload/{room_id}",
        content=half(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert read(answer, 400)["errorType"] == "error-invalid-form"
    assert await stored(alice) == []


# -- fetching ----------------------------------------------------------------------------------------------------------


async def test_who_may_have_a_file(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_group(alice, "secret")
    url = (await upload(alice, room_id))["message"]["file"]["_id"]
    url = f"/file-upload/{url}/whatever.png"
    anybody = Client(alice.http, alice.node)
    assert (await fetch(alice, url)).content == PNG
    assert [(await fetch(who, url)).status_code for who in (anybody, bob)] == [403, 403]
    token, user_id = alice.headers["X-Auth-Token"], alice.headers["X-User-Id"]
    assert (await fetch(anybody, f"{url}?rc_uid={user_id}&rc_token={token}")).content == PNG
    assert (await fetch(anybody, url, Cookie=f"rc_uid={user_id}; rc_token={token}")).content == PNG
    wrong = [
        await fetch(anybody, f"{url}?rc_uid={user_id}&rc_token=wrong"),
        await fetch(anybody, f"{url}?rc_uid={bob.user_id}&rc_token={token}"),
        await fetch(anybody, url, Cookie=f"rc_uid={user_id}; rc_token=wrong"),
    ]
    assert [answer.status_code for answer in wrong] == [403, 403, 403]
    assert (await fetch(alice, f"/ufs/GridFS:Uploads/{url.split('/')[2]}/x.png")).content == PNG
    assert (await fetch(alice, "/file-upload/nothing/x.png")).status_code == 404
    assert (await fetch(alice, "/file-upload/..%2f..%2fpalaver.db/x.png")).status_code == 404
    await set_setting(admin, "FileUpload_ProtectFiles", False)
    assert (await fetch(anybody, url)).content == PNG


async def test_who_leaves_a_room_loses_its_files(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    url = (await upload(alice, room_id))["message"]["attachments"][0]["title_link"]
    assert (await fetch(bob, url)).status_code == 200
    await alice.post("channels.kick", roomId=room_id, userId=bob.user_id)
    assert (await fetch(bob, url)).status_code == 403
    await set_setting(admin, "FileUpload_Restrict_to_room_members", False)
    assert (await fetch(bob, url)).status_code == 200  # a public room, which bob may look at


async def test_a_file_goes_with_its_message(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "dev", members=["bob"])
    message = (await upload(alice, room_id))["message"]
    forged = {"rid": room_id, "msg": "mine", "file": message["file"], "files": message["files"]}
    forged_id = (await bob.call("sendMessage", forged))["result"]["_id"]
    await bob.post("chat.delete", roomId=room_id, msgId=forged_id)
    url = message["attachments"][0]["title_link"]
    assert (await fetch(alice, url)).status_code == 200
    await alice.post("chat.delete", roomId=room_id, msgId=message["_id"])
    assert (await fetch(alice, url)).status_code == 404


@pytest.mark.parametrize(
    ("name", "type", "shown_as", "disposition"),
    [
        ("a.png", "image/png", "image/png", "inline"),
        ("a.mp4", "video/mp4", "video/mp4", "inline"),
        ("a.pdf", "application/pdf", "application/pdf", "inline"),
        ("a.html", "text/html", "application/octet-stream", "attachment"),
        ("a.js", "text/javascript", "application/octet-stream", "attachment"),
        ("a.xml", "application/xhtml+xml", "application/octet-stream", "attachment"),
        ("a.txt", "text/plain", "application/octet-stream", "attachment"),
        ("a.bin", "no type at all", "application/octet-stream", "attachment"),
    ],
)
async def test_a_browser_shows_only_what_is_harmless(
    alice: Client, name: str, type: str, shown_as: str, disposition: str
) -> None:
    room_id = await make_channel(alice, "dev")
    url = (await upload(alice, room_id, b"<script>", name=name, type=type))["message"]["attachments"][0]["title_link"]
    headers = (await fetch(alice, url)).headers
    assert headers["content-type"] == shown_as
    assert headers["content-disposition"] == f"{disposition}; filename*=UTF-8''{name}"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert (await fetch(alice, f"{url}?download")).headers["content-disposition"].startswith("attachment")


async def test_parts_of_a_file(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    url = (await upload(alice, room_id))["message"]["attachments"][0]["title_link"]
    size = len(PNG)
    whole = await fetch(alice, url)
    assert (whole.status_code, whole.headers["accept-ranges"], whole.content) == (200, "bytes", PNG)
    assert whole.headers["content-length"] == str(size)
    part = await fetch(alice, url, Range="bytes=10-19")
    assert (part.status_code, part.content) == (206, PNG[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{size}"
    assert (await fetch(alice, url, Range="bytes=-5")).content == PNG[-5:]
    beyond = await fetch(alice, url, Range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    tag = whole.headers["etag"]
    assert tag == f'"{hashlib.sha256(PNG).hexdigest()}"'
    assert (await fetch(alice, url, **{"If-None-Match": tag})).status_code == 304
    assert (await fetch(alice, url, **{"If-Range": tag, "Range": "bytes=0-0"})).status_code == 206
    assert (await fetch(alice, url, **{"If-Range": '"other"', "Range": "bytes=0-0"})).status_code == 200
    head = await alice.request("HEAD", f"http://chat.example.org{url}")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


async def test_a_files_message_is_deleted_by_the_file(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "bin", members=["bob"])
    message = (await upload(alice, room_id))["message"]
    refused = await bob.call("deleteFileMessage", message["file"]["_id"])
    assert refused["error"]["error"] == "error-action-not-allowed"
    assert "error" not in await alice.call("deleteFileMessage", message["file"]["_id"])
    await alice.get("chat.getMessage", 400, msgId=message["_id"])
