"""What the operator does when the API server has too much to do, or refuses a part of what is wanted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from palaver_operator import __version__
from palaver_operator.backups import Backups
from palaver_operator.kinds import KINDS, Key
from palaver_operator.kube import ApiError, Kube, Unreachable
from palaver_operator.load import MetricsReader
from palaver_operator.mirror import Mirror
from palaver_operator.objects.secrets import secret
from palaver_operator.reconcile import Reconciler
from palaver_operator.sizing import Sizing
from tests.palaver_operator.api_server import ApiServer, running_api_server
from tests.palaver_operator.clusters import SECRETS, Live, settled
from tests.palaver_operator.workspaces import palaver, workspace

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
PALAVER = "/apis/palaver.chat/v1alpha1/namespaces/talk/palavers/chat"
BACKUPS = "/apis/palaver.chat/v1alpha1/namespaces/talk/palaverbackups/now"
BACKUP = {"to": {"volume": {"claimName": "backups"}}}


class Cluster:
    """A workspace that runs, an operator's reconciler, and the API server between them."""

    def __init__(self, server: ApiServer, kube: Kube, mirror: Mirror, reconciler: Reconciler) -> None:
        self.server = server
        self.kube = kube
        self.mirror = mirror
        self._reconciler = reconciler

    def become(self, live: Live) -> None:
        """What is there, as the operator sees it."""
        secrets = [secret(workspace(), name, "auth", values) for name, values in SECRETS.items()]
        for key, one in {**live, **{Key("Secret", one["metadata"]["name"]): one for one in secrets}}.items():
            self.mirror.put(self.server.put(f"{KINDS[key.kind].path('talk')}/{key.name}", one))

    async def reconcile(self, status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
        """Once. Returns the status that is written then."""
        body = palaver(version=__version__, **spec) | {"status": {"version": __version__, **(status or {})}}
        body["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        self.server.put(PALAVER, body)
        found = await self._reconciler.reconcile(body)
        status = found["status"]
        assert status is not None
        return status

    def replicas(self, role: str) -> int:
        found = self.mirror.look("talk", "chat")[Key("Deployment", f"chat-{role}")]
        return int(found["spec"]["replicas"])


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with running_api_server() as (server, kube), MetricsReader(timeout_seconds=0.1) as reader:
        mirror = Mirror(kube, ["talk"], lambda namespace, name: None)
        yield Cluster(server, kube, mirror, Reconciler(kube, mirror, Sizing(reader), clock=lambda: NOW))


def problems(status: dict[str, Any]) -> str:
    (found,) = [one for one in status["conditions"] if one["type"] == "Degraded"]
    return f"{found['status']} {found['reason']} {found['message']}"


@pytest.mark.parametrize("status", [429, 503, 504])
async def test_a_server_with_too_much_to_do_is_not_told_about_it(status: int) -> None:
    async with cluster() as found:
        found.server.refuse = lambda method, path: status if "configmaps" in path else None
        with pytest.raises(Unreachable, match=str(status)):
            await found.reconcile()
        assert found.server.count("PATCH", "/status") == found.server.count("POST", "/events") == 0


async def test_a_workspace_is_looked_after_though_its_backups_are_refused() -> None:
    async with cluster() as found:
        found.become(settled(workspace(version=__version__)))
        found.server.refuse = lambda method, path: 403 if "palaverbackups" in path else None
        status = await found.reconcile(backup=BACKUP)
        assert set(status["roles"]) == {"auth", "presence", "messaging", "gateway"}
        assert problems(status).startswith("True ApplyFailed")
        assert "PalaverBackup: not so" in problems(status)


async def test_a_backup_whose_job_is_refused_says_so_and_is_tried_again() -> None:
    async with cluster() as found:
        found.become(settled(workspace(version=__version__)))
        await found.reconcile()
        metadata = {"name": "now", "namespace": "talk", "uid": "b", "creationTimestamp": "2026-01-02T00:00:00Z"}
        backup = found.server.put(BACKUPS, {"metadata": metadata, "spec": {"workspace": "chat", **BACKUP}})
        backups = Backups(found.kube, found.mirror, clock=lambda: NOW)
        found.server.refuse = lambda method, path: 403 if "jobs" in path else None
        with pytest.raises(ApiError, match="not so"):
            await backups.reconcile(backup)
        backup = found.server.objects[BACKUPS]
        assert backup["status"] == {"phase": "Pending", "message": "its Job is refused: not so"}
        found.server.refuse = lambda method, path: None
        assert (await backups.reconcile(backup))["status"].keys() == {"phase", "startedAt"}


async def test_what_may_not_be_taken_away_is_told_and_keeps_nothing_else_from_being_done() -> None:
    async with cluster() as found:
        found.become(settled(workspace(version=__version__)))
        await found.reconcile()
        found.server.refuse = lambda method, path: 403 if method == "DELETE" else None
        status = await found.reconcile(route={"kind": "None"})
        assert "Ingress chat: not so" in problems(status)
        assert set(status["roles"]) == {"auth", "presence", "messaging", "gateway"}


async def test_a_role_that_somebody_deleted_comes_back_with_as_many_pods_as_it_had() -> None:
    async with cluster() as found:
        live = settled(workspace(version=__version__))
        del live[Key("Deployment", "chat-gateway")]
        found.become(live)
        await found.reconcile({"roles": {"gateway": {"desired": 4}, "auth": {"desired": 4}}})
        assert (found.replicas("gateway"), found.replicas("auth")) == (4, 2)


@pytest.mark.parametrize("status", [None, 429, 410])
async def test_watches_that_end_at_once_are_not_begun_again_and_again(status: int | None) -> None:
    async with running_api_server() as (server, kube):
        server.refuse = lambda method, path: status if method == "WATCH" else None
        watched = asyncio.create_task(_watch_services(kube))
        try:
            async with asyncio.timeout(30):
                while server.count("WATCH", "services") < 1:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(1)
        finally:
            watched.cancel()
            await asyncio.gather(watched, return_exceptions=True)
        assert server.count("WATCH", "services") <= 2
        if status != 410:
            assert server.count("GET", "services") == 1, "what was seen is still known: it is not listed again"


async def _watch_services(kube: Kube) -> None:
    """Alone of all that a mirror follows."""
    mirror = Mirror(kube, ["talk"], lambda namespace, name: None)
    await mirror._follow(KINDS["Service"], "talk")
