"""The guarded client: where it goes and where not, what it follows, and where it stops."""

import asyncio
import gzip
import socket
import ssl
from ipaddress import ip_address
from typing import Any

import pytest
import trustme

from palaver import http
from palaver.errors import InvalidInput
from palaver.http import AddressRefused, Allowed, FetchFailed, FetchTooLarge, Http, Limits, is_public, parse_url
from tests.outside import Answer, Request, outside

HERE = Allowed.parse("127.0.0.1")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.9",
        "192.88.99.1",
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "100::1",
        "5f00::1",
        "64:ff9b:1::1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
    ],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_what_is_public(address: str) -> None:
    assert is_public(ip_address(address))


def test_what_may_be_allowed() -> None:
    allowed = Allowed.parse(" 10.1.0.0/16, ::1,Hooks.Example.org , *.internal")
    assert allowed.has("x", ip_address("10.1.9.9"))
    assert allowed.has("x", ip_address("::ffff:10.1.9.9"))
    assert not allowed.has("x", ip_address("10.2.0.1"))
    assert allowed.has("x", ip_address("::1"))
    assert allowed.has("hooks.example.org", ip_address("192.168.0.1"))
    assert allowed.has("HOOKS.example.org.", ip_address("192.168.0.1"))
    assert allowed.has("ci.internal", ip_address("192.168.0.1"))
    assert not allowed.has("internal", ip_address("192.168.0.1"))
    assert not allowed.has("hooks.example.org.evil.com", ip_address("192.168.0.1"))
    for wrong in ("10.1.0.0/33", "*", "http://x", "10.1.0.1/16"):
        with pytest.raises(ValueError, match="no address"):
            Allowed.parse(wrong)


NO_ADDRESSES = [
    "",
    "x",
    "/x",
    "//host/x",
    "ftp://host/",
    "file:///etc/passwd",
    "gopher://x/",
    "javascript:1",
    "http://",
]
STRANGE = ["http:///x", "http://[fe80::1%25eth0]/", "http://host:99999/", "http://a b/", "http://a\n/"]


@pytest.mark.parametrize("url", [*NO_ADDRESSES, *STRANGE, "http://x/" + "y" * 3000])
async def test_what_is_no_address_of_the_web(url: str) -> None:
    with pytest.raises(InvalidInput):
        parse_url(url)
    with pytest.raises(InvalidInput):
        await Http(HERE).fetch("webhook", url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "0"]
)
async def test_this_machine_is_not_reached(host: str) -> None:
    async with outside({"/": Answer()}) as site:
        with pytest.raises(AddressRefused):
            await Http().fetch("webhook", f"http://{host}:{site.port}/")
    assert site.requests == []


async def test_a_request_and_its_answer() -> None:
    async with outside({"/hook": Answer(418, b"short and stout", {"Content-Type": "Text/Plain; charset=x"})}) as site:
        fetched = await Http(HERE).fetch(
            "webhook", f"{site.url}/hook?a=b%20c#top", method="POST", headers={"X-One": "1"}, body=b"{}"
        )
    assert (fetched.status, fetched.body, fetched.content_type) == (418, b"short and stout", "text/plain")
    assert not fetched.is_success
    (request,) = site.requests
    assert (request.method, request.target, request.body) == ("POST", "/hook?a=b%20c", b"{}")
    assert request.headers["x-one"] == "1"
    assert request.headers["host"] == f"127.0.0.1:{site.port}"
    assert request.headers["user-agent"].startswith("Palaver/")


async def test_the_address_that_was_checked_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for another address a moment later."""
    asked: list[str] = []

    async def resolve(host: str, port: int, **options: Any) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    async with outside({"/": Answer(200, b"here")}) as site:
        fetched = await Http(HERE).fetch("webhook", f"http://changing.example.org:{site.port}/")
    assert fetched.body == b"here"
    assert asked == ["changing.example.org"]
    assert site.requests[0].headers["host"] == f"changing.example.org:{site.port}"


async def test_a_name_with_one_address_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int, **options: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("8.8.8.8", "127.0.0.1")]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    with pytest.raises(AddressRefused):
        await Http().fetch("preview", "http://both.example.org/")


async def test_redirects_are_followed_with_the_same_checks() -> None:
    async with outside({"/secret": Answer(200, b"secret")}) as inner:
        site_map = {
            "/a": Answer(302, b"", {"Location": "/b?x=1"}),
            "/b": Answer(200, b"arrived"),
            "/in": Answer(302, b"", {"Location": f"http://localhost:{inner.port}/secret"}),
            "/file": Answer(302, b"", {"Location": "file:///etc/passwd"}),
            "/round": Answer(307, b"", {"Location": "/round"}),
            "/nowhere": Answer(301, b"", {"Location": "http://[::"}),
        }
        async with outside(site_map) as site:
            client = Http(HERE)
            fetched = await client.fetch("preview", f"{site.url}/a")
            assert (fetched.body, fetched.url) == (b"arrived", f"{site.url}/b?x=1")
            with pytest.raises(AddressRefused):
                await client.fetch("preview", f"{site.url}/in", refuse=lambda host: host == "localhost")
            with pytest.raises(InvalidInput):
                await client.fetch("preview", f"{site.url}/file")
            with pytest.raises(FetchFailed, match="redirect"):
                await client.fetch("preview", f"{site.url}/nowhere")
            before = len(site.requests)
            with pytest.raises(FetchFailed, match="Too many"):
                await client.fetch("preview", f"{site.url}/round", limits=Limits(redirects=3))
            assert len(site.requests) == before + 4
        assert inner.requests == []


async def test_what_is_posted_is_posted_again_only_if_asked_for_and_secrets_stay() -> None:
    async with outside({"/end": Answer()}) as other:
        site_map = {
            "/same": Answer(308, b"", {"Location": "/end"}),
            "/other": Answer(307, b"", {"Location": f"{other.url}/end"}),
            "/see": Answer(303, b"", {"Location": "/end"}),
            "/end": Answer(),
        }
        async with outside(site_map) as site:
            options: Any = {"method": "POST", "headers": {"Authorization": "Bearer x"}, "body": b"{}"}
            client = Http(HERE)
            for path in ("/same", "/other", "/see"):
                await client.fetch("webhook", site.url + path, **options)
            _, same, _, _, see = site.requests
            assert (same.method, same.body, same.headers["authorization"]) == ("POST", b"{}", "Bearer x")
            assert (see.method, see.body) == ("GET", b"")
            assert other.requests[0].body == b"{}"
            assert "authorization" not in other.requests[0].headers


async def test_sizes() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    site_map = {
        "/large": Answer(200, b"x" * 5000),
        "/bomb": Answer(200, bomb, {"Content-Encoding": "gzip"}),
        "/packed": Answer(200, gzip.compress(b"hello"), {"Content-Encoding": "gzip"}),
        "/broken": Answer(200, b"no gzip", {"Content-Encoding": "gzip"}),
        "/strange": Answer(200, b"?", {"Content-Encoding": "br"}),
        "/head": Answer(200, b"", {"X-Long": "y" * 100_000}),
    }
    async with outside(site_map) as site:
        client, limits = Http(HERE), Limits(bytes=1000)
        for path in ("/large", "/bomb"):
            with pytest.raises(FetchTooLarge):
                await client.fetch("preview", site.url + path, limits=limits)
            fetched = await client.fetch("preview", site.url + path, limits=Limits(bytes=1000, cut=True))
            assert len(fetched.body) == 1000
        assert (await client.fetch("preview", f"{site.url}/packed")).body == b"hello"
        assert len((await client.fetch("preview", f"{site.url}/large", limits=Limits(bytes=5000))).body) == 5000
        for path in ("/broken", "/strange", "/head"):
            with pytest.raises(FetchFailed):
                await client.fetch("preview", site.url + path)


async def test_types_and_ports() -> None:
    async with outside({"/": Answer(200, b"x", {"Content-Type": "image/png"})}) as site:
        client = Http(HERE)
        assert (await client.fetch("preview", site.url, limits=Limits(types=("image/",)))).body == b"x"
        with pytest.raises(FetchFailed, match="image/png"):
            await client.fetch("preview", site.url, limits=Limits(types=("text/html",)))
        with pytest.raises(AddressRefused):
            await client.fetch("preview", site.url, limits=Limits(ports=(80, 443)))
        with pytest.raises(AddressRefused):
            await client.fetch("preview", site.url, refuse=lambda host: host == "127.0.0.1")


async def test_a_silent_host_keeps_nobody_else_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MAX_PER_HOST", 2)
    woken = asyncio.Event()

    async def wait(request: Request) -> Answer:
        await woken.wait()
        return Answer()

    async with outside({"/": wait}) as silent, outside({"/": Answer(200, b"quick")}) as quick:
        client = Http(Allowed.parse("127.0.0.1, localhost"))
        waiting = [asyncio.create_task(client.fetch("webhook", silent.url)) for _ in range(4)]
        while len(silent.requests) < 2:
            await asyncio.sleep(0.01)
        fetched = await client.fetch("webhook", f"http://localhost:{quick.port}/")
        assert fetched.body == b"quick"
        assert len(silent.requests) == 2
        with pytest.raises(FetchFailed, match="No answer"):
            await client.fetch("webhook", silent.url, limits=Limits(seconds=0.2))
        woken.set()
        assert [fetched.status for fetched in await asyncio.gather(*waiting)] == [200] * 4


async def test_nobody_there_and_no_such_name(unused_port: int) -> None:
    with pytest.raises(FetchFailed):
        await Http(HERE).fetch("webhook", f"http://127.0.0.1:{unused_port}/")
    with pytest.raises(FetchFailed, match="not known"):
        await Http(HERE).fetch("webhook", "http://no-such-host.invalid/")


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return int(holder.getsockname()[1])


async def test_certificates_are_checked() -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with outside({"/": Answer(200, b"safe")}, tls=tls) as site:
        with pytest.raises(FetchFailed, match="Certificate"):
            await Http(HERE).fetch("webhook", site.url)
        assert (await Http(HERE).fetch("webhook", site.url, verify=False)).body == b"safe"
