"""Where NATS is, as `PALAVER_NATS_URL` says it: several addresses with commas between. Called by the log's adapter."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from palaver.config import is_loopback


class Login(NamedTuple):
    """Who connects: a user with a password, a token, or nobody."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


def find_login(url: str) -> Login:
    """Whom the first address names that names somebody, for all of them; as it is, where the address quotes it."""
    for address in url.split(","):
        parts = urlsplit(address)
        if parts.username:
            if parts.password is None:
                return Login(token=unquote(parts.username))
            return Login(unquote(parts.username), unquote(parts.password))
    return Login()


def without_passwords(url: str) -> str:
    """Addresses as they may be shown."""
    return ",".join(
        f"{one.partition('://')[0]}://{one.rpartition('://')[2].rpartition('@')[2]}" for one in url.split(",")
    )


def list_open(url: str) -> list[str]:
    """The addresses beyond this machine that are reached without credentials or without TLS, as they may be shown."""
    found = []
    for address in url.split(","):
        parts = urlsplit(address)
        if not is_loopback(parts.hostname or "") and (parts.scheme not in ("tls", "wss") or not parts.username):
            found.append(without_passwords(address))
    return found
