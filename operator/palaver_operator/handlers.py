"""The kopf glue: which resources are watched, and who hears of them. Called by operate.py.

kopf's own bookkeeping is not used: no finalizer (so a workspace can be deleted when no operator runs), and no
annotation with what was handled last (what matters stands in the cluster).
"""

import base64
from collections.abc import Sequence
from typing import Any

import kopf

from palaver_operator.backups import is_finished
from palaver_operator.kube import Access
from palaver_operator.objects.naming import Object
from palaver_operator.resource import GROUP, VERSION
from palaver_operator.rounds import Rounds


async def watch_resources(access: Access, namespaces: Sequence[str], rounds: Rounds, backups: Rounds) -> None:
    """Tells `rounds` of every Palaver, and `backups` of every PalaverBackup that is not finished.

    Until SIGTERM or SIGINT. `namespaces`: those to look at; empty: all.
    """
    registry = kopf.OperatorRegistry()
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # of namespaces and definitions: it would need more rights
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 240
    settings.watching.connect_timeout = 15
    settings.process.ultimate_exiting_timeout = None

    @kopf.on.login(registry=registry)
    def log_in(**_: Any) -> kopf.ConnectionInfo:
        return _connection(access)

    @kopf.on.event(GROUP, VERSION, "palavers", registry=registry)
    async def on_palaver(event: Any, **_: Any) -> None:
        body: Object = dict(event["object"])
        if event["type"] == "DELETED" or body["metadata"].get("deletionTimestamp"):
            rounds.on_gone(body)
        else:
            rounds.on_resource(body)

    @kopf.on.event(GROUP, VERSION, "palaverbackups", registry=registry)
    async def on_backup(event: Any, **_: Any) -> None:
        body: Object = dict(event["object"])
        if event["type"] == "DELETED" or body["metadata"].get("deletionTimestamp") or is_finished(body):
            backups.on_gone(body)
        else:
            backups.on_resource(body)

    await kopf.operator(
        registry=registry,
        settings=settings,
        standalone=True,
        clusterwide=not namespaces,
        namespaces=list(namespaces),
    )


def _connection(access: Access) -> kopf.ConnectionInfo:
    def data(pem: bytes | None) -> str | None:
        return base64.b64encode(pem).decode() if pem else None

    return kopf.ConnectionInfo(
        server=access.server,
        ca_data=data(access.authority),
        token=access.read_token() or None,
        certificate_data=data(access.certificate),
        private_key_data=data(access.key),
        default_namespace=access.namespace,
    )
