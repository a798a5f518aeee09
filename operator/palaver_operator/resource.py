"""The `Palaver` and `PalaverBackup` resources: every field typed, with its default.

Parsed once, by reconcile.py and `render`.

The defaults stand here and nowhere else (but for `size`, which the API server needs to know, too). The schemas in
crds/ refuse at admission what is refused here; a test compares both.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from palaver_operator.roles import ROLES, SINGLE
from palaver_operator.scaling import TARGETS, RoleLimits
from palaver_operator.schedule import parse_schedule

GROUP = "palaver.chat"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RETRY = f"{GROUP}/retry"
"""The annotation of a Palaver that has what failed tried again; any other value than before will do."""

Quantities = dict[str, dict[str, str | int | float]]
Settings = dict[str, str | int | float | bool]


class SpecError(Exception):
    """The resource says what it can't mean. The message names the field."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """A part of a spec.

    Encoded without what is at its default, so that a new field or default changes nobody's digest.
    """


class Image(_Part, frozen=True):
    repository: str = "palaver"
    tag: str = ""  # empty: the spec's version
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


class Tls(_Part, frozen=True):
    secret_name: str = ""  # empty: something before the workspace does TLS


class Gateway(_Part, frozen=True):
    """A Gateway of the Gateway API."""

    name: str = ""
    namespace: str = ""  # empty: the resource's own


class Route(_Part, frozen=True):
    kind: Literal["Ingress", "HTTPRoute", "None"] = "Ingress"
    class_name: str = ""
    annotations: dict[str, str] = {}
    gateway: Gateway = Gateway()
    trusted_proxies: int | None = None


class Resources(_Part, frozen=True):
    requests: dict[str, str | int | float] = {}
    limits: dict[str, str | int | float] = {}


class Targets(_Part, frozen=True):
    """What a pod of a role bears before there shall be more of them; None: what scaling.py says.

    Each role looks at its own ones.
    """

    connections: int | None = None
    loop_lag_milliseconds: float | None = None
    cpu_percent: float | None = None
    queue_seconds: float | None = None
    follower_seconds: float | None = None
    reports_per_second: float | None = None


class RoleSpec(_Part, frozen=True):
    min: int | None = None
    max: int | None = None
    resources: Resources | None = None
    targets: Targets = Targets()


class Roles(_Part, frozen=True):
    gateway: RoleSpec = RoleSpec()
    auth: RoleSpec = RoleSpec()
    messaging: RoleSpec = RoleSpec()
    presence: RoleSpec = RoleSpec()


class Scaling(_Part, frozen=True):
    enabled: bool = True
    down_stabilization_seconds: int = 600


class TrialMongodb(_Part, frozen=True):
    storage: str = "10Gi"
    storage_class_name: str = ""
    image: str = "mongo:8"
    resources: Resources | None = None


class Mongodb(_Part, frozen=True):
    secret_name: str = ""
    key: str = "url"
    trial: TrialMongodb | None = None


class ManagedNats(_Part, frozen=True):
    replicas: Literal[1, 3] = 3
    storage: str = "10Gi"
    storage_class_name: str = ""
    image: str = "nats:2"
    resources: Resources | None = None


class Nats(_Part, frozen=True):
    secret_name: str = ""
    key: str = "url"
    replicas: Literal[1, 3, 5] = 3
    managed: ManagedNats | None = None


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One value in a Secret."""

    secret: str
    key: str


class ObjectStorage(_Part, frozen=True):
    endpoint: str
    bucket: str
    secret_name: str
    region: str = "us-east-1"
    prefix: str = ""

    @property
    def access_key(self) -> SecretKey:
        return SecretKey(self.secret_name, "accessKey")

    @property
    def secret_key(self) -> SecretKey:
        return SecretKey(self.secret_name, "secretKey")


class Storage(_Part, frozen=True):
    size: str = "10Gi"
    storage_class_name: str = ""


class Admin(_Part, frozen=True):
    secret_name: str = ""


class Federation(_Part, frozen=True):
    enabled: bool = False


class Toleration(_Part, frozen=True):
    key: str = ""
    operator: Literal["Exists", "Equal"] = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class Pods(_Part, frozen=True):
    """What all pods of a workspace have in common, beside what they are for."""

    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Outbound(_Part, frozen=True):
    """Requests to addresses that users gave: webhooks, previews, pictures."""

    enabled: bool = True
    allowed: tuple[str, ...] = ()  # what may be reached although it is not public


class Monitoring(_Part, frozen=True):
    service_monitor: bool = False
    rules: bool = False
    dashboards: bool = False
    labels: dict[str, str] = {}


class Rollout(_Part, frozen=True):
    """How a new revision comes."""

    soak_seconds: int = 60  # how long each role is watched, ready, before the next one rolls


class Drain(_Part, frozen=True):
    seconds: int = 30
    notice_seconds: int = 10


class Volume(_Part, frozen=True):
    """A claim that exists already, and the folder in it."""

    claim_name: str
    path: str = ""


class Destination(_Part, frozen=True):
    """Where a backup goes: exactly one of both."""

    object_storage: ObjectStorage | None = None
    volume: Volume | None = None


class Backup(_Part, frozen=True):
    to: Destination
    schedule: str = "0 3 * * *"
    keep: int = 14


class Restore(_Part, frozen=True):
    """What a workspace is made of before it runs for the first time."""

    source: Destination = msgspec.field(name="from")
    archive: str = ""  # empty: the newest there, if all are of one workspace


class Spec(_Part, frozen=True):
    """`spec` of a Palaver."""

    version: str
    hostname: str
    image: Image = Image()
    tls: Tls | None = None
    route: Route = Route()
    size: Literal["single", "cluster"] = "cluster"
    expected_users: int = 2000
    roles: Roles = Roles()
    resources: Resources | None = None  # of the one pod of size single
    pods: Pods = Pods()
    scaling: Scaling = Scaling()
    mongodb: Mongodb | None = None
    nats: Nats | None = None
    object_storage: ObjectStorage | None = None
    storage: Storage = Storage()
    data_policy: Literal["Retain", "Delete"] = "Retain"
    admin: Admin = Admin()
    federation: Federation = Federation()
    settings: Settings = {}
    outbound: Outbound = Outbound()
    monitoring: Monitoring = Monitoring()
    rollout: Rollout = Rollout()
    drain: Drain = Drain()
    paused: bool = False
    backup: Backup | None = None
    restore: Restore | None = None

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where archives of this workspace are, or come from."""
        backup = (self.backup.to,) if self.backup is not None else ()
        return (*backup, self.restore.source) if self.restore is not None else backup


class BackupSpec(_Part, frozen=True):
    """`spec` of a PalaverBackup."""

    workspace: str
    to: Destination


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
