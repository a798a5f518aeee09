"""Rooms taken out by `rooms.export`, and what brings them."""

import io
import zipfile
from typing import Any

import orjson

from tests.gateway.rest import Client
from tests.gateway.rooms import make_channel, make_group, say
from tests.smtp import SENDER, smtp_server

FILE: dict[str, Any] = {"type": "file", "format": "json"}


async def brought(client: Client) -> dict[str, Any]:
    """The last message of rocket.cat, once there is one."""
    room_id = (await client.post("im.create", username="rocket.cat"))["room"]["_id"]
    for _ in range(500):
        found = await client.get("im.messages", roomId=room_id)
        if found["messages"]:
            message: dict[str, Any] = found["messages"][0]
            return message
    raise AssertionError("rocket.cat brings nothing")


async def test_a_file_is_brought_to_who_asks_for_it(admin: Client, alice: Client) -> None:
    room_id = await make_channel(alice, "dev")
    await say(alice, room_id, "hello")
    await admin.post("channels.join", roomId=room_id)
    answer = await admin.post("rooms.export", rid=room_id, **FILE, dateFrom="2020-01-01", dateTo="2999-12-31")
    assert answer == {"success": True}
    message = await brought(admin)
    path = message["attachments"][0]["title_link"]
    found = await admin.http.get(f"http://chat.example.org{path}", headers=admin.headers)
    assert (found.status_code, found.headers["content-type"]) == (200, "application/octet-stream")
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert orjson.loads(archive.read("messages.json"))[0]["msg"] == "hello"
    assert (await alice.http.get(f"http://chat.example.org{path}", headers=alice.headers)).status_code == 403


async def test_what_can_not_be_exported(admin: Client, alice: Client) -> None:
    room_id = await make_group(alice, "secret")
    for client, body, code in (
        (alice, FILE, "error-action-not-allowed"),
        (admin, FILE, "error-invalid-room"),
        (admin, {"type": "letter"}, "invalid-params"),
        (admin, {**FILE, "rid": 7}, "invalid-params"),
        (admin, {**FILE, "rid": "GENERAL", "format": "pdf"}, "error-invalid-format"),
        (admin, {"type": "file", "rid": "GENERAL"}, "error-invalid-format"),
        (admin, {**FILE, "rid": "GENERAL", "dateFrom": "soon"}, "error-invalid-date"),
        (admin, {**FILE, "rid": "GENERAL", "dateFrom": "2021-01-02", "dateTo": "2021-01-01"}, "error-invalid-dates"),
        (admin, {"type": "email", "rid": "GENERAL", "toEmails": ["a@b.org"]}, "error-smtp-not-configured"),
    ):
        assert (await client.post("rooms.export", 400, **{"rid": room_id, **body}))["errorType"] == code


async def test_messages_go_by_mail(admin: Client, alice: Client) -> None:
    sent = await say(admin, "GENERAL", "hello")
    async with smtp_server() as mailbox:
        for id, value in (("SMTP_Host", "127.0.0.1"), ("SMTP_Port", str(mailbox.port)), ("From_Email", SENDER)):
            await admin.post(f"settings/{id}", value=value)
        letter = {"rid": "GENERAL", "type": "email", "messages": [sent["_id"]], "subject": "News"}
        assert (await admin.post("rooms.export", 400, **letter))["errorType"] == "error-invalid-recipient"
        answer = await admin.post(
            "rooms.export", **letter, toUsers=["alice", "ghost"], toEmails=[], additionalEmails="a@b.org, c@d.org"
        )
        assert answer == {"missing": ["ghost"], "success": True}
        letters = [await mailbox.next_letter() for _ in range(3)]
        assert {one["To"] for one in letters} == {"a@b.org", "c@d.org", "alice@example.org"}
        assert {one["Subject"] for one in letters} == {"News"}
