"""Everything that Palaver declares in JetStream, side by side: what each stream holds, for how long, and where.

None of it is the record. The log's streams feed durable followers and can be filled again from the events in the
database; leases and keys are in memory and start empty.
"""

from dataclasses import dataclass
from typing import Any, Literal

from palaver.errors import Unavailable
from palaver.ids import encode_subject_token
from palaver.log.connection import ApiError, Connection, NoResponders

_DAY = 24 * 3600
_NAME_IN_USE = 10058


@dataclass(frozen=True, slots=True)
class StreamDeclaration:
    """One JetStream stream. Ages are in seconds; 0 is without end."""

    name: str
    subjects: tuple[str, ...]
    description: str
    storage: Literal["file", "memory"]
    retention: Literal["limits"] = "limits"
    max_age: int = 0
    duplicate_window: int = 120
    max_messages_per_subject: int = -1
    message_ttl: bool = False

    def configuration(self, replicas: int) -> dict[str, Any]:
        """As JetStream's API wants it."""
        return {
            "name": self.name,
            "description": self.description,
            "subjects": list(self.subjects),
            "storage": self.storage,
            "retention": self.retention,
            "discard": "old",
            "num_replicas": replicas,
            "max_age": self.max_age * 1_000_000_000,
            "duplicate_window": self.duplicate_window * 1_000_000_000,
            "max_msgs_per_subject": self.max_messages_per_subject,
            "max_consumers": -1,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_msg_size": -1,
            "allow_direct": True,
            "allow_msg_ttl": self.message_ttl,
        }


class Subjects:
    """The subjects of one workspace."""

    def __init__(self, workspace: str) -> None:
        self.prefix = f"palaver.{encode_subject_token(workspace)}"
        self.workspace = f"{self.prefix}.workspace"
        # Events that users must hear although they don't follow the stream (`also_tell`). JetStream doesn't store them.
        self.told = f"{self.prefix}.told"
        self.live = f"{self.prefix}.live"
        self.leases = f"{self.prefix}.leases"
        self.keys = f"{self.prefix}.keys"

    def of_stream(self, kind: str, id: str) -> str:
        """The subject of one event stream."""
        if kind == "workspace":
            return self.workspace
        return f"{self.prefix}.{kind}.{encode_subject_token(id)}"


def log_streams(workspace: str) -> tuple[StreamDeclaration, ...]:
    """What durable followers read: three days, so that one may be away over a weekend."""
    subjects = Subjects(workspace)
    name = f"palaver_{encode_subject_token(workspace)}"
    return (
        StreamDeclaration(
            f"{name}_rooms", (f"{subjects.prefix}.room.*",), "Events of rooms", storage="file", max_age=3 * _DAY
        ),
        StreamDeclaration(
            f"{name}_users", (f"{subjects.prefix}.user.*",), "Events of users", storage="file", max_age=3 * _DAY
        ),
        StreamDeclaration(
            f"{name}_workspace", (subjects.workspace,), "Events of the workspace", storage="file", max_age=3 * _DAY
        ),
    )


def live_streams(workspace: str) -> tuple[StreamDeclaration, ...]:
    """Leases and expiring keys: the last message of each subject is the value, its own TTL ends it."""
    subjects = Subjects(workspace)
    name = f"palaver_{encode_subject_token(workspace)}"
    return (
        StreamDeclaration(
            f"{name}_leases",
            (f"{subjects.leases}.>",),
            "Leases",
            storage="memory",
            max_messages_per_subject=1,
            message_ttl=True,
        ),
        StreamDeclaration(
            f"{name}_keys",
            (f"{subjects.keys}.>",),
            "Keys that expire",
            storage="memory",
            max_messages_per_subject=1,
            message_ttl=True,
        ),
    )


async def declare(connection: Connection, streams: tuple[StreamDeclaration, ...], replicas: int) -> None:
    """Creates the streams, or changes them to what is declared. Raises Unavailable when NATS refuses."""
    for stream in streams:
        configuration = stream.configuration(replicas)
        try:
            try:
                await connection.api(f"STREAM.CREATE.{stream.name}", configuration)
            except ApiError as error:
                if error.number != _NAME_IN_USE:
                    raise
                await connection.api(f"STREAM.UPDATE.{stream.name}", configuration)
        except NoResponders as error:
            raise Unavailable("NATS answers, and its JetStream does not: is it enabled?") from error
        except ApiError as error:
            raise Unavailable(f"the JetStream stream {stream.name} can't be declared: {error.error_reason}") from error
