"""What a workspace's processes play. Callee before caller, which is the order in which new versions roll.

The same table as palaver's own roles.py, of which the operator imports nothing; a test compares them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Role:
    """One line of the table. `resources` are what a pod requests and may use unless the resource says otherwise."""

    name: str
    calls: tuple[str, ...]
    users_per_pod: int  # concurrent users that one pod bears, for sizing by `expectedUsers`
    cpu: str
    memory: str
    memory_limit: str

    @property
    def usual_resources(self) -> dict[str, dict[str, str]]:
        return {"requests": {"cpu": self.cpu, "memory": self.memory}, "limits": {"memory": self.memory_limit}}


ROLES: dict[str, Role] = {
    role.name: role
    for role in (
        Role("auth", (), 20_000, "100m", "128Mi", "512Mi"),
        Role("presence", ("auth",), 20_000, "100m", "128Mi", "512Mi"),
        Role("messaging", ("presence", "auth"), 10_000, "200m", "192Mi", "768Mi"),
        Role("gateway", ("messaging", "presence", "auth"), 5_000, "250m", "256Mi", "1Gi"),
    )
}

# The role of `size: single`: everything in one pod.
SINGLE = Role("single", (), 2_000, "100m", "192Mi", "1Gi")

# Who makes requests to addresses that users gave.
FETCHERS = ("messaging", "gateway", SINGLE.name)

# Who sends letters, to the SMTP server that the workspace's settings name.
MAILERS = ("auth", "messaging", SINGLE.name)


def list_callers(name: str) -> tuple[str, ...]:
    """The roles that call this one, in the table's order."""
    return tuple(role.name for role in ROLES.values() if name in role.calls)
