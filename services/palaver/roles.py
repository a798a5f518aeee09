"""What a process can play. Callee before caller: the architecture as one table.

A role's service is built by `build(node)` of its module, which is imported only when this process plays the role.
"""

from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor

from palaver.v1 import auth_pb2, messaging_pb2, presence_pb2


@dataclass(frozen=True, slots=True)
class Role:
    """One line of the table."""

    name: str
    module: str
    calls: tuple[str, ...]
    service: ServiceDescriptor | None  # None: nobody calls it
    # The field of its requests that says what they are about: those about the same thing go to the same replica.
    affinity: str = ""
    # Methods that append to the stream of who acts: those are about the actor.
    by_actor: frozenset[str] = frozenset()
    commits: bool = False  # appends events, so it also tells those that a dead process has left


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("auth", "palaver.auth.role", (), auth_pb2.DESCRIPTOR.services_by_name["Auth"], commits=True),
        Role("presence", "palaver.presence.role", ("auth",), presence_pb2.DESCRIPTOR.services_by_name["Presence"]),
        Role(
            "messaging",
            "palaver.messaging.role",
            ("presence", "auth"),
            messaging_pb2.DESCRIPTOR.services_by_name["Messaging"],
            affinity="room_id",
            by_actor=frozenset({"MarkRead", "MarkUnread", "SetSubscription", "StarMessage"}),
            commits=True,
        ),
        Role("gateway", "palaver.gateway.role", ("messaging", "presence", "auth"), None),
    )
}


def list_callers(name: str) -> frozenset[str]:
    """The roles that may call this one."""
    return frozenset(role.name for role in ROLES.values() if name in role.calls)
