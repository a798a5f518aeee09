"""Lists of what was sent into rooms: files by name, kind and time, and pictures."""

from typing import Any

import orjson
import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group
from tests.gateway.test_uploads import upload


def names(answer: dict[str, Any]) -> list[str]:
    return [file["name"] for file in answer["files"]]


async def fill(client: Client, room_id: str) -> list[str]:
    """Three files and the ids of their messages."""
    sent = [
        await upload(client, room_id, b"one", name="Report.TXT", type="text/plain"),
        await upload(client, room_id, b"two", name="cat.png"),
        await upload(client, room_id, b"three", name="song.mp3", type="audio/mpeg"),
    ]
    return [answer["message"]["_id"] for answer in sent]


async def test_a_rooms_files_under_each_face(alice: Client, bob: Client) -> None:
    channel = await make_channel(alice, "dev", members=["bob"])
    group = await make_group(alice, "secret")
    direct = (await alice.post("im.create", username="bob"))["room"]["_id"]
    for path, room_id in (("channels", channel), ("groups", group), ("im", direct), ("dm", direct)):
        message = (await upload(alice, room_id, b"abc", name="a b.txt", type="text/plain"))["message"]
        answer = await alice.get(f"{path}.files", roomId=room_id)
        newest = answer["files"][0]
        assert answer["total"] == answer["count"] == len(answer["files"])
        file_path = f"/file-upload/{message['file']['_id']}/a%20b.txt"
        assert newest == {
            "_id": message["file"]["_id"],
            "name": "a b.txt",
            "type": "text/plain",
            "typeGroup": "text",
            "extension": "txt",
            "size": 3,
            "rid": room_id,
            "userId": alice.user_id,
            "user": {"_id": alice.user_id, "username": "alice", "name": newest["user"]["name"]},
            "store": "GridFS:Uploads",
            "complete": True,
            "path": file_path,
            "url": file_path,
            "uploadedAt": newest["uploadedAt"],
            "_updatedAt": newest["uploadedAt"],
        }
    assert names(await alice.get("channels.files", roomName="dev")) == ["a b.txt"]
    assert names(await bob.get("dm.files", username="alice")) == ["a b.txt", "a b.txt"]
    await bob.get("groups.files", 400, roomId=group)
    await bob.get("channels.files", 400, roomId=group)
    await alice.get("im.files", 400)


async def test_files_are_found_sorted_and_paged(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    await fill(alice, room_id)

    async def find(**query: Any) -> list[str]:
        return names(await alice.get("channels.files", roomId=room_id, **query))

    assert await find() == ["song.mp3", "cat.png", "Report.TXT"]
    assert await find(sort='{"uploadedAt": 1}') == ["Report.TXT", "cat.png", "song.mp3"]
    assert await find(sort='{"name": -1}') == ["song.mp3", "cat.png", "Report.TXT"]
    assert await find(name="report") == ["Report.TXT"]
    assert await find(typeGroup="image") == ["cat.png"]
    assert await find(name="CAT", typeGroup="audio") == []
    asked = orjson.dumps({"name": {"$regex": "repo", "$options": "i"}, "typeGroup": "text"}).decode()
    assert await find(query=asked) == ["Report.TXT"]
    assert await find(onlyConfirmed="false", name=".") == ["song.mp3", "cat.png", "Report.TXT"]
    page = await alice.get("channels.files", roomId=room_id, offset=1, count=1, fields='{"name": 1}')
    assert (page["count"], page["offset"], page["total"]) == (1, 1, 3)
    assert page["files"] == [{"_id": page["files"][0]["_id"], "name": "cat.png"}]
    answer = await alice.get("channels.files", 400, roomId=room_id, query='{"sha256": "00"}')
    assert answer["errorType"] == "error-invalid-query"
    answer = await alice.get("channels.files", 400, roomId=room_id, sort='{"name": 2}')
    assert answer["errorType"] == "error-invalid-sort"


async def test_a_file_that_nobody_sent_or_that_is_gone_is_in_no_list(alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    first, *_ = await fill(alice, room_id)
    await upload(alice, room_id, path="rooms.media", name="waiting.png")
    await alice.post("chat.delete", roomId=room_id, msgId=first)
    for more in ({}, {"onlyConfirmed": "false"}):
        listed = await alice.get("channels.files", roomId=room_id, **more)
        assert (names(listed), listed["total"]) == (["song.mp3", "cat.png"], 2)
    assert names(await alice.get("rooms.images", roomId=room_id)) == ["cat.png"]


@pytest.mark.parametrize("path", ["rooms.images", "channels.images"])
async def test_pictures_from_one_on(alice: Client, bob: Client, path: str) -> None:
    room_id = await make_group(alice, "secret")
    await fill(alice, room_id)
    for number in range(3):
        await upload(alice, room_id, name=f"{number}.png")
    listed = await alice.get(path, roomId=room_id)
    assert names(listed) == ["2.png", "1.png", "0.png", "cat.png"]
    assert (listed["count"], listed["offset"], listed["total"]) == (4, 0, 4)
    start = listed["files"][1]["_id"]
    page = await alice.get(path, roomId=room_id, startingFromId=start, offset=1, count=1)
    assert (names(page), page["total"]) == (["0.png"], 3)
    await alice.get(path, 400, roomId=room_id, startingFromId="unknown")
    await alice.get(path, 400)
    answer = await bob.get(path, 403, roomId=room_id)
    assert answer["error"] == "unauthorized"
    await bob.get(path, 403, roomId="unknown")
