"""What must be true of a chat, whatever was done to its servers: written down by the clients, judged here.

`Ledger` is what the clients did and saw, `Stored` what the database holds afterwards; `violations` compares them.
Nothing here talks to anything: `client.py` fills the ledger, `run.py` reads the database.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Heard:
    """What one subscription of one socket was told of a room's messages, in order."""

    client: str
    room: str
    due: int  # of the messages acknowledged in the room, the first that has yet to reach it; at first: those to come
    messages: list[str] = field(default_factory=list)
    open: bool = True


@dataclass(slots=True)
class Ledger:
    """Everything that the clients did and saw. Messages and rooms by their ids, clients by their names."""

    sent: dict[str, str] = field(default_factory=dict)  # message → room
    acknowledged: dict[str, list[str]] = field(default_factory=dict)  # room → messages, in order
    refused: set[str] = field(default_factory=set)
    surprises: list[str] = field(default_factory=list)  # answers that no client should get
    heard: list[Heard] = field(default_factory=list)
    # What each client knows of each room that it reads, from its sockets and from asking for what it missed.
    known: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def subscribe(self, client: str, room: str) -> Heard:
        """A subscription stands: its server has said `ready`."""
        heard = Heard(client, room, len(self.acknowledged.get(room, ())))
        self.heard.append(heard)
        self.known.setdefault((client, room), set())
        return heard

    def hear(self, heard: Heard, message: str) -> None:
        heard.messages.append(message)
        self.known[heard.client, heard.room].add(message)

    def learn(self, client: str, room: str, messages: Sequence[str]) -> None:
        """A client asked for what it had missed, and was answered."""
        self.known.setdefault((client, room), set()).update(messages)

    def acknowledge(self, message: str) -> None:
        self.acknowledged.setdefault(self.sent[message], []).append(message)

    @property
    def unknown(self) -> set[str]:
        """Messages that were never answered for: they may be there or not."""
        return self.sent.keys() - self.refused.union(*self.acknowledged.values())

    def waiting(self) -> int:
        """How many acknowledged messages have not reached subscriptions that are open and must hear them."""
        return sum(len(missing) for _, missing in self.unheard())

    def unheard(self) -> Iterator[tuple[Heard, list[str]]]:
        """The open subscriptions that lack something, and what."""
        for heard in self.heard:
            if not heard.open:
                continue
            known, due = self.known[heard.client, heard.room], self.acknowledged.get(heard.room, [])
            while heard.due < len(due) and due[heard.due] in known:
                heard.due += 1
            missing = [message for message in due[heard.due :] if message not in known]
            if missing:
                yield heard, missing


@dataclass(frozen=True, slots=True)
class Counters:
    """What a room's document and those of its members say of its messages."""

    counted: int
    last: str
    own: Mapping[str, int]  # by user


@dataclass(slots=True)
class Stored:
    """What the database holds: of each room, the messages of its events in order, and the documents made of them."""

    events: Mapping[str, Sequence[str]]
    documents: Mapping[str, Sequence[str]]
    senders: Mapping[str, str] = field(default_factory=dict)  # message → user, by the events
    counters: Mapping[str, Counters] = field(default_factory=dict)  # by room
    unpublished: int = 0
    """Events that nobody was told of, long after they were committed."""
    misnamed: Sequence[str] = ()
    """Memberships that still show a name which their user has given up."""


def violations(ledger: Ledger, stored: Stored) -> list[str]:
    """Every promise that was broken, in words; at most a few of each kind. Empty: all is well."""
    return [
        line
        for check in (
            _surprises,
            _stored_once,
            _projected,
            _counted,
            _acknowledged,
            _heard_in_order,
            _heard_at_all,
            _known,
        )
        for line in _some(check(ledger, stored))
    ]


_SHOWN = 5


def _some(lines: Iterator[str]) -> list[str]:
    found = list(lines)
    more = [f"… and {len(found) - _SHOWN} more of these"] if len(found) > _SHOWN else []
    return found[:_SHOWN] + more


def _surprises(ledger: Ledger, stored: Stored) -> Iterator[str]:
    yield from ledger.surprises
    if stored.unpublished:
        yield f"{stored.unpublished} events were never told to anybody"
    for membership in stored.misnamed:
        yield f"{membership} shows an old name"


def _stored_once(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """What is stored was sent, there, and is there once."""
    times = Counter(message for messages in stored.events.values() for message in messages)
    for message, count in times.items():
        if count > 1:
            yield f"{message} is stored {count} times"
    for room, messages in stored.events.items():
        for message in messages:
            if message not in ledger.sent:
                yield f"{message} is stored in {room}, and nobody sent it"
            elif ledger.sent[message] != room:
                yield f"{message} is stored in {room}, and was sent to {ledger.sent[message]}"
            elif message in ledger.refused:
                yield f"{message} was refused, and is stored"


def _projected(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """Documents and events are the same messages."""
    for room in stored.events.keys() | stored.documents.keys():
        events, documents = Counter(stored.events.get(room, ())), Counter(stored.documents.get(room, ()))
        for message in events - documents:
            yield f"{message} has an event and no document"
        for message in documents - events:
            yield f"{message} has a document and no event"


def _counted(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """The counters that unread messages are worked out from are what the events add up to."""
    for room, shown in stored.counters.items():
        messages = stored.events.get(room, ())
        if shown.counted != len(messages):
            yield f"{room} counts {shown.counted} messages, and has {len(messages)}"
        if messages and shown.last != messages[-1]:
            yield f"{room} shows {shown.last} as its last message, which is {messages[-1]}"
        own = Counter(stored.senders.get(message, "nobody") for message in messages)
        for user in own.keys() | shown.own.keys():
            if own[user] != shown.own.get(user, 0):
                yield f"{user} has {shown.own.get(user, 0)} messages of their own in {room}, and sent {own[user]}"


def _acknowledged(ledger: Ledger, stored: Stored) -> Iterator[str]:
    there = {message for messages in stored.events.values() for message in messages}
    for messages in ledger.acknowledged.values():
        for message in messages:
            if message not in there:
                yield f"{message} was acknowledged, and is lost"


def _heard_in_order(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """A subscription hears each message once, in the room's order, and leaves none out between two that it hears."""
    places = {room: {message: place for place, message in enumerate(list_)} for room, list_ in stored.events.items()}
    for heard in ledger.heard:
        place_of = places.get(heard.room, {})
        last: int | None = None
        seen: set[str] = set()
        for message in heard.messages:
            place = place_of.get(message)
            if message in seen:
                yield f"{heard.client} heard {message} twice on one socket"
            elif place is None:
                yield f"{heard.client} heard {message} in {heard.room}, where it is not stored"
            elif last is not None and place < last:
                yield f"{heard.client} heard {message} late: after what came behind it"
            elif last is not None and place > last + 1:
                yield f"{heard.client} heard {message}, and not the {place - last - 1} before it"
            seen.add(message)
            if place is not None:
                last = max(place, -1 if last is None else last)


def _heard_at_all(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """After a quiet moment an open subscription has heard everything since it stood, to the room's last message."""
    for heard, missing in ledger.unheard():
        yield f"{heard.client} was never told of {missing[0]}" + (
            f" and {len(missing) - 1} more" if missing[1:] else ""
        )
    for heard in ledger.heard:
        messages = stored.events.get(heard.room, ())
        if heard.open and heard.messages and messages and heard.messages[-1] != messages[-1]:
            yield f"{heard.client} heard {heard.messages[-1]} last in {heard.room}, and {messages[-1]} came after it"


def _known(ledger: Ledger, stored: Stored) -> Iterator[str]:
    """What a client heard, with what it asked for after each reconnect, is everything that was acknowledged."""
    # Who is away just now has yet to ask.
    present = {(heard.client, heard.room) for heard in ledger.heard if heard.open}
    for client, room in present:
        known = ledger.known[client, room]
        missing = [message for message in ledger.acknowledged.get(room, ()) if message not in known]
        if missing:
            yield f"{client} missed {len(missing)} messages of {room}, the first of them {missing[0]}"
