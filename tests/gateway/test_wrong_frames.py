"""Frames that are no DDP, and subscriptions to what there is not: refused or the end of the socket, never a failure.

Every stream is asked for with everything that a client should not send. Wrong arguments of methods are in
`test_wrong_arguments.py`, single frames of the handshake in `test_ddp_protocol.py`, those of SockJS in
`test_sockjs.py`.
"""

from typing import Any

import pytest

from palaver.gateway.ddp.publications import PUBLICATIONS, TOPICS
from palaver.gateway.ddp.writing import WRITTEN_STREAMS
from tests.gateway.ddp import DdpClient, RunningGateway
from tests.gateway.test_wrong_arguments import VALUES, is_documented
from tests.gateway.test_wrong_input import ABSENT

GIVEN = [value for value in VALUES if value is not ABSENT]
NO_TEXTS = [value for value in GIVEN if not isinstance(value, str)]


async def _subscribe(client: DdpClient, name: str, parameters: Any) -> dict[str, Any]:
    """What answers a subscription; it is taken back."""
    client.frames.clear()
    await client.send(msg="sub", id="wrong", name=name, params=parameters)
    answer = await client.wait_for(lambda frame: frame.get("msg") in ("ready", "nosub"))
    told = (name, str(parameters)[:300], answer)
    if answer["msg"] == "ready":
        assert answer["subs"] == ["wrong"], told
        await client.send(msg="unsub", id="wrong")
        await client.wait_for(lambda frame: frame.get("msg") == "nosub")
    else:
        assert answer["id"] == "wrong", told
        assert "error" not in answer or is_documented(answer["error"]), told
    return answer


@pytest.mark.parametrize("logged_in", [False, True])
async def test_no_stream_fails_of_wrong_parameters(gateway: RunningGateway, logged_in: bool) -> None:
    client = await gateway.client(gateway.admin if logged_in else None)
    for name in sorted(PUBLICATIONS):
        events = ["GENERAL", f"{client.user_id}/message", "GENERAL/typing", "roles", *sorted(TOPICS.get(name, ()))[:2]]
        hostile = [
            [],
            *([value] for value in GIVEN),
            *([value, False] for value in GIVEN),
            *([f"{value}/{event}", False] for value in GIVEN for event in ("typing", "message")),
            *([f"GENERAL/{value}", False] for value in GIVEN),
            *([event, value] for event in events for value in GIVEN),
            *([event, {"useCollection": value, "args": value}] for event in events for value in GIVEN),
            *(["", {"added": value, "removed": value}] for value in GIVEN),
            *(["", {"added": [value], "removed": [value]}] for value in GIVEN),
            GIVEN,
        ]
        for parameters in hostile:
            await _subscribe(client, name, parameters)
        for parameters in (value for value in GIVEN if not isinstance(value, list)):
            answer = await _subscribe(client, name, parameters)
            assert answer["error"]["error"] == 400, (name, parameters, answer)
    assert (await client.sub("stream-notify-all", "public-info", False))["msg"] == "ready"


async def test_no_stream_fails_of_what_is_written_to_it(gateway: RunningGateway) -> None:
    client = await gateway.client(gateway.admin)
    for name in [*sorted(WRITTEN_STREAMS), "stream-room-messages", "stream-x"]:
        events = ["GENERAL/typing", "GENERAL/user-activity", f"{client.user_id}/webrtc", "GENERAL/e2ekeyRequest", "x"]
        hostile = [
            [],
            *([value] for value in GIVEN),
            *([event, value] for event in events for value in GIVEN),
            *([event, "boss", value] for event in events for value in GIVEN),
            *([event, "boss", [value], {"tmid": value}] for event in events for value in GIVEN),
            *([f"{value}/{event}", "boss", True] for value in GIVEN for event in ("typing", "otr", "webrtc")),
        ]
        for arguments in hostile:
            client.frames.clear()
            answer = await client.call(name, *arguments)
            told = (name, str(arguments)[:300], answer)
            assert "error" not in answer or is_documented(answer["error"]), told


@pytest.mark.parametrize("kind", ["method", "sub", "unsub"])
async def test_an_id_is_a_text(gateway: RunningGateway, kind: str) -> None:
    neighbour = await gateway.client(gateway.admin)
    for value in NO_TEXTS:
        for name in ("id", "method" if kind == "method" else "name"):
            if (kind, name) == ("unsub", "name"):
                continue
            client = await gateway.client()
            frame = {"id": "1", "method": "getServerInfo", "name": "activeUsers", "params": [], "msg": kind}
            await client.send(**{**frame, name: value})
            await client.wait_closed()
            assert client.socket.close_code == 1002, (kind, name, value)
    assert "result" in await neighbour.call("getUserRoles")


async def test_any_text_is_an_id(gateway: RunningGateway) -> None:
    client = await gateway.client(gateway.admin)
    for id in (value for value in GIVEN if isinstance(value, str)):
        client.frames.clear()
        await client.send(msg="method", id=id, method="getServerInfo", params=[])
        await client.wait_for(lambda frame, id=id: frame.get("msg") == "result" and frame["id"] == id)  # type: ignore[misc]
        for name, parameters in (
            ("stream-notify-all", ["public-info", False]),
            ("stream-user-presence", ["", {"added": ["x"]}]),
        ):
            client.frames.clear()
            await client.send(msg="sub", id=id, name=name, params=parameters)
            await client.wait_for(lambda frame, id=id: id in frame.get("subs", ()))  # type: ignore[misc]
            await client.send(msg="unsub", id=id)
            await client.wait_for(lambda frame, id=id: frame.get("msg") == "nosub" and frame["id"] == id)  # type: ignore[misc]


async def test_presence_has_one_subscription_whatever_its_id_is(gateway: RunningGateway) -> None:
    client = await gateway.client(gateway.admin)
    for id in ("", "a"):
        client.frames.clear()
        await client.send(msg="sub", id=id, name="stream-user-presence", params=["", {"added": [client.user_id]}])
        await client.wait_for(lambda frame, id=id: id in frame.get("subs", ()))  # type: ignore[misc]
        assert (await client.sub("stream-user-presence", "", {"added": ["x"]}))["msg"] == "nosub"
        await client.send(msg="unsub", id=id)
        await client.wait_for(lambda frame, id=id: frame.get("msg") == "nosub" and frame["id"] == id)  # type: ignore[misc]


async def test_parameters_are_a_list(gateway: RunningGateway) -> None:
    client = await gateway.client(gateway.admin)
    for value in (value for value in GIVEN if not isinstance(value, list)):
        client.frames.clear()
        await client.send(msg="method", id="1", method="getServerInfo", params=value)
        answer = await client.wait_for(lambda frame: frame.get("msg") == "result")
        assert answer["error"]["error"] == 400, (value, answer)


async def test_what_no_client_greets_with(gateway: RunningGateway) -> None:
    for version in GIVEN:
        for support in (version, [version]):
            client = await gateway.open_socket()
            await client.send(msg="connect", version=version, support=support, session=version)
            assert await client.wait_for(lambda frame: "msg" in frame) == {"msg": "failed", "version": "1"}
            await client.wait_closed()
    for value in GIVEN:
        client = await gateway.open_socket()
        await client.send(msg="connect", version="1", support=value, session=value)
        assert (await client.wait_for(lambda frame: "msg" in frame))["msg"] == "connected", value
        await client.send(msg=value)  # no message that there is
        await client.send(msg="connect", version="1", support=["1"])  # once more
        await client.send(msg="ping", id=value)
        assert (await client.wait_for(lambda frame: frame.get("msg") == "pong")).get("id", value) == value


@pytest.mark.parametrize("text", ['{"msg":"ping","\\u0000":1}', '{"msg":"ping","a":1e400}', '{"msg":"ping","a":NaN}'])
async def test_what_is_no_json_ends_the_socket(gateway: RunningGateway, text: str) -> None:
    client = await gateway.client(gateway.admin)
    await client.socket.send(text)
    await client.wait_closed()
    assert client.socket.close_code == 1007
    assert {"msg": "pong"} not in client.frames
