"""The workspace's own emoji: made, changed and deleted by REST and DDP, served to all, heard by whoever listens."""

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.gateway.ddp import running_gateway
from tests.gateway.rest import Client, read
from tests.gateway.test_thumbnails import NO_PICTURES, animation, picture
from tests.gateway.test_uploads import fetch


async def make(client: Client, status: int = 200, data: bytes | None = None, **fields: str) -> dict[str, Any]:
    return await send(client, "emoji-custom.create", status, picture() if data is None else data, **fields)


async def send(client: Client, path: str, status: int, data: bytes | None, **fields: str) -> dict[str, Any]:
    files: dict[str, Any] = {"emoji": ("x.png", data, "image/png")} if data is not None else {"none": (None, b"")}
    return read(await client.request("POST", path, files=files, data=fields), status)


async def every(client: Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get("emoji-custom.list"))["emojis"]["update"]
    return found


async def stored(client: Client) -> int:
    return len([blob async for blob in client.node.blobs.list("media")])


async def get(client: Client, path: str, **headers: str) -> httpx.Response:
    return await fetch(Client(client.http, client.node), path, **headers)


async def test_an_emoji_comes_changes_and_goes(admin: Client, alice: Client) -> None:
    await make(admin, name="party", aliases="feast, fun")
    (emoji,) = await every(alice)
    assert (emoji["name"], emoji["aliases"], emoji["extension"]) == ("party", ["feast", "fun"], "png")
    assert not {"file", "file_id"} & emoji.keys()
    shown = await get(alice, "/emoji-custom/party.png")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    assert shown.headers["cache-control"] == "public, max-age=31536000"
    assert shown.headers["x-content-type-options"] == "nosniff"
    with Image.open(io.BytesIO(shown.content)) as opened:
        assert opened.size == (128, 64)
    changed = shown.headers["last-modified"]
    again = await get(alice, "/emoji-custom/party.png", **{"If-Modified-Since": changed})
    assert (again.status_code, "content-type" in again.headers, "cache-control" in again.headers) == (304, False, False)
    assert again.headers["etag"] == shown.headers["etag"]
    await send(admin, "emoji-custom.update", 200, None, _id=emoji["_id"], name="feast", aliases="")
    (renamed,) = await every(alice)
    assert (renamed["name"], renamed["aliases"], renamed["etag"]) == ("feast", [], emoji["etag"])
    assert (await get(alice, "/emoji-custom/feast.png")).content == shown.content
    await send(admin, "emoji-custom.update", 200, animation(), _id=emoji["_id"])
    (moving,) = await every(alice)
    assert (moving["name"], moving["extension"]) == ("feast", "gif")
    assert (await get(alice, "/emoji-custom/feast.gif")).content == animation()
    page = await alice.get("emoji-custom.all", query='{"name": "feast"}', count=1)
    assert (page["emojis"], page["count"], page["offset"], page["total"]) == ([moving], 1, 0, 1)
    await admin.post("emoji-custom.delete", emojiId=emoji["_id"])
    assert await every(alice) == []
    assert "svg" in (await get(alice, "/emoji-custom/feast.gif")).headers["content-type"]
    await make(admin, name="party", aliases="feast")  # its names are free again


async def test_what_has_changed_since(admin: Client, alice: Client) -> None:
    await make(admin, name="old")
    await make(admin, name="gone")
    gone, old = sorted(await every(alice), key=lambda emoji: str(emoji["name"]))
    since = max(old["_updatedAt"], gone["_updatedAt"])
    await asyncio.sleep(0.005)
    await make(admin, name="new")
    await admin.post("emoji-custom.delete", emojiId=gone["_id"])
    answer = (await alice.get("emoji-custom.list", updatedSince=since))["emojis"]
    assert [emoji["name"] for emoji in answer["update"]] == ["new"]
    assert [emoji["_id"] for emoji in answer["remove"]] == [gone["_id"]]
    assert (await alice.get("emoji-custom.list", 400, updatedSince="x"))["errorType"] == "error-roomId-param-invalid"
    found = (await alice.get("emoji-custom.list", query=f'{{"_id": "{old["_id"]}"}}'))["emojis"]["update"]
    assert found == [old]


async def test_a_name_belongs_to_one(admin: Client) -> None:
    await make(admin, name="party", aliases="feast")
    for name, aliases in (("feast", ""), ("x", "party"), ("party", "")):
        answer = await make(admin, 400, name=name, aliases=aliases)
        assert answer["errorType"] == "Custom_Emoji_Error_Name_Or_Alias_Already_In_Use"
    picked = {"emoji": ("x.png", picture(), "image/png")}
    taken: dict[str, Any] = {"files": picked, "data": {"name": "one", "aliases": "two"}}
    both = await asyncio.gather(*(admin.request("POST", "emoji-custom.create", **taken) for _ in range(2)))
    assert sorted(answer.status_code for answer in both) == [200, 400]
    assert await stored(admin) == 2


async def test_what_is_no_emoji(admin: Client, alice: Client) -> None:
    for name in ("a b", "a:b", "<b>", "../x", "", "x" * 101):
        answer = await make(admin, 400, name=name)
        assert answer["errorType"] in ("error-input-is-not-a-valid-field", "error-the-field-is-required")
    for what, data in NO_PICTURES.items():
        if what != "zip bomb":
            answer = await make(admin, 400, data, name="x")
            assert answer["error"] in ("[emoji-is-not-image]", "[No file uploaded]"), what
    await make(admin, 400, bytes(1024 * 1024 + 1), name="x")
    assert (await make(alice, 400, name="x"))["errorType"] == "not_authorized"
    other = await admin.request("POST", "emoji-custom.create", files={"file": ("x", b"x", "image/png")})
    assert read(other, 400)["error"] == "[invalid-field]"
    assert (await send(admin, "emoji-custom.create", 400, None, name="x"))["error"] == "[No file uploaded]"
    assert (await send(admin, "emoji-custom.update", 400, None, _id="x"))["error"] == "Emoji not found."
    await send(admin, "emoji-custom.update", 400, None, name="x")
    await admin.post("emoji-custom.delete", 400)
    await admin.post("emoji-custom.delete", 400, emojiId="unknown")
    await alice.post("emoji-custom.delete", 400, emojiId="unknown")
    assert await stored(admin) == 0


async def test_an_emoji_that_is_not_there(admin: Client, alice: Client) -> None:
    folder = await get(alice, "/emoji-custom/")
    assert (folder.status_code, folder.text) == (403, "Forbidden")
    for path in ("/emoji-custom/none.png", "/emoji-custom/..%2f..%2fetc%2fpasswd"):
        missing = await get(alice, path)
        assert (missing.status_code, missing.headers["content-type"]) == (200, "image/svg+xml")
        assert missing.headers["last-modified"] == "Thu, 01 Jan 2015 00:00:00 GMT"
        assert (missing.headers["cache-control"], missing.headers["expires"]) == ("public, max-age=0", "-1")
        assert missing.headers["content-disposition"] == "inline"
        again = await get(alice, path, **{"If-Modified-Since": missing.headers["last-modified"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_the_same_by_methods(admin: Client, alice: Client) -> None:
    data = {"name": "party", "aliases": "feast,fun", "extension": "png", "newFile": True}
    emoji_id = (await admin.call("insertOrUpdateEmoji", data))["result"]
    assert (await get(alice, "/emoji-custom/party.png")).headers["content-type"] == "image/svg+xml"
    await admin.call("uploadEmojiCustom", picture("GIF", (20, 20)).decode("latin-1"), "image/gif", data)
    assert (await get(alice, "/emoji-custom/party.jpg")).headers["content-type"] == "image/jpeg"
    (emoji,) = (await alice.call("listEmojiCustom"))["result"]
    assert (emoji["_id"], emoji["extension"]) == (emoji_id, "jpg")
    assert (await admin.call("insertOrUpdateEmoji", {**data, "_id": emoji_id, "name": "feast"}))["result"] is True
    assert (await alice.call("listEmojiCustom", {"name": "party"}))["result"] == []
    assert len((await alice.call("listEmojiCustom", {"aliases": ["fun"]}))["result"]) == 1
    for method, *arguments in (
        ("insertOrUpdateEmoji", {"name": "mine"}),
        ("uploadEmojiCustom", "x", "image/png", {"_id": emoji_id}),
        ("deleteEmojiCustom", emoji_id),
    ):
        assert (await alice.call(str(method), *arguments))["error"]["error"] == "not_authorized"
    for content in ("\u0100", "no picture"):
        assert "error" in await admin.call("uploadEmojiCustom", content, "image/png", {"_id": emoji_id})
    answer = await admin.call("uploadEmojiCustom", "x", "image/png", {"name": "unknown"})
    assert answer["error"]["error"] == "Custom_Emoji_Error_Invalid_Emoji"
    assert (await admin.call("deleteEmojiCustom", emoji_id))["result"] is True
    assert (await admin.call("deleteEmojiCustom", emoji_id))["error"]["error"] == "Custom_Emoji_Error_Invalid_Emoji"


@pytest.mark.parametrize(
    ("stream", "events", "argument", "save", "delete"),
    [
        (
            "stream-notify-logged",
            ("updateEmojiCustom", "deleteEmojiCustom"),
            "emojiData",
            "insertOrUpdateEmoji",
            "deleteEmojiCustom",
        ),
        (
            "stream-notify-all",
            ("updateCustomSound", "deleteCustomSound"),
            "soundData",
            "insertOrUpdateSound",
            "deleteCustomSound",
        ),
    ],
)
async def test_changes_are_heard(
    tmp_path: Path,
    cheap_hashes: None,
    stream: str,
    events: tuple[str, str],
    argument: str,
    save: str,
    delete: str,
) -> None:
    async with running_gateway(tmp_path) as gateway:
        boss = await gateway.client(await gateway.login("boss", "an admin's password"))
        client = await gateway.client(await gateway.make_user("alice"))
        for event in events:
            await client.sub(stream, event, False)
        id = (await boss.call(save, {"name": "party", "extension": "png"}))["result"]
        await boss.call(delete, id)
        for event in events:
            args = await client.wait_change(stream, event, lambda args: True)
            assert (args[0][argument]["_id"], args[0][argument]["name"]) == (id, "party")
