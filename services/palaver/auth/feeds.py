"""Use cases: users' own streams, for gateways that may have missed something of them. Called by role.py."""

from palaver.events import user_stream
from palaver.log.secrets import without_secrets
from palaver.node import Node
from palaver.v1.auth_pb2 import GetUserHeadsReply, GetUserHeadsRequest, ListUserEventsReply, ListUserEventsRequest

_MAX_EVENTS = 500


class Feeds:
    """Reads the streams of users; whoever appends to them, the users are auth's."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def get_heads(self, request: GetUserHeadsRequest) -> GetUserHeadsReply:
        """The head of each user's stream, in the order asked; 0 for an unknown user."""
        streams = [user_stream(user_id) for user_id in request.user_ids]
        return GetUserHeadsReply(heads=await self._node.database.get_heads(streams))

    async def list_events(self, request: ListUserEventsRequest) -> ListUserEventsReply:
        """The first of the user's events after a `seq`, without hashes: whoever is not at the head yet asks again."""
        events = await self._node.commits.list_told(user_stream(request.user_id), request.after, _MAX_EVENTS)
        return ListUserEventsReply(events=map(without_secrets, events))
