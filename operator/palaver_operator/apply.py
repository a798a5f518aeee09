"""Makes the objects of a workspace so in the cluster: compares them with what is there, and writes only what differs.

Called by reconcile.py. One field manager, server-side apply; what others say of other fields stays.
"""

import asyncio
import zlib
from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from palaver_operator.conditions import Finding, Reason
from palaver_operator.drift import DIGEST, as_answered, is_as_wanted, seal
from palaver_operator.kinds import KINDS, Key
from palaver_operator.kube import ApiError, Kube, Unreachable
from palaver_operator.metrics import OBJECTS_WRITTEN
from palaver_operator.mirror import Mirror
from palaver_operator.objects.naming import COMPONENT, Object, own
from palaver_operator.objects.secrets import outlives
from palaver_operator.resource import Workspace

_KEPT = ("Pod", "Secret")  # never taken away because nothing wants them any more
_AT_ONCE = 8


class Again(Exception):
    """The cluster was not as it seemed: look again, and decide anew."""


class Applier:
    def __init__(self, kube: Kube, mirror: Mirror) -> None:
        self._kube = kube
        self._mirror = mirror
        # What was wanted, in the words that the API server has for it, where these differ; with the digest.
        self._answered: dict[tuple[str, Key], tuple[str, bytes]] = {}

    async def apply(self, workspace: Workspace, wanted: Sequence[Object], live: Mapping[Key, Object]) -> list[Finding]:
        """Writes what differs, in order, and says what the API server refused. Raises Unreachable, Again."""
        problems: list[Finding] = []
        for group in _by_kind(wanted):
            limit = asyncio.Semaphore(_AT_ONCE)

            async def apply_one(built: Object, limit: asyncio.Semaphore = limit) -> None:
                async with limit:
                    if problem := await self._apply_one(workspace, built, live):
                        problems.append(problem)

            await _side_by_side(apply_one(built) for built in group)
        return problems

    async def prune(
        self, workspace: Workspace, wanted: Sequence[Object], live: Mapping[Key, Object], needed: Collection[str]
    ) -> list[Finding]:
        """Takes away what this workspace owns and nothing wants any more, and says what the API server refused.

        `needed`: components of which all stays. Raises Unreachable.
        """
        problems: list[Finding] = []
        for key in list_leftovers(workspace, wanted, live, needed):
            try:
                await self._kube.delete(KINDS[key.kind], workspace.namespace, key.name)
            except Unreachable:
                raise
            except ApiError as error:
                problems.append(Finding(Reason.APPLY_FAILED, f"{key.kind} {key.name}: {error}"))
            else:
                OBJECTS_WRITTEN.labels(key.kind).inc()
        return problems

    def forget(self, namespace: str, keys: Sequence[Key]) -> None:
        """Of objects that are gone nothing is remembered."""
        for key in keys:
            self._answered.pop((namespace, key), None)

    async def _apply_one(self, workspace: Workspace, built: Object, live: Mapping[Key, Object]) -> Finding | None:
        key = Key(built["kind"], built["metadata"]["name"])
        if not self._mirror.knows(key.kind):
            return Finding(Reason.KIND_MISSING, f"{key.kind} of {built['apiVersion']}")
        if not (key.kind == "Secret" and outlives(workspace, key.name)):
            own(built, "Palaver", workspace)
        seal(built)
        found = live.get(key)
        if found is not None and self._is_settled(workspace.namespace, key, found, built):
            return None
        try:
            answer = await self._write(key, built, found)
        except Unreachable:
            raise
        except ApiError as error:
            if error.status == 409 and key.kind == "Secret":
                raise Again(f"{key.name} was changed meanwhile") from error
            return Finding(Reason.APPLY_FAILED, f"{key.kind} {key.name}: {error}")
        OBJECTS_WRITTEN.labels(key.kind).inc()
        answer.setdefault("kind", key.kind)
        self._mirror.put(answer)
        self._answered.pop((workspace.namespace, key), None)
        if not is_as_wanted(answer, built):
            packed = zlib.compress(msgspec.json.encode(as_answered(answer, built)))
            self._answered[workspace.namespace, key] = (built["metadata"]["annotations"][DIGEST], packed)
        return None

    def _is_settled(self, namespace: str, key: Key, found: Object, built: Object) -> bool:
        if found["metadata"].get("deletionTimestamp"):
            return True  # it has to be gone first; its going is noticed
        if key.kind == "Job" or is_as_wanted(found, built):
            return True  # a Job can't be changed: another one has another name
        digest, packed = self._answered.get((namespace, key), ("", b""))
        if digest != built["metadata"]["annotations"][DIGEST]:
            return False
        return is_as_wanted(found, msgspec.json.decode(zlib.decompress(packed)))

    async def _write(self, key: Key, built: Object, found: Object | None) -> Object:
        """A Secret is created, or changed as it was seen: what is in it must not be overwritten unseen."""
        kind = KINDS[key.kind]
        if key.kind != "Secret":
            return await self._kube.apply(kind, built)
        if found is not None:
            seen = built["metadata"] | {"resourceVersion": found["metadata"]["resourceVersion"]}
            return await self._kube.apply(kind, built | {"metadata": seen})
        try:
            return await self._kube.create(kind, built)
        except ApiError as error:
            if error.status != 409:
                raise
        # One is there that does not bear our labels: it becomes ours as it is.
        labels = {name: built["metadata"][name] for name in ("labels", "ownerReferences") if name in built["metadata"]}
        adopted = await self._kube.patch(kind, built["metadata"]["namespace"], key.name, {"metadata": labels})
        self._mirror.put(adopted)
        raise Again(f"{key.name} was there already")


def list_leftovers(
    workspace: Workspace, wanted: Sequence[Object], live: Mapping[Key, Object], needed: Collection[str]
) -> list[Key]:
    """What is there, is this workspace's own and is not wanted. `needed`: components of which all stays. Pure."""
    keep = {Key(built["kind"], built["metadata"]["name"]) for built in wanted}
    found = []
    for key, one in live.items():
        metadata = one["metadata"]
        if key in keep or key.kind in _KEPT or metadata.get("deletionTimestamp"):
            continue
        is_own = any(owner["uid"] == workspace.uid for owner in metadata.get("ownerReferences") or [])
        if is_own and metadata["labels"].get(COMPONENT) not in needed:
            found.append(key)
    return found


async def _side_by_side(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs them side by side. Raises what the first of them raises, once all the others have ended, too."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _by_kind(wanted: Sequence[Object]) -> list[list[Object]]:
    """In their order, those of one kind that stand together in one group."""
    groups: list[list[Object]] = []
    for built in wanted:
        if groups and groups[-1][0]["kind"] == built["kind"]:
            groups[-1].append(built)
        else:
            groups.append([built])
    return groups
