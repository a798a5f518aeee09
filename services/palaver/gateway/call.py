"""One call of a client, whatever surface it came by: who calls, and the way to the services.

An *operation* is what a REST endpoint and its DDP twin share: a function that takes a `Call` and typed parameters.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palaver.access import Access, User
from palaver.config import Config
from palaver.errors import LoginRequired, Unavailable
from palaver.events import user_actor
from palaver.gateway.admission import Admission
from palaver.live import Live
from palaver.node import Services
from palaver.v1.auth_pb2 import CheckSecondFactorRequest
from palaver.v1.event_pb2 import Actor

if TYPE_CHECKING:
    from palaver.gateway.ddp.connection import Connection
    from palaver.gateway.ddp.method import Method
    from palaver.gateway.pictures import Pictures
    from palaver.gateway.presence_reports import PresenceReports

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Call:
    """`user` is None for somebody who is not logged in; `token` is what a REST request came with."""

    services: Services
    access: Access
    config: Config
    admission: Admission
    presence: "PresenceReports"  # what this gateway says of its users
    live: Live
    pictures: "Pictures"
    user: User | None = None
    hashed_token: str = ""
    token: str = ""
    token_expires_at: int = 0  # epoch milliseconds
    address: str = ""
    user_agent: str = ""
    connection: "Connection | None" = None
    methods: "Mapping[str, Method]" = field(default_factory=dict)  # those that `method.call` may name
    second_factor_code: str = ""
    second_factor_method: str = ""

    @property
    def actor(self) -> Actor:
        """The actor for internal calls. Raises LoginRequired when nobody is logged in."""
        if self.user is None:
            raise LoginRequired
        return user_actor(self.user.id)

    @property
    def reader(self) -> Actor:
        """The actor for what somebody may look at who is not logged in, too, where the settings allow it."""
        return user_actor(self.user.id if self.user is not None else "")

    @property
    def me(self) -> User:
        """The logged-in user. Raises LoginRequired."""
        if self.user is None:
            raise LoginRequired
        return self.user

    async def check_second_factor(self) -> None:
        """For what a stolen login must not be enough for. Raises SecondFactorRequired, NotAllowed."""
        await self.services.auth.check_second_factor(
            CheckSecondFactorRequest(
                actor=self.actor,
                code=self.second_factor_code,
                method=self.second_factor_method,
                hashed_token=self.hashed_token,
            )
        )

    async def show(self, subject: str, change: bytes) -> None:
        """Has every gateway show its clients what is stored already. Who misses it sees it when they look anew: so that
        it can't be told is no failure of the call.
        """
        try:
            await self.live.publish(subject, change)
        except Unavailable as error:
            logger.warning("clients are not told of a change (%s): %s", subject, error.error_reason)

    def may(self, permission_id: str) -> bool:
        """Whether the caller has a permission by their workspace roles."""
        return self.user is not None and self.access.may(self.user, permission_id)

    def setting(self, setting_id: str) -> Any:
        return self.access.setting(setting_id)
