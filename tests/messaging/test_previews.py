"""Previews of links: what a page says of itself, and which pages are asked at all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.messaging.previews.fetching import Ignored
from palaver.messaging.previews.page import read_page
from palaver.v1.event_pb2 import Actor
from palaver.v1.integration_pb2 import PreviewUrlRequest
from tests.messaging.helpers import ADMIN, Chat, Document, loaded, refused
from tests.outside import Answer, outside
from tests.services import Transport, service_nodes

PAGE = b"""<!DOCTYPE html><html><head><title> A
 page &amp; more </title><meta property="og:title" content="Seen &lt;there&gt;">
<META NAME="Description" content='What it is'/>
<meta name="twitter:image" content="http://x/y.png"><meta name="viewport" content="width=1"><meta property="og:title"
content="2">
</head><body><meta name="description" content="not this"><title>nor this</title></body></html>"""
SHOWN = {
    "pageTitle": "A page & more",
    "ogTitle": "Seen <there>",
    "description": "What it is",
    "twitterImage": "http://x/y.png",
}


@pytest.fixture
async def chat(tmp_path: Path, transport: Transport, cheap_hashes: None) -> AsyncIterator[Chat]:
    roles = ("auth", "presence", "messaging")
    async with service_nodes(tmp_path, roles, transport, outbound_allowed="127.0.0.1") as running:
        yield Chat(running)


async def preview(chat: Chat, url: str, actor: Actor = ADMIN, room_id: str = "GENERAL") -> Document:
    request = PreviewUrlRequest(actor=actor, room_id=room_id, url=url)
    return loaded((await chat.messaging.preview_url(request)).preview)


def test_a_page() -> None:
    assert read_page(PAGE.decode()) == SHOWN


@pytest.mark.parametrize(
    "html",
    [
        "",
        "<meta",
        "<meta property=og:title",
        "<title>",
        "<meta name='__proto__' content='x'>",
        "<title></title>",
        "<meta name='og:" + "x" * 100 + "' content='x'>",
        "<meta property='og:title' content=''>",
        "just text",
    ],
)
def test_what_says_nothing(html: str) -> None:
    assert read_page(html) == {}


@pytest.mark.parametrize("unit", ["<a", "<meta ", "<meta a='", "<title><", "<title>&", "<meta content=&amp "])
def test_hostile_pages_end_and_are_short(unit: str) -> None:
    """What the parser alone would take minutes for."""
    found = read_page(unit * 40_000)
    assert all(len(value) <= 1000 for value in found.values())


def test_a_page_that_says_much_is_shown_with_what_it_says_first() -> None:
    """A thousand pages are remembered, so each is short."""
    found = read_page("".join(f"<meta property='og:x{number}' content='{'x' * 900}'>" for number in range(90)))
    assert list(found)[:3] == ["ogX0", "ogX1", "ogX2"]
    assert sum(map(len, found.values())) <= 6000


def test_ignored_hosts() -> None:
    ignored = Ignored("localhost, 127.0.0.1, 10.0.0.0/8, *.Example.org,")
    for host in ("localhost", "LOCALHOST.", "127.0.0.1", "10.9.8.7", "a.example.org", "example.org"):
        assert ignored.has(host), host
    for host in ("127.0.0.2", "11.0.0.1", "notexample.org", "example.org.evil.com", "::1"):
        assert not ignored.has(host), host


async def test_a_preview(chat: Chat) -> None:
    pages = {
        "/": Answer(200, PAGE, {"Content-Type": "text/html; charset=utf-8"}),
        "/i": Answer(200, b"", {"Content-Type": "image/png"}),
    }
    async with outside(pages) as site:
        url = f"{site.url}/?a=b#c"
        with refused("error-invalid-url"):  # its port is none of the usual ones
            await preview(chat, url)
        await chat.set_setting("API_EmbedSafePorts", f"80, {site.port}")
        with refused("error-invalid-url"):  # and its host is one of those that are ignored
            await preview(chat, url)
        assert site.requests == []
        await chat.set_setting("API_EmbedIgnoredHosts", "localhost")
        shown = await preview(chat, url)
        assert await preview(chat, url) == shown  # remembered
        assert len(site.requests) == 1
        assert site.requests[0].headers["user-agent"].startswith("Mozilla/5.0")
        image = await preview(chat, f"{site.url}/i")
        await chat.set_setting("API_Embed", False)
        with refused("error-not-allowed"):
            await preview(chat, url)
    assert shown["meta"] == SHOWN
    assert shown["url"] == url
    assert shown["headers"] == {"contentType": "text/html; charset=utf-8", "contentLength": str(len(PAGE))}
    assert shown["parsedUrl"] == {
        "host": f"127.0.0.1:{site.port}",
        "hostname": "127.0.0.1",
        "pathname": "/",
        "protocol": "http:",
        "search": "?a=b",
        "hash": "#c",
    }
    assert image["meta"] == {}
    assert image["headers"]["contentType"] == "image/png"


async def test_who_may_look(chat: Chat) -> None:
    alice = await chat.user("alice")
    room = await chat.room(ADMIN, "private", type="p")
    with refused("error-room-not-found"):
        await preview(chat, "http://example.org/", alice, room["_id"])
    for url in ("ftp://example.org/", "file:///etc/passwd", "nonsense", "http://10.0.0.1/", "http://no-host.invalid/"):
        with refused("error-invalid-url"):
            await preview(chat, url)
