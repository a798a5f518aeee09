"""Addresses in a text: where they stand, and which are real, with a host under a known top-level domain."""

import re
import string
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from publicsuffixlist import PublicSuffixList

from palaver.messaging.markdown.characters import HOST, WORD
from palaver.messaging.markdown.nodes import Piece, link, plain

_LOCAL = rf"{WORD}!#$%&'*+\-/=?^_`{{|}}~"
_NO_LOCAL = frozenset("#/?")

_SCHEME_BEFORE = re.compile(r"[A-Za-z0-9+\-]*")
_LOCAL_BEFORE = re.compile(rf"[{_LOCAL}]++(?:(?<=[{WORD}])\.[{_LOCAL}]++)*+")
_USER_INFO = re.compile(r"[0-9A-Za-z#?$&+\-_]+(?::[0-9A-Za-z#?$&+\-_]+)?@")
_EMAIL_FIRST = re.compile(rf"[{WORD}]")
_HOST = re.compile(rf"localhost|{HOST}")
_HOST_ASCII = frozenset(string.ascii_letters + string.digits + "^{}")
_NO_NEIGHBOUR = frozenset(" \t\n%/<>[\\]`|")
_WORD = re.compile(r"[^ \t\n]*")
_INNER_WORD = re.compile(r"[!-(*-\[\]^-{}~\x80-\U0010ffff]*")
_AFTER_WEB = "!\"%'()*,.:;=~"

_PHONE = re.compile(r"\+(?:\((\d+)\))?(\d+)(?:-(\d+))?", re.ASCII)
_FEWEST_DIGITS = 5

_SCHEME = re.compile(r"[A-Za-z0-9+.\-]*:/+")
_IPV6 = re.compile(r"(?=.{0,38}:)[0-9a-f:]{3,39}")
_ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(//)?")
_HOST_LABEL = re.compile(r"[0-9a-z_\-\x80-\U0010ffff]{1,63}(?<![_\-])")
_IPV4 = re.compile(r"(?=.{7,15}\Z)\d+(?:\.\d+){3}", re.ASCII)
_AUTHORITY_END = re.compile(r"[/?#]")
_WEB_SCHEMES = ("http", "https", "ws", "wss", "ftp")
_LONGEST_HOST = 255
_HIGHEST_PORT = 65535

# No suffix is looked up anywhere but in the list that comes with the library.
_SUFFIXES = PublicSuffixList(accept_unknown=False, only_icann=True)


@lru_cache(maxsize=2048)
def _find_suffix(domain: str) -> str | None:
    return _SUFFIXES.publicsuffix(f"a.{domain}") if domain else None


def _is_public(host: str) -> bool:
    """Whether a host is under a known top-level domain, or is one that takes hosts right below it."""
    above, _, domain = host.rpartition(".")
    suffix = _find_suffix(domain)
    return suffix is not None if above else suffix == domain != ""


def _host_of(address: str) -> str:
    """The host in an address, in lower case; empty where it cannot be one."""
    scheme = _SCHEME.match(address)
    if not scheme and ":/" in address:
        return ""
    authority = _AUTHORITY_END.split(address[scheme.end() if scheme else 0 :], maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    host = (host.rpartition(":")[0] or host).rstrip(".").lower()
    if _IPV6.fullmatch(host):
        return host
    labels = host.removeprefix(".").split(".")
    if len(host) > _LONGEST_HOST or host.startswith("-") or not all(map(_HOST_LABEL.fullmatch, labels)):
        return ""
    return host


def _is_real(address: str, custom_domains: frozenset[str]) -> bool:
    """Whether a web address leads to a host that can exist: a public domain, a custom one, an IP address, or this
    computer."""
    host = _host_of(address)
    last = host.rpartition(".")[2]
    return (
        last == "localhost"
        or bool(_IPV4.fullmatch(host) or _IPV6.fullmatch(host))
        or _is_public(host)
        or (bool(custom_domains) and not custom_domains.isdisjoint(_domains_of(host)))
    )


def _domains_of(host: str) -> Iterator[str]:
    """The host and the domains that it is in."""
    while host:
        yield host
        host = host.partition(".")[2]


def _web_source(address: str) -> str:
    """Where a link with this text leads: what is no full address takes the scheme of the page it is shown on."""
    found = _ABSOLUTE.match(address)
    if not found:
        return f"//{address}"
    if found[2] or found[1].lower() in _WEB_SCHEMES:
        authority = _AUTHORITY_END.split(address[found.end() :], maxsplit=1)[0]
        host, colon, port = authority.rpartition("@")[2].partition(":")
        if colon and not host:
            return f"//{address}"
        if port and not (port.isascii() and port.isdigit() and int(port) <= _HIGHEST_PORT):
            return f"//{address}"
    return address


class Found(NamedTuple):
    """An address, or text that only looked like one, with its place."""

    start: int
    end: int
    piece: Piece


class _Signs:
    """The next sign that may belong to an address. However it is asked, the text is searched but once."""

    def __init__(self, text: str, sign: str, check: Callable[[int], bool]) -> None:
        self._text = text
        self._sign = sign
        self._check = check
        self._since = 0
        self._at = -1

    def after(self, position: int) -> int:
        """Where the first one from `position` on is; the text's length if there is none."""
        if position > self._at:
            self._since, self._at = position, self._find(position, len(self._text))
        elif position < self._since:
            found = self._find(position, self._since)
            if found < self._since:
                self._at = found
            self._since = position
        return self._at

    def _find(self, start: int, end: int) -> int:
        while (found := self._text.find(self._sign, start, end)) >= 0:
            if self._check(found):
                return found
            start = found + 1
        return end


class Finder:
    """Finds the addresses of one text, each asked for by where it might begin."""

    def __init__(self, text: str, custom_domains: frozenset[str]) -> None:
        self._text = text
        self._custom_domains = custom_domains
        self._reversed = ""
        self._has_email = "@" in text
        self._has_scheme = "://" in text
        self._ats = _Signs(text, "@", self._is_email_at)
        self._schemes = _Signs(text, "://", lambda _: True)
        self._locals = _Signs(text, "localhost", lambda _: True)
        self._starts: dict[tuple[re.Pattern[str], int], int] = {}
        self._word_since = self._word_to = self._word_end = -1
        self._hosts: list[int] = []
        self._hosts_from = self._hosts_to = -1
        self._email_since, self._email_first = 0, -1

    def email(self, start: int, end: int) -> Found | None:
        """The e-mail address that begins first in these bounds, with what became of it."""
        if not self._has_email:
            return None
        at = self._ats.after(start)
        if at == len(self._text):
            return None
        if not self._email_since <= start <= self._email_first:
            first = _EMAIL_FIRST.search(self._text, max(start, self._start_of(_LOCAL_BEFORE, at)), at)
            self._email_since, self._email_first = start, first.start() if first else at
        first_at = self._email_first
        if not start <= first_at < min(at, end):
            return None
        host = _HOST.match(self._text, at + 1)
        assert host
        address = self._text[first_at : host.end()]
        real = _NO_LOCAL.isdisjoint(address) and _is_public(_host_of(address))
        piece = link(f"mailto:{address}", [plain(address)]) if real else address
        return Found(first_at, host.end(), piece)

    def mailto(self, start: int, end: int) -> Found | None:
        """The e-mail address behind the "mailto:" that begins before its colon at `end`, and belongs to the address."""
        scheme = end - len("mailto")
        if not (scheme >= start and self._text.startswith("mailto:", scheme)):
            return None
        found = self.email(end + 1, end + 2)
        return Found(scheme, found.end, found.piece) if found and found.start == end + 1 else None

    def web(self, start: int) -> Found | None:
        """The web address that begins here, if one does."""
        host = next(filter(self._begins, self._host_places(start)), None)
        name = _HOST.match(self._text, host) if host is not None else None
        if name is None:
            return None
        address = self._text[start : max(name.end(), self._end_of_word(start))]
        piece = link(_web_source(address), [plain(address)]) if _is_real(address, self._custom_domains) else address
        return Found(start, start + len(address), piece)

    def web_inside(self, start: int, end: int) -> Found | None:
        """What looks like a web address and begins first in these bounds, where none counts: within a word."""
        first = host = self._locals.after(start)
        hosts = self._hosts_of_word(start)
        if (index := bisect_left(hosts, start)) < len(hosts) and hosts[index] < first:
            first = host = hosts[index]
        if self._has_scheme and (sign := self._schemes.after(start)) < first:
            scheme = max(start, self._start_of(_SCHEME_BEFORE, sign))
            user = _USER_INFO.match(self._text, sign + 3)
            if scheme < sign and user and self._begins(user.end()):
                first, host = scheme, user.end()
        if first >= end:
            return None
        name = _HOST.match(self._text, host)
        assert name
        rest = _INNER_WORD.match(self._text, name.end(), max(name.end(), self._end_of_word(first)))
        assert rest
        return Found(first, rest.end(), self._text[first : rest.end()])

    def _host_places(self, start: int) -> Iterator[int]:
        """Where the host may be of an address that begins here."""
        if self._has_scheme:
            sign = self._schemes.after(start)
            if start < sign < len(self._text) and self._start_of(_SCHEME_BEFORE, sign) <= start:
                if user := _USER_INFO.match(self._text, sign + 3):
                    yield user.end()
                yield sign + 3
        yield start

    def _begins(self, host: int) -> bool:
        if self._text.startswith("localhost", host):
            return True
        hosts = self._hosts_of_word(host)
        index = bisect_left(hosts, host)
        return index < len(hosts) and hosts[index] == host

    def _hosts_of_word(self, start: int) -> list[int]:
        """Where in the rest of a word a name with a dot in it begins. A hyphen or a low line takes its neighbour along,
        whatever that is."""
        if self._hosts_from <= start < self._hosts_to:
            return self._hosts
        found = _WORD.match(self._text, start)
        assert found
        word = found[0]
        self._hosts = []
        self._hosts_from, self._hosts_to = start, max(found.end(), start + 1)
        if "." not in word:
            return self._hosts
        # Backwards: where what a name is made of goes on, behind each position, and whether a dot is at its end.
        size = len(word)
        after = [0] * (size + 2)
        leads = [False] * (size + 2)
        for index in range(size - 1, -1, -1):
            character = word[index]
            if character in "-_":
                if index + 1 == size or word[index + 1] in _NO_NEIGHBOUR:
                    continue
                end = index + 2
            elif character in _HOST_ASCII or character >= "\x80":
                end = index + 1
            else:
                continue
            after[index] = end
            leads[index] = leads[end] if after[end] else word.startswith(".", end) and after[end + 1] > 0
            if leads[index] and character != "_":
                self._hosts.append(start + index)
        self._hosts.reverse()
        return self._hosts

    def _end_of_word(self, start: int) -> int:
        """Where the word ends, without the marks that end a sentence."""
        if not self._word_since <= start < self._word_to:
            found = _WORD.match(self._text, start)
            assert found
            self._word_since, self._word_to = start, max(found.end(), start + 1)
            self._word_end = start + len(found[0].rstrip(_AFTER_WEB))
        return max(start, self._word_end)

    def _is_email_at(self, at: int) -> bool:
        return self._start_of(_LOCAL_BEFORE, at) < at and bool(_HOST.match(self._text, at + 1))

    def _start_of(self, before: re.Pattern[str], sign: int) -> int:
        """Where that which stands before a sign begins."""
        start = self._starts.get((before, sign))
        if start is None:
            if not self._reversed:
                self._reversed = self._text[::-1]
            found = before.match(self._reversed, len(self._text) - sign)
            start = sign - (found.end() - found.start() if found else 0)
            self._starts[before, sign] = start
        return start


def phone(text: str, start: int) -> Found | None:
    """The telephone number that begins here, if one does."""
    found = _PHONE.match(text, start)
    if not found:
        return None
    digits = "".join(part for part in found.groups() if part)
    if len(digits) < _FEWEST_DIGITS:
        return None
    return Found(start, found.end(), link(f"tel:{digits}", [plain(found[0])]))


def number_end(text: str, start: int) -> int:
    """Where the number ends that begins with the plus at `start`, long enough for a telephone or not."""
    number = _PHONE.match(text, start)
    return number.end() if number else start + 1
