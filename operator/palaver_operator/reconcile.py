"""One idempotent reconcile of a workspace: looks at the resource and at what is there, and writes what differs.

The same whether something was created, changed, resumed or only time has passed; it knows of no "before" but what
stands in the cluster. Called by handlers.py, one at a time for each workspace.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from palaver_operator import __version__, metrics
from palaver_operator.apply import Again, Applier
from palaver_operator.backups import Schedules
from palaver_operator.conditions import Condition, Finding, Reason
from palaver_operator.events import build_event
from palaver_operator.health import count_desired, count_ready, is_lacking
from palaver_operator.kinds import KINDS, Key
from palaver_operator.kube import ApiError, Kube, Unreachable
from palaver_operator.mirror import Mirror
from palaver_operator.objects import Surroundings, build, list_named_values
from palaver_operator.objects.certificates import find_first_end
from palaver_operator.objects.naming import Object, component_name
from palaver_operator.objects.secrets import Values, values_of
from palaver_operator.planning import (
    Plan,
    as_it_runs,
    component_of,
    find_running,
    list_pods,
    make_plan,
    version_of,
)
from palaver_operator.resource import Identity, SpecError, Workspace, identify, parse
from palaver_operator.rollout import Phase, is_older, refuse_jump
from palaver_operator.scaling import Decision
from palaver_operator.sizing import Sizes, Sizing
from palaver_operator.status import Observed, RoleState, Status, find_change, make_idle_status, make_status

logger = logging.getLogger(__name__)

_CONNECTIONS_SECONDS = 30.0  # how often at most the status is written only because people came or went
_NAMED_SECONDS = 30.0  # how long a Secret that the resource names is taken to be as it was read
_AGAIN = 3
_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(slots=True)
class _Named:
    """Secrets that the resource names, as they were read."""

    values: dict[str, Values]
    missing: list[str]
    read_at: float


class Reconciler:
    """`operator_namespace`: where this operator runs (its pods may read metrics); `clock`: UTC."""

    def __init__(
        self,
        kube: Kube,
        mirror: Mirror,
        sizing: Sizing,
        *,
        operator_namespace: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._mirror = mirror
        self._sizing = sizing
        self._operator_namespace = operator_namespace
        self._clock = clock
        self._applier = Applier(kube, mirror)
        self._schedules = Schedules(kube)
        self._named: dict[str, _Named] = {}
        self._connections_at: dict[str, float] = {}
        self._instance = os.environ.get("HOSTNAME", "palaver-operator")

    async def reconcile(self, body: Object) -> Object:
        """Brings a workspace nearer to what its resource says. Returns the resource as it is then.

        Raises ApiError, or what else went wrong, which then stands in the status if that can be written.
        """
        try:
            return await self._try(body)
        except Unreachable:
            raise
        except Exception as error:
            with contextlib.suppress(ApiError):
                await self._leave(body, Finding(Reason.RECONCILE_FAILED, str(error) or repr(error)))
            raise

    async def _try(self, body: Object) -> Object:
        try:
            workspace = parse(body)
        except SpecError as error:
            return await self._leave(body, Finding(Reason.SPEC_INVALID, str(error)))
        if workspace.spec.paused:
            return await self._leave(body, Finding(Reason.PAUSED))
        for _ in range(_AGAIN):
            try:
                return await self._reconcile(workspace, body)
            except Again as again:
                logger.info("%s/%s: %s", workspace.namespace, workspace.name, again)
        return body  # the next round sees what is there

    def forget(self, namespace: str, name: str, uid: str) -> None:
        """A workspace that is gone; what it owned goes by itself."""
        self._sizing.forget(uid)
        self._applier.forget(namespace, list(self._mirror.look(namespace, name)))
        self._schedules.forget(uid)
        self._named.pop(uid, None)
        self._connections_at.pop(uid, None)
        metrics.forget(namespace, name)

    async def _reconcile(self, workspace: Workspace, body: Object) -> Object:
        before: Status = body.get("status") or {}
        now = self._clock()
        live = self._mirror.look(workspace.namespace, workspace.name)
        # Who comes back without a status (from a backup of the cluster) is known by what runs.
        running = before.get("version") or find_running(workspace, live)
        problems: list[Finding] = []
        waiting = None
        if refusal := refuse_jump(running, workspace.spec.version):
            problems.append(Finding(Reason.VERSION_REFUSED, refusal))
        elif is_older(__version__, workspace.spec.version):
            # Only who knows a version knows what its pods need. Where both are upgraded at once this one is soon gone.
            waiting = Finding(Reason.OPERATOR_OLDER, f"{workspace.spec.version}, and this operator is {__version__}")
            if not running:
                return await self._leave(body, waiting)
        named = await self._read_named(workspace)
        if named.missing:
            problems.append(Finding(Reason.SECRET_MISSING, ", ".join(named.missing)))
        # Pods that lack something would not start: those that are there stay as they are meanwhile.
        is_held = bool(refusal) or waiting is not None or bool(named.missing and running)
        if is_held:
            workspace = as_it_runs(workspace, running, live)
        secrets = {key.name: values_of(found) for key, found in live.items() if key.kind == "Secret"} | named.values
        if (end := find_first_end(workspace, secrets)) is not None:
            metrics.CERTIFICATE_END.labels(workspace.namespace, workspace.name).set(end.timestamp())
        built = build(workspace, Surroundings(secrets, now, self._operator_namespace))
        autoscaled = [role for role in workspace.components if self._is_autoscaled(workspace, role)]
        sizes = await self._sizing.look(workspace, live, autoscaled, now.timestamp())
        if sizes.refused_settings:
            pod, problem = min(sizes.refused_settings.items())
            problems.append(Finding(Reason.SETTINGS_REFUSED, problem or f"the log of {pod} says why"))
        failed = (before.get("rollout") or {}).get("failed", "")
        plan = make_plan(
            workspace,
            [*built.passwords, *built.others],
            live,
            running=running,
            failed=failed,
            failures=sizes.failures,
            now=now.timestamp(),
            is_held=is_held,
        )
        await self._set_sizes(workspace, plan, sizes, live, autoscaled, before)
        problems += await self._applier.apply(workspace, plan.objects, live)
        if not is_held:  # pods that stay as they are may need what the resource no longer speaks of
            problems += await self._applier.prune(workspace, plan.objects, live, plan.needed)
        if plan.version:
            try:
                await self._schedules.tend(workspace, body["metadata"]["creationTimestamp"], now)
            except Unreachable:
                raise
            except ApiError as error:  # what is to be backed up is looked after all the same
                problems.append(Finding(Reason.APPLY_FAILED, f"PalaverBackup: {error}"))
        return await self._tell(workspace, body, plan, sizes, problems, waiting, autoscaled)

    async def _read_named(self, workspace: Workspace) -> _Named:
        """The Secrets that somebody else has to make."""
        sources, now = list_named_values(workspace), time.monotonic()
        names = list(dict.fromkeys(source.secret for source in sources))
        known = self._named.get(workspace.uid)
        is_fresh = known is not None and not known.missing and now < known.read_at + _NAMED_SECONDS
        if known is not None and is_fresh and set(names) == set(known.values):
            return known
        values: dict[str, Values] = {}
        missing: list[str] = []
        for name in names:
            found = await self._kube.find(KINDS["Secret"], workspace.namespace, name)
            if found is None:
                missing.append(name)
            else:
                values[name] = values_of(found)
        missing += [
            f"{source.secret} has no key {source.key}"
            for source in sources
            if source.secret in values and source.key not in values[source.secret]
        ]
        self._named[workspace.uid] = _Named(values, missing, now)
        return self._named[workspace.uid]

    def _is_autoscaled(self, workspace: Workspace, role: str) -> bool:
        return self._mirror.is_autoscaled(workspace.namespace, component_name(workspace, role))

    async def _set_sizes(
        self,
        workspace: Workspace,
        plan: Plan,
        sizes: Sizes,
        live: Mapping[Key, Object],
        autoscaled: Sequence[str],
        before: Status,
    ) -> None:
        """Writes the number of pods into the Deployments, and which of them shall go first where it shrinks."""
        for built in plan.objects:
            if built["kind"] != "Deployment":
                continue
            role = component_of(built)
            there = live.get(Key("Deployment", built["metadata"]["name"]))
            if there is not None and role in autoscaled:
                # Whoever has sized it owns that field. Until somebody has, it would become 1 if we didn't repeat it.
                if not there["metadata"].get("sizedByOthers"):
                    built["spec"]["replicas"] = count_desired(there)
                continue
            decision = sizes.decisions.get(role)
            last = count_desired(there) if there else ((before.get("roles") or {}).get(role) or {}).get("desired", 0)
            size, why = _choose_size(workspace, role, last, decision)
            built["spec"]["replicas"] = size
            metrics.PODS_WANTED.labels(workspace.namespace, workspace.name, role).set(size)
            for signal, value in decision.inputs.items() if decision else ():
                metrics.SCALING_INPUT.labels(workspace.namespace, workspace.name, role, signal).set(value)
            if there is not None and size != (had := count_desired(there)):
                metrics.ROLES_SCALED.labels(role, "up" if size > had else "down").inc()
                await self._announce(workspace, "Scaled", f"{role} from {had} to {size} pods: {why}")
                if size < had:
                    await self._mark_leaving(workspace, role, sizes, had - size, live)

    async def _mark_leaving(
        self, workspace: Workspace, role: str, sizes: Sizes, count: int, live: Mapping[Key, Object]
    ) -> None:
        """Tells the controller whom to take: those with the lowest cost go first."""
        leaving = sizes.choose_leaving(role, count)
        for pod in list_pods(live, role):
            name = pod["metadata"]["name"]
            has = (pod["metadata"].get("annotations") or {}).get(_DELETION_COST)
            wants = str(leaving.index(name) - len(leaving)) if name in leaving else None
            if has != wants:
                change = {"metadata": {"annotations": {_DELETION_COST: wants}}}
                try:
                    await self._kube.patch(KINDS["Pod"], workspace.namespace, name, change)
                except ApiError as error:
                    if error.status != 404:
                        raise

    async def _tell(
        self,
        workspace: Workspace,
        body: Object,
        plan: Plan,
        sizes: Sizes,
        problems: Sequence[Finding],
        waiting: Finding | None,
        autoscaled: Sequence[str],
    ) -> Object:
        """Writes the status where it differs."""
        before: Status = body.get("status") or {}
        live = self._mirror.look(workspace.namespace, workspace.name)
        roles = {}
        for component in workspace.components:
            kind = "StatefulSet" if workspace.is_single else "Deployment"
            found = live.get(Key(kind, component_name(workspace, component)))
            limits = workspace.role(component)
            roles[component] = RoleState(
                desired=count_desired(found) if found else 0,
                ready=count_ready(found),
                version=version_of(found),
                min=limits.min,
                max=limits.max,
                is_autoscaled=component in autoscaled,
                is_lacking=is_lacking(found, self._clock().timestamp()),
            )
        observed = Observed(
            version=plan.version,
            roles=roles,
            decision=plan.decision,
            problems=problems,
            is_new=not plan.version,
            waiting=waiting,
            connections=self._connections(workspace, sizes, before),
            scaling=_show_scaling(sizes, before, autoscaled, self._clock()),
        )
        status, conditions = make_status(workspace, observed, before, self._clock())
        was, phase = (before.get("rollout") or {}).get("phase"), plan.decision.phase
        if phase is Phase.ROLLED_BACK and was != phase.value:
            metrics.ROLLBACKS.inc()
        if plan.version and plan.version != before.get("version"):
            await self._announce(workspace, "VersionRuns", f"All roles play version {plan.version}")
        return await self._write_status(workspace, body, status, conditions)

    def _connections(self, workspace: Workspace, sizes: Sizes, before: Status) -> int | None:
        """What to show: the newest figure, unless the last one was written just now."""
        was, count, now = before.get("connections"), sizes.connections, time.monotonic()
        if count is None or (
            was is not None and now < self._connections_at.get(workspace.uid, float("-inf")) + _CONNECTIONS_SECONDS
        ):
            return was
        if count != was:
            self._connections_at[workspace.uid] = now
        return count

    async def _leave(self, body: Object, finding: Finding) -> Object:
        """Writes only why nothing is done."""
        workspace = identify(body)
        status, conditions = make_idle_status(workspace, finding, body.get("status") or {}, self._clock())
        return await self._write_status(workspace, body, status, conditions)

    async def _write_status(
        self, workspace: Identity, body: Object, status: Status, conditions: Sequence[Condition]
    ) -> Object:
        before: Status = body.get("status") or {}
        degraded = conditions[-1]
        metrics.DEGRADED.labels(workspace.namespace, workspace.name).set(1 if degraded.is_true else 0)
        change = find_change(before, status)
        if change is None:
            return body
        answer = await self._kube.patch(
            KINDS["Palaver"], workspace.namespace, workspace.name, {"status": change}, subresource="status"
        )
        await self._announce_conditions(workspace, conditions, before.get("conditions") or [])
        return answer

    async def _announce_conditions(
        self, workspace: Identity, conditions: Sequence[Condition], before: Sequence[Mapping[str, Any]]
    ) -> None:
        old = {entry["type"]: entry["reason"] for entry in before}
        for condition in conditions:
            finding = condition.finding
            if old.get(condition.type) == finding.reason or finding.reason is Reason.AS_EXPECTED:
                continue
            is_lost = condition.type == "Available" and bool(old) and not condition.is_true
            is_bad = condition.type == "Degraded" or is_lost
            await self._announce(workspace, str(finding.reason), finding.message, warning=is_bad)

    async def _announce(self, workspace: Identity, reason: str, note: str, *, warning: bool = False) -> None:
        """Posts an Event; one that is refused is only logged, as it changes nothing."""
        logger.info("%s/%s: %s: %s", workspace.namespace, workspace.name, reason, note)
        event = build_event(workspace, self._instance, reason, note, self._clock(), warning=warning)
        try:
            await self._kube.create(KINDS["Event"], event)
        except ApiError as error:
            logger.warning("an event was not taken: %s", error)


def _choose_size(workspace: Workspace, role: str, last: int, decision: Decision | None) -> tuple[int, str]:
    """How many pods a role is to have, and why. `last`: how many it had; one that was deleted has as many again."""
    plan = workspace.role(role)
    if not workspace.spec.scaling.enabled:
        return plan.min, "that is its min, and scaling is off"
    if decision is not None:
        return decision.size, decision.sentence
    return min(max(last, plan.min), plan.max), f"between {plan.min} and {plan.max}, as the resource says"


def _show_scaling(sizes: Sizes, before: Status, autoscaled: Sequence[str], now: datetime) -> dict[str, Any]:
    """The last change of each role's size and why: written when it changes, not each time that its inputs do."""
    shown: dict[str, Any] = {}
    was = before.get("scaling") or {}
    for role in autoscaled:
        shown[role] = {"reason": "HorizontalPodAutoscaler", "message": "An autoscaler of yours sizes this role"}
    for role, decision in sizes.decisions.items():
        old = was.get(role) or {}
        if old.get("to") == decision.size and "at" in old:
            shown[role] = old
            continue
        shown[role] = {
            "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "from": old.get("to", decision.size),
            "to": decision.size,
            "reason": str(decision.reason),
            "message": decision.sentence,
            "inputs": dict(decision.inputs),
        }
    return shown
