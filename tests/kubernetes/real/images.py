"""The images of the pods on a real node, written as archives without a builder: Palaver's own, and what is around it.

Written before the test run loses its network; `list_images` is what a node imports.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from image.archive import Image, palaver_image, write_archive
from image.root import LOCKS, PYTHON, SOURCE, copy_libraries, make_root
from palaver import __version__
from tests.cache import ServerUnavailable, built, cache_directory, locked, run
from tests.kubernetes.real.node import PAUSE
from tests.kubernetes.tools import REAL_NODE, get_programs
from tests.servers import get_mongodb, get_nats_server

REPOSITORY = "palaver.test/palaver"
PALAVER = f"{REPOSITORY}:{__version__}"
PALAVER_AGAIN = f"{PALAVER}-again"
"""The same under another name, for a workspace to roll to."""
MONGODB = "palaver.test/mongodb:1"
NATS = "palaver.test/nats:1"
COREDNS = "palaver.test/coredns:1"
# What a small Java runtime needs for the wire server.
_JAVA_MODULES = "java.base,java.logging,java.management,java.naming,java.sql,java.xml,jdk.unsupported"


def list_images() -> list[Path]:
    """The archives that `write_images` has written."""
    return sorted(_folder().glob("*.tar"))


def write_images() -> None:
    """Writes every archive. Raises ServerUnavailable."""
    folder = _folder()
    with locked("real-node-images"), tempfile.TemporaryDirectory(prefix="palaver-images-") as temporary:
        folder.mkdir(exist_ok=True)
        root = _palaver_root(Path(temporary))
        write_archive(palaver_image(PALAVER, root), folder / "palaver.tar")
        # Its layers have the same names as the other's, so that a node unpacks them once.
        write_archive(palaver_image(PALAVER_AGAIN, root), folder / "palaver-again.tar")
        # A sandbox only has to be there until it is killed.
        sleeping = [f"/usr/local/bin/{PYTHON}", "-I", "-S", "-c", "import signal; signal.pause()"]
        write_archive(Image(PAUSE, [root / "runtime"], sleeping), folder / "pause.tar")
        for name, program in (
            (NATS, get_nats_server()),
            (COREDNS, get_programs(REAL_NODE)["coredns"]),
        ):
            layer = Path(temporary) / program.name
            (layer / "tmp").mkdir(parents=True)
            shutil.copy(program, layer / program.name)
            write_archive(Image(name, [layer], [f"/{program.name}"]), folder / f"{program.name}.tar")
        write_archive(_mongodb_image(), folder / "mongodb.tar")


def _folder() -> Path:
    return cache_directory() / "real-node-images"


def _palaver_root(temporary: Path) -> Path:
    """The folders of Palaver's image; those below the application are made once for each lock."""
    parts = [SOURCE / "image" / "root.py", *(SOURCE / "requirements" / lock for lock in LOCKS)]
    content = b"".join(part.read_bytes() for part in parts) + f"{platform.python_version()} {sys.base_prefix}".encode()
    key = f"image-{hashlib.sha256(content).hexdigest()[:16]}"
    below = built(key, lambda folder: _make_root(folder, ["runtime", "packages"]))
    _make_root(temporary, ["application"])
    for part in ("runtime", "packages"):
        (temporary / part).symlink_to(below / part)
    return temporary


def _make_root(folder: Path, parts: list[str]) -> None:
    try:
        make_root(folder, parts)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServerUnavailable(f"the image's {' and '.join(parts)}: {error}") from error


def _mongodb_image() -> Image:
    jars, classes = get_mongodb()

    def build(folder: Path) -> None:
        small = ("--strip-debug", "--no-header-files", "--no-man-pages")
        run("jlink", "--add-modules", _JAVA_MODULES, *small, "--output", folder / "java")
        shutil.copytree(classes, folder / "classes")
        shutil.copytree(jars, folder / "jars")
        (folder / "tmp").mkdir()
        programs = [file for file in (folder / "java").rglob("*") if file.is_file()]
        copy_libraries(programs, folder, [folder / "java"])

    layer = built(classes.name.replace("server", "image"), build)
    options = ["-XX:+UseSerialGC", "-Xmx512m", "-cp", "/classes:/jars/*"]
    return Image(MONGODB, [layer], ["/java/bin/java", *options, "WireServer"], ["0.0.0.0:27017"])
