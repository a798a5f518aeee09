"""The image has all that Palaver needs and nothing else, and runs.

Needs the network once, for the wheels that the locks name.
"""

import json
import os
import re
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from image.archive import palaver_image, write_archive
from image.root import LIBRARY, LOCKS, PARTS, SOURCE, make_root
from image.sbom import make_bill
from tests.children import die_with_parent
from tests.e2e.process import ADMIN
from tests.ports import free_port

pytestmark = pytest.mark.needs_servers


@pytest.fixture(scope="session")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file system of all parts, as a container has it."""
    folder = tmp_path_factory.mktemp("whole")
    for part in PARTS:
        subprocess.run(["cp", "-a", f"{root / part}/.", folder], check=True)
    for name in ("data", "dev", "proc"):
        (folder / name).mkdir()
    return folder


def command(whole: Path, *arguments: str) -> list[str]:
    """A command in that file system, in which its folders alone can be seen."""
    unshare = shutil.which("unshare")
    assert unshare
    return [unshare, "--map-root-user", "--root", str(whole), "--wd", "/", *arguments]


def environment(root: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/usr/local/bin", **palaver_image("palaver:1", root).environment, **more}


def run(whole: Path, root: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(whole, *arguments), env=environment(root), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_program_of_the_project_runs(whole: Path, root: Path) -> None:
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    assert f"palaver {project['version']}\n" == run(whole, root, "palaver", "--version")
    for name in project["scripts"]:
        assert f"usage: {name}" in run(whole, root, name, "--help")
    assert sorted(path.name for path in (whole / "usr/local/bin").iterdir()) == sorted(
        [*project["scripts"], "python3", Path(LIBRARY).name]
    )


@contextmanager
def served(whole: Path, root: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    port = free_port()
    variables = environment(
        root,
        PALAVER_PORT=str(port),
        PALAVER_HOST="127.0.0.1",
        PALAVER_ADMIN_USERNAME=ADMIN["user"],
        PALAVER_ADMIN_PASSWORD=ADMIN["password"],
        PALAVER_ADMIN_EMAIL="boss@example.org",
        PALAVER_ADMIN_NAME="The Boss",
        PALAVER_TEST_MODE="1",
    )
    process = subprocess.Popen(command(whole, "palaver", "serve"), env=variables, preexec_fn=die_with_parent)
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait(20)


def test_it_serves_and_writes_nothing_but_its_data(whole: Path, root: Path) -> None:
    def everything() -> set[str]:
        return {str(path.relative_to(whole)) for path in whole.rglob("*") if path.relative_to(whole).parts[0] != "data"}

    before = everything()
    with served(whole, root) as (url, process), httpx.Client(base_url=url, timeout=60) as http:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                if http.get("/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        assert http.post("/api/v1/login", json=ADMIN).status_code == 200
    assert process.returncode == 0
    assert everything() == before
    assert any((whole / "data").iterdir())


def test_there_is_no_shell_and_nothing_is_left_to_compile(whole: Path) -> None:
    programs = {path.name for path in whole.rglob("*") if path.is_file() and os.access(path, os.X_OK)}
    assert not programs & {"sh", "bash", "dash", "busybox", "pip", "uv", "apt", "ldd"}
    modules = [path for path in whole.rglob("*.py") if path.is_relative_to(whole / LIBRARY)]
    assert len(modules) > 1000
    name = Path(LIBRARY).name.replace("python", "cpython-").replace(".", "")
    uncompiled = [
        module for module in modules if not (module.parent / "__pycache__" / f"{module.stem}.{name}.pyc").exists()
    ]
    assert uncompiled == []


def test_it_is_the_same_when_it_is_made_again(root: Path, tmp_path: Path) -> None:
    write_archive(palaver_image("palaver:1", root), tmp_path / "one.tar")
    make_root(tmp_path / "again", list(PARTS))
    write_archive(palaver_image("palaver:1", tmp_path / "again"), tmp_path / "two.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_the_bill_of_materials_is_what_the_locks_name(root: Path) -> None:
    bill = make_bill(root)
    assert json.dumps(bill) == json.dumps(make_bill(root))
    listed = {component["purl"] for component in bill["components"] if component["type"] == "library"}
    locked = {
        f"pkg:pypi/{name}@{version}"
        for lock in LOCKS
        for name, version, marker in re.findall(
            r"^([\w.-]+)==([^ ;]+)(?: ; ([^\\]+))? \\$", (SOURCE / "requirements" / lock).read_text(), re.MULTILINE
        )
        if "win32" not in marker and "Windows" not in marker
    }
    assert listed == locked
    files = {each["bom-ref"] for each in bill["components"] if each["type"] == "file"}
    references = {each["bom-ref"] for each in [*bill["components"], bill["metadata"]["component"]]}
    assert {each["ref"] for each in bill["dependencies"]} == references - files
    # Nothing is there that nobody needs.
    needed = {reference for each in bill["dependencies"] for reference in each.get("dependsOn", ())}
    assert needed == references - {bill["metadata"]["component"]["bom-ref"]}
    unlicensed = [each["name"] for each in bill["components"] if each["type"] != "file" and not each["licenses"]]
    assert unlicensed == []
    libraries = {each["name"] for each in bill["components"] if each["type"] == "file"}
    assert {"/usr/lib/libssl.so.3", "/usr/lib/libc.so.6"} <= libraries
