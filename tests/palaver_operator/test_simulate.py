"""What the rules do with a day, a stampede and flapping metrics. Everything is counted in seconds on paper."""

import xml.etree.ElementTree
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from palaver_operator.cli import main
from palaver_operator.load import TIMEOUT_SECONDS
from palaver_operator.roles import ROLES
from palaver_operator.scaling import ROUND_SECONDS, Reason
from palaver_operator.simulate import play
from palaver_operator.simulate.picture import describe, draw
from palaver_operator.simulate.scenarios import Player, Run, default_limits, warm_up
from palaver_operator.simulate.world import CAPACITY, DRAIN_SECONDS, NOTICE_SECONDS, World

USERS = 50_000


@pytest.fixture(scope="session")
def day() -> Run:
    return play("day", USERS)


@pytest.fixture(scope="session")
def stampede() -> Run:
    return play("stampede", USERS)


@pytest.fixture(scope="session")
def flapping() -> Run:
    return play("flapping", USERS)


def turns(sizes: Sequence[int]) -> int:
    """How often they went down and then up again."""
    steps = [after - before for before, after in pairwise(sizes)]
    return sum(first < 0 < second for first, second in pairwise(steps))


def test_on_a_day_nobody_is_refused_and_gateways_are_used(day: Run) -> None:
    assert day.refused == 0
    assert day.unreachable == 0
    assert day.utilization >= 0.6
    assert max(bucket.fullest for bucket in day.buckets) <= CAPACITY


def test_on_a_day_whose_pods_need_new_nodes_first_nobody_is_refused_either() -> None:
    assert play("day", USERS, start_seconds=180).refused == 0


def test_on_a_day_everybody_who_wants_to_is_connected(day: Run) -> None:
    assert max(bucket.connected for bucket in day.buckets) > 0.99 * USERS
    assert all(bucket.connected > 0.97 * bucket.online for bucket in day.buckets[1:])


def test_on_a_day_gateways_come_once_and_go_once(day: Run) -> None:
    sizes = day.sizes("gateway")
    assert max(sizes) >= 7
    assert sizes[-1] == 2
    assert turns(sizes) <= 1  # the lunch break


def test_on_a_day_messages_are_not_late(day: Run) -> None:
    assert day.mean_delay < 0.05
    assert day.longest_delay < 1


def test_a_stampede_is_over_soon_and_calms_down(stampede: Run) -> None:
    assert stampede.refused > 0
    assert stampede.all_back_after is not None
    assert stampede.all_back_after <= 120
    assert stampede.buckets[-1].connected == pytest.approx(USERS, rel=0.01)
    assert stampede.buckets[-1].refused == 0
    assert stampede.buckets[-1].delay < 0.05


def test_flapping_metrics_never_make_pods_go_and_come(flapping: Run) -> None:
    for role in ROLES:
        assert turns(flapping.sizes(role)) == 0
    assert flapping.refused == 0


def test_more_pods_are_asked_for_within_fifteen_seconds_of_the_metric() -> None:
    for crossed in range(100, 100 + int(ROUND_SECONDS)):
        player = Player("jump", "many come", 600, World(dict.fromkeys(ROLES, 2)), default_limits(USERS))
        warm_up(player.world, 5000)
        for second in range(150):
            if second == crossed:
                warm_up(player.world, 20_000)
            player.second(5000 if second < crossed else 20_000, 0.1)
        (change,) = player.run.changes
        assert (change.role, change.decision.size, change.decision.reason) == ("gateway", 3, Reason.DEMAND)
        # Reading the pods takes two seconds at most.
        assert change.at - crossed + TIMEOUT_SECONDS <= 15


def test_who_leaves_is_the_emptiest_and_takes_its_time() -> None:
    world = World({"gateway": 3, "messaging": 2, "presence": 2, "auth": 2})
    for pod, connections in zip(world.pods["gateway"], (3000, 1000, 2000), strict=True):
        pod.connections = connections
    emptiest = world.pods["gateway"][1]
    world.resize("gateway", 2)
    assert [pod for pod in world.pods["gateway"] if pod.leaving_at is not None] == [emptiest]
    for _ in range(NOTICE_SECONDS - 1):
        world.step(6000, 0)
    assert emptiest.connections > 900
    most_at_once = 0.0
    while emptiest in world.pods["gateway"]:
        before = emptiest.connections
        world.step(6000, 0)
        most_at_once = max(most_at_once, before - emptiest.connections)
    assert world.now == NOTICE_SECONDS + DRAIN_SECONDS
    assert most_at_once < 70
    for _ in range(5):
        world.step(6000, 0)
    assert sum(pod.connections for pod in world.pods["gateway"]) == pytest.approx(6000, rel=0.01)


def test_nobody_is_lost_when_a_gateway_is() -> None:
    world = World({"gateway": 4, "messaging": 2, "presence": 2, "auth": 2})
    warm_up(world, 20_000)
    world.lose(world.pods["gateway"][0])
    assert sum(pod.connections for pod in world.pods["gateway"]) == 15_000
    assert len(world.pods["gateway"]) == 4
    refused = sum(world.step(20_000, 0).refused for _ in range(60))
    assert refused == 0
    assert sum(pod.connections for pod in world.pods["gateway"]) == pytest.approx(20_000, rel=0.01)


def test_a_gateway_takes_a_thousand_a_second() -> None:
    world = World({"gateway": 2, "messaging": 1, "presence": 1, "auth": 1})
    first = world.step(5000, 0)
    assert first.connected == 2000
    assert first.refused == 3000
    for _ in range(30):
        world.step(5000, 0)
    assert world.step(5000, 0).connected == pytest.approx(5000, rel=0.01)


def test_the_same_every_time() -> None:
    once, again = play("flapping", 10_000), play("flapping", 10_000)
    assert once == again


def test_the_picture_is_drawn_and_the_words_say_what_came_of_it(day: Run, stampede: Run) -> None:
    drawn = draw([day, stampede])
    root = xml.etree.ElementTree.fromstring(drawn)
    texts = [found.text for found in root.iter("{http://www.w3.org/2000/svg}text")]
    assert day.title in texts
    assert "refused connections" in texts
    lines = [found for found in root.iter("{http://www.w3.org/2000/svg}path") if found.get("stroke")]
    assert len(lines) == 2 * (2 + 4 + 1 + 1 + 2)
    assert len(drawn) < 100_000
    words = describe(day)
    assert f"{100 * day.utilization:.1f} %" in words
    assert "2 → 3" in words


def test_the_picture_in_the_documentation_is_of_these_rules(day: Run, stampede: Run, flapping: Run) -> None:
    """If not: make simulate ARGS="--picture docs/scaling.svg"."""
    documentation = Path(__file__).parents[2] / "docs"
    assert (documentation / "scaling.svg").read_text() == draw([day, stampede, flapping])
    text = (documentation / "operations.md").read_text()
    uses = [f"{100 * run.utilization:.1f} %" for run in (day, stampede, flapping)]
    assert f"of 10,000 each | {' | '.join(uses)} |" in text
    assert f"| {stampede.refused:,.0f} attempts, within {stampede.all_back_after} s |" in text


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "picture.svg"
    main(["simulate", "--scenario", "flapping", "--users", "10000", "--picture", str(picture)])
    printed = capsys.readouterr().out
    assert "6,000 users and metrics that flap" in printed
    assert "refused connections" in printed
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize("wrong", [["--users", "0"], ["--scenario", "night"]])
def test_what_cannot_be_played_is_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["simulate", *wrong])
