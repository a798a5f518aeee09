"""Rocket.Chat's own message parser as a process: what it makes of a text is what ours has to make of it.

Run as a program it writes its answers to a few thousand texts anew: answers.jsonl.xz, for tests that do without it.

    python -m tests.messaging.markdown.oracle
"""

import asyncio
import itertools
import json
import lzma
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.messaging.markdown.texts import random_texts
from tests.servers import npm_project

ANSWERS = Path(__file__).with_name("answers.jsonl.xz")
_PROJECT = Path(__file__).resolve().parents[2] / "clients" / "message-parser"
_SEED = 1
_COUNT = 6000
_ANSWER_SECONDS = 10


class Oracle:
    """The running parser."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def find_tree(self, text: str) -> list[dict[str, Any]] | None:
        """The text's tree; None where the parser takes too long or is of two minds."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(text).encode() + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), _ANSWER_SECONDS)
        tree: list[dict[str, Any]] | None = json.loads(line).get("md")
        return tree


@asynccontextmanager
async def running_oracle() -> AsyncIterator[Oracle]:
    """Installs the parser, unless it is there already, and starts it."""
    project = await npm_project(_PROJECT)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", "answer.js", cwd=project.directory, env=project.environment, stdin=pipe, stdout=pipe, limit=2**24
    )
    try:
        yield Oracle(process)
    finally:
        assert process.stdin
        process.stdin.close()
        await process.wait()


async def record() -> None:
    """Writes the answers."""
    texts = dict.fromkeys(itertools.islice(random_texts(_SEED), _COUNT))
    async with running_oracle() as oracle:
        answers = [{"text": text, "md": await oracle.find_tree(text)} for text in texts]
    lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in answers if each["md"] is not None]
    ANSWERS.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))
    print(f"{len(lines)} of {len(texts)} texts, {ANSWERS.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(record())
