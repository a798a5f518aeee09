"""A day of a small team, at random under a seed: `make day MINUTES=60`.

Alice starts a workspace as the README says and registers first; Bob registers; a bot (rocketchat-API), an incoming and
an outgoing webhook join them. They do what people do, by REST and DDP in turns, and after each step everybody who
should see it does, and nobody else. At the end all rooms are compared with what should be in them, the server's log
must hold nothing above the level of information, and its metrics no failures.
"""

import argparse
import asyncio
import json
import random
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.e2e import day_messages, day_rooms
from tests.e2e.day_team import Team
from tests.e2e.process import PalaverProcess
from tests.outside import Answer, Request, outside

STEPS = (*day_messages.STEPS, *day_rooms.STEPS)
COMPARE_EVERY = 40
"""Steps after which all rooms are compared."""

_FAILURES = re.compile(r"^(palaver_\w*(?:error|fail|drop|crash|dead_letter)\w*_total(?:\{.*\})?) (\S+)$", re.MULTILINE)


async def answer(request: Request) -> Answer:
    """The other end of the outgoing webhook."""
    question = json.loads(request.body)["text"].removeprefix("!ask ")
    return Answer(200, json.dumps({"text": f"you asked: {question}"}).encode(), {"Content-Type": "application/json"})


async def live(folder: Path, seconds: float, seed: int) -> Counter[str]:
    """How often each step was done. Raises AssertionError at the first thing that is not as it should be."""
    done: Counter[str] = Counter()
    server = PalaverProcess(
        folder,
        PALAVER_TEST_MODE="0",
        PALAVER_ADMIN_USERNAME="",
        PALAVER_ADMIN_PASSWORD="",
        PALAVER_ADMIN_EMAIL="",
        PALAVER_ADMIN_NAME="",
        PALAVER_OUTBOUND_ALLOWED="127.0.0.1",
    )
    await server.start()
    try:
        async with outside({"/ask": answer}) as site:
            team = Team(server.url, site.url, seed)
            try:
                await team.begin()
                ends = time.monotonic() + seconds
                while time.monotonic() < ends:
                    await _step(team, done)
                await team.compare(None)
            finally:
                await team.close()
        async with httpx.AsyncClient(timeout=60) as http:
            metrics = (await http.get(f"{server.url}/metrics")).text
    finally:
        status = server.stop()
    failures = [line for line in _FAILURES.findall(metrics) if float(line[1])]
    assert not failures, failures
    assert server.problems() == []
    assert status == 0
    return done


async def _step(team: Team, done: Counter[str]) -> None:
    step = team.random.choice(STEPS)
    for person in team.people:
        person.forget()
    try:
        await step(team)
        done[step.__name__] += 1
        if done.total() % COMPARE_EVERY == 0:
            await team.compare(50)
    except BaseException as error:
        error.add_note(f"step {done.total() + 1}: {step.__name__}")
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="palaver-day-"))
    print(f"log and data: {folder}", flush=True)
    done = asyncio.run(live(folder, given.minutes * 60, given.seed))
    print("\n".join(f"{count:6} {name}" for name, count in sorted(done.items())))
    print(f"{done.total():6} steps; everything is as it should be")


if __name__ == "__main__":
    main()
