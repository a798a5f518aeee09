"""The managed NATS as it is configured, with the real server: TLS, two users, and what was made before both."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from palaver.config import ConfigError
from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.errors import Unavailable
from palaver.live.nats import NatsLive
from palaver.log import connection
from palaver.log.jetstream import JetStreamLog
from palaver.v1.event_pb2 import Event
from palaver_operator.objects import Surroundings, build
from palaver_operator.objects.secrets import Values, values_of
from palaver_operator.resource import Workspace
from tests import children
from tests.log.harness import room_event
from tests.palaver_operator.workspaces import workspace
from tests.ports import free_port
from tests.servers import get_nats_server
from tests.waiting import eventually

NOW = datetime.now(UTC)
ONE = workspace(nats={"managed": {"replicas": 1}})
BEFORE: dict[str, Values] = {
    "chat-nats": {"user": "palaver", "password": "p", "url": "nats://palaver:p@chat-nats:1"},
    "chat-mongodb": {"username": "palaver", "password": "p", "url": "mongodb://palaver:p@chat-mongodb"},
}
ROOM = Stream("room", "GENERAL")


@pytest_asyncio.fixture
async def database(tmp_path: Path) -> AsyncIterator[SqliteDatabase]:
    """The record behind the log."""
    database = SqliteDatabase(tmp_path / "palaver.db")
    await database.open()
    yield database
    await database.close()


def secrets(found: Workspace, existing: Mapping[str, Values], now: datetime = NOW) -> dict[str, Values]:
    """The values of all Secrets of a workspace, by name."""
    built = build(found, Surroundings(secrets=existing, now=now))
    made = [one for one in [*built.passwords, *built.others] if one["kind"] == "Secret"]
    return {one["metadata"]["name"]: values_of(one) for one in made}


def read_at_start(existing: dict[str, Values], component: str, now: datetime = NOW) -> str:
    """The digest of what a component's pods read when they start."""
    built = build(workspace(), Surroundings(secrets=existing, now=now)).others
    kinds = ("Deployment", "StatefulSet")
    (made,) = (one for one in built if one["kind"] in kinds and one["metadata"]["name"] == f"chat-{component}")
    return str(made["spec"]["template"]["metadata"]["annotations"]["palaver.chat/secrets"])


def test_who_was_made_before_keeps_the_one_user_and_starts_nothing_anew() -> None:
    made = secrets(workspace(), BEFORE)
    url = BEFORE["chat-nats"]["url"]
    assert made["chat-nats"] == {**BEFORE["chat-nats"], "gatewayUrl": url, "routesPassword": "p"}
    assert "tls" not in made["chat-nats-config"]["nats.conf"]
    assert 'authorization { user: palaver, password: "p" }' in made["chat-nats-config"]["nats.conf"]
    later = NOW + timedelta(days=340)  # its servers don't use the certificate
    for component in ("nats", "auth", "gateway"):
        digests = {read_at_start(*when) for when in ((BEFORE, component), (made, component), (made, component, later))}
        assert len(digests) == 1, component


def test_a_changed_password_is_in_the_address_and_restarts_who_reads_it() -> None:
    made = secrets(workspace(), {})
    for key, url in (("password", "url"), ("gatewayPassword", "gatewayUrl")):
        changed = made | {"chat-nats": {**made["chat-nats"], key: "new/one"}}
        after = secrets(workspace(), changed)
        user = "gateway" if key == "gatewayPassword" else "services"
        assert after["chat-nats"][url] == f"tls://{user}:new%2Fone@chat-nats.talk.svc:4222"
        assert after["chat-nats"]["routesPassword"] == made["chat-nats"]["routesPassword"]
        for component in ("nats", "gateway"):
            assert read_at_start(changed, component) != read_at_start(made, component)
    old = {"chat-nats": {**secrets(workspace(), BEFORE)["chat-nats"], "password": "q"}}
    after = secrets(workspace(), old)
    assert after["chat-nats"]["url"] == after["chat-nats"]["gatewayUrl"] == "nats://palaver:q@chat-nats:1"
    assert after["chat-nats"]["routesPassword"] == "p", "servers that start one after another find each other"
    trial = made | {"chat-mongodb": {**made["chat-mongodb"], "password": "r"}}
    assert secrets(workspace(), trial)["chat-mongodb"]["url"].startswith("mongodb://palaver:r@chat-mongodb.talk.svc")


def test_servers_start_anew_with_a_renewed_certificate() -> None:
    made = secrets(workspace(), {})
    later = secrets(workspace(), made, NOW + timedelta(days=330))
    assert later["chat-nats-tls"]["tls.crt"] == made["chat-nats-tls"]["tls.crt"]
    renewed = secrets(workspace(), made, NOW + timedelta(days=340))
    assert renewed["chat-nats-tls"]["tls.crt"] != made["chat-nats-tls"]["tls.crt"]
    assert read_at_start(made, "nats", NOW + timedelta(days=340)) != read_at_start(made, "nats")
    assert read_at_start(made, "auth", NOW + timedelta(days=340)) == read_at_start(made, "auth")


@asynccontextmanager
async def running(found: Workspace, made: dict[str, Values], folder: Path) -> AsyncIterator[list[int]]:
    """The servers with the workspace's own configuration, but for where they are. Gives the ports for clients."""
    shutil.rmtree(folder, ignore_errors=True)
    certificate = folder / "tls"
    certificate.mkdir(parents=True)
    for name, text in made["chat-nats-tls"].items():
        (certificate / name).write_text(text)
    managed = found.managed_nats
    assert managed is not None
    routes = [free_port() for _ in range(managed.replicas)]
    ports: list[int] = []
    healthy = ""
    async with AsyncExitStack() as stack:
        for number, route in enumerate(routes):
            client, monitor = free_port(), free_port()
            text = made["chat-nats-config"]["nats.conf"]
            for other, port in enumerate(routes):
                text = text.replace(f"chat-nats-{other}.chat-nats-servers.talk.svc:6222", f"localhost:{port}")
            for inside, outside in ((4222, client), (8222, monitor), (6222, route)):
                text = text.replace(f"0.0.0.0:{inside}", f"127.0.0.1:{outside}")
            text = text.replace("/etc/nats-tls", str(certificate)).replace("/data", str(folder / f"data{number}"))
            file, log = folder / f"{number}.conf", folder / f"{number}.log"
            file.write_text(text)
            environment = {"SERVER_NAME": f"chat-nats-{number}"}
            process = children.start([get_nats_server(), "--config", file], log, environment=environment)
            stack.push_async_callback(children.stop, process)
            ports.append(client)
            healthy = f"http://127.0.0.1:{monitor}/healthz"
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while not await is_healthy(session, healthy):
                await asyncio.sleep(0.1)
        yield ports


async def is_healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


def address(values: Values, key: str, port: int) -> str:
    return values[key].replace("chat-nats.talk.svc:4222", f"localhost:{port}")


@pytest.mark.needs_servers
async def test_a_gateway_hears_everything_and_can_tell_nothing(
    database: SqliteDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = secrets(ONE, {})
    # Passwords that somebody has chosen: an address has to quote them.
    chosen = {"password": 'sértices: 50% /@?#"\\', "gatewayPassword": "of gateways"}
    made = secrets(ONE, made | {"chat-nats": {**made["chat-nats"], **chosen}})
    authority = tmp_path / "ca.crt"
    authority.write_text(made["chat-grpc-gateway"]["ca.crt"])
    async with running(ONE, made, tmp_path / "nats") as (port,):
        urls = [address(made["chat-nats"], key, port) for key in ("url", "gatewayUrl")]
        services, gateway = (JetStreamLog(url, "chat", database, authority=str(authority)) for url in urls)
        live = NatsLive(urls[1], "chat", authority=str(authority))
        await services.open()
        await gateway.open()
        await live.open()
        heard: list[int] = []

        def hear(event: Event) -> None:
            heard.append(event.seq)

        await gateway.follow_all([ROOM], hear)
        await gateway.show([room_event(1)])
        with pytest.raises(Unavailable):
            await gateway.publish([room_event(2)])
        await services.publish([room_event(3)])
        await eventually(lambda: heard == [3])
        told: list[bytes] = []
        await live.subscribe("typing", told.append)
        await live.publish("typing", b"alice")
        await eventually(lambda: told == [b"alice"])
        for part in (services, gateway, live):
            await part.close()
        monkeypatch.setattr(connection, "OPEN_SECONDS", 5.0)
        # Whom nobody vouches for is not believed, and who speaks no TLS not answered.
        with pytest.raises(Unavailable):
            await JetStreamLog(urls[0], "chat", database).open()
        wrong = urls[0].replace("services:", "services:x")
        with pytest.raises(Unavailable, match="Authorization Violation"):
            await JetStreamLog(wrong, "chat", database, authority=str(authority)).open()
        with pytest.raises(ConfigError, match="PALAVER_NATS_AUTHORITY"):
            await JetStreamLog(urls[0], "chat", database, authority=str(tmp_path / "nothing")).open()


@pytest.mark.needs_servers
@pytest.mark.parametrize("existing", [{}, BEFORE], ids=["new", "made before"])
async def test_three_servers_find_each_other(
    database: SqliteDatabase, tmp_path: Path, existing: dict[str, Values]
) -> None:
    made = secrets(workspace(), existing)
    authority = tmp_path / "ca.crt"
    authority.write_text(made["chat-grpc-auth"]["ca.crt"])
    async with running(workspace(), made, tmp_path / "nats") as ports:
        values = made["chat-nats"]
        urls = [values["url"].rpartition("@")[0] + f"@localhost:{port}" for port in ports]
        first, second = (
            JetStreamLog(url, "chat", database, replicas=3, authority=str(authority)) for url in (urls[0], urls[2])
        )
        await first.open()
        await second.open()
        heard: list[int] = []

        def hear(event: Event) -> None:
            heard.append(event.seq)

        await second.follow_all([ROOM], hear)
        await first.publish([room_event(1)])
        await eventually(lambda: heard == [1])
        await first.close()
        await second.close()
