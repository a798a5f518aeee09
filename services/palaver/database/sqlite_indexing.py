"""When texts are put into SQLite's index of them: in batches, before a search, and what was there before it bit by bit.

Called by `sqlite.py`, whose writer does it.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

from palaver.database.sqlite_schema import SEARCHED
from palaver.database.sqlite_text import Progress, get_progress, index_some
from palaver.errors import Unavailable

Submit = Callable[[Callable[[sqlite3.Connection], Any]], "asyncio.Future[Any]"]
Read = Callable[[Callable[[sqlite3.Connection], Progress]], Progress]

# New texts are indexed at the latest when there are so many: a few milliseconds of the writer's time.
_MAX_UNINDEXED = 100
# Between two steps through older texts: who writes meanwhile has most of the writer's time.
_PAUSE_SECONDS = 0.1
_RETRY_SECONDS = 1.0


class Indexing:
    """Owned by SqliteDatabase. `submit` has the writer do something, `read` reads on the event loop."""

    def __init__(self, submit: Submit, read: Read) -> None:
        self._submit = submit
        self._read = read
        self._unindexed = 0

    def count(self, texts: int) -> None:
        """So many texts were written."""
        self._unindexed += texts
        if self._unindexed >= _MAX_UNINDEXED:
            self._unindexed = 0
            for collection in SEARCHED:
                self._index(collection).add_done_callback(_look_at)

    async def before_search(self, collection: str) -> None:
        """Returns when a search finds everything that was written, as far as the index has come with what was there
        before it: a step of that, too."""
        while not self._progress(collection).is_complete:
            await self._index(collection)
            if self._progress(collection).is_current:
                return

    async def complete(self) -> None:
        """Returns when the indexes have everything. Raises what ends the writer."""
        for collection in SEARCHED:
            while not self._progress(collection).is_complete:
                try:
                    await self._index(collection)
                    await asyncio.sleep(_PAUSE_SECONDS)
                except Unavailable:  # a full disk, a file that somebody else holds
                    await asyncio.sleep(_RETRY_SECONDS)

    def _index(self, collection: str) -> "asyncio.Future[Any]":
        return self._submit(partial(index_some, collection=collection, field=SEARCHED[collection]))

    def _progress(self, collection: str) -> Progress:
        return self._read(partial(get_progress, collection=collection))


def _look_at(future: "asyncio.Future[Any]") -> None:
    """An error here is met again by whoever searches."""
    if not future.cancelled():
        future.exception()
