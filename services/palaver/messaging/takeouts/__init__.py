"""Users' own data to take away: asked for, gathered in the background, kept for a week. Called by the service's role.

A takeout is a record, one of each user; its bytes are a blob, which only that user gets.
"""

import asyncio

from palaver.messaging.store import Store
from palaver.messaging.takeouts.archive import Archive
from palaver.messaging.takeouts.catalogue import Catalogue
from palaver.messaging.takeouts.working import Packer
from palaver.node import Node
from palaver.v1.messaging_pb2 import GetTakeoutRequest, RequestTakeoutRequest, TakeoutReply


class Takeouts:
    """Its use cases, and what makes and removes them."""

    def __init__(self, node: Node, store: Store) -> None:
        self.catalogue = Catalogue(node)
        self.packer = Packer(node, self.catalogue, Archive(node, store))

    async def request(self, request: RequestTakeoutRequest) -> TakeoutReply:
        """Has the actor's data gathered. Raises NotAllowed."""
        reply = await self.catalogue.request(request)
        if reply.requested:
            await self.packer.wake()
        return reply

    async def get(self, request: GetTakeoutRequest) -> TakeoutReply:
        """A takeout of the actor's own. Raises BlobNotFound."""
        return await self.catalogue.get(request)

    async def run(self) -> None:
        """The background task. Never returns."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.packer.run())
            tasks.create_task(self.packer.run_cleaning())
