"""What the API server refuses of a Palaver, with a sentence that helps."""

from typing import Any

import pytest
import yaml

from tests.kubernetes.access import CommandFailed, Object
from tests.kubernetes.control_plane import ControlPlane
from tests.kubernetes.operators import (
    palaver,
    patch_spec,
)
from tests.palaver_operator.spec_changes import FIXED, Part

pytestmark = pytest.mark.needs_servers


REFUSED: list[tuple[Object, str]] = [
    ({"hostname": "https://chat.example.org"}, "a DNS name in small letters is wanted"),
    ({"version": "latest"}, "a full version is wanted"),
    ({"mongodb": None}, "mongodb is missing"),
    ({"mongodb": {"secretName": "mine", "trial": {}}}, "say either secretName"),
    ({"nats": {"secretName": "mine", "managed": {}}}, "say either secretName"),
    ({"size": "single"}, "size single keeps everything in its own volume"),
    ({"federation": {"enabled": True}}, "this version of Palaver has none yet"),
    ({"roles": {"auth": {"min": 5, "max": 2}}}, "min is greater than max"),
    ({"roles": {"auth": {"min": 0}}}, "greater than or equal to 1"),
    ({"route": {"kind": "HTTPRoute"}}, "route.gateway.name is missing"),
    ({"route": {"kind": "NodePort"}}, "Unsupported value"),
    ({"nats": {"managed": {"replicas": 2}}}, "Unsupported value"),
    ({"backup": {"to": {}}}, "say either objectStorage or volume"),
    ({"backup": {"schedule": "daily", "to": {"volume": {"claimName": "c"}}}}, "five fields are wanted"),
    ({"backup": {"schedule": "0 24 * * *", "to": {"volume": {"claimName": "c"}}}}, "each within its bounds"),
    ({"objectStorage": {"endpoint": "s3", "bucket": "b", "secretName": "s"}}, "http:// or https:// is missing"),
    ({"resources": {"limits": {"memory": "1Gi"}}}, "say roles.ROLE.resources"),
    ({"image": {"tag": "0.9.0"}}, "begins with the version"),
    ({"monitoring": {"rules": True}}, "say serviceMonitor: true, too"),
    ({"monitoring": {"runbookUrl": "wiki/runbooks"}}, "http:// or https:// is missing"),
    ({"hostnam": "chat.example.org"}, "unknown field"),
]


@pytest.mark.parametrize(("spec", "told"), REFUSED, ids=[told for _, told in REFUSED])
async def test_nonsense_is_refused_with_a_sentence(
    plane: ControlPlane, namespace: str, spec: dict[str, Any], told: str
) -> None:
    text = yaml.safe_dump(palaver(namespace, **spec))
    with pytest.raises(CommandFailed, match=told):
        await plane.kubectl("apply", "--validate=strict", "-f", "-", text=text)


@pytest.mark.parametrize(("begun", "change", "told"), FIXED, ids=[str(change) for _, change, _ in FIXED])
async def test_what_can_not_be_changed_is_refused(
    plane: ControlPlane, namespace: str, begun: Part, change: Part, told: str
) -> None:
    await plane.apply(palaver(namespace) | {"spec": begun})
    with pytest.raises(CommandFailed, match=told):
        await patch_spec(plane, namespace, change)


async def test_a_name_that_can_not_be_part_of_others_is_refused(plane: ControlPlane, namespace: str) -> None:
    named = palaver(namespace)
    named["metadata"]["name"] = "a.b"
    with pytest.raises(CommandFailed, match="at most 40 small letters"):
        await plane.apply(named)
