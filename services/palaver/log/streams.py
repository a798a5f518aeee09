"""Everything that Palaver declares in JetStream, side by side: what each stream holds, for how long, and where.

None of it is the record. The log's streams feed durable followers and can be filled again from the events in the
database; leases and keys are in memory and start empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palaver.errors import Unavailable
from palaver.ids import encode_subject_token
from palaver.log.connection import Connection
from palaver.log.replies import ApiError, NoResponders

MAX_AGE = 3 * 24 * 3600
"""Seconds for which the log keeps events."""

_NAME_IN_USE = 10058
_NOT_FOUND = 10059

KINDS = ("room", "user", "workspace")
"""Of streams of events."""

PARTITIONS = 8
"""Of rooms and of users, for durable followers: so many processes can share the work of one. Never changed: what is
stored has its partition in its subject."""


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
    # The last token of a subject decides into which partition it goes: the stored subject has one token more.
    partitioned: bool = False

    def configuration(self, replicas: int) -> dict[str, Any]:
        """As JetStream's API wants it."""
        transform: dict[str, Any] = {}
        if self.partitioned:
            source = self.subjects[0]
            target = f"{source.removesuffix('*')}{{{{partition({PARTITIONS},1)}}}}.{{{{wildcard(1)}}}}"
            transform["subject_transform"] = {"src": source, "dest": target}
        return {
            **transform,
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

    def of_partition(self, partition: str) -> str:
        """The filter for what is stored of a partition: "room.0" …, "user.0" …, "workspace"."""
        return self.workspace if partition == "workspace" else f"{self.prefix}.{partition}.*"


def list_partitions(kinds: Sequence[str]) -> list[str]:
    """The partitions of these kinds of streams."""
    return [
        partition
        for kind in kinds
        for partition in ([kind] if kind == "workspace" else [f"{kind}.{number}" for number in range(PARTITIONS)])
    ]


def log_streams(workspace: str) -> tuple[StreamDeclaration, ...]:
    """What durable followers read, in the order of KINDS: three days, so that one may be away over a weekend."""
    subjects = Subjects(workspace)
    name = f"palaver_{encode_subject_token(workspace)}"
    return (
        StreamDeclaration(
            f"{name}_rooms",
            (f"{subjects.prefix}.room.*",),
            "Events of rooms",
            storage="file",
            max_age=MAX_AGE,
            partitioned=True,
        ),
        StreamDeclaration(
            f"{name}_users",
            (f"{subjects.prefix}.user.*",),
            "Events of users",
            storage="file",
            max_age=MAX_AGE,
            partitioned=True,
        ),
        StreamDeclaration(
            f"{name}_workspace", (subjects.workspace,), "Events of the workspace", storage="file", max_age=MAX_AGE
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


async def list_missing(connection: Connection, streams: Sequence[StreamDeclaration]) -> list[str]:
    """Names of those that the server does not have."""
    missing = []
    for stream in streams:
        try:
            await connection.api(f"STREAM.INFO.{stream.name}", {})
        except ApiError as error:
            if error.number != _NOT_FOUND:
                raise
            missing.append(stream.name)
    return missing
