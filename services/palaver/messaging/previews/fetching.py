"""Fetching a preview: through the one guarded client, and within what the settings say of links."""

import ipaddress
from collections import OrderedDict
from typing import Any
from urllib.parse import urlsplit

import orjson
from prometheus_client import Counter

from palaver.clock import elapsed
from palaver.database import Document
from palaver.errors import InvalidInput, NotAllowed
from palaver.http import AddressRefused, Fetched, FetchFailed, Limits, parse_url
from palaver.messaging.previews.page import read_page
from palaver.messaging.views import Views
from palaver.node import Node
from palaver.v1.integration_pb2 import PreviewUrlReply, PreviewUrlRequest

PREVIEWED = Counter("palaver_previews_made_total", "Previews of links, by how they came about", ["outcome"])

_MAX_BYTES = 256 * 1024
_SECONDS = 6.0
_MAX_CACHED = 1000
_DAY = 86_400.0
_CHARSETS = frozenset({"utf-8", "iso-8859-1", "windows-1252", "windows-1251", "shift_jis", "euc-jp", "gbk"})


class PreviewFailed(InvalidInput):
    code = "error-invalid-url"
    reason = "There is no preview of this address"


class Previews:
    """The use case of looking at a link; remembers the latest pages, as long as the setting says."""

    def __init__(self, node: Node, views: Views) -> None:
        self._node = node
        self._views = views
        self._known: OrderedDict[str, tuple[float, Document]] = OrderedDict()

    async def preview(self, request: PreviewUrlRequest) -> PreviewUrlReply:
        """A link's preview, for who may read the room that it is for. Raises RoomNotFound, NotAllowed, InvalidInput."""
        await self._views.get_readable(request.actor, request.room_id)
        if not self._node.access.setting("API_Embed"):
            raise NotAllowed("Previews of links are disabled", code="error-not-allowed")
        return PreviewUrlReply(preview=orjson.dumps(await self.fetch(request.url)))

    async def fetch(self, url: str) -> Document:
        """What is shown of a link. Raises PreviewFailed."""
        setting = self._node.access.setting
        now = elapsed()
        if (known := self._known.get(url)) is not None and now < known[0]:
            PREVIEWED.labels("known").inc()
            return known[1]
        try:
            parse_url(url)
            fetched = await self._node.http.fetch(
                "preview",
                url,
                headers={
                    "User-Agent": _printable(setting("API_Embed_UserAgent")),
                    "Accept": "text/html,application/xhtml+xml,*/*;q=0.5",
                    "Accept-Language": "en",
                },
                verify=not setting("Allow_Invalid_SelfSigned_Certs"),
                limits=Limits(_SECONDS, _MAX_BYTES, cut=True, ports=_ports(setting("API_EmbedSafePorts"))),
                refuse=Ignored(setting("API_EmbedIgnoredHosts")).has,
            )
        except (FetchFailed, AddressRefused, InvalidInput) as error:
            PREVIEWED.labels("failed").inc()
            raise PreviewFailed(error.error_reason) from error
        PREVIEWED.labels("fetched").inc()
        preview = compose(url, fetched)
        self._known.pop(url, None)
        self._known[url] = now + float(setting("API_EmbedCacheExpirationDays")) * _DAY, preview
        while len(self._known) > _MAX_CACHED:
            self._known.popitem(last=False)
        return preview


class Ignored:
    """The hosts that no preview is made of: names with all below them, addresses and networks."""

    def __init__(self, text: str) -> None:
        self._names: set[str] = set()
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for entry in filter(None, (part.strip().lower() for part in str(text).split(","))):
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                self._names.add(entry.lstrip("*."))

    def has(self, host: str) -> bool:
        host = host.lower().rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return any(host == name or host.endswith(f".{name}") for name in self._names)
        return any(address in network for network in self._networks)


def compose(url: str, fetched: Fetched) -> Document:
    """A link as clients show it. Of what is no page, only its type is known."""
    parts = urlsplit(url)
    preview: dict[str, Any] = {
        "url": url,
        "meta": {},
        "headers": {"contentType": fetched.headers.get("content-type", "")[:200]},
        "parsedUrl": {
            "host": parts.netloc.rpartition("@")[2],
            "hostname": parts.hostname or "",
            "pathname": parts.path or "/",
            "protocol": f"{parts.scheme}:",
            "search": f"?{parts.query}" if parts.query else "",
            "hash": f"#{parts.fragment}" if parts.fragment else "",
        },
    }
    if length := fetched.headers.get("content-length", "")[:20]:
        preview["headers"]["contentLength"] = length
    if fetched.is_success and fetched.content_type in ("text/html", "application/xhtml+xml", ""):
        preview["meta"] = read_page(fetched.body.decode(_charset(fetched), errors="replace"))
    return preview


def _charset(fetched: Fetched) -> str:
    """The encoding that the answer says it has, if it is one that pages have."""
    named = fetched.headers.get("content-type", "").lower().partition("charset=")[2].strip("\"' ;")
    return named if named in _CHARSETS else "utf-8"


def _ports(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).replace(" ", "").split(",") if part.isascii() and part.isdecimal())


def _printable(text: str) -> str:
    """A header's value: nothing that could end it."""
    return "".join(character for character in str(text) if " " <= character <= "~")[:500]
