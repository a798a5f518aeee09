"""The MongoDB of a trial: one server with a volume. A workspace that matters has one of its own."""

from palaver_operator.objects.claims import claim
from palaver_operator.objects.naming import MONGODB_PORT, Object, component_name
from palaver_operator.objects.pods import container_security, from_secret, pod_basics, pod_metadata, pod_security
from palaver_operator.objects.services import service
from palaver_operator.objects.workloads import stateful_set
from palaver_operator.resource import Workspace, resources_of
from palaver_operator.spec import SecretKey, TrialMongodb

COMPONENT = "mongodb"
_USER = 999  # of the official image
_RESOURCES = {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1536Mi"}}


def build_mongodb(workspace: Workspace, secrets_digest: str) -> list[Object]:
    trial = workspace.trial_mongodb
    if trial is None:
        return []
    name = component_name(workspace, COMPONENT)
    server = stateful_set(
        workspace,
        COMPONENT,
        replicas=1,
        service=name,
        template=_template(workspace, trial, secrets_digest),
        claim=claim("data", trial.storage, trial.storage_class_name),
        keep=workspace.spec.data_policy == "Retain",
    )
    return [service(workspace, name, COMPONENT, {"mongodb": MONGODB_PORT}), server]


def _template(workspace: Workspace, trial: TrialMongodb, secrets_digest: str) -> Object:
    secret = component_name(workspace, COMPONENT)
    asked = {"tcpSocket": {"port": "mongodb"}, "timeoutSeconds": 3}
    container: Object = {
        "name": "mongodb",
        "image": trial.image,
        "args": ["--bind_ip_all", "--ipv6", "--wiredTigerCacheSizeGB", "0.5"],
        "env": [
            from_secret("MONGO_INITDB_ROOT_USERNAME", SecretKey(secret, "username")),
            from_secret("MONGO_INITDB_ROOT_PASSWORD", SecretKey(secret, "password")),
        ],
        "ports": [{"name": "mongodb", "containerPort": MONGODB_PORT}],
        "resources": resources_of(trial.resources, _RESOURCES),
        "securityContext": container_security(),
        "startupProbe": asked | {"periodSeconds": 1, "failureThreshold": 300},
        "readinessProbe": asked | {"periodSeconds": 5, "failureThreshold": 3},
        "livenessProbe": asked | {"periodSeconds": 20, "failureThreshold": 3},
        "volumeMounts": [
            {"name": "data", "mountPath": "/data/db"},
            {"name": "configdb", "mountPath": "/data/configdb"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "metadata": pod_metadata(workspace, COMPONENT, {"palaver.chat/secrets": secrets_digest}),
        "spec": {
            **pod_basics(workspace),
            "securityContext": pod_security(_USER),
            "terminationGracePeriodSeconds": 60,
            "containers": [container],
            "volumes": [{"name": "configdb", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}],
        },
    }
