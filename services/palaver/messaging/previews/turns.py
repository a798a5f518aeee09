"""Whose turn it is: work of many people for a few workers, so that who asks for much waits for themselves alone.

Called by `links.py`. In memory, of one process.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """Some work: whose it is, which hosts it has to do with, and what it is."""

    id: str
    user_id: str
    hosts: tuple[str, ...]
    work: T


class Turns(Generic[T]):
    """Users come one after another, each with their oldest piece that may begin.

    Of a user `of_user` pieces are worked on at once, of a host `of_host`: less than there are workers, so that neither
    who sends many slow links, nor a slow host that many link to, keeps all of them.
    """

    def __init__(self, *, of_user: int, of_host: int) -> None:
        self._of_user = of_user
        self._of_host = of_host
        self._waiting: OrderedDict[str, OrderedDict[str, Piece[T]]] = OrderedDict()  # by user, then by id
        self._users: Counter[str] = Counter()  # pieces that are worked on, by user
        self._hosts: Counter[str] = Counter()
        self._changed = asyncio.Event()

    def count(self, user_id: str) -> int:
        """How much of a user's waits."""
        return len(self._waiting.get(user_id, ()))

    def add(self, piece: Piece[T]) -> None:
        """Has it wait for its turn."""
        self._waiting.setdefault(piece.user_id, OrderedDict())[piece.id] = piece
        self._changed.set()

    async def begin(self) -> Piece[T]:
        """The next piece, when there is one whose turn it is. Its worker calls `end`."""
        while (piece := self._find_next()) is None:
            self._changed.clear()
            await self._changed.wait()
        pieces = self._waiting.pop(piece.user_id)
        del pieces[piece.id]
        if pieces:
            self._waiting[piece.user_id] = pieces  # behind all others
        self._users[piece.user_id] += 1
        self._hosts.update(piece.hosts)
        return piece

    def end(self, piece: Piece[T]) -> None:
        """It is done, or failed."""
        self._users.subtract((piece.user_id,))
        self._hosts.subtract(piece.hosts)
        self._users, self._hosts = +self._users, +self._hosts  # those that are at nothing are forgotten
        self._changed.set()

    def _find_next(self) -> Piece[T] | None:
        for user_id, pieces in self._waiting.items():
            if self._users[user_id] < self._of_user:
                for piece in pieces.values():
                    if self._may_begin(piece.hosts):
                        return piece
        return None

    def _may_begin(self, hosts: Sequence[str]) -> bool:
        return all(self._hosts[host] < self._of_host for host in hosts)
