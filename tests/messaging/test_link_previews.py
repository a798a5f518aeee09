"""Links in messages: what their pages say is shown in them, once, whoever is slow, hostile or dies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from palaver.commit import now
from palaver.events import room_stream
from palaver.messaging.previews import fetching, links
from palaver.v1.event_pb2 import Actor, Event
from tests.messaging.crashing import dying
from tests.messaging.helpers import Chat, Document, refused, until
from tests.outside import Answer, Outside, Request, outside
from tests.services import RunningServices, Transport, service_nodes

ROLES = ("auth", "presence", "messaging")
HTML = {"Content-Type": "text/html"}


def page(title: str) -> Answer:
    return Answer(200, f"<html><head><title>{title}</title></head></html>".encode(), HTML)


PAGES = {"/a": page("A"), "/b": page("B"), "/gone": Answer(404), "/large": page("x" * 300_000)}


@pytest.fixture
async def chat(tmp_path: Path, transport: Transport, cheap_hashes: None) -> AsyncIterator[Chat]:
    async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
        yield Chat(running)


async def allow(chat: Chat, site: Outside) -> None:
    """The settings let previews be made of the site."""
    await chat.set_setting("API_EmbedIgnoredHosts", "localhost")
    await chat.set_setting("API_EmbedSafePorts", f"80, {site.port}")
    access = chat.running.nodes["messaging"].access
    await chat.settle(lambda: str(site.port) in access.setting("API_EmbedSafePorts"))


async def titles(chat: Chat, actor: Actor, message: Document) -> dict[str, Any]:
    """Of each link the title of its page; None for one that shows none."""
    found = await chat.message(actor, message["_id"])
    return {link["url"].rsplit("/", 1)[1]: link.get("meta", {}).get("pageTitle") for link in found["urls"]}


async def shows(chat: Chat, actor: Actor, message: Document, **expected: str | None) -> None:
    async def is_shown() -> bool:
        return await titles(chat, actor, message) == expected

    await until(is_shown)


async def idle(running: RunningServices) -> None:
    """Nothing is written down any more."""

    async def is_idle() -> bool:
        return not await running.nodes["messaging"].database.list_records("link_previews")

    await until(is_idle)


async def test_pages_are_shown_and_fetched_once(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    async with outside(PAGES) as site:
        await allow(chat, site)
        sent = await chat.send(ann, room_id, f"see {site.url}/a and {site.url}/gone")
        assert [link.keys() for link in sent["urls"]] == [{"url"}, {"url"}]
        await shows(chat, ann, sent, a="A", gone=None)
        shown = await chat.message(ann, sent["_id"])
        assert shown["urls"][0]["parsedUrl"]["pathname"] == "/a"
        assert shown["urls"][0]["headers"]["contentType"] == "text/html"
        assert "editedAt" not in shown
        assert (await chat.get_room(ann, room_id))["lastMessage"]["urls"] == shown["urls"]
        assert sorted(request.target for request in site.requests) == ["/a", "/gone"]
        # An edit looks at what is new.
        await chat.edit(ann, sent["_id"], f"see {site.url}/a and {site.url}/b")
        assert (await titles(chat, ann, sent))["a"] == "A"
        await shows(chat, ann, sent, a="A", b="B")
        await idle(chat.running)
        assert sorted(request.target for request in site.requests) == ["/a", "/b", "/gone"]


async def test_what_nobody_wants_shown_is_not_fetched(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    async with outside(PAGES) as site:
        await allow(chat, site)
        text = f"{site.url}/a {site.url}/b"
        some = await chat.send(ann, room_id, text, extra={"previewUrls": [f"{site.url}/b"]})
        assert some["urls"] == [{"url": f"{site.url}/a", "ignoreParse": True}, {"url": f"{site.url}/b"}]
        with refused("invalid-params"):
            await chat.send(ann, room_id, text, extra={"previewUrls": [{}, []]})
        none = await chat.send(ann, room_id, text, extra={"parseUrls": False})
        inside = await chat.send(ann, room_id, "http://10.0.0.1/x")
        await shows(chat, ann, some, a=None, b="B")
        await idle(chat.running)
        assert await titles(chat, ann, none) == {}
        assert await titles(chat, ann, inside) == {"x": None}
        await chat.edit(ann, some["_id"], text, extra=orjson.dumps({"previewUrls": [f"{site.url}/a"]}))
        await shows(chat, ann, some, a="A", b=None)
        await chat.set_setting("API_Embed", False)
        access = chat.running.nodes["messaging"].access
        await chat.settle(lambda: not access.setting("API_Embed"))
        count = len(site.requests)
        off = await chat.send(ann, room_id, f"{site.url}/large")
        await idle(chat.running)
        assert await titles(chat, ann, off) == {"large": None}
        assert len(site.requests) == count


async def test_what_has_enough_to_show_gets_no_pages(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    async with outside(PAGES) as site:
        await allow(chat, site)
        attached = await chat.send(ann, room_id, f"{site.url}/a", extra={"attachments": [{"text": "enough"}]})
        many = await chat.send(ann, room_id, " ".join(f"{site.url}/{name}" for name in "abcdef"))
        own = " http://chat.example.org/x" * 6
        few = await chat.send(ann, room_id, f"{site.url}/a {site.url}/b{own}")
        await shows(chat, ann, few, a="A", b="B", x=None)
        await idle(chat.running)
        assert await titles(chat, ann, attached) == {"a": None}
        assert await titles(chat, ann, many) == dict.fromkeys("abcdef")
        assert sorted(request.target for request in site.requests) == ["/a", "/b"]


async def test_a_slow_page_keeps_nobody_waiting(chat: Chat) -> None:
    ann = await chat.user("ann")
    room_id = (await chat.room(ann, "dev"))["_id"]
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Answer:
        asked.set()
        await go.wait()
        return page("slow")

    async with outside({**PAGES, "/slow": slow}) as site:
        await allow(chat, site)
        first = await chat.send(ann, room_id, f"{site.url}/slow")
        await asked.wait()
        second = await chat.send(ann, room_id, f"{site.url}/a")
        await shows(chat, ann, second, a="A")
        assert await titles(chat, ann, first) == {"slow": None}
        # What is deleted meanwhile shows nothing.
        await chat.delete(ann, first["_id"])
        go.set()
        await idle(chat.running)
        assert await chat.texts(ann, room_id) == [second["msg"]]


async def test_slow_pages_of_one_user_keep_no_other_waiting(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_MAX_WAITING_EACH", 20)
    monkeypatch.setattr(fetching, "_SECONDS", 120.0)
    ann, bob = await chat.users("ann", "bob")
    room_id = (await chat.room(ann, "dev", "bob"))["_id"]
    go, asked = asyncio.Event(), 0

    async def slow(_: Request) -> Answer:
        nonlocal asked
        asked += 1
        await go.wait()
        return page("slow")

    async with outside({**PAGES, **{f"/slow{number}": slow for number in range(30)}}) as site:
        await allow(chat, site)
        many = [await chat.send(ann, room_id, f"{site.url}/slow{number}") for number in range(30)]

        async def is_full() -> bool:
            return asked == links._OF_USER

        await until(is_full)
        other = await chat.send(bob, room_id, f"{site.url}/a")
        await shows(chat, bob, other, a="A")
        assert asked == links._OF_USER
        go.set()
        await idle(chat.running)
        last = many[-1]
        assert await titles(chat, ann, last) == {"slow29": None}, "who sends very many sends the last ones bare"
        assert await titles(chat, ann, many[0]) == {"slow0": "slow"}


@pytest.mark.parametrize("point", ["preview.after_record", "preview.after_commit"])
async def test_a_crash_leaves_one_preview(
    tmp_path: Path, transport: Transport, cheap_hashes: None, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr(links, "_LEFT_AFTER", 0)
    monkeypatch.setattr(links, "_SWEEP_SECONDS", 0.05)
    async with outside(PAGES) as site:
        async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
            chat = Chat(running)
            await allow(chat, site)
            ann = await chat.user("ann")
            room_id = (await chat.room(ann, "dev"))["_id"]
            async with dying(point):
                sent = await chat.send(ann, room_id, f"{site.url}/a")
        async with service_nodes(tmp_path, ROLES, transport, outbound_allowed="127.0.0.1") as running:
            chat = Chat(running)
            await shows(chat, ann, sent, a="A")
            await idle(running)
            events: list[Event] = await running.nodes["messaging"].database.list_events(room_stream(room_id), 0)
            assert [event.WhichOneof("fact") for event in events].count("message_changed") == 1


async def test_who_looks_for_what_is_left_reads_nothing_else(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may be at work on very many."""
    monkeypatch.setattr(links, "_PAGE", 2)
    monkeypatch.setattr(links, "_MAX_WAITING", 3)
    node, at = chat.running.nodes["messaging"], now()
    database, pages, service = node.database, 0, cast(Any, node.roles["messaging"])

    async def nothing() -> None:
        """The node's own task leaves them alone."""

    monkeypatch.setattr(service._link_previews, "_take_left", nothing)
    for number in range(12):
        written_at = at - (60_000 if number < 2 else 0) - (3_600_000 if number == 0 else 0)
        record = {"room_id": "GENERAL", "message_id": f"{number}", "at": written_at}
        await database.put_record("link_previews", f"{written_at:014d}-{number:02}", record)
    list_records = database.list_records

    async def list_page(kind: str, prefix: str = "", *, after: str = "", limit: int = 100) -> Any:
        nonlocal pages
        pages += kind == "link_previews"  # other tasks of the node look for their own
        return await list_records(kind, prefix, after=after, limit=limit)

    monkeypatch.setattr(database, "list_records", list_page)
    previews = links.LinkPreviews(node, service._previews)
    await previews._take_left()
    assert (len(previews._taken), pages) == (1, 2)
    monkeypatch.setattr(links, "_LEFT_AFTER", -60_000)
    pages = 0
    await previews._take_left()
    assert (len(previews._taken), pages) == (3, 2)
