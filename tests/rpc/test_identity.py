"""Certificates between processes: who may call whom, what else is refused, and files that are replaced."""

import datetime
from pathlib import Path

import grpc
import pytest

from palaver.config import ConfigError
from palaver.errors import InternalError, PalaverError, Unavailable
from palaver.roles import ROLES, list_callers
from palaver.rpc import Certificates, RpcServer, replicas
from palaver.v1.messaging_pb2 import RoomRequest
from tests.rpc.certificates import Authority, load
from tests.rpc.harness import MESSAGING, Subject, calling, counted


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ours")


@pytest.fixture
def subject() -> Subject:
    return Subject()


def serve(subject: Subject, certificates: Certificates, port: int = 0) -> RpcServer:
    callers = {MESSAGING.full_name: list_callers("messaging")}
    return RpcServer({MESSAGING: subject}, "127.0.0.1", port, certificates=certificates, callers=callers)


async def call(server: RpcServer, certificates: Certificates | None, deadline: float = 10.0) -> None:
    address = f"127.0.0.1:{server.port}"
    async with calling(MESSAGING, address, certificates=certificates, deadline=deadline) as messaging:
        await messaging.delete_room(RoomRequest(room_id="a"))


def test_who_may_call_whom() -> None:
    assert {name: list_callers(name) for name in ROLES} == {
        "auth": {"presence", "messaging", "gateway"},
        "presence": {"messaging", "gateway"},
        "messaging": {"gateway"},
        "gateway": set(),
    }


async def test_the_right_role(authority: Authority, subject: Subject) -> None:
    async with serve(subject, authority.make("messaging")) as server:
        await call(server, authority.make("gateway"))
    assert len(subject.asked) == 1


async def test_a_process_with_several_roles(authority: Authority, subject: Subject) -> None:
    async with serve(subject, authority.make("auth", "messaging", "messaging.chat.svc")) as server:
        await call(server, authority.make("gateway.chat.svc", "auth", "gateway"))
    assert len(subject.asked) == 1


@pytest.mark.parametrize(
    "name", ["auth", "presence", "messaging", "gateway.example.org", "xgateway", "gateway.palaver.x"]
)
async def test_the_wrong_role(
    name: str, authority: Authority, subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted("palaver_rpc_calls_refused_total", service="Messaging", reason="identity")
    async with serve(subject, authority.make("messaging")) as server:
        with pytest.raises(PalaverError) as caught:
            await call(server, authority.make(name))
    assert type(caught.value) is InternalError
    assert caught.value.details == {"status": "PERMISSION_DENIED"}
    assert subject.asked == []
    assert counted("palaver_rpc_calls_refused_total", service="Messaging", reason="identity") == before + 1
    assert "refused a call of Messaging" in caplog.text
    assert "only gateway may call it" in caplog.text
    assert "may not call Messaging" in caplog.text  # at the caller, too


async def test_a_server_of_another_role(
    authority: Authority, subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent to it."""
    async with serve(subject, authority.make("presence")) as server:
        with pytest.raises(Unavailable):
            await call(server, authority.make("gateway"), deadline=1)
    assert subject.asked == []
    assert "Hostname Verification Check failed" in caplog.text


async def test_a_client_of_an_unknown_authority(authority: Authority, subject: Subject, tmp_path: Path) -> None:
    """It trusts the server, and is not trusted."""
    folder = tmp_path / "mixed"
    Authority(tmp_path / "theirs").write(folder, "gateway")
    authority.write_authority(folder)
    async with serve(subject, authority.make("messaging")) as server:
        with pytest.raises(Unavailable):
            await call(server, load(folder), deadline=1)
    assert subject.asked == []


async def test_a_server_of_an_unknown_authority(
    authority: Authority, subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(subject, Authority(tmp_path / "theirs").make("messaging")) as server:
        with pytest.raises(Unavailable):
            await call(server, authority.make("gateway"), deadline=1)
    assert subject.asked == []
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_a_plain_client(authority: Authority, subject: Subject) -> None:
    async with serve(subject, authority.make("messaging")) as server:
        with pytest.raises(Unavailable):
            await call(server, None, deadline=1)
    assert subject.asked == []


async def test_a_plain_server(authority: Authority, subject: Subject) -> None:
    async with RpcServer({MESSAGING: subject}, "127.0.0.1", 0) as server:
        with pytest.raises(Unavailable):
            await call(server, authority.make("gateway"), deadline=1)
    assert subject.asked == []


async def test_a_client_without_a_certificate(authority: Authority, subject: Subject, tmp_path: Path) -> None:
    async with serve(subject, authority.make("messaging")) as server:
        root = (tmp_path / "ours" / "1" / "authority.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "messaging.palaver")]
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(root), options) as channel:
            delete: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/palaver.v1.Messaging/DeleteRoom"
            )
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await delete(b"")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert subject.asked == []


EXPIRED = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


async def test_a_client_whose_certificate_has_expired(authority: Authority, subject: Subject) -> None:
    async with serve(subject, authority.make("messaging")) as server:
        with pytest.raises(Unavailable):
            await call(server, authority.make("gateway", not_after=EXPIRED), deadline=1)
    assert subject.asked == []


async def test_a_server_whose_certificate_has_expired(
    authority: Authority, subject: Subject, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(subject, authority.make("messaging", not_after=EXPIRED)) as server:
        with pytest.raises(Unavailable):
            await call(server, authority.make("gateway"), deadline=1)
    assert subject.asked == []
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text


async def test_certificates_that_are_replaced(authority: Authority, subject: Subject, tmp_path: Path) -> None:
    """New connections are made with new ones, of a new authority even, without a restart of the server."""
    served, asking = tmp_path / "server", tmp_path / "client"
    async with serve(subject, authority.write(served, "messaging")) as server:
        certificates = authority.write(asking, "gateway")
        await call(server, certificates)
        renewed = Authority(tmp_path / "new")
        renewed.write(served, "messaging")
        with pytest.raises(Unavailable):
            await call(server, certificates, deadline=1)
        renewed.write(asking, "gateway")
        await call(server, certificates)
    assert len(subject.asked) == 2


async def test_a_caller_connects_again_with_new_certificates(
    authority: Authority, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "LOOK_SECONDS", 0.05)
    asking = tmp_path / "client"
    first = serve(subject, authority.make("messaging"))
    certificates = authority.write(asking, "gateway")
    async with calling(MESSAGING, f"127.0.0.1:{first.port}", certificates=certificates, deadline=20) as messaging:
        async with first:
            await messaging.delete_room(RoomRequest(room_id="a"))
        renewed = Authority(tmp_path / "new")
        renewed.write(asking, "gateway")
        async with serve(subject, renewed.make("messaging"), first.port):
            await messaging.delete_room(RoomRequest(room_id="b"))
    assert [request.room_id for request in subject.asked] == ["a", "b"]


async def test_half_of_a_replacement_changes_nothing(
    authority: Authority, subject: Subject, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "server"
    async with serve(subject, authority.write(folder, "messaging")) as server:
        authority.make("messaging")
        (folder / "key.pem").write_bytes((tmp_path / "ours" / "1" / "key.pem").read_bytes())
        await call(server, authority.make("gateway"))
        (folder / "certificate.pem").unlink()
        await call(server, authority.make("gateway"))
    assert len(subject.asked) == 2
    assert "can't be used (yet)" in caplog.text


async def test_files_that_can_not_be_used(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    for name, contents in (
        ("key.pem", b""),
        ("key.pem", None),
        ("certificate.pem", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"),
        ("authority.pem", b"none"),
        ("authority.pem", b"\xff\xfe"),
        ("authority.pem", None),
    ):
        authority.write(folder, "messaging")
        if contents is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(contents)
        with pytest.raises(ConfigError, match="PALAVER_GRPC_CERTIFICATE, _KEY and _AUTHORITY can't be used"):
            load(folder)
    authority.write(folder, "messaging")
    authority.make("gateway")
    (folder / "key.pem").write_bytes((tmp_path / "ours" / "1" / "key.pem").read_bytes())
    with pytest.raises(ConfigError, match="mismatch"):
        load(folder)
