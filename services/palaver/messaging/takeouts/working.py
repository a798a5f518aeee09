"""Makes the takeouts that were asked for, one after another: one process of those that play messaging, under a lease.

A process that dies leaves the record as it was, and another one begins again: a takeout's bytes are stored as a whole.
"""

import asyncio
import logging
import sys

from prometheus_client import Counter

from palaver import failpoints
from palaver.commit import now
from palaver.database import Document
from palaver.errors import PalaverError, Unavailable
from palaver.messaging.rounds import Rounds
from palaver.messaging.takeouts.archive import Archive
from palaver.messaging.takeouts.catalogue import KEPT_MILLISECONDS, KIND, Catalogue, blob_key
from palaver.node import Node
from palaver.v1.auth_pb2 import SendTakeoutLinkRequest

logger = logging.getLogger(__name__)

MADE = Counter("palaver_takeouts_made_total", "Archives of users' own data, by how making one ended", ["outcome"])

_ROUND_SECONDS = 2.0
_CLEAN_EVERY_SECONDS = 3600.0


class Packer:
    """The worker of one process, which may have the lease or not."""

    def __init__(self, node: Node, catalogue: Catalogue, archive: Archive) -> None:
        self._node = node
        self._catalogue = catalogue
        self._archive = archive
        self._rounds = Rounds(node, KIND, _ROUND_SECONDS, self._work_off)

    async def run(self) -> None:
        """The background task. Never returns."""
        await self._rounds.run()

    async def wake(self) -> None:
        """There is something to do."""
        await self._rounds.wake()

    async def run_cleaning(self) -> None:
        """The background task that removes what is over. Twice at once does no harm."""
        while True:
            await asyncio.sleep(_CLEAN_EVERY_SECONDS)
            try:
                await self._catalogue.clean(now())
            except Unavailable as error:
                logger.warning("takeouts are cleaned away later: %s", error)

    async def _work_off(self) -> None:
        while (found := await self._catalogue.find_due(now())) is not None:
            due_key, takeout = found
            try:
                await self._make(takeout)
            except Unavailable as error:
                # It may be this one alone: what fills the disk is no reason to make no other.
                logger.warning("the takeout %s has to wait: %s", takeout["_id"], error)
                if await self._catalogue.postpone(due_key, now()):
                    continue
                await self._fail(takeout)
            await self._catalogue.finish(due_key)

    async def _make(self, takeout: Document) -> None:
        await self._catalogue.change(takeout, status="exporting")
        failpoints.reach("takeout.before_archive")
        try:
            content = self._archive.compose(takeout["userId"], full=takeout["fullExport"])
            digest = await self._node.blobs.put(blob_key(takeout["_id"]), content, max_size=sys.maxsize)
        except Unavailable:
            raise
        except Exception:  # one that can't be made is no reason to make no other
            logger.exception("the takeout %s failed", takeout["_id"])
            await self._fail(takeout)
            return
        failpoints.reach("takeout.before_done")
        until = {"$date": takeout["createdAt"]["$date"] + KEPT_MILLISECONDS}
        await self._catalogue.change(
            takeout, status="completed", size=digest.size, completedAt={"$date": now()}, expiresAt=until
        )
        MADE.labels("completed").inc()
        try:
            request = SendTakeoutLinkRequest(user_id=takeout["userId"], takeout_id=takeout["_id"])
            await self._node.services.auth.send_takeout_link(request)
        except PalaverError as error:  # who asks again is told where it is
            logger.info("nobody is told by e-mail of the takeout %s: %s", takeout["_id"], error)

    async def _fail(self, takeout: Document) -> None:
        MADE.labels("failed").inc()
        await self._catalogue.change(takeout, status="failed")
