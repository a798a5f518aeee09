"""Reports: made by those who can see what they report, listed and closed by moderators alone."""

from typing import Any

import pytest

from palaver.v1.event_pb2 import Actor
from palaver.v1.messaging_pb2 import (
    CloseReportsRequest,
    GetReportRequest,
    ListReportedRequest,
    ListReportsRequest,
    ReportRequest,
)
from tests.messaging.helpers import ADMIN, Chat, loaded, make_room, refused


async def report(chat: Chat, actor: Actor, description: str = "rude", **which: str) -> None:
    await chat.messaging.report(ReportRequest(actor=actor, description=description, **which))


async def reports(chat: Chat, actor: Actor = ADMIN, **which: Any) -> list[dict[str, Any]]:
    reply = await chat.messaging.list_reports(ListReportsRequest(actor=actor, **which))
    return [loaded(data) for data in reply.documents]


async def reported(chat: Chat, actor: Actor = ADMIN, **fields: Any) -> list[dict[str, Any]]:
    reply = await chat.messaging.list_reported(ListReportedRequest(actor=actor, **fields))
    return [loaded(data) for data in reply.documents]


async def test_messages_are_reported_and_dismissed(chat: Chat) -> None:
    room_id, (ann, bob, eve) = await make_room(chat, "ann", "bob", "eve")
    bad = await chat.send(ann, room_id, "you fool")
    worse = await chat.send(ann, room_id, "you great fool")
    await report(chat, bob, "rude", message_id=bad["_id"])
    await report(chat, eve, "Very rude", message_id=bad["_id"])
    await report(chat, bob, "rude again", message_id=worse["_id"])
    [row] = await reported(chat)
    assert (row["userId"], row["username"], row["count"], row["msgId"]) == ("annId", "ann", 3, worse["_id"])
    assert (row["roomIds"], row["isUserDeleted"], row["message"]) == ([room_id], False, "you great fool")
    [last, first] = await reports(chat, message_id=bad["_id"])
    assert (last["description"], last["reportedBy"]["username"]) == ("Very rude", "eve")
    assert first["message"]["msg"] == "you fool"
    assert first["room"]["_id"] == room_id
    assert [r["description"] for r in await reports(chat, message_id=bad["_id"], text="VERY")] == ["Very rude"]
    found = await reports(chat, messages_of_user_id="annId")
    assert [r["message"]["msg"] for r in found] == ["you great fool", "you fool"]
    assert len(await reports(chat, messages_of_user_id="annId", count=1, offset=1)) == 1
    await chat.messaging.close_reports(CloseReportsRequest(actor=ADMIN, message_id=bad["_id"], reason="it is a joke"))
    assert await reports(chat, message_id=bad["_id"]) == []
    closed = await chat.messaging.get_report(GetReportRequest(actor=ADMIN, report_id=first["_id"]))
    info = loaded(closed.report)["moderationInfo"]
    assert (info["moderatedBy"], info["reason"]) == ("theAdmin", "it is a joke")
    [row] = await reported(chat)
    assert row["count"] == 1
    request = CloseReportsRequest(actor=ADMIN, messages_of_user_id="annId", delete_messages=True)
    await chat.messaging.close_reports(request)
    assert await reported(chat) == []
    assert await chat.texts(bob, room_id) == ["you fool"]


async def test_users_are_reported_and_dismissed(chat: Chat) -> None:
    ann, bob = await chat.users("ann", "bob")
    await report(chat, ann, "a bot", user_id="bobId")
    [row] = await reported(chat, users=True)
    assert (row["reportedUser"]["username"], row["count"]) == ("bob", 1)
    assert await reported(chat) == []
    [made] = await reports(chat, user_id="bobId")
    assert (made["description"], made["reportedBy"]["_id"]) == ("a bot", "annId")
    moment = made["ts"]["$date"]
    assert await reported(chat, users=True, oldest=moment + 1) == []
    assert await reported(chat, users=True, latest=moment - 1) == []
    assert await reported(chat, users=True, text="nobody") == []
    await chat.messaging.close_reports(CloseReportsRequest(actor=ADMIN, user_id="bobId"))
    assert await reported(chat, users=True) == []
    assert await chat.subscriptions(bob) == {}, "being reported changes nothing for the user"


async def test_who_may_report_and_moderate(chat: Chat) -> None:
    room_id, (ann, bob) = await make_room(chat, "ann", "bob")
    sent = await chat.send(ann, room_id)
    secret = (await chat.room(ann, "secret", type="p"))["_id"]
    hidden = await chat.send(ann, secret)
    for message_id in (hidden["_id"], "ghost", ""):
        with refused("error-invalid-message_id"):
            await report(chat, bob, message_id=message_id)
    with refused("error-invalid-description"):
        await report(chat, bob, " ", message_id=sent["_id"])
    with refused("error-invalid-user"):
        await report(chat, bob, user_id="ghost")
    await report(chat, bob, message_id=sent["_id"])
    for work in (
        lambda: reports(chat, bob, message_id=sent["_id"]),
        lambda: reported(chat, bob),
        lambda: chat.messaging.get_report(GetReportRequest(actor=bob, report_id="x")),
        lambda: chat.messaging.close_reports(CloseReportsRequest(actor=bob, message_id=sent["_id"])),
    ):
        with refused("error-not-allowed"):
            await work()
    with refused("error-report-not-found"):
        await chat.messaging.get_report(GetReportRequest(actor=ADMIN, report_id="ghost"))
    with refused("invalid-params"):
        await chat.messaging.close_reports(CloseReportsRequest(actor=ADMIN))


async def test_many_reports_are_pages(inside: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palaver.messaging.reports._PART", 2)
    room_id, (ann, bob, eve) = await make_room(inside, "ann", "bob", "eve")
    sent: dict[str, Any] = {}
    for author in (ann, bob, eve, ann):
        sent = await inside.send(author, room_id, f"of {author.id}")
        for number in range(3):
            await report(inside, bob, f"number {number}", message_id=sent["_id"])
    reply = await inside.messaging.list_reported(ListReportedRequest(actor=ADMIN, offset=1, count=1))
    [row] = map(loaded, reply.documents)
    assert (row["userId"], row["count"], reply.total) == ("eveId", 3, 3)
    assert [row["userId"] for row in await reported(inside, ascending=True)] == ["bobId", "eveId", "annId"]
    assert [(row["userId"], row["count"]) for row in await reported(inside, text="Of Ann")] == [("annId", 6)]
    assert [row["roomIds"] for row in await reported(inside, text="of annId")] == [[room_id]]
    page = ListReportsRequest(actor=ADMIN, message_id=sent["_id"], offset=1, count=1)
    reply = await inside.messaging.list_reports(page)
    assert ([loaded(data)["description"] for data in reply.documents], reply.total) == (["number 1"], 3)
    reply = await inside.messaging.list_reports(ListReportsRequest(actor=ADMIN, messages_of_user_id="annId", count=1))
    assert (len(reply.documents), reply.total) == (1, 2)
    await inside.messaging.close_reports(CloseReportsRequest(actor=ADMIN, messages_of_user_id="annId"))
    assert [row["userId"] for row in await reported(inside)] == ["eveId", "bobId"]
