"""The files of Palaver's image, as folders that lie over each other: the Dockerfile copies them, archive.py packs them.

    python image/root.py OUT            # all of them; or some: runtime packages application

`runtime` is this machine's Python with the shared libraries that it needs, `packages` what the locks in requirements/
name, `application` Palaver itself. There is no shell, no package manager and nothing else to run. The same sources,
Python and libraries make the same bytes.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent
LOCKS = ("runtime.txt", "operator.txt")
USER = 65532
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = Path("usr/local/lib") / PYTHON

# Of Python's library: what only developers use, and what needs a terminal or a database of its own.
_UNUSED = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter"}
_UNUSED |= {"turtledemo"}
_UNUSED_EXTENSIONS = re.compile(r"(_?test\w*|_xx\w+|_curses\w*|_tkinter|_gdbm|_dbm|nis|readline|\w+_test)\.")
# Of the C library: who a process may be, and that names of hosts come from DNS.
_ETC = {
    "passwd": f"root:x:0:0:root:/:/nonexistent\npalaver:x:{USER}:{USER}:palaver:/data:/nonexistent\n",
    "group": f"root:x:0:\npalaver:x:{USER}:\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


def make_runtime(into: Path) -> None:
    """Python, its standard library, the C library; who the process is; whom TLS trusts; the writable folders."""
    base = Path(sys.base_prefix)
    library = base / "lib" / PYTHON
    copied = [(base / "bin" / PYTHON, into / "usr/local/bin" / PYTHON)]
    for file in _files(library):
        inside = file.relative_to(library)
        if _UNUSED.intersection(inside.parts) or inside.parts[0].startswith("config-"):
            continue
        if inside.parts[0] == "lib-dynload" and _UNUSED_EXTENSIONS.match(inside.name):
            continue
        copied.append((file, into / LIBRARY / inside))
    for source, target in copied:
        _copy(source, target)
    copy_libraries([source for source, _ in copied], into, [])
    (into / "usr/local/bin/python3").symlink_to(PYTHON)
    (into / "etc").mkdir()
    for name, text in _ETC.items():
        (into / "etc" / name).write_text(text)
    _copy(Path("/") / _CERTIFICATES, into / _CERTIFICATES)
    (into / "tmp").mkdir()
    (into / "tmp").chmod(0o1777)
    _compile(into / LIBRARY, into)


def make_packages(into: Path) -> None:
    """What the locks name, as wheels whose hashes are checked."""
    target = into / LIBRARY / "site-packages"
    target.mkdir(parents=True)
    uv = shutil.which("uv")
    install = [uv, "pip", "install", "--quiet", "--python", sys.executable] if uv else [sys.executable, "-m", "pip"]
    if not uv:
        install += ["install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    locks = [option for lock in LOCKS for option in ("-r", str(SOURCE / "requirements" / lock))]
    options = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--target", str(target)]
    subprocess.run([*install, *options, *locks], check=True)
    shutil.rmtree(target / "bin", ignore_errors=True)  # programs that ask for the Python of this machine
    (target / ".lock").unlink(missing_ok=True)
    copy_libraries(list(_files(target)), into, [target])
    _compile(target, into)


def make_application(into: Path) -> None:
    """Palaver's own packages and programs, as pyproject.toml names them."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())
    target = into / LIBRARY / "site-packages"
    for package in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = SOURCE / package
        for file in _files(folder):
            if "__pycache__" not in file.parts:
                _copy(file, target / folder.name / file.relative_to(folder))
    _copy(SOURCE / "LICENSE", into / "usr/share/licenses/palaver/LICENSE")
    programs = into / "usr/local/bin"
    programs.mkdir(parents=True)
    for name, entry in project["project"]["scripts"].items():
        module, _, function = entry.partition(":")
        program = programs / name
        # Isolated: neither the folder where it is started nor PYTHON* variables decide what it imports.
        program.write_text(
            f"#!/usr/local/bin/{PYTHON} -I\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"
        )
        program.chmod(0o755)
    _compile(target, into)


PARTS = {"runtime": make_runtime, "packages": make_packages, "application": make_application}
"""From the lowest to the highest."""


def make_root(into: Path, parts: list[str]) -> None:
    """Makes these parts anew, as folders of `into`."""
    for part in parts:
        shutil.rmtree(into / part, ignore_errors=True)
        (into / part).mkdir(parents=True)
        PARTS[part](into / part)


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.endswith((".a", ".pyc")):
                yield Path(parent) / name


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    target.chmod(0o755 if os.access(source, os.X_OK) else 0o644)


def copy_libraries(files: list[Path], into: Path, own: list[Path]) -> None:
    """The shared libraries that these files need, but for those in `own` folders, into where every loader looks."""
    names = {file.name for file in files}
    for file in files:
        if not _is_elf(file):
            continue
        said = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
        for line in said.splitlines():
            found = re.fullmatch(r"\s*(?:(\S+) => )?(/\S+|not found)(?: \(0x[0-9a-f]+\))?", line)
            if found is None:
                continue  # static, or the kernel's own
            name, path = found[1], found[2]
            if path == "not found":
                if name in names:
                    continue  # who loads this has loaded that
                raise SystemExit(f"{file} needs {name}, which is not on this machine")
            if any(Path(path).is_relative_to(folder) for folder in own):
                continue
            # The loader is asked for by its whole path, everything else by its name.
            target = into / "usr/lib" / name if name else into / path.lstrip("/")
            if not target.exists():
                _copy(Path(path).resolve(), target)


def _is_elf(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"


def _compile(folder: Path, root: Path) -> None:
    """Python can't keep what it compiles on a read-only file system. The times of the files don't matter to it."""
    command = [sys.executable, "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
    places = ["-s", str(root), "-p", "/", str(folder)]
    # Sets are written in the order of their hashes.
    subprocess.run([*command, *places], check=True, env={**os.environ, "PYTHONHASHSEED": "0"})


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the folders of Palaver's image.")
    parser.add_argument("out", type=Path)
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    make_root(given.out, given.parts)


if __name__ == "__main__":
    main()
