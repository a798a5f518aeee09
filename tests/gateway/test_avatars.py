"""What is beside the API: pictures of users and rooms, and /websocket for who does not upgrade."""

import pytest

from palaver.gateway.avatars import initials
from tests.gateway.rest import Client

ORIGIN = "http://chat.example.org"


@pytest.mark.parametrize(
    ("name", "letters"),
    [
        ("alice", "AL"),
        ("ada.king.lovelace", "AL"),
        ("@general", "GE"),
        ("x", "X"),
        ("<&>", "?"),
        ("", "?"),
        ("ßß", "SS"),
        ("中村 さん", "中さ"),
        ("\x00a\ud800", "A"),
    ],
)
def test_initials(name: str, letters: str) -> None:
    assert initials(name) == letters


async def test_avatars(anybody: Client, bob: Client) -> None:
    known = await anybody.request("GET", f"{ORIGIN}/avatar/bob")
    assert known.status_code == 200
    assert known.headers["content-type"] == "image/svg+xml"
    assert known.headers["cache-control"] == "public, max-age=3600"
    assert ">BO</text>" in known.text
    unknown = await anybody.request("GET", f"{ORIGIN}/avatar/nobody")
    assert (unknown.status_code, unknown.headers.keys()) == (200, known.headers.keys())
    assert (await anybody.request("GET", f"{ORIGIN}/avatar/BOB")).text == known.text
    hostile = await anybody.request("GET", f"{ORIGIN}/avatar/%3Cscript%3E%00%FF%22")
    assert "script" not in hostile.text
    assert ">SC</text>" in hostile.text
    room = await anybody.request("GET", f"{ORIGIN}/avatar/room/GENERAL")
    assert (room.headers["content-type"], ">#</text>" in room.text) == ("image/svg+xml", True)
    address = (await bob.get("me"))["avatarUrl"]
    assert address.endswith("/avatar/bob")


async def test_websocket_without_an_upgrade(anybody: Client) -> None:
    answer = await anybody.request("GET", f"{ORIGIN}/websocket")
    assert (answer.status_code, answer.text) == (400, 'Can "Upgrade" only to "WebSocket".')
    assert answer.headers["content-type"].startswith("text/plain")
