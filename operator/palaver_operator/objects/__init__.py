"""What a workspace is made of: pure builders, from the spec to Kubernetes objects.

One file a noun; all of it on this page.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from palaver_operator.objects.certificates import build_certificates
from palaver_operator.objects.mongodb import build_mongodb
from palaver_operator.objects.monitoring import build_monitoring
from palaver_operator.objects.naming import Object
from palaver_operator.objects.nats import build_nats
from palaver_operator.objects.network import build_policies, list_ports
from palaver_operator.objects.route import build_route
from palaver_operator.objects.secrets import Values, build_secrets, digest, values_of
from palaver_operator.objects.services import build_services
from palaver_operator.objects.settings import build_settings
from palaver_operator.objects.workloads import build_workloads
from palaver_operator.resource import Workspace
from palaver_operator.spec import SecretKey


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the builders need to know beside the resource."""

    secrets: Mapping[str, Values]  # the values of the Secrets that exist, by name: ours and those that the spec names
    now: datetime  # UTC
    operator_namespace: str = ""  # empty: there is no operator


@dataclass(frozen=True, slots=True)
class Built:
    """The objects of a workspace. The passwords are created where they are missing, everything else is applied."""

    passwords: list[Object]
    others: list[Object]


def build(workspace: Workspace, surroundings: Surroundings) -> Built:
    """All objects of a workspace, in the order in which they are made; without migrations, which are made when they
    are due.
    """
    known = dict(surroundings.secrets)
    passwords = build_secrets(workspace, known)
    known |= {made["metadata"]["name"]: values_of(made) for made in passwords}
    certificates = build_certificates(workspace, known, surroundings.now)
    known |= {made["metadata"]["name"]: values_of(made) for made in certificates}
    mongodb, nats = _value(known, workspace.mongodb_url), _value(known, workspace.nats_url)
    others = [
        *certificates,
        *build_settings(workspace),
        *build_policies(
            workspace,
            mongodb_ports=list_ports(mongodb) if mongodb else (),
            nats_ports=list_ports(nats) if nats else (),
            operator_namespace=surroundings.operator_namespace,
        ),
        *build_mongodb(workspace, digest(mongodb)),
        *build_nats(workspace, known),
        *build_services(workspace),
        *build_workloads(workspace, digest(_read_at_start(workspace, known))),
        *build_route(workspace),
        *build_monitoring(workspace),
    ]
    return Built(passwords, others)


def list_named_values(workspace: Workspace) -> tuple[SecretKey, ...]:
    """The values that pods need out of the Secrets that the spec names, which somebody else has to make."""
    spec = workspace.spec
    storages = [spec.object_storage, *(to.object_storage for to in spec.destinations)]
    found = [
        *([workspace.mongodb_url] if spec.mongodb and spec.mongodb.secret_name else []),
        *([workspace.nats_url] if spec.nats and spec.nats.secret_name else []),
        *(key for storage in storages if storage is not None for key in (storage.access_key, storage.secret_key)),
        *(SecretKey(spec.admin.secret_name, key) for key in ("username", "password") if spec.admin.secret_name),
    ]
    return tuple(dict.fromkeys(found))


def _read_at_start(workspace: Workspace, known: Mapping[str, Values]) -> str:
    """What processes read when they start, and never again: so they start anew when it changes."""
    servers = [] if workspace.is_single else [workspace.mongodb_url, workspace.nats_url]
    if _value(known, gateway := workspace.nats_url_of("gateway")) != _value(known, workspace.nats_url):
        servers.append(gateway)
    storage = workspace.spec.object_storage
    keys = [storage.access_key, storage.secret_key] if storage is not None else []
    return "".join(_value(known, source) for source in [*servers, *keys])


def _value(known: Mapping[str, Values], source: SecretKey) -> str:
    return known.get(source.secret, {}).get(source.key, "")
