"""Messages by REST: posted, changed, reacted to, found, synchronised."""

from typing import Any

import httpx
import pytest

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say


async def test_a_sent_message_is_answered_as_it_is_stored(alice: Client) -> None:
    room_id = await make_channel(alice, "talk")
    message = await say(
        alice, room_id, "hello @boss and #general: https://example.org/x", _id="chosen", groupable=False
    )
    assert message["_id"] == "chosen"
    assert message["rid"] == room_id
    assert message["u"] == {"_id": alice.user_id, "username": "alice", "name": "Alice"}
    assert message["ts"] == message["_updatedAt"]
    assert message["ts"].endswith("Z")
    assert message["groupable"] is False
    assert [mention["username"] for mention in message["mentions"]] == ["boss"]
    assert message["channels"] == [{"_id": "GENERAL", "name": "general"}]
    assert [url["url"] for url in message["urls"]] == ["https://example.org/x"]
    assert "t" not in message
    assert (await alice.get("chat.getMessage", msgId="chosen"))["message"] == message
    assert (await alice.get("rooms.info", roomId=room_id))["room"]["lastMessage"]["_id"] == "chosen"


async def test_a_repeated_message_is_the_same_one(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "echo", members=["bob"])
    first = await say(alice, room_id, "once", _id="same")
    assert await say(alice, room_id, "once", _id="same") == first
    stolen = await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "mine", "_id": "same"})
    assert stolen["errorType"] == "error-invalid-message-id"
    history = await alice.get("channels.history", roomId=room_id)
    assert len([message for message in history["messages"] if "t" not in message]) == 1


async def test_a_message_is_where_it_belongs(alice: Client, bob: Client) -> None:
    assert (await alice.post("chat.sendMessage", 400))["errorType"] == "error-invalid-params"
    without_room = await alice.post("chat.sendMessage", 400, message={"msg": "x"})
    assert without_room["error"] == "Match error: Missing key 'rid' in field message"
    room_id = await make_channel(alice, "members-only")
    outside = await bob.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "x"})
    assert outside["errorType"] == "error-not-allowed"
    empty = await alice.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "  "})
    assert empty["errorType"] == "error-invalid-message"


async def test_what_clients_show_meanwhile_is_not_believed(alice: Client) -> None:
    room_id = await make_channel(alice, "pending")
    temporary = {
        "temp": True,
        "ts": {"$date": 1},
        "u": {"_id": "boss", "username": "boss"},
        "editedAt": 1,
        "_hidden": 1,
    }
    message = await say(
        alice, room_id, "real", **temporary, md=[], unknown=5, reactions={":x:": {"usernames": ["boss"]}}
    )
    assert message["u"]["username"] == "alice"
    assert not {"temp", "unknown", "reactions", "editedAt", "_hidden"} & set(message)
    assert message["ts"] > "2020"


@pytest.mark.parametrize(
    "extra",
    [{"alias": "The President"}, {"avatar": "https://example.org/a.png"}],
)
async def test_posing_as_others_needs_a_permission(admin: Client, alice: Client, extra: dict[str, Any]) -> None:
    room_id = await make_channel(alice, "masks")
    await alice.post("chat.sendMessage", 400, message={"rid": room_id, "msg": "x", **extra})
    await alice.post("chat.postMessage", 400, roomId=room_id, text="x", **extra)
    await admin.post("permissions.update", permissions=[{"_id": "message-impersonate", "roles": ["user"]}])
    (name, value), *_ = extra.items()
    assert (await alice.post("chat.postMessage", roomId=room_id, text="x", **extra))["message"][name] == value


async def test_an_emoji_for_a_picture_poses_as_nobody(alice: Client) -> None:
    room_id = await make_channel(alice, "masks")
    shown = {"emoji": ":crown:", "alias": "", "avatar": ""}
    posted = await alice.post("chat.postMessage", roomId=room_id, text="x", **shown)
    assert posted["message"]["emoji"] == ":crown:"
    sent = await alice.post("chat.sendMessage", message={"rid": room_id, "msg": "x", **shown})
    assert sent["message"]["emoji"] == ":crown:"


async def test_the_text_of_an_attachment_has_two_names(alice: Client) -> None:
    room_id = await make_channel(alice, "parcels")
    attachments = [{"color": "red", "msg": " within "}, {"text": "kept", "msg": ""}]
    posted = await alice.post("chat.postMessage", roomId=room_id, text="x", attachments=attachments)
    assert posted["message"]["attachments"] == [{"color": "red", "text": "within"}, {"text": "kept"}]


@pytest.mark.parametrize(
    "attachment",
    [
        {"title_link_download": "yes"},
        {"collapsed": 1},
        {"fields": "none"},
        {"fields": [{"short": "yes", "title": "t", "value": "v"}]},
        {"text": {"$gt": ""}},
        {"message_link": "javascript:alert(1)"},
        {"author_link": "data:text/html,x"},
        {"title_link": "javascript:alert(1)"},
        {"attachments": [{"title_link": "vbscript:x"}]},
    ],
)
async def test_attachments_are_checked(alice: Client, attachment: dict[str, Any]) -> None:
    room_id = await make_channel(alice, "parcels")
    for path, body in (
        ("chat.sendMessage", {"message": {"rid": room_id, "msg": "x", "attachments": [attachment]}}),
        ("chat.postMessage", {"roomId": room_id, "text": "x", "attachments": [attachment]}),
    ):
        await alice.post(path, 400, **body)


async def test_attachments_keep_what_nobody_knows(alice: Client) -> None:
    room_id = await make_channel(alice, "parcels")
    attachment = {
        "color": "#ff0000",
        "title": "A file",
        "title_link": "/file-upload/1/a.txt",
        "title_link_download": True,
        "fields": [{"short": True, "title": "a", "value": 5}],
        "footer": "of some bot",
        "ts": "2024-01-01T00:00:00.000Z",
    }
    answer = await alice.post("chat.postMessage", roomId=room_id, attachments=[attachment])
    assert answer["message"]["attachments"] == [attachment]
    assert answer["message"]["msg"] == ""


# -- posting to somewhere ----------------------------------------------------------------------------------------------


async def test_posting_finds_the_room(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "forum")
    group = await make_group(alice, "cabal")
    for target, rid in (
        ("#forum", room_id),
        ("forum", room_id),
        (room_id, room_id),
        ("#cabal", group),
        ("cabal", group),
        ("@bob", "".join(sorted([alice.user_id, bob.user_id]))),
        (f"@{bob.user_id}", "".join(sorted([alice.user_id, bob.user_id]))),
        (bob.user_id, "".join(sorted([alice.user_id, bob.user_id]))),
    ):
        answer = await alice.post("chat.postMessage", channel=target, text=f"to {target}")
        assert isinstance(answer["ts"], int)
        assert answer["channel"] == target
        assert (answer["message"]["rid"], answer["message"]["msg"]) == (rid, f"to {target}")
        assert answer["message"]["groupable"] is False
    many = await alice.post("chat.postMessage", channel=["#forum", "@bob"], text="all")
    assert many["channel"] == "#forum"
    assert (await bob.get("im.history", roomId="".join(sorted([alice.user_id, bob.user_id]))))["messages"][0][
        "msg"
    ] == "all"
    assert (await alice.post("chat.postMessage", roomId=[room_id], text="", msg=" trimmed "))["message"][
        "msg"
    ] == "trimmed"


async def test_posting_enters_public_rooms(alice: Client, bob: Client) -> None:
    for name, target in (("by-name", "#by-name"), ("by-id", "")):
        room_id = await make_channel(alice, name)
        await bob.post("chat.postMessage", channel=target or room_id, text="here I am")
        assert (await bob.get("rooms.isMember", roomId=room_id, username="bob"))["isMember"] is True


async def test_posting_to_nowhere(alice: Client, bob: Client) -> None:
    await make_group(alice, "secret")
    bodies: tuple[dict[str, Any], ...] = (
        {},
        {"channel": ""},
        {"channel": []},
        {"channel": "#secret"},
        {"channel": "#nothing"},
        {"channel": "@ghost"},
    )
    for body in bodies:
        answer = await bob.post("chat.postMessage", 400, text="x", **body)
        assert (answer["error"], answer["errorType"]) == ("[invalid-channel]", "invalid-channel"), body
    await bob.post("chat.postMessage", 400, text="x", channel=["#general"] * 51)
    for hostile in ({"$ne": ""}, [{"$ne": ""}], 5):
        await bob.post("chat.postMessage", 400, text="x", roomId=hostile)


async def test_posting_where_one_may_not_write_says_why(admin: Client, alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "pulpit", members=["bob"], readOnly=True)
    for target in (room_id, "#pulpit"):
        answer = await bob.post("chat.postMessage", 400, channel=target, text="amen")
        assert "readonly" in answer["error"]


# -- changing ----------------------------------------------------------------------------------------------------------


async def test_messages_are_edited(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "drafts", members=["bob"])
    message = await say(alice, room_id, "teh")
    body = {"roomId": room_id, "msgId": message["_id"], "text": "the"}
    edited = (await alice.post("chat.update", **body))["message"]
    assert (edited["msg"], edited["ts"]) == ("the", message["ts"])
    assert edited["editedBy"] == {"_id": alice.user_id, "username": "alice"}
    assert edited["editedAt"] == edited["_updatedAt"] > message["_updatedAt"]
    assert (await bob.post("chat.update", 400, **body))["errorType"] == "error-action-not-allowed"
    unknown = await alice.post("chat.update", 400, **{**body, "msgId": "ghost"})
    assert unknown["error"] == 'No message found with the id of "ghost".'
    elsewhere = await alice.post("chat.update", 400, **{**body, "roomId": "GENERAL"})
    assert elsewhere["error"] == "The room id provided does not match where the message is from."
    assert (await alice.post("chat.update", 400, msgId="x", text="x"))["error"] == "Match error: Missing key 'roomId'"


async def test_messages_are_deleted(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "bin", members=["bob"])
    message = await say(bob, room_id, "oops")
    body = {"roomId": room_id, "msgId": message["_id"]}
    answer = await bob.post("chat.delete", **body)
    assert answer["_id"] == message["_id"]
    assert answer["ts"].isdigit()
    assert answer["message"]["msg"] == "oops"
    await bob.get("chat.getMessage", 400, msgId=message["_id"])
    assert (await bob.post("chat.delete", 400, **body))["error"] == (
        f'No message found with the id of "{message["_id"]}".'
    )
    other = await say(alice, room_id, "mine")
    await bob.post("chat.delete", 400, roomId=room_id, msgId=other["_id"])
    await bob.post("chat.delete", 400, roomId=room_id, msgId=other["_id"], asUser=True)
    await alice.post("chat.delete", roomId=room_id, msgId=other["_id"], asUser=True)


async def test_reactions(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "applause", members=["bob"])
    message_id = (await say(alice, room_id, "ta-da"))["_id"]

    async def reactions() -> Any:
        return (await alice.get("chat.getMessage", msgId=message_id))["message"].get("reactions")

    await alice.post("chat.react", messageId=message_id, emoji=":clap:")
    await bob.post("chat.react", messageId=message_id, reaction="clap")
    assert await reactions() == {":clap:": {"usernames": ["alice", "bob"]}}
    await bob.post("chat.react", messageId=message_id, emoji="clap", shouldReact=True)
    await alice.post("chat.react", messageId=message_id, emoji="clap")
    assert await reactions() == {":clap:": {"usernames": ["bob"]}}
    await bob.post("chat.react", messageId=message_id, emoji=":clap:", shouldReact=False)
    assert await reactions() is None
    for body, code in (
        ({"emoji": "x"}, "error-messageid-param-not-provided"),
        ({"messageId": message_id}, "error-emoji-param-not-provided"),
        ({"messageId": "ghost", "emoji": "x"}, "error-message-not-found"),
        ({"messageId": message_id, "emoji": "not an emoji"}, "error-not-allowed"),
    ):
        assert (await alice.post("chat.react", 400, **body))["errorType"] == code


@pytest.mark.parametrize(
    ("method", "path", "name", "more"),
    [
        ("GET", "chat.getMessage", "msgId", {}),
        ("GET", "chat.getThreadMessages", "tmid", {}),
        ("GET", "chat.syncThreadMessages", "tmid", {"updatedSince": "2020-01-01T00:00:00Z"}),
        ("POST", "chat.react", "messageId", {"emoji": "x"}),
        ("POST", "chat.followMessage", "mid", {}),
        ("POST", "chat.unfollowMessage", "mid", {}),
        ("POST", "chat.update", "msgId", {"roomId": "GENERAL", "text": "x"}),
        ("POST", "chat.delete", "msgId", {"roomId": "GENERAL"}),
    ],
)
async def test_a_forbidden_message_answers_as_an_unknown_one(
    alice: Client, bob: Client, method: str, path: str, name: str, more: dict[str, Any]
) -> None:
    secret = (await say(alice, await make_group(alice, "secret"), "s3cret"))["_id"]
    unknown = "q" * len(secret)

    async def ask(message_id: str) -> httpx.Response:
        parameters = {name: message_id, **more}
        if method == "GET":
            return await bob.request(method, path, params=parameters)
        return await bob.request(method, path, json=parameters)

    forbidden, nowhere = await ask(secret), await ask(unknown)
    assert forbidden.status_code == nowhere.status_code == 400
    assert forbidden.text.replace(secret, "…") == nowhere.text.replace(unknown, "…")


async def test_too_much_beside_a_text_is_refused(alice: Client) -> None:
    room_id = await make_channel(alice, "talk")
    attachments = [{"text": "x" * 1000} for _ in range(70)]
    for path, body in (
        ("chat.sendMessage", {"message": {"rid": room_id, "msg": "x", "attachments": attachments}}),
        ("chat.postMessage", {"roomId": room_id, "text": "x", "attachments": attachments}),
    ):
        assert (await alice.post(path, 400, **body))["errorType"] == "error-message-size-exceeded"
    assert "lastMessage" not in (await alice.get("rooms.info", roomId=room_id))["room"]


async def test_users_can_be_ignored(alice: Client, bob: Client) -> None:
    room_id = await make_channel(alice, "quiet", members=["bob"])
    await alice.get("chat.ignoreUser", rid=room_id, userId=bob.user_id)
    assert (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"]["ignored"] == [bob.user_id]
    await alice.get("chat.ignoreUser", rid=room_id, userId=bob.user_id, ignore="false")
    assert not (await alice.get("subscriptions.getOne", roomId=room_id))["subscription"].get("ignored")
    assert (await alice.get("chat.ignoreUser", 400, userId="x"))["errorType"] == "error-room-id-param-not-provided"


@pytest.mark.parametrize(
    ("attachment", "wrong"),
    [
        ({"text": {}}, "Expected string, got object in field attachments[0].text"),
        ({"fields": [{"short": "no"}]}, "Expected boolean, got string in field attachments[0].fields[0].short"),
        ({"author_link": "javascript:alert(1)"}, "Failed Match.Where validation in field author_link"),
    ],
)
async def test_wrong_attachments_are_named(alice: Client, attachment: dict[str, Any], wrong: str) -> None:
    """In the words of Meteor; a method says only that something did not match."""
    room_id = await make_channel(alice, "papers")
    answer = await alice.post("chat.postMessage", 400, roomId=room_id, attachments=[attachment])
    assert answer == {"success": False, "error": f"Match error: {wrong}"}
    frame = await alice.call("sendMessage", {"rid": room_id, "msg": "x", "attachments": [attachment]})
    assert (frame["error"]["error"], frame["error"]["reason"]) == (400, "Match failed")
    assert "details" not in frame["error"]


async def test_numbers_are_called_numbers(alice: Client) -> None:
    room_id = await make_channel(alice, "sums")
    for path, name in (("channels.history", "count"), ("channels.history", "offset")):
        answer = await alice.get(path, 400, roomId=room_id, **{name: "zz"})
        assert answer["error"] == "must be number [invalid-params]"


async def test_previews_of_links(alice: Client) -> None:
    await alice.get("chat.getURLPreview", 400, url="http://example.org/")
    await alice.get("chat.getURLPreview", 400, roomId="GENERAL")
    answer = await alice.get("chat.getURLPreview", 400, roomId="GENERAL", url="http://127.0.0.1/")
    assert answer["errorType"] == "error-invalid-url"
    await alice.get("chat.getURLPreview", 400, roomId="unknown", url="http://example.org/")
