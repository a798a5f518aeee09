"""Dead letters: events that a durable follower could not handle, until somebody looks at them.

They are records of the database, so that they survive a wiped NATS. The follower goes on without the event; later
events of the same stream do not wait for it. Called by `durable.py` and by the command `palaver dead-letters`, which
asks for a replay by a record of its own: a process that plays the follower finds it.
"""

import traceback
from collections.abc import AsyncIterator

from palaver.database import Database, Document, Stream
from palaver.errors import NotFound
from palaver.ids import encode_subject_token
from palaver.v1.event_pb2 import Event

_LETTERS = "dead_letters"
_REPLAYS = "replays"

_PAGE = 100
_MAX_ERROR = 8000


class DeadLetterNotFound(NotFound):
    reason = "There is no such dead letter"


class DeadLetters:
    """The dead letters of all followers. An id is follower/kind of stream/id of stream/seq, as subjects encode it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bury(self, follower: str, event: Event, error: BaseException, attempts: int, now: int) -> str:
        """Keeps the event as one that this follower can't handle; a replay that failed adds to its letter."""
        id = letter_id(follower, event)
        known = await self._database.find_record(_LETTERS, id) or {}
        letter = {
            "follower": follower,
            "stream_kind": event.stream_kind,
            "stream_id": event.stream_id,
            "seq": event.seq,
            "fact": event.WhichOneof("fact") or "",
            "error": "".join(traceback.format_exception_only(error)).strip()[:_MAX_ERROR],
            "trace": "".join(traceback.format_exception(error))[-_MAX_ERROR:],
            "attempts": known.get("attempts", 0) + attempts,
            "first_failed_at": known.get("first_failed_at", now),
            "failed_at": now,
        }
        await self._database.put_record(_LETTERS, id, letter)
        return id

    async def get(self, id: str) -> Document:
        """One letter. Raises DeadLetterNotFound."""
        letter = await self._database.find_record(_LETTERS, id)
        if letter is None:
            raise DeadLetterNotFound(f"There is no dead letter {id}")
        return letter

    async def list_all(self, follower: str = "") -> AsyncIterator[tuple[str, Document]]:
        """Every letter with its id; of one follower, if it is given."""
        prefix = f"{follower}/" if follower else ""
        after = ""
        while page := await self._database.list_records(_LETTERS, prefix, after=after, limit=_PAGE):
            for id, letter in page:
                yield id, letter
            after = page[-1][0]

    async def get_event(self, letter: Document) -> Event:
        """The event itself. Raises DeadLetterNotFound when the database has it no longer."""
        stream = Stream(letter["stream_kind"], letter["stream_id"])
        events = await self._database.list_events(stream, letter["seq"] - 1, 1)
        if not events or events[0].seq != letter["seq"]:
            raise DeadLetterNotFound(f"{stream} has no event {letter['seq']}")
        return events[0]

    async def drop(self, id: str) -> None:
        """Forgets a letter, and that it was to be replayed."""
        await self._database.delete_record(_LETTERS, id)
        await self._database.delete_record(_REPLAYS, id)

    # -- replays -----------------------------------------------------------------------------------------------------

    async def ask_replay(self, id: str) -> None:
        """Has a process that plays the follower handle the event once more. Raises DeadLetterNotFound."""
        await self.get(id)
        await self._database.put_record(_REPLAYS, id, {})

    async def is_replay_asked(self, id: str) -> bool:
        return await self._database.find_record(_REPLAYS, id) is not None

    async def list_replays(self, follower: str) -> list[str]:
        """Ids of letters that this follower is to handle once more: some of them at a time."""
        return [id for id, _ in await self._database.list_records(_REPLAYS, f"{follower}/", limit=_PAGE)]

    async def end_replay(self, id: str) -> None:
        """The replay has failed: the letter stays."""
        await self._database.delete_record(_REPLAYS, id)


def letter_id(follower: str, event: Event) -> str:
    """What a letter is called."""
    return f"{follower}/{event.stream_kind}/{encode_subject_token(event.stream_id)}/{event.seq}"
