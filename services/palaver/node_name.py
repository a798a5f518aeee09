"""One process a name: PALAVER_NODE_ID stands in leases and shares, and two processes of one name would take each
other's for their own.

Who starts asks on a live subject whether somebody has the name; whoever has it answers. So a process that died leaves
nothing behind that its successor would have to wait for, and nobody says anything while all is well. Who was away from
NATS asks again: it may have been replaced meanwhile. Used by node.py, in a cluster.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from palaver.config import ConfigError
from palaver.errors import Unavailable
from palaver.ids import encode_subject_token, new_id
from palaver.live import Live

logger = logging.getLogger(__name__)

LISTEN_SECONDS = 0.2
"""How long a start waits for an answer. One that comes later stops the process all the same."""

_QUESTION, _ANSWER = "?", "!"


class NodeName:
    """The name of this process. `fail` hears when somebody else turns out to have it; `spawn` runs what is owned."""

    def __init__(
        self,
        node_id: str,
        live: Live,
        *,
        spawn: Callable[[Coroutine[Any, Any, Any], str], "asyncio.Task[Any]"],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._node_id = node_id
        self._live = live
        self._spawn = spawn
        self._fail = fail
        self._subject = f"nodes.{encode_subject_token(node_id)}"
        self._run_id = new_id()
        self._is_mine = False
        self._taken = asyncio.Event()

    async def claim(self) -> None:
        """Returns when the name is this process's. Raises ConfigError when another one has it, Unavailable."""
        await self._live.subscribe(self._subject, self._on_message)
        await self._say(_QUESTION, self._run_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LISTEN_SECONDS):
                await self._taken.wait()
        if self._taken.is_set():
            raise self._error()
        self._is_mine = True
        self._live.on_gap(self._on_gap)

    def _on_gap(self) -> None:
        self._spawn(self._ask_again(), "asking for the name of this process")

    async def _ask_again(self) -> None:
        try:
            await self._say(_QUESTION, self._run_id)
        except Unavailable as error:
            logger.warning("nobody can say yet whether another process has the name of this one: %s", error)

    async def _say(self, what: str, run_id: str) -> None:
        await self._live.publish(self._subject, f"{what}{run_id}".encode())

    def _on_message(self, message: bytes) -> None:
        what, run_id = message[:1].decode(errors="replace"), message[1:].decode(errors="replace")
        if what == _QUESTION and run_id != self._run_id:
            # Of several that start at the same moment one gets the name.
            if self._is_mine or self._run_id < run_id:
                self._spawn(self._answer(run_id), "saying whose name it is")
            else:
                self._taken.set()
        elif what == _ANSWER and run_id == self._run_id and not self._taken.is_set():
            self._taken.set()
            if self._is_mine:
                self._fail(self._error())

    async def _answer(self, run_id: str) -> None:
        logger.error("another process has started with the name of this one (PALAVER_NODE_ID=%s)", self._node_id)
        try:
            await self._say(_ANSWER, run_id)
        except Unavailable as error:
            logger.warning("it can't be told: %s", error)

    def _error(self) -> ConfigError:
        return ConfigError(
            f"PALAVER_NODE_ID={self._node_id}: another process of this workspace has this name. "
            "Give each its own, or none: then one is made up"
        )
