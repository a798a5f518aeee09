"""The one way out: every request of the server to an address that a user gave goes through here.

Such an address may point to what only this server can reach: its own ports, its neighbours, a cloud's metadata. So
names are resolved here, each address is checked (`is_public`), and the connection is made to exactly those that were
checked: a name that says something else a moment later changes nothing. Redirects are followed by hand, each as a new
request with the same checks. Bodies, headers, time and the number of requests at once are limited.

`PALAVER_OUTBOUND_ALLOWED` names what may be reached although it is not public. Called by the services, as `node.http`.
"""

import asyncio
import time
import zlib
from collections import Counter as Counts
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from socket import AF_INET6, AI_NUMERICHOST, IPPROTO_TCP, SOCK_STREAM, gaierror
from typing import TYPE_CHECKING, Literal

from prometheus_client import Counter, Histogram

from palaver import __version__
from palaver.errors import InvalidInput, NotAllowed, PalaverError

if TYPE_CHECKING:
    from aiohttp import ClientResponse
    from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Purpose = Literal["webhook", "preview", "avatar", "import"]
"""What a request is for: a label of the metrics."""

FETCHES = Counter(
    "palaver_fetches_made_total", "Requests to addresses that users gave, by how they ended", ["type", "outcome"]
)
SECONDS = Histogram(
    "palaver_fetch_seconds",
    "How long these took, redirects included",
    ["type"],
    buckets=(0.05, 0.2, 0.5, 1, 2, 5, 10, 30),
)

USER_AGENT = f"Palaver/{__version__}"

_MAX_URL = 2048
_MAX_AT_ONCE = 64
_MAX_PER_HOST = 8
_CHUNK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# IPv6 addresses that carry an IPv4 one, and how many bits stand behind it.
_CARRIERS = ((IPv6Network("64:ff9b::/96"), 0), (IPv6Network("2002::/16"), 80), (IPv6Network("::/96"), 0))
# Not for everybody, whatever Python's list of its day says: tunnels, local translation, what was deprecated.
_REFUSED: tuple[Network, ...] = (
    *map(IPv4Network, ("0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4")),
    *map(IPv6Network, ("64:ff9b:1::/48", "100::/64", "2001::/23", "5f00::/16", "fec0::/10")),
)


class AddressRefused(NotAllowed):
    """The address leads, or may lead, to what is not public."""

    code = "error-url-not-allowed"
    reason = "The server does not send requests to this address"


class FetchFailed(PalaverError):
    """The other end did not answer, or not in time, or with what was not asked for."""

    code = "error-fetch-failed"
    reason = "The address could not be fetched"


class FetchTooLarge(FetchFailed):
    code = "error-fetch-too-large"
    reason = "The answer is too large"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost. `seconds` counts all of it: waiting for its turn, names, redirects, the body."""

    seconds: float = 10.0
    bytes: int = 1024 * 1024
    redirects: int = 5
    cut: bool = False  # a larger body is cut off; otherwise it is an error
    ports: Collection[int] = ()  # only to these; empty: to any
    types: tuple[str, ...] = ()  # what the Content-Type must begin with; empty: anything


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status. `url` is where it came from in the end; header names are in lower case."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may be reached although it is not public: networks, and names with all that they stand for."""

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Allowed":
        """From "10.1.0.0/16, ::1, hooks.example.org, *.internal". Raises ValueError for what is neither."""
        networks, names = [], []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                networks.append(ip_network(entry))
            except ValueError:
                if "/" in entry or ":" in entry or entry.strip("*.") == "":
                    raise ValueError(f"{entry} is no address, no network and no name") from None
                names.append(entry)
        return cls(tuple(networks), tuple(names))

    def has(self, host: str, address: Address) -> bool:
        """Whether a host with this address is among them."""
        if any(fnmatchcase(host.lower().rstrip("."), name) for name in self.names):
            return True
        return any(candidate in network for candidate in _meanings(address) for network in self.networks)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where one request goes: a checked URL, and the addresses to connect to."""

    url: "URL"
    addresses: tuple[Address, ...]


@dataclass(slots=True)
class _Request:
    method: str
    headers: dict[str, str]
    body: bytes
    verify: bool
    limits: Limits = field(default_factory=Limits)


class Http:
    """The client of one process; nothing is kept open between two requests."""

    def __init__(self, allowed: Allowed = Allowed()) -> None:
        self._allowed = allowed
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)
        self._hosts: Counts[str] = Counts()
        self._host_freed = asyncio.Condition()

    async def fetch(
        self,
        purpose: Purpose,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        verify: bool = True,
        limits: Limits | None = None,
        refuse: Callable[[str], bool] = lambda host: False,
    ) -> Fetched:
        """Sends one request and returns the answer, whatever its status.

        `refuse` says of each host's name and of each address on the way whether it is unwanted besides. `verify`:
        whether certificates must be right. Raises InvalidInput (no address of the web), AddressRefused, FetchFailed,
        FetchTooLarge.
        """
        limits = limits or Limits()
        request = _Request(method, {"User-Agent": USER_AGENT, **(headers or {})}, body, verify, limits)
        started, outcome = time.perf_counter(), "failed"
        try:
            async with asyncio.timeout(limits.seconds):
                fetched = await self._follow(request, url, refuse)
            outcome = "answered"
            return fetched
        except TimeoutError as error:
            outcome = "timeout"
            raise FetchFailed(f"No answer within {limits.seconds:g} seconds") from error
        except (AddressRefused, InvalidInput):
            outcome = "refused"
            raise
        finally:
            FETCHES.labels(purpose, outcome).inc()
            SECONDS.labels(purpose).observe(time.perf_counter() - started)

    async def _follow(self, request: _Request, url: str, refuse: Callable[[str], bool]) -> Fetched:
        """The request, and those that redirects ask for."""
        for left in range(request.limits.redirects, -1, -1):
            target = await self._resolve(url, request.limits, refuse)
            async with self._turn(target.url.raw_host or ""), self._slots:
                fetched, location = await self._send(request, target)
            if not location:
                return fetched
            if not left:
                break
            following = _join(target.url, location)
            _change_for(request, target.url, following, fetched.status)
            url = str(following)
        raise FetchFailed("Too many redirects")

    @asynccontextmanager
    async def _turn(self, host: str) -> AsyncIterator[None]:
        """A slow host keeps only those waiting who want it, too."""
        async with self._host_freed:
            await self._host_freed.wait_for(lambda: self._hosts[host] < _MAX_PER_HOST)
            self._hosts[host] += 1
        try:
            yield
        finally:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
            async with self._host_freed:
                self._host_freed.notify_all()

    async def _resolve(self, text: str, limits: Limits, refuse: Callable[[str], bool]) -> _Target:
        """Checks an address, and looks up where it leads. Raises InvalidInput, AddressRefused, FetchFailed."""
        url = parse_url(text)
        host, port = url.raw_host, url.port
        assert host is not None
        assert port is not None
        if (limits.ports and port not in limits.ports) or refuse(host):
            raise AddressRefused
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM, proto=IPPROTO_TCP)
        except (gaierror, UnicodeError) as error:
            raise FetchFailed("The host's name is not known") from error
        addresses = tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))
        permitted = tuple(a for a in addresses if is_public(a) or self._allowed.has(host, a))
        # One unwanted address is enough to refuse the name: it is not what it says.
        if not permitted or len(permitted) < len(addresses) or any(refuse(str(address)) for address in permitted):
            raise AddressRefused
        return _Target(url, permitted)

    async def _send(self, request: _Request, target: _Target) -> tuple[Fetched, str]:
        """One request to one place: the answer, and where it redirects to ("" for nowhere)."""
        # Imported by the first request: a server that sends none does without these megabytes.
        from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
        from aiohttp.abc import AbstractResolver, ResolveResult

        class Checked(AbstractResolver):
            """Answers with the addresses that were checked, whatever the name stands for by now."""

            async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
                return [
                    ResolveResult(
                        hostname=host,
                        host=str(address),
                        port=port,
                        family=AF_INET6 if address.version == 6 else 2,
                        proto=IPPROTO_TCP,
                        flags=AI_NUMERICHOST,
                    )
                    for address in target.addresses
                ]

            async def close(self) -> None:
                """Nothing is held."""

        connector = TCPConnector(resolver=Checked(), use_dns_cache=False, force_close=True, ssl=request.verify)
        try:
            async with (
                ClientSession(
                    connector=connector,
                    cookie_jar=DummyCookieJar(),
                    auto_decompress=False,
                    timeout=ClientTimeout(total=request.limits.seconds),
                    headers={"Accept-Encoding": "identity"},
                ) as session,
                session.request(
                    request.method,
                    target.url,
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                ) as answer,
            ):
                headers = {name.lower(): value for name, value in answer.headers.items()}
                if answer.status in _REDIRECTS and (location := headers.get("location", "")):
                    return Fetched(answer.status, str(target.url), headers, b""), location
                fetched = Fetched(answer.status, str(target.url), headers, b"")
                if request.limits.types and not fetched.content_type.startswith(request.limits.types):
                    raise FetchFailed(f"The answer is of another type: {fetched.content_type[:100]}")
                body = await _read(answer, request.limits)
                return Fetched(answer.status, str(target.url), headers, body), ""
        except (ClientError, OSError, ValueError) as error:
            raise FetchFailed(f"The address could not be fetched: {type(error).__name__}") from error


def parse_url(text: str) -> "URL":
    """An address of the web in the form in which it is fetched. Raises InvalidInput."""
    from yarl import URL

    wrong = InvalidInput("This is no address of the web", code="error-invalid-url")
    if not text or len(text) > _MAX_URL or any(ord(character) <= 32 for character in text):
        raise wrong
    try:
        url = URL(text)
        has_host = bool(url.raw_host) and url.port is not None
    except ValueError as error:
        raise wrong from error
    if url.scheme not in ("http", "https") or not has_host or "%" in (url.raw_host or ""):
        raise wrong
    return url.with_fragment(None)


def is_public(address: Address) -> bool:
    """Whether everybody on the internet may reach this address: not a neighbour, not this machine, not a group."""
    return all(_is_public(meaning) for meaning in _meanings(address))


def _is_public(address: Address) -> bool:
    if not address.is_global or address.is_multicast or address.is_reserved:
        # Those that carry an IPv4 address are judged by it.
        return isinstance(address, IPv6Address) and any(address in network for network, _ in _CARRIERS)
    return not any(address in network for network in _REFUSED if network.version == address.version)


def _meanings(address: Address) -> list[Address]:
    """The address, or the IPv4 one that a mapped one is, and what it carries besides."""
    if not isinstance(address, IPv6Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    carried: list[Address] = [
        IPv4Address((int(address) >> bits) & 0xFFFFFFFF) for network, bits in _CARRIERS if address in network
    ]
    return [address, *carried]


def _join(base: "URL", location: str) -> "URL":
    from yarl import URL

    try:
        joined = base.join(URL(location))
    except ValueError as error:
        raise FetchFailed("A redirect leads nowhere") from error
    return parse_url(str(joined))


def _change_for(request: _Request, before: "URL", after: "URL", status: int) -> None:
    """What a redirect changes: another host hears no secrets, and what was posted is posted again only if asked for."""
    if before.origin() != after.origin():
        request.headers = {"User-Agent": request.headers["User-Agent"], "Accept": request.headers.get("Accept", "*/*")}
    if status in (301, 302, 303) and request.method not in ("GET", "HEAD"):
        request.method, request.body = "GET", b""
    if request.body and before.scheme == "https" and after.scheme != "https":
        raise FetchFailed("A redirect leads from https to http")


async def _read(answer: "ClientResponse", limits: Limits) -> bytes:
    """The body as it is meant, as far as it may be read. Raises FetchTooLarge, FetchFailed."""
    encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "deflate", ""):
        raise FetchFailed(f"The answer is encoded as {encoding[:20]}, which was not asked for")
    inflate = None if encoding in ("identity", "") else zlib.decompressobj(zlib.MAX_WBITS | 32)
    body = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        if inflate is None:
            body += chunk
        else:
            try:
                body += inflate.decompress(chunk, limits.bytes + 1 - len(body))
            except zlib.error as error:
                raise FetchFailed("The answer is not encoded as it says") from error
        if len(body) > limits.bytes:
            if limits.cut:
                return bytes(body[: limits.bytes])
            raise FetchTooLarge
    return bytes(body)
