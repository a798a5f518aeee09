"""The memory of the presence service against a plain model of it, and what it costs."""

import gc
import time
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from palaver.ids import new_id
from palaver.presence import rules
from palaver.presence.connections import Connections
from palaver.v1.presence_pb2 import AWAY, OFFLINE, ONLINE, ConnectRequest, Status
from tests.presence.harness import World

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["connect", "disconnect", "online", "away", "lose", "find"]),
        st.sampled_from(["n1", "n2"]),
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["Alice", "Bob"]),
    ),
    max_size=40,
)


@given(STEPS)
def test_the_memory_is_what_the_calls_say(steps: list[tuple[str, str, str, str]]) -> None:
    memory = Connections()
    model: dict[tuple[str, str, str], Status.ValueType] = {}
    lost: set[str] = set()
    for what, node, connection, user in steps:
        key = (user, node, connection)
        match what:
            case "connect":
                memory.connect(node, connection, user)
                model.setdefault(key, ONLINE)
            case "disconnect":
                memory.disconnect(node, connection, user)
                model.pop(key, None)
            case "online" | "away":
                status = ONLINE if what == "online" else AWAY
                memory.set_status(node, connection, user, status)
                if key in model:
                    model[key] = status
            case _:
                memory.node(node).lost = what == "lose"
                (lost.add if what == "lose" else lost.discard)(node)
        for name in ("Alice", "Bob"):
            person = memory.person(name)
            mine = {(n, c): s for (u, n, c), s in model.items() if u == name}
            assert {(each.node.id, each.id): each.status for each in person.connections()} == mine
            assert person.connected() == rules.best(s for (n, _), s in mine.items() if n not in lost)
            assert {n.id: s for n, s in person.due_marks()} == {
                n: rules.best(s for (m, _), s in mine.items() if m == n) for n, _ in mine if n not in lost
            }
        for name in ("n1", "n2"):
            assert memory.node(name).connections == sum(n == name for _, n, _ in model)


def test_forgetting_a_node_takes_its_connections() -> None:
    memory = Connections()
    for connection in ("c1", "c2", "c3"):
        memory.connect("lost", connection, "Alice")
        memory.connect("kept", connection, "Alice")
    memory.connect("kept", "c4", "Bob")
    people = memory.forget_node(memory.node("lost"))
    assert [person.id for person in people] == ["Alice"]
    assert {each.node.id for each in people[0].connections()} == {"kept"}
    assert memory.node("kept").connections == 4
    assert memory.node("lost").connections == 0
    assert people[0].connected() == ONLINE
    assert memory.person("Nobody").connected() == OFFLINE


async def test_what_ten_thousand_users_cost(world: World) -> None:
    """Generous bounds: a tenth of it would be news, ten times as much would be a mistake."""
    requests = []
    for number in range(10_000):
        user_id = new_id()
        world.auth.add(user_id, username=f"user.number.{number}", name=f"User Number {number}")
        requests.append(ConnectRequest(node_id="gateway-7d9f-1", connection_id=new_id(), user_id=user_id))
    gc.collect()
    tracemalloc.start()
    for request in requests:
        await world.presence.connect(request)
    await world.settle()
    world.told.clear()
    gc.collect()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{used / len(requests):.0f} bytes a user, marks included")
    assert used / len(requests) < 1500
    started = time.perf_counter()
    for request in requests:
        await world.presence.connect(request)
    again = (time.perf_counter() - started) / len(requests)
    print(f"{again * 1e6:.1f} µs a connect that changes nothing")
    assert again < 50e-6
