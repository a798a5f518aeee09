"""Which gateways live: each keeps a live key for as long as it does.

The key `presence.nodes.<node>` (LEASE_SECONDS, put again by its gateway every few seconds) says how many connections
there are. A gateway is lost when its key has been missing for as long again, and nothing else was heard of it: live
ports that lose their memory lose every key, and gateways need the time to put them again.
"""

import logging
from collections.abc import Callable, Iterable

from palaver.errors import PalaverError
from palaver.ids import decode_subject_token
from palaver.live import Live
from palaver.presence.picture import GatewayEntry, Picture

logger = logging.getLogger(__name__)

LEASES = "presence.nodes"
LEASE_SECONDS = 15.0


class Gateways:
    """Watches over the gateways of the picture."""

    def __init__(self, live: Live, picture: Picture, clock: Callable[[], float]) -> None:
        self._live = live
        self._picture = picture
        self._clock = clock

    async def list_living(self) -> dict[str, int]:
        """The connections of each gateway that lives, by its id."""
        living = {}
        for key, value in (await self._live.list(LEASES)).items():
            try:
                living[decode_subject_token(key.removeprefix(LEASES + "."))] = int(value)
            except ValueError:
                logger.warning("not the lease of a gateway: %s", key)
        return living

    async def list_lost(self) -> list[GatewayEntry]:
        """Gateways with users that are lost now. While nobody can look, nobody is lost."""
        try:
            living = await self.list_living()
        except PalaverError:
            self._see(self._picture.gateways)
            raise
        self._see(living)
        now = self._clock()
        gateways = self._picture.gateways.values()
        return [gateway for gateway in gateways if gateway.users and now - gateway.seen_at >= LEASE_SECONDS]

    def _see(self, node_ids: Iterable[str]) -> None:
        for node_id in node_ids:
            if (gateway := self._picture.gateways.get(node_id)) is not None:
                gateway.seen_at = self._clock()
