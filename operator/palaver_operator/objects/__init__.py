"""What a workspace is made of: pure builders, from the spec to Kubernetes objects.

One file a noun; all of it on this page.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from palaver_operator.objects.certificates import build_certificates
from palaver_operator.objects.mongodb import build_mongodb
from palaver_operator.objects.monitoring import build_monitoring
from palaver_operator.objects.naming import Object, component_name
from palaver_operator.objects.nats import build_nats
from palaver_operator.objects.network import build_policies, list_ports
from palaver_operator.objects.route import build_route
from palaver_operator.objects.secrets import Values, build_secrets, values_of
from palaver_operator.objects.services import build_services
from palaver_operator.objects.settings import build_settings
from palaver_operator.objects.workloads import build_workloads
from palaver_operator.resource import SecretKey, Workspace


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
    mongodb, nats = _value(known, workspace.mongodb_url), _value(known, workspace.nats_url)
    mongodb_digest, nats_digest = _digest(mongodb), _digest(nats)
    others = [
        *build_certificates(workspace, known, surroundings.now),
        *build_settings(workspace),
        *build_policies(
            workspace,
            mongodb_ports=list_ports(mongodb) if mongodb else (),
            nats_ports=list_ports(nats) if nats else (),
            operator_namespace=surroundings.operator_namespace,
        ),
        *build_mongodb(workspace, mongodb_digest),
        *build_nats(workspace, known.get(component_name(workspace, "nats"), {}), nats_digest),
        *build_services(workspace),
        *build_workloads(workspace, _digest(mongodb + nats) if not workspace.is_single else ""),
        *build_route(workspace),
        *build_monitoring(workspace),
    ]
    return Built(passwords, others)


def list_named_secrets(workspace: Workspace) -> tuple[str, ...]:
    """The Secrets that the spec names, which somebody else has to make."""
    spec = workspace.spec
    found = [
        spec.mongodb.secret_name if spec.mongodb else "",
        spec.nats.secret_name if spec.nats else "",
        spec.object_storage.secret_name if spec.object_storage else "",
        spec.admin.secret_name,
        *(to.object_storage.secret_name for to in spec.destinations if to.object_storage is not None),
    ]
    return tuple(dict.fromkeys(name for name in found if name))


def _value(known: Mapping[str, Values], source: SecretKey) -> str:
    return known.get(source.secret, {}).get(source.key, "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""
