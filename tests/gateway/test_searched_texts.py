"""A text to look for in names is short wherever it comes in: a database would make a pattern of it."""

from typing import Any

import pytest

from tests.gateway.rest import Client

LONG = "x" * 257
WAYS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("spotlight", {"query": LONG}),
    ("directory", {"query": f'{{"text":"{LONG}","type":"users","workspace":"local"}}'}),
    ("users.autocomplete", {"selector": f'{{"term":"{LONG}"}}'}),
    ("channels.members", {"roomId": "GENERAL", "filter": LONG}),
    ("moderation.reportsByUsers", {"selector": LONG}),
)


@pytest.mark.parametrize(("path", "query"), WAYS, ids=[path for path, _ in WAYS])
async def test_a_long_text_is_refused(admin: Client, path: str, query: dict[str, Any]) -> None:
    assert (await admin.get(path, 400, **query))["errorType"] == "error-search-text-too-long"
    shorter = {name: value.replace(LONG, LONG[1:]) for name, value in query.items()}
    await admin.get(path, **shorter)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("spotlight", [LONG]),
        ("browseChannels", [{"text": LONG, "type": "users"}]),
        ("getUsersOfRoom", ["GENERAL", True, {}, LONG]),
    ],
)
async def test_a_method_refuses_a_long_text(admin: Client, method: str, arguments: list[Any]) -> None:
    assert (await admin.call(method, *arguments))["error"]["error"] == "error-search-text-too-long"
