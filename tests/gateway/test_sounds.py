"""The workspace's own sounds: made by methods, listed, and served to everybody."""

import pytest

from tests.gateway.rest import Client
from tests.gateway.test_uploads import fetch

MP3 = b"ID3\x04\x00\x00" + bytes(range(256)) * 10


async def test_a_sound_comes_changes_and_goes(admin: Client, alice: Client) -> None:
    data = {"name": "Gong", "extension": "mp3", "newFile": True}
    sound_id = (await admin.call("insertOrUpdateSound", data))["result"]
    anybody = Client(alice.http, alice.node)
    path = f"/custom-sounds/{sound_id}.mp3"
    assert (await fetch(anybody, path)).status_code == 404
    await admin.call("uploadCustomSound", MP3.decode("latin-1"), "audio/mpeg", {"_id": sound_id})
    served = await fetch(anybody, path)
    assert (served.status_code, served.headers["content-type"], served.content) == (200, "audio/mpeg", MP3)
    part = await fetch(anybody, path, Range="bytes=3-5")
    assert (part.status_code, part.content) == (206, MP3[3:6])
    (sound,) = (await alice.call("listCustomSounds"))["result"]
    assert (sound["_id"], sound["name"], sound["extension"]) == (sound_id, "Gong", "mp3")
    assert not {"file", "file_id"} & sound.keys()
    assert (await admin.call("insertOrUpdateSound", {"_id": sound_id, "name": "Bell"}))["result"] == sound_id
    listed = await alice.get("custom-sounds.list", name="bel")
    assert ([one["name"] for one in listed["sounds"]], listed["count"], listed["total"]) == (["Bell"], 1, 1)
    assert (await alice.get("custom-sounds.list", query='{"name": "Gong"}', name="x"))["sounds"] == []
    assert (await admin.call("deleteCustomSound", sound_id))["result"] is True
    assert (await alice.get("custom-sounds.list"))["total"] == 0
    assert (await fetch(anybody, path)).status_code == 404


@pytest.mark.parametrize(
    ("content", "type"),
    [
        (b"\xff\xfb\x90" + bytes(20), "audio/mpeg"),
        (b"OggS" + bytes(20), "audio/ogg"),
        (b"RIFF\0\0\0\0WAVE", "audio/wav"),
        (b"\0\0\0\x20ftypM4A ", "audio/mp4"),
        (b"<script>alert(1)</script>", ""),
        (b"", ""),
        (b"\xff", ""),
    ],
)
async def test_a_sound_is_what_it_begins_with(admin: Client, content: bytes, type: str) -> None:
    sound_id = (await admin.call("insertOrUpdateSound", {"name": "x", "extension": "mp3"}))["result"]
    answer = await admin.call("uploadCustomSound", content.decode("latin-1"), "text/html", {"_id": sound_id})
    served = await fetch(admin, f"/custom-sounds/{sound_id}.mp3")
    if type:
        assert (served.headers["content-type"], served.content) == (type, content)
    else:
        assert (answer["error"]["error"], served.status_code) == ("error-invalid-file-type", 404)


async def test_who_may_and_what_is_refused(admin: Client, alice: Client) -> None:
    sound_id = (await admin.call("insertOrUpdateSound", {"name": "Gong"}))["result"]
    for method, *arguments in (
        ("insertOrUpdateSound", {"name": "mine"}),
        ("uploadCustomSound", "ID3", "audio/mpeg", {"_id": sound_id}),
        ("deleteCustomSound", sound_id),
    ):
        assert (await alice.call(str(method), *arguments))["error"]["error"] == "not_authorized"
    answer = await admin.call("insertOrUpdateSound", {"name": "Gong"})
    assert answer["error"]["error"] == "Custom_Sound_Error_Name_Already_In_Use"
    for data in ({"name": "<b>"}, {"name": "y", "extension": "../"}):
        assert (await admin.call("insertOrUpdateSound", data))["error"]["error"] == "error-input-is-not-a-valid-field"
    assert (await admin.call("insertOrUpdateSound", {}))["error"]["error"] == "error-the-field-is-required"
    for data in ({"_id": "unknown"}, {}):
        answer = await admin.call("uploadCustomSound", "ID3", "audio/mpeg", data)
        assert answer["error"]["error"] == "Custom_Sound_Error_Invalid_Sound"
    assert [blob async for blob in admin.node.blobs.list("media")] == []
