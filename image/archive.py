"""Writes an image as an archive of the Open Container Initiative, without a builder: folders in, one file out.

    python -m image.archive palaver:0.1.0 OUT.tar     # Palaver's own image; `make image-archive`

`ctr images import`, `podman load` and `skopeo` take it. The same folders make the same bytes. The tests make the
images of what stands around Palaver with it, too.
"""

import argparse
import hashlib
import io
import json
import platform
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from image.root import PARTS, USER, make_root

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Image:
    """What is in an image, and how it is started."""

    name: str  # with its tag
    layers: Sequence[Path]  # folders, the lowest first
    entrypoint: Sequence[str]
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Sequence[int] = ()
    user: int = USER
    owned: Sequence[str] = ()  # folders that are the user's, and added where no layer has them; the rest is root's


def palaver_image(name: str, root: Path) -> Image:
    """Palaver's image over the folders that root.py has made. The Dockerfile says the same."""
    return Image(
        name,
        [root / part for part in PARTS],
        entrypoint=["palaver"],
        command=["serve"],
        environment={
            "LANG": "C.UTF-8",
            "PALAVER_DATA_DIR": "/data",
            "PALAVER_HOST": "0.0.0.0",
            "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
        },
        ports=[3000, 7000, 9090],
        owned=["data"],
    )


def with_registry(name: str) -> str:
    """The whole name of an image, as a node looks for it: what names no registry is one of docker.io's."""
    first, slash, _ = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return name
    return f"docker.io/{name}" if slash else f"docker.io/library/{name}"


def write_archive(image: Image, file: Path) -> None:
    """Writes the archive, whole or not at all. Raises ValueError for what no image should have."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as temporary:
        blobs = Path(temporary)
        layers = [_write_layer(folder, blobs, ()) for folder in image.layers]
        if image.owned:
            layers.append(_write_layer(None, blobs, image.owned, image.user))
        config = {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {
                "User": f"{image.user}:{image.user}",
                "Env": ["PATH=/usr/local/bin", *(f"{key}={value}" for key, value in sorted(image.environment.items()))],
                "Entrypoint": list(image.entrypoint),
                "Cmd": list(image.command),
                "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": {"mediaType": _CONFIG, **_write_blob(_json(config), blobs)},
            "layers": [{"mediaType": _LAYER, **layer} for layer in layers],
        }
        index = {
            "schemaVersion": 2,
            "manifests": [
                {
                    "mediaType": _MANIFEST,
                    **_write_blob(_json(manifest), blobs),
                    "annotations": {
                        "io.containerd.image.name": with_registry(image.name),
                        "org.opencontainers.image.ref.name": image.name.rpartition(":")[2],
                    },
                }
            ],
        }
        whole = blobs / "whole"
        with tarfile.open(whole, "w") as archive:
            _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            _add(archive, "index.json", _json(index))
            for blob in sorted(blobs.glob("sha256-*")):
                information = _information(f"blobs/{blob.name.replace('-', '/')}", tarfile.REGTYPE, 0o644)
                information.size = blob.stat().st_size
                with blob.open("rb") as content:
                    archive.addfile(information, content)
        whole.rename(file)


def _write_layer(folder: Path | None, blobs: Path, owned: Sequence[str], user: int = 0) -> dict[str, str | int]:
    """A layer of everything in a folder, or of empty folders that are the user's."""
    written = blobs / "layer"
    with tarfile.open(written, "w", format=tarfile.PAX_FORMAT) as layer:
        for path in sorted(folder.rglob("*")) if folder is not None else ():
            name = str(path.relative_to(folder)) if folder is not None else ""
            if path.is_symlink():
                information = _information(name, tarfile.SYMTYPE, 0o777)
                information.linkname = str(path.readlink())
                layer.addfile(information)
            elif path.is_dir():
                layer.addfile(_information(name, tarfile.DIRTYPE, path.stat().st_mode & 0o1777))
            elif not path.is_file():
                raise ValueError(f"{path} is neither a file nor a folder nor a link")
            else:
                information = _information(name, tarfile.REGTYPE, path.stat().st_mode & 0o777)
                information.size = path.stat().st_size
                with path.open("rb") as content:
                    layer.addfile(information, content)
        for name in owned:
            information = _information(name, tarfile.DIRTYPE, 0o750)
            information.uid = information.gid = user
            layer.addfile(information)
    with written.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    size = written.stat().st_size
    written.rename(blobs / f"sha256-{digest}")
    return {"digest": f"sha256:{digest}", "size": size}


def _information(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    # Of root and from the beginning of time: who built it and when is nobody's business, and differs.
    information = tarfile.TarInfo(name)
    information.type = kind
    information.mode = mode
    return information


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    information = _information(name, tarfile.REGTYPE, 0o644)
    information.size = len(content)
    archive.addfile(information, io.BytesIO(content))


def _write_blob(content: bytes, blobs: Path) -> dict[str, str | int]:
    digest = hashlib.sha256(content).hexdigest()
    (blobs / f"sha256-{digest}").write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make image-archive", description="Palaver's image, made without a builder.")
    parser.add_argument("name", help="with its tag")
    parser.add_argument("file", type=Path)
    parser.add_argument("--root", type=Path, help="where its folders are made, and kept (default: they are not)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="palaver-image-") as temporary:
        root = given.root or Path(temporary)
        make_root(root, list(PARTS))
        given.file.parent.mkdir(parents=True, exist_ok=True)
        write_archive(palaver_image(given.name, root), given.file)
    print(f"{given.file}: {given.name}, {given.file.stat().st_size >> 20} MiB")


if __name__ == "__main__":
    main()
