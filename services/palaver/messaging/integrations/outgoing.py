"""Outgoing webhooks: a durable follower that writes down what has to be posted of what happens. It posts nothing
itself, so that no slow server keeps it from what happens next.

An event that is handled again finds its deliveries written down already. What an integration has said itself (every
message that has `bot`) triggers none.
"""

from palaver import failpoints
from palaver.access import User
from palaver.database import Document
from palaver.log.durable import DurableFollower, Follower
from palaver.messaging.integrations import triggers
from palaver.messaging.integrations.deliveries import Deliveries, delivery_id, tell_due
from palaver.messaging.integrations.rules import OUTGOING
from palaver.node import Node
from palaver.v1.event_pb2 import Event


class Outgoing:
    """Knows which webhooks there are, and what they are about."""

    def __init__(self, node: Node, deliveries: Deliveries) -> None:
        self._node = node
        self._deliveries = deliveries
        self._known: list[Document] = []
        self._known_seq = -1  # of the policy with which they were read

    def make_follower(self) -> DurableFollower:
        """The follower of this node; its owner runs and stops it."""
        follower = Follower("webhooks", ("room", "user"), triggers.FACTS, self.on_event, self._may_concern)
        node = self._node
        return DurableFollower(follower, node.database, node.log, node.live, node_id=node.config.node_id)

    async def on_event(self, event: Event) -> None:
        """Writes down one delivery for each address of each webhook that wants to know."""
        await self._node.access.catch_up(event.policy_seq)  # whoever said this may have made a webhook just before
        integrations = await self._list_integrations()
        if not integrations or (happening := triggers.read(event)) is None:
            return
        room: Document = {}
        if event.stream_kind == "room":
            room = await self._node.database.get("rooms", event.stream_id) or {}
        wanted = [one for one in integrations if triggers.wants(one, happening, room, event.at)]
        if not wanted:
            return
        found = await self._node.access.find_user(happening.user_id) if happening.user_id else None
        user = _shown(found) if found is not None else {}
        for integration in wanted:
            word = triggers.find_trigger_word(integration, happening)
            if word is None:
                continue
            site_url = self._node.config.site_url
            data = triggers.compose(integration, happening, room, user, event.at, site_url, word)
            data.pop("token")  # it is added as it is posted: the record shows it to nobody
            for url in integration["urls"]:
                delivery = {
                    "event": integration["event"],
                    "url": url,
                    "data": data,
                    "trigger_word": word,
                    "room_id": room.get("_id", ""),
                    "user_id": happening.message.get("u", {}).get("_id", happening.user_id),
                    "created_at": event.at,
                }
                if await self._deliveries.add(integration["_id"], delivery_id(event, url), delivery):
                    failpoints.reach("webhook.after_add")
        await tell_due(self._node.live)

    def _may_concern(self, event: Event) -> bool:
        access = self._node.access
        newest = max(access.policy.seq, event.policy_seq)
        return bool(self._known) or newest != self._known_seq or not access.is_trusted()

    async def _list_integrations(self) -> list[Document]:
        """Those that are enabled. The policy's number grows with each change of one. Raises Unavailable: while nobody
        says whether it is still the newest, events wait."""
        await self._node.access.find_users(())
        seq = self._node.access.policy.seq
        if seq != self._known_seq:
            where = {"type": OUTGOING, "deleted_at": None}
            self._known = [one for one in await self._node.database.find("integrations", where) if one["enabled"]]
            self._known_seq = seq
        return self._known


def _shown(user: User) -> Document:
    return {"_id": user.id, "username": user.username, "name": user.name, "type": user.type}
