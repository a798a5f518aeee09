"""The fault suite: a real cluster under load, one fault after another, and the oracle after each round.

    make test-faults                                  # every fault in a round of its own, in an order drawn by the seed
    make test-faults ROUNDS=10 ARGS="--seed 7"        # ten times
    make test-faults ARGS="--only 'kill -9 a gateway'"
    make test-faults ROUNDS=10 ARGS=--short           # several faults in a round: a few minutes each time

`test_faults.py` runs the short plan, once.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.cluster import Cluster
from tests.faults.faults import FAULTS, PARTITIONED, SHORT_PLAN, Scene
from tests.faults.load import RECOVERY_SECONDS, Load, running_load
from tests.faults.proxy import Proxy
from tests.servers import nats_server, own_mongodb_server

CLIENTS = 200
WARM_SECONDS = 2.0
AFTER_SECONDS = 2.0
"""How long the load goes on before the first fault and after the last one."""

Plan = Sequence[Sequence[str]]
"""Rounds, each of some faults by name."""


@dataclass
class Suite:
    """A running cluster with its clients."""

    scene: Scene
    load: Load
    draw: Random
    say: Callable[[str], None]

    async def run_round(self, number: int, names: Sequence[str]) -> list[str]:
        """Does these faults under load. Returns what was broken by it."""
        load = self.load
        sent, acknowledged = len(load.ledger.sent), load.acknowledged()
        load.begin(self.draw)
        await asyncio.sleep(WARM_SECONDS)
        began = time.monotonic()
        broken: list[str] = []
        renaming = asyncio.create_task(load.rename(number, self.draw))
        for name in names:
            try:
                await FAULTS[name](self.scene)
            except (AssertionError, TimeoutError, RuntimeError) as error:
                broken.append(f"{name}: {type(error).__name__}: {error}")
        lasted = time.monotonic() - began
        await asyncio.sleep(AFTER_SECONDS)
        load.end()
        broken += await self._recover()
        renamed = await renaming
        quiet = await load.wait_until_quiet()
        broken += await load.judge(*renamed)
        self.say(
            f"round {number}: {', '.join(names)} ({lasted:.1f} s): "
            f"sent {len(load.ledger.sent) - sent}, acknowledged {load.acknowledged() - acknowledged}, "
            f"{load.summary()}, the rest heard after {quiet:.1f} s" + (": BROKEN" if broken else "")
        )
        for line in broken:
            self.say(f"    {line}")
        return broken

    async def _recover(self) -> list[str]:
        """Waits until every process is ready, and every client connected with nothing left to send."""
        try:
            await self.scene.cluster.wait_until_ready(RECOVERY_SECONDS)
        except TimeoutError as error:
            return [str(error)]
        return await self.load.recover()


@asynccontextmanager
async def running_suite(folder: Path, seed: int, say: Callable[[str], None]) -> AsyncIterator[Suite]:
    """A cluster of two processes a role (where a role can), with everything that a fault needs, and its clients."""
    async with (
        own_mongodb_server() as mongodb,
        nats_server(store_dir=folder / "nats") as nats,
        Proxy(nats.port) as proxy,
    ):
        cluster = Cluster(
            folder,
            mongodb.url,
            nats.url,
            own_environment={PARTITIONED: {"PALAVER_NATS_URL": f"nats://127.0.0.1:{proxy.port}"}},
        )
        try:
            await cluster.start()
            async with running_load(cluster.url, mongodb.url, CLIENTS, seed) as load:
                yield Suite(Scene(cluster, nats, mongodb, proxy, load.headers), load, Random(seed), say)
        finally:
            codes = await cluster.stop()
        if bad := {name: code for name, code in codes.items() if code}:
            raise AssertionError(f"stopped with a status: {bad}")


async def run_plan(folder: Path, seed: int, plan: Plan, say: Callable[[str], None]) -> list[str]:
    """Runs the rounds; stops after the first that broke something. Returns what."""
    say(f"seed {seed}: {len(plan)} rounds, {CLIENTS} clients")
    async with running_suite(folder, seed, say) as suite:
        for number, names in enumerate(plan, 1):
            if broken := await suite.run_round(number, names):
                return [f"round {number} ({', '.join(names)}): {line}" for line in broken]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(prog="make test-faults", description="Breaks a cluster under load, and counts.")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="what draws the order of faults")
    parser.add_argument("--rounds", type=int, default=1, help="how often every fault is done")
    parser.add_argument("--only", action="append", choices=list(FAULTS), help="only this fault (may be repeated)")
    parser.add_argument("--short", action="store_true", help="several faults in a round, as in make test-all")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="palaver-faults-"))
    for seed in range(given.seed, given.seed + given.rounds):  # a new cluster each time: what it stores stays small
        plan = [*SHORT_PLAN.values()] if given.short else [[name] for name in given.only or FAULTS]
        Random(seed).shuffle(plan)
        own = folder / str(seed)
        own.mkdir()
        broken = asyncio.run(run_plan(own, seed, plan, lambda line: print(line, flush=True)))
        if broken:
            sys.exit(f"make test-faults: {len(broken)} promises broken; the logs are in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
