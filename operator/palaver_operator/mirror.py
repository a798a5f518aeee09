"""What the operator's objects look like now: kept by watching them, so that a reconcile of what is unchanged asks
nobody.

They are kept as compressed JSON (about a kilobyte each) and decoded when a workspace is looked at: a hundred
workspaces are a few mebibytes. What the operator writes is put in at once, so it never looks older than its own
writes.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

import msgspec

from palaver_operator.kinds import KINDS, Key, Kind
from palaver_operator.kube import ApiError, Kube, pause
from palaver_operator.objects.naming import INSTANCE, MANAGER, OWNED, Object

logger = logging.getLogger(__name__)

_ABSENT_SECONDS = 60.0  # how often it is asked whether an optional kind has come
_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_SEEN_OF_PODS = ("phase", "podIP", "conditions", "containerStatuses", "initContainerStatuses")


class _Kept(NamedTuple):
    version: int
    packed: bytes


class _Workspace(NamedTuple):
    namespace: str
    name: str


class Mirror:
    """`namespaces`: those to look at; empty: all. `on_change` hears of which workspace something has changed."""

    def __init__(self, kube: Kube, namespaces: Sequence[str], on_change: Callable[[str, str], None]) -> None:
        self._kube = kube
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._on_change = on_change
        self._objects: dict[_Workspace, dict[Key, _Kept]] = {}
        self._autoscaled: dict[tuple[str, str], str] = {}  # namespace and name of an autoscaler → its Deployment
        self._absent: set[str] = set()
        kinds = [kind for kind in KINDS.values() if kind.is_owned or kind.name == "HorizontalPodAutoscaler"]
        self._watched = [(kind, namespace) for kind in kinds for namespace in self._namespaces]
        self._synced = {(kind.name, namespace): asyncio.Event() for kind, namespace in self._watched}

    async def run(self) -> None:
        """Watches until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for kind, namespace in self._watched:
                group.create_task(self._follow(kind, namespace), name=f"watch {kind.plural}")

    async def wait_synced(self) -> None:
        """Returns when everything has been seen once."""
        for event in self._synced.values():
            await event.wait()

    def knows(self, kind: str) -> bool:
        """Whether the cluster has such objects at all."""
        return kind not in self._absent

    def look(self, namespace: str, workspace: str) -> dict[Key, Object]:
        """Every object of a workspace, as it was last seen."""
        kept = self._objects.get(_Workspace(namespace, workspace), {})
        return {key: msgspec.json.decode(zlib.decompress(one.packed)) for key, one in kept.items()}

    def is_autoscaled(self, namespace: str, deployment: str) -> bool:
        """Whether somebody has attached a HorizontalPodAutoscaler to this Deployment."""
        return any(key[0] == namespace and target == deployment for key, target in self._autoscaled.items())

    def put(self, found: Object) -> None:
        """What was read or written just now, unless something newer is known."""
        metadata = found["metadata"]
        workspace = _workspace_of(found)
        if workspace is None:
            return
        kept = self._objects.setdefault(workspace, {})
        key, version = Key(found["kind"], metadata["name"]), int(metadata.get("resourceVersion") or 0)
        if key in kept and kept[key].version >= version:
            return
        kept[key] = _Kept(version, zlib.compress(msgspec.json.encode(_strip(found)), 6))

    def drop(self, found: Object) -> None:
        """What is gone."""
        workspace = _workspace_of(found)
        kept = self._objects.get(workspace, {}) if workspace is not None else {}
        kept.pop(Key(found["kind"], found["metadata"]["name"]), None)
        if workspace is not None and not kept:
            self._objects.pop(workspace, None)

    async def _follow(self, kind: Kind, namespace: str | None) -> None:
        selector = OWNED if kind.is_owned else ""
        version, failures = "", 0
        while True:
            begun = monotonic()
            try:
                if not version:
                    found, version = await self._kube.list(kind, namespace, selector)
                    self._take_all(kind, namespace, found)
                    self._absent.discard(kind.name)
                    self._synced[kind.name, namespace].set()
                async for event, changed in self._kube.watch(kind, namespace, selector, version):
                    version = changed["metadata"]["resourceVersion"]
                    if event != "BOOKMARK":
                        self._take(kind, changed, gone=event == "DELETED")
            except ApiError as error:
                if error.status == 404 and kind.is_optional:
                    self._absent.add(kind.name)
                    self._synced[kind.name, namespace].set()
                    version = ""
                    await pause(_ABSENT_SECONDS)
                    continue
                if error.status != 410:
                    logger.warning("watching %s: %s", kind.plural, error)
                if error.status:
                    version = ""
            # A watch lasts for minutes. Of one that doesn't, nobody knows when the next one will.
            failures = failures + 1 if monotonic() - begun < _RETRY_SECONDS else 0
            if failures:
                await pause(min(2.0 ** min(failures, 10), _LONGEST_RETRY_SECONDS))

    def _take_all(self, kind: Kind, namespace: str | None, found: list[Object]) -> None:
        there = set()
        for one in found:
            one.setdefault("kind", kind.name)  # objects in lists don't say it
            one.setdefault("apiVersion", kind.api_version)
            there.add((one["metadata"]["namespace"], one["metadata"]["name"]))
            self._take(kind, one, gone=False)
        if not kind.is_owned:
            for key in [key for key in self._autoscaled if namespace in (None, key[0]) and key not in there]:
                del self._autoscaled[key]
            return
        for workspace, kept in list(self._objects.items()):
            if namespace not in (None, workspace.namespace):
                continue
            for key in [key for key in kept if key.kind == kind.name and (workspace.namespace, key.name) not in there]:
                del kept[key]
                self._on_change(*workspace)

    def _take(self, kind: Kind, changed: Object, *, gone: bool) -> None:
        if not kind.is_owned:
            self._take_autoscaler(changed, gone=gone)
            return
        workspace = _workspace_of(changed)
        if workspace is None:
            return
        if gone:
            self.drop(changed)
        else:
            self.put(changed)
        self._on_change(*workspace)

    def _take_autoscaler(self, changed: Object, *, gone: bool) -> None:
        metadata, target = changed["metadata"], changed["spec"]["scaleTargetRef"]
        key = (metadata["namespace"], metadata["name"])
        self._autoscaled.pop(key, None)
        if not gone and target["kind"] == "Deployment":
            self._autoscaled[key] = target["name"]
            self._on_change(metadata["namespace"], target["name"].rpartition("-")[0])


def _workspace_of(found: Object) -> _Workspace | None:
    metadata = found["metadata"]
    name = (metadata.get("labels") or {}).get(INSTANCE)
    return _Workspace(metadata["namespace"], name) if name else None


def _strip(found: Object) -> Object:
    """Without what nobody here looks at; of who wrote which field only whether it was somebody else who sized it."""
    metadata = found["metadata"]
    kept = {name: value for name, value in metadata.items() if name != "managedFields"}
    if _sized_by_others(metadata.get("managedFields") or []):
        kept["sizedByOthers"] = True
    if found["kind"] != "Pod":
        return found | {"metadata": kept}
    status = found.get("status", {})
    seen = {name: status[name] for name in _SEEN_OF_PODS if name in status}
    return found | {"metadata": kept, "spec": {"nodeName": found["spec"].get("nodeName")}, "status": seen}


def _sized_by_others(managed: list[Object]) -> bool:
    return any(
        entry.get("manager") != MANAGER and "f:replicas" in (entry.get("fieldsV1", {}).get("f:spec") or {})
        for entry in managed
    )
