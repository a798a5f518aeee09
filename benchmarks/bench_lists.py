"""What clients ask for most, in a workspace of 20,000 users, 2,000 rooms and 500,000 messages."""

import argparse
import statistics

from asking import HEADERS, Request, both_servers, time_requests
from harness import Report, await_rest, main
from seed import Plan, RoomPlan, user_id

USERS = 20_000
ROOMS = 2_000
OWN_ROOMS = 50
MESSAGES = 500_000
PAGE = 50


def plan(quick: bool) -> Plan:
    """User 0 is in the first 50 rooms, of 100 members each; the others have ten."""
    users, rooms, messages = (500, 100, 5_000) if quick else (USERS, ROOMS, MESSAGES)
    each = messages // rooms
    own = [RoomPlan(f"room{number}", 0, 100, each) for number in range(OWN_ROOMS)]
    others = [RoomPlan(f"room{number}", 1 + 10 * number % users, 10, each) for number in range(OWN_ROOMS, rooms)]
    return Plan("lists-quick" if quick else "lists", users, 1, (*own, *others))


def requests(users: int) -> dict[str, tuple[Request, float, int]]:
    """By name: what is asked, the budget in milliseconds of half of the answers, and so many documents' worth."""
    api = "/api/v1"
    message = {"rid": "room1", "msg": "a message as people write them, with *some* markup"}
    return {
        "me": (Request(f"{api}/me", lambda found: found["_id"] == user_id(0)), 5, 1),
        "users.info": (Request(f"{api}/users.info?userId={user_id(7)}", lambda found: bool(found["user"])), 5, 1),
        "chat.sendMessage": (
            Request(f"{api}/chat.sendMessage", lambda found: bool(found["message"]), lambda _: {"message": message}),
            5,
            0,
        ),
        "chat.syncMessages": (
            Request(
                f"{api}/chat.syncMessages?roomId=room2&lastUpdate=2099-01-01T00:00:00.000Z",
                lambda found: found["result"]["updated"] == [],
            ),
            5,
            1,
        ),
        "spotlight": (
            Request(f"{api}/spotlight?query=user{users // 10 - 1}", lambda found: len(found["users"]) == 5),
            5,
            10,
        ),
        "channels.history": (
            Request(f"{api}/channels.history?roomId=room3&count={PAGE}", lambda found: len(found["messages"]) == PAGE),
            10,
            PAGE,
        ),
        "users.list": (
            Request(f"{api}/users.list?count={PAGE}", lambda found: len(found["users"]) == PAGE),
            10,
            PAGE,
        ),
        "subscriptions.get": (
            Request(f"{api}/subscriptions.get", lambda found: len(found["update"]) >= OWN_ROOMS),
            10,
            OWN_ROOMS,
        ),
        "rooms.get": (Request(f"{api}/rooms.get", lambda found: len(found["update"]) >= OWN_ROOMS), 10, OWN_ROOMS),
        "settings.public": (Request(f"{api}/settings.public", lambda found: bool(found["settings"])), 10, PAGE),
    }


def benchmark(given: argparse.Namespace) -> Report:
    wanted = plan(given.quick)
    messages = sum(room.messages for room in wanted.rooms)
    report = Report(f"Lists: {wanted.users:,} users, {len(wanted.rooms):,} rooms, {messages:,} messages")
    count = 50 if given.quick else 500
    with both_servers(report, wanted, messages=1000) as (palaver, baseline):
        await_rest(palaver)
        for name, (request, budget, documents) in requests(wanted.users).items():
            times = time_requests(palaver, HEADERS, [request], count)
            bare = None
            if documents:
                page = Request(f"/api/v1/page?roomId=history&count={documents}", lambda found: "documents" in found)
                bare = statistics.median(time_requests(baseline, {}, [page], count))
            report.add(f"{name}, p50", statistics.median(times), "ms", budget=budget, baseline=bare)
            report.add(f"{name}, p99", times[int(len(times) * 0.99)], "ms")
            report.add(f"{name}, one after the other", 1000 / statistics.mean(times), "/s")
    return report


if __name__ == "__main__":
    main(benchmark, __doc__)
