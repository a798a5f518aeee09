"""How a process comes to its server and its callers: from its configuration, with an identity or without."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from palaver.config import ConfigError
from palaver.errors import InternalError, Unavailable
from palaver.node import Node, make_rpc_server
from palaver.roles import ROLES
from palaver.rpc import RemoteService
from palaver.v1.auth_pb2 import GetPolicyRequest
from palaver.v1.presence_pb2 import GetPresenceRequest
from tests.messaging.helpers import Chat
from tests.rpc.certificates import Authority, load, options
from tests.rpc.harness import counted
from tests.services import RunningServices, Shared, make_config, service_nodes

SERVICES = ("auth", "presence", "messaging")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certificates")


async def test_every_role_with_an_identity_of_its_own(
    tmp_path: Path, authority: Authority, cheap_hashes: None, caplog: pytest.LogCaptureFixture
) -> None:
    """A message passes through all of them; who may not call gets nothing."""

    def of_role(name: str) -> dict[str, Any]:
        authority.write(tmp_path / name, name)
        return options(tmp_path / name)

    async with service_nodes(tmp_path / "data", SERVICES, "grpc", of_role=of_role) as running:
        chat = Chat(running)
        ann, bob = await chat.users("ann", "bob")
        room_id = (await chat.room(ann, "room", "bob"))["_id"]
        await chat.send(ann, room_id, "hello")
        assert await chat.texts(bob, room_id) == ["hello"]
        assert "refused a call" not in caplog.text

        # Presence itself, calling up.
        address = running.nodes["messaging"].config.presence_address
        node = running.nodes["presence"]
        wrong = RemoteService(
            _service("presence"), address, spawn=node.spawn, certificates=load(tmp_path / "presence"), deadline=10
        )
        with pytest.raises(InternalError):
            await wrong.get_presence(GetPresenceRequest())  # type: ignore[attr-defined]
        assert "the certificate of ipv4:127.0.0.1" in caplog.text
        assert "is for presence, and only gateway, messaging may call it" in caplog.text
        await wrong.close()

        # And somebody without any.
        plain = RemoteService(_service("presence"), address, spawn=node.spawn, deadline=1)
        with pytest.raises(Unavailable):
            await plain.get_presence(GetPresenceRequest())  # type: ignore[attr-defined]
        await plain.close()


async def test_a_node_that_closes_leaves_no_connection(tmp_path: Path, cheap_hashes: None) -> None:
    async with service_nodes(tmp_path, SERVICES, "grpc") as running:
        await running.services.auth.get_policy(GetPolicyRequest())
        assert counted("palaver_rpc_replicas_known", service="auth") == 1
    for name in SERVICES:
        assert counted("palaver_rpc_replicas_known", service=name) == 0
        assert counted("palaver_rpc_replicas_connected", service=name) == 0


async def test_listening_beyond_loopback_without_an_identity(
    tmp_path: Path, authority: Authority, cheap_hashes: None, caplog: pytest.LogCaptureFixture
) -> None:
    async with service_nodes(tmp_path / "data", ("auth",), "process") as running:
        for host in ("127.0.0.1", "::1", "localhost"):
            await _make_server(running, grpc_host=host)
        authority.write(tmp_path / "auth", "auth")
        await _make_server(running, grpc_host="0.0.0.0", **options(tmp_path / "auth"))
        assert "without TLS" not in caplog.text
        await _make_server(running, grpc_host="0.0.0.0")
        assert "gRPC listens on 0.0.0.0 without TLS" in caplog.text


async def test_certificates_that_can_not_be_used_are_refused_at_start(tmp_path: Path, cheap_hashes: None) -> None:
    async with service_nodes(tmp_path / "data", ("auth",), "process") as running:
        with pytest.raises(ConfigError, match="PALAVER_GRPC_CERTIFICATE, _KEY and _AUTHORITY can't be used"):
            await _make_server(running, **options(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "PALAVER_AUTH_ADDRESS is missing: this process does not play auth, and calls it"),
        ("auth", "PALAVER_AUTH_ADDRESS: 'auth' is not of the form host:port"),
    ],
)
async def test_an_address_that_is_none(address: str, problem: str, tmp_path: Path, cheap_hashes: None) -> None:
    async with service_nodes(tmp_path, ("auth",), "process") as running:
        of_others = running.node
        parts = (of_others.database, of_others.log, of_others.live, of_others.blobs)
        node = Node(make_config(tmp_path, auth_address=address), *map(Shared, parts))
        with pytest.raises(ConfigError) as caught:
            await node.open([ROLES["presence"]])
        assert str(caught.value) == problem
        await node.close()


async def _make_server(running: RunningServices, **changed: Any) -> None:
    running.node.config = dataclasses.replace(running.config, **changed)
    server = make_rpc_server(running.node, [ROLES["auth"]])
    await server.start()
    await server.stop(0)


def _service(name: str) -> Any:
    return ROLES[name].service
