"""What pods say of volumes of their own: of StatefulSets' for as long as there are these, of Jobs' while they run."""

from palaver_operator.objects.naming import Object


def claim(name: str, size: str, storage_class: str) -> Object:
    """A claim for a volume of this size; the class: empty for the cluster's default one."""
    spec: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    # All of it is written out, so that it equals what the API server has made of it.
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": spec | {"volumeMode": "Filesystem"},
    }
