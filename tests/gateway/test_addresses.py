"""Whose address counts: behind proxies that are counted, and however a client lies."""

import dataclasses
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaver.gateway.addresses import client_address
from tests.gateway.rest import Client
from tests.services import ADMIN_ID

PEER = "10.0.0.9"


def address(proxies: int, *lines: str) -> str:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", line.encode()) for line in lines)]
    return client_address(PEER, headers, proxies)


@pytest.mark.parametrize(
    ("proxies", "lines", "found"),
    [
        (0, ["192.0.2.1"], PEER),
        (1, [], PEER),
        (1, ["192.0.2.1"], "192.0.2.1"),
        (1, ["198.51.100.7, 192.0.2.1"], "192.0.2.1"),
        (1, ["198.51.100.7", "192.0.2.1"], "192.0.2.1"),
        (2, ["198.51.100.7, 192.0.2.1"], "198.51.100.7"),
        (2, ["6.6.6.6, 198.51.100.7,192.0.2.1"], "198.51.100.7"),
        (2, ["192.0.2.1"], PEER),
        (1, ["2001:DB8::1"], "2001:db8::1"),
        (1, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (1, ["192.0.2.1:4711"], "192.0.2.1"),
        (1, ["nonsense"], PEER),
        (1, [""], PEER),
    ],
)
def test_the_count_decides(proxies: int, lines: list[str], found: str) -> None:
    assert address(proxies, *lines) == found


@given(st.integers(0, 3), st.lists(st.text(st.characters(max_codepoint=255)), max_size=4))
def test_whatever_comes_it_is_an_address(proxies: int, lines: list[str]) -> None:
    ip_address(address(proxies, *lines))


async def test_a_login_is_kept_with_it(admin: Client, anybody: Client) -> None:
    admin.node.config = dataclasses.replace(admin.node.config, trusted_proxies=1)
    headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.1"}
    form = {"user": "boss", "password": "an admin's password"}
    assert (await anybody.request("POST", "login", json=form, headers=headers)).status_code == 200
    stored = await admin.node.database.find("tokens", {"user_id": ADMIN_ID})
    assert "192.0.2.1" in [token["address"] for token in stored]
