"""The `Palaver` and `PalaverBackup` resources, read once, by reconcile.py and `render`: which one it is, what it wants
(spec.py), and what follows from that.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from palaver_operator.roles import ROLES, SINGLE
from palaver_operator.scaling import TARGETS, RoleLimits
from palaver_operator.schedule import parse_schedule
from palaver_operator.spec import (
    BackupSpec,
    Destination,
    ManagedNats,
    Nats,
    Resources,
    RoleSpec,
    SecretKey,
    Spec,
    Targets,
    TrialMongodb,
)

GROUP = "palaver.chat"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RETRY = f"{GROUP}/retry"
"""The annotation of a Palaver that has what failed tried again; any other value than before will do."""

Quantities = dict[str, dict[str, str | int | float]]


class SpecError(Exception):
    """The resource says what it can't mean. The message names the field."""


@dataclass(frozen=True, slots=True)
class RolePlan:
    """What one role is to be, with nothing left open."""

    min: int
    max: int
    targets: Targets
    resources: Quantities


@dataclass(frozen=True, slots=True)
class Identity:
    """Which resource it is."""

    name: str
    namespace: str
    uid: str  # empty when it is rendered only
    generation: int


@dataclass(frozen=True, slots=True)
class Workspace(Identity):
    """One Palaver resource: what it is called, and what it wants."""

    spec: Spec
    retry: str = ""  # the value of RETRY

    @property
    def is_single(self) -> bool:
        return self.spec.size == "single"

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the workloads that play Palaver's roles, in the order in which they roll."""
        return (SINGLE.name,) if self.is_single else tuple(ROLES)

    @property
    def image(self) -> str:
        image = self.spec.image
        return f"{image.repository}:{image.tag or self.spec.version}"

    @property
    def url(self) -> str:
        """The address at which users reach it."""
        return f"{'http' if self.spec.tls is None else 'https'}://{self.spec.hostname}"

    @property
    def trusted_proxies(self) -> int:
        """How many proxies on each way to a gateway write down whom they speak for: the route's own, if not said."""
        route = self.spec.route
        return int(route.kind != "None") if route.trusted_proxies is None else route.trusted_proxies

    @property
    def managed_nats(self) -> ManagedNats | None:
        """The NATS that is made for this workspace, if one is."""
        if self.is_single:
            return None
        nats = self.spec.nats or Nats()
        return None if nats.secret_name else nats.managed or ManagedNats()

    @property
    def nats_replicas(self) -> int:
        managed = self.managed_nats
        return managed.replicas if managed else (self.spec.nats or Nats()).replicas

    @property
    def nats_url(self) -> SecretKey:
        nats = self.spec.nats
        return (
            SecretKey(nats.secret_name, nats.key)
            if nats and nats.secret_name
            else SecretKey(f"{self.name}-nats", "url")
        )

    def nats_url_of(self, role: str) -> SecretKey:
        """The same for the processes of one role: gateways, which the world speaks to, are a user who may do less."""
        url = self.nats_url
        return SecretKey(url.secret, "gatewayUrl") if self.managed_nats and role == "gateway" else url

    @property
    def trial_mongodb(self) -> TrialMongodb | None:
        """The MongoDB that is made for this workspace, if one is."""
        return self.spec.mongodb.trial if self.spec.mongodb else None

    @property
    def mongodb_url(self) -> SecretKey:
        mongodb = self.spec.mongodb
        if mongodb and mongodb.secret_name:
            return SecretKey(mongodb.secret_name, mongodb.key)
        return SecretKey(f"{self.name}-mongodb", "url")

    @property
    def admin_secret(self) -> str:
        return self.spec.admin.secret_name or f"{self.name}-admin"

    def limits(self, name: str) -> RoleLimits:
        """Within what scaling.py sizes this role: the resource's own targets over the usual ones."""
        plan = self.role(name)
        given = msgspec.to_builtins(plan.targets)
        targets = {signal: float(given.get(signal.value) or usual) for signal, usual in TARGETS[name].items()}
        return RoleLimits(plan.min, plan.max, targets, self.spec.scaling.down_stabilization_seconds)

    def role(self, name: str) -> RolePlan:
        """What `roles` says of this role, filled up by `expectedUsers` and the table of roles.

        The floor is two, so that one can go; where nothing scales by itself it is what the expected users need.
        """
        if name == SINGLE.name:
            return RolePlan(1, 1, Targets(), resources_of(self.spec.resources, SINGLE.usual_resources))
        given: RoleSpec = getattr(self.spec.roles, name)
        needed = math.ceil(self.spec.expected_users / ROLES[name].users_per_pod)
        floor = given.min if given.min is not None else 2 if self.spec.scaling.enabled else max(2, needed)
        if given.max is not None and given.min is None:
            floor = min(floor, given.max)
        most = given.max if given.max is not None else max(floor, 2 * needed, 4)
        return RolePlan(floor, most, given.targets, resources_of(given.resources, ROLES[name].usual_resources))


def parse(body: dict[str, Any]) -> Workspace:
    """A Palaver as the API server gives it, or as a file has it. Raises SpecError."""
    try:
        identity = identify(body)
        spec = msgspec.convert(body.get("spec"), Spec)
    except (KeyError, msgspec.ValidationError) as error:
        raise SpecError(f"this is no Palaver: {error}") from error
    _check(spec)
    retry = (body["metadata"].get("annotations") or {}).get(RETRY, "")
    return Workspace(identity.name, identity.namespace, identity.uid, identity.generation, spec, retry)


def identify(body: dict[str, Any]) -> Identity:
    """Which resource this is, whatever it says."""
    metadata = body["metadata"]
    namespace = metadata.get("namespace") or "default"
    return Identity(metadata["name"], namespace, metadata.get("uid", ""), metadata.get("generation", 0))


def parse_backup(body: dict[str, Any]) -> BackupSpec:
    """The spec of a PalaverBackup. Raises SpecError."""
    try:
        spec = msgspec.convert(body.get("spec"), BackupSpec)
    except msgspec.ValidationError as error:
        raise SpecError(f"this is no PalaverBackup: {error}") from error
    _check_destination(spec.to)
    return spec


def _check(spec: Spec) -> None:
    """What spans several fields.

    The API server has refused most of it already; a rendered file comes past nobody else.
    """
    if spec.federation.enabled:
        raise SpecError("spec.federation.enabled: this version has no federation; leave it false")
    if spec.size == "single":
        if spec.mongodb is not None or spec.nats is not None:
            raise SpecError("spec: size single keeps everything in its own volume; remove mongodb and nats, or size")
    elif spec.mongodb is None or bool(spec.mongodb.secret_name) == (spec.mongodb.trial is not None):
        raise SpecError("spec.mongodb: say either secretName (of your MongoDB) or trial (a small one is made)")
    if spec.nats is not None and bool(spec.nats.secret_name) == (spec.nats.managed is not None):
        raise SpecError("spec.nats: say either secretName (of your NATS) or managed (one is made)")
    for name in ROLES:
        role: RoleSpec = getattr(spec.roles, name)
        if role.min is not None and role.max is not None and role.min > role.max:
            raise SpecError(f"spec.roles.{name}: min is greater than max")
    if spec.route.kind == "HTTPRoute" and not spec.route.gateway.name:
        raise SpecError("spec.route.gateway.name: an HTTPRoute needs the Gateway that it hangs on")
    if spec.restore is not None:
        _check_destination(spec.restore.source)
    if spec.backup is not None:
        _check_destination(spec.backup.to)
        try:
            parse_schedule(spec.backup.schedule)
        except ValueError as error:
            raise SpecError(f"spec.backup.schedule: {error}") from error


def _check_destination(to: Destination) -> None:
    if (to.object_storage is None) == (to.volume is None):
        raise SpecError("to: say either objectStorage or volume")


def resources_of(given: Resources | None, usual: Mapping[str, Mapping[str, str]]) -> Quantities:
    """What a container asks for: what the resource says, or else what is usual."""
    if given is None:
        return {kind: dict(found) for kind, found in usual.items()}
    return {kind: dict(found) for kind in ("requests", "limits") if (found := getattr(given, kind))}
