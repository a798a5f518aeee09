"""No hash of a password or a token leaves the database with an event."""

import nats as nats_py
import orjson
import pytest

from palaver.database import Stream
from palaver.database.sqlite import SqliteDatabase
from palaver.log.jetstream import JetStreamLog
from palaver.log.secrets import without_secrets
from palaver.v1.event_pb2 import Event, TokenIssued, TokensRevoked, UserChanged, UserCreated
from tests.log.harness import room_event
from tests.servers import nats_server
from tests.waiting import eventually

_HASH = "$argon2id$v=19$secret"
_USER = {"_id": "alice", "username": "alice", "services": {"password": {"argon2": _HASH}}, "active": True}


def _user_event(seq: int, **fact: object) -> Event:
    return Event(stream_kind="user", stream_id="alice", seq=seq, command_id=f"c{seq}", at=seq, **fact)  # type: ignore[arg-type]


CREATED = _user_event(1, user_created=UserCreated(user=orjson.dumps(_USER)))
CHANGED = _user_event(2, user_changed=UserChanged(set=orjson.dumps({**_USER, "bio": "x" * 5000}), unset=["name"]))
ISSUED = _user_event(3, token_issued=TokenIssued(hashed_token=_HASH, expires_at=5, token=b'{"type": "login"}'))
REVOKED = _user_event(4, tokens_revoked=TokensRevoked(hashed_tokens=["revoked"]))


def test_only_the_secrets_are_left_out() -> None:
    public = {name: value for name, value in _USER.items() if name != "services"}
    created, changed, issued = map(without_secrets, (CREATED, CHANGED, ISSUED))
    assert orjson.loads(created.user_created.user) == public
    assert orjson.loads(changed.user_changed.set) == {**public, "bio": "x" * 5000}
    assert (changed.seq, changed.command_id, list(changed.user_changed.unset)) == (2, "c2", ["name"])
    assert issued.token_issued == TokenIssued(expires_at=5, token=b'{"type": "login"}')
    assert CREATED.user_created.user == orjson.dumps(_USER), "what is projected stays as it is"
    for event in (REVOKED, room_event(1), _user_event(5, user_changed=UserChanged(set=b'{"name": "services"}'))):
        assert without_secrets(event) is event
    unreadable = _user_event(6, user_changed=UserChanged(set=b"services"))
    assert without_secrets(unreadable).user_changed.set == b"{}"


@pytest.mark.needs_servers
async def test_nats_and_its_disk_have_no_hash(database: SqliteDatabase) -> None:
    async with nats_server(config=["max_payload: 4096"]) as server:
        log = JetStreamLog(server.url, "work", database)
        await log.open()
        heard: list[Event] = []
        await log.follow(Stream("user", "alice"), heard.append)
        events = [CREATED, CHANGED, ISSUED, REVOKED]
        await database.commit(Stream("user", "alice"), events, [[], [], [], []])
        client = await nats_py.connect(server.url)
        wire: list[bytes] = []

        async def listen(message: object) -> None:
            wire.append(message.data)  # type: ignore[attr-defined]

        await client.subscribe(">", cb=listen)
        await client.flush()
        await log.publish(events)
        await log.show(events)
        await eventually(lambda: len({event.seq for event in heard}) == 4)
        assert not any(b"argon2" in event.SerializeToString() for event in heard), (
            "the large one, too, which is fetched"
        )
        jetstream = client.jetstream()
        wire += [(await jetstream.get_msg("palaver_work_users", number)).data or b"" for number in (1, 2, 3, 4)]
        await client.flush()
        assert len(wire) > 8
        assert not any(b"argon2" in data for data in wire)
        await client.close()
        await log.close()
