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

from palaver.messaging.markdown import Options
from tests.messaging.markdown.texts import random_cases
from tests.servers import npm_project

ANSWERS = Path(__file__).with_name("answers.jsonl.xz")
_PROJECT = Path(__file__).resolve().parents[2] / "clients" / "message-parser"
_SEED = 1
_COUNT = 8000
_ANSWER_SECONDS = 60


def foreign_options(options: Options) -> dict[str, Any]:
    """The options in that parser's words."""
    return {
        "colors": options.colors,
        "emoticons": options.emoticons,
        "katex": {
            "dollarSyntax": options.dollar_formulas,
            "parenthesisSyntax": options.parenthesis_formulas,
        },
        "customDomains": sorted(options.custom_domains),
    }


def own_options(foreign: dict[str, Any]) -> Options:
    """The options from that parser's words; what is not said does not count."""
    katex = foreign.get("katex", {})
    return Options(
        colors=foreign.get("colors", False),
        emoticons=foreign.get("emoticons", False),
        dollar_formulas=katex.get("dollarSyntax", False),
        parenthesis_formulas=katex.get("parenthesisSyntax", False),
        custom_domains=frozenset(foreign.get("customDomains", ())),
    )


class Oracle:
    """The running parser."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def find_tree(self, text: str, options: Options) -> list[dict[str, Any]] | None:
        """The text's tree; None where the parser takes too long or is of two minds."""
        assert self._process.stdin
        assert self._process.stdout
        question = {"text": text, "options": foreign_options(options)}
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
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
    cases = dict.fromkeys(itertools.islice(random_cases(_SEED), _COUNT))
    answers: list[dict[str, Any]] = []
    async with running_oracle() as oracle:
        for text, options in cases:
            tree = await oracle.find_tree(text, options)
            if tree is not None:
                answers.append({"text": text, "options": foreign_options(options), "md": tree})
    lines = [json.dumps(each, ensure_ascii=False, separators=(",", ":")) for each in answers]
    ANSWERS.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9))
    print(f"{len(lines)} of {len(cases)} texts, {ANSWERS.stat().st_size} bytes", file=sys.stderr)


if __name__ == "__main__":
    asyncio.run(record())
