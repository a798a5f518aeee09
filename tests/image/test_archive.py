"""An archive is what its folders are, the same every time, and agrees with the Dockerfile."""

import hashlib
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from image.archive import Image, palaver_image, with_registry, write_archive
from image.root import SOURCE


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two layers: files, a program, a link, a folder for everybody; and a file over one of those."""
    below, above = tmp_path / "below", tmp_path / "above"
    (below / "bin").mkdir(parents=True)
    (below / "bin" / "program").write_text("#!/bin/false\n")
    (below / "bin" / "program").chmod(0o755)
    (below / "bin" / "other").symlink_to("program")
    (below / "tmp").mkdir()
    (below / "tmp").chmod(0o1777)
    (below / "text").write_text("below")
    above.mkdir()
    (above / "text").write_text("above")
    return [below, above]


def read(archive: tarfile.TarFile) -> tuple[dict[str, Any], list[list[tarfile.TarInfo]]]:
    """The configuration and the members of each layer, every digest checked."""

    def members(layer: dict[str, Any]) -> list[tarfile.TarInfo]:
        with tarfile.open(fileobj=blob(layer)) as opened:
            return opened.getmembers()

    def blob(described: dict[str, Any]) -> Any:
        member = archive.extractfile(f"blobs/{described['digest'].replace(':', '/')}")
        assert member is not None
        content = member.read()
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == described["digest"]
        assert len(content) == described["size"]
        member.seek(0)
        return member

    index = archive.extractfile("index.json")
    assert index is not None
    manifest = json.load(blob(json.load(index)["manifests"][0]))
    config = json.load(blob(manifest["config"]))
    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]
    return config, [members(layer) for layer in manifest["layers"]]


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("palaver:0.1.0", "docker.io/library/palaver:0.1.0"),
        ("me/palaver:0.1.0", "docker.io/me/palaver:0.1.0"),
        ("registry.example.org/palaver:0.1.0", "registry.example.org/palaver:0.1.0"),
        ("localhost/palaver:0.1.0", "localhost/palaver:0.1.0"),
        ("registry:5000/palaver:0.1.0", "registry:5000/palaver:0.1.0"),
    ],
)
def test_a_node_finds_what_was_imported_by_the_name_that_its_pods_say(
    name: str, whole: str, folders: list[Path], tmp_path: Path
) -> None:
    assert with_registry(name) == whole
    write_archive(Image(name, folders, ["/bin/program"]), tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (manifest,) = json.load(index)["manifests"]
    assert manifest["annotations"]["io.containerd.image.name"] == whole


def test_the_layers_are_the_folders_and_roots_but_for_what_is_the_users(folders: list[Path], tmp_path: Path) -> None:
    image = Image("test:1", folders, ["/bin/program"], ["all"], {"B": "2", "A": "1"}, [80], owned=["data"])
    write_archive(image, tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        config, layers = read(archive)
    assert config["config"] == {
        "User": "65532:65532",
        "Env": ["PATH=/usr/local/bin", "A=1", "B=2"],
        "Entrypoint": ["/bin/program"],
        "Cmd": ["all"],
        "ExposedPorts": {"80/tcp": {}},
        "WorkingDir": "/",
    }
    found = [
        [(member.name, oct(member.mode), member.uid, member.gid, member.mtime, member.linkname) for member in layer]
        for layer in layers
    ]
    assert found == [
        [
            ("bin", "0o755", 0, 0, 0, ""),
            ("bin/other", "0o777", 0, 0, 0, "program"),
            ("bin/program", "0o755", 0, 0, 0, ""),
            ("text", "0o644", 0, 0, 0, ""),
            ("tmp", "0o1777", 0, 0, 0, ""),
        ],
        [("text", "0o644", 0, 0, 0, "")],
        [("data", "0o750", 65532, 65532, 0, "")],
    ]


def test_who_made_it_and_when_makes_no_difference(folders: list[Path], tmp_path: Path) -> None:
    image = Image("test:1", folders, ["/bin/program"])
    write_archive(image, tmp_path / "one.tar")
    for path in folders[0].rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1, 1))
    write_archive(image, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    (folders[1] / "text").write_text("above all")
    write_archive(image, tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() != (tmp_path / "two.tar").read_bytes()


def test_a_failed_archive_leaves_the_old_one(folders: list[Path], tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_text("the old one")
    (folders[1] / "gone").symlink_to("nowhere")  # a link is a link, whatever it points to
    write_archive(Image("test:1", folders, []), tmp_path / "new.tar")
    os.mkfifo(folders[1] / "pipe")
    with pytest.raises(ValueError, match="pipe"):
        write_archive(Image("test:1", folders, []), tmp_path / "image.tar")
    assert (tmp_path / "image.tar").read_text() == "the old one"
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_the_dockerfile_says_the_same(tmp_path: Path) -> None:
    image = palaver_image("palaver:1", tmp_path)
    text = re.sub(r"\\\n", " ", (SOURCE / "Dockerfile").read_text())
    final = text[text.index("FROM scratch") :]

    def said(word: str) -> list[str]:
        return re.findall(rf"^{word} +(.*)$", final, re.MULTILINE)

    environment = dict(pair.split("=", 1) for pair in said("ENV")[0].split())
    assert environment == {"PATH": "/usr/local/bin", **image.environment}
    assert json.loads(said("ENTRYPOINT")[0]) == image.entrypoint
    assert json.loads(said("CMD")[0]) == image.command
    assert said("USER") == [f"{image.user}:{image.user}"]
    assert [int(port) for port in said("EXPOSE")[0].split()] == list(image.ports)
    parts = [f"/image/{layer.name} /" for layer in image.layers]
    owned = [f"--chown={image.user}:{image.user} /image/{name} /{name}" for name in image.owned]
    assert said("COPY --from=build") == parts + owned
