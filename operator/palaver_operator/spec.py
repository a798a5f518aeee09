"""What `spec` of a `Palaver` and of a `PalaverBackup` can say: every field typed, with its default.

resource.py reads resources into it; whoever needs a part of it takes the part from here.

The defaults stand here and nowhere else (but for `size`, which the API server needs to know, too). The schemas in
crds/ refuse at admission what is refused here; a test compares both.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec

Settings = dict[str, str | int | float | bool]


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
    runbook_url: str = ""  # under which docs/runbooks can be read; empty: nobody knows
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


class Scratch(_Part, frozen=True):
    """A volume for as long as a backup is verified."""

    size: str = "20Gi"
    storage_class_name: str = ""


class Backup(_Part, frozen=True):
    to: Destination
    schedule: str = "0 3 * * *"
    keep: int = 14
    scratch: Scratch | None = None  # None: the node's own disk
    resources: Resources | None = None


class Restore(_Part, frozen=True):
    """What a workspace is made of before it runs for the first time."""

    source: Destination = msgspec.field(name="from")
    archive: str = ""  # empty: the newest there
    workspace: str = ""  # of this name; empty: all there are of one


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
