"""Reading what pods say: real HTTP servers that answer, dawdle, or answer nonsense."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from palaver_operator.load import MetricsReader, Pod, Sample, WorkspaceLoad, parse, pod_load, share_reports
from palaver_operator.scaling import PodLoad, Signal

PAGE = """\
# HELP palaver_connections Open websockets
# TYPE palaver_connections gauge
palaver_connections 1234.0
palaver_connections_opened_total 99999.0
palaver_event_loop_lag_last_seconds 0.0125
palaver_outbox_age_seconds 0.5
palaver_follower_oldest_seconds{follower="renames"} 3.0
palaver_follower_oldest_seconds{follower="odd } name"} 7.5
palaver_admissions_refused_total{what="handshake"} 10.0
palaver_admissions_refused_total{what="login"} 5.0
palaver_admissions_refused_created{what="login"} 1.7e+09
palaver_presence_reports_total{outcome="answered"} 400.0
palaver_presence_reports_total{outcome="failed"} 7000.0
process_cpu_seconds_total 12.5
"""


def test_the_few_names_are_found_among_the_others() -> None:
    assert parse(PAGE) == {
        "palaver_connections": 1234,
        "palaver_event_loop_lag_last_seconds": 0.0125,
        "palaver_outbox_age_seconds": 0.5,
        "palaver_follower_oldest_seconds": 7.5,
        "palaver_admissions_refused_total": 15,
        "palaver_presence_reports_total": 400,
        "process_cpu_seconds_total": 12.5,
    }


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-3", "many", "1e999"])
def test_what_is_no_quantity_is_not_known(value: str) -> None:
    assert parse(f"palaver_connections {value}\nprocess_cpu_seconds_total 1\n") == {"process_cpu_seconds_total": 1}


def test_a_pod_met_for_the_first_time_has_no_rates_yet() -> None:
    load = pod_load("pod", Sample(100, parse(PAGE)), None)
    assert load.values == {
        Signal.CONNECTIONS: 1234,
        Signal.LOOP_LAG: 12.5,
        Signal.QUEUE: 0.5,
        Signal.FOLLOWER: 7.5,
    }


def test_rates_come_from_two_readings() -> None:
    before = Sample(100, {"process_cpu_seconds_total": 7.5, "palaver_presence_reports_total": 300})
    load = pod_load("pod", Sample(110, parse(PAGE)), before, cores=0.5)
    assert load.values[Signal.CPU] == 100
    assert load.values[Signal.REPORTS] == 10
    assert load.values[Signal.REFUSED] == 1.5


def test_a_counter_that_begins_anew_says_nothing() -> None:
    before = Sample(100, {"process_cpu_seconds_total": 20})
    assert Signal.CPU not in pod_load("pod", Sample(110, parse(PAGE)), before).values


def test_presence_has_what_all_gateways_report_in_even_shares() -> None:
    presence = [PodLoad("p1", {Signal.CPU: 5, Signal.REPORTS: 0}), PodLoad("p2", {Signal.CPU: 6, Signal.REPORTS: 0})]
    gateways = [PodLoad("g1", {Signal.REPORTS: 30.0}), PodLoad("g2", {Signal.REPORTS: 10.0})]
    shared = share_reports(gateways, presence)
    assert [load.values for load in shared] == [
        {Signal.CPU: 5, Signal.REPORTS: 20},
        {Signal.CPU: 6, Signal.REPORTS: 20},
    ]


def test_what_a_silent_gateway_reports_nobody_knows() -> None:
    shared = share_reports([PodLoad("g1", {Signal.REPORTS: 30.0}), PodLoad("g2")], [PodLoad("p1", {Signal.CPU: 5})])
    assert shared == [PodLoad("p1", {Signal.CPU: 5})]


def test_a_silent_presence_process_stays_silent() -> None:
    assert share_reports([PodLoad("g1", {Signal.REPORTS: 30.0})], [PodLoad("p1")]) == [PodLoad("p1")]


# -- over HTTP ---------------------------------------------------------------------------------------------------------

Pages = dict[str, Callable[[BaseHTTPRequestHandler], None]]


def answers(text: str, status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = text.encode()
        # Who reads may have given up meanwhile.
        with contextlib.suppress(ConnectionError):
            handler.send_response(status)
            handler.send_header("content-length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

    return answer


@pytest.fixture
def pages() -> Iterator[tuple[Pages, str]]:
    """Pages by pod's name, and the template of their addresses."""
    found: Pages = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found[self.path.removeprefix("/")](self)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield found, f"http://{{address}}:{server.server_port}/{{name}}"
    server.shutdown()
    thread.join()
    server.server_close()


def pod(name: str, role: str = "gateway", uid: str = "") -> Pod:
    return Pod(uid or name, name, role, "127.0.0.1")


async def test_who_answers_is_read_and_everybody_else_is_missing(pages: tuple[Pages, str]) -> None:
    found, template = pages
    released = threading.Event()
    found["good"] = answers(PAGE)
    found["failing"] = answers(PAGE, status=500)
    found["elsewhere"] = answers("<html>palaver_connections 5</html>")

    def answer_late(handler: BaseHTTPRequestHandler) -> None:
        released.wait()
        answers(PAGE)(handler)

    found["slow"] = answer_late
    names = ("good", "failing", "elsewhere", "slow")
    nobody = Pod("nobody", "nobody", "gateway", "127.0.0.2")
    try:
        async with MetricsReader(template, timeout_seconds=0.5) as reader:
            samples = await reader.read([*(pod(name) for name in names), nobody])
    finally:
        released.set()
    assert samples["good"] is not None
    assert samples["good"].values["palaver_connections"] == 1234
    assert [name for name, sample in samples.items() if sample is None] == ["failing", "elsewhere", "slow", "nobody"]


async def test_an_endless_page_is_not_read_to_its_end(pages: tuple[Pages, str]) -> None:
    found, template = pages
    found["endless"] = answers(PAGE + "#" * 5_000_000)
    async with MetricsReader(template) as reader:
        assert await reader.read([pod("endless")]) == {"endless": None}


async def test_many_are_asked_at_once(pages: tuple[Pages, str]) -> None:
    """None of them answers before the last one was asked."""
    found, template = pages
    together = threading.Barrier(20, timeout=60)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        together.wait()
        answers(PAGE)(handler)

    found.update((f"pod-{number}", answer) for number in range(20))
    async with MetricsReader(template, timeout_seconds=60) as reader:
        samples = await reader.read([pod(f"pod-{number}") for number in range(20)])
    assert all(samples.values())


async def test_a_workspace_from_round_to_round(pages: tuple[Pages, str]) -> None:
    found, template = pages
    now = 1000.0
    found["g"] = found["p"] = answers(PAGE)
    async with MetricsReader(template, clock=lambda: now) as reader:
        workspace = WorkspaceLoad(reader)
        pods = [pod("g"), pod("p", "presence")]
        first = await workspace.read(pods, {})
        assert Signal.CPU not in first["gateway"][0].values
        assert Signal.REPORTS not in first["presence"][0].values
        more = PAGE.replace("seconds_total 12.5", "seconds_total 16.5").replace("400.0", "800.0")
        found["g"] = found["p"] = answers(more)
        now += 10
        second = await workspace.read(pods, {"presence": 2})
        assert second["gateway"][0].values[Signal.CPU] == 40
        assert second["presence"][0].values[Signal.CPU] == 20
        assert second["presence"][0].values[Signal.REPORTS] == 40
        # One that was silent goes on from what it said last; another pod of that name is another pod.
        found["g"] = answers("", status=500)
        now += 10
        assert (await workspace.read(pods, {}))["gateway"] == [PodLoad("g")]
        found["g"] = answers(more)
        now += 10
        assert (await workspace.read(pods, {}))["gateway"][0].values[Signal.CPU] == 0
        assert Signal.CPU not in (await workspace.read([pod("g", uid="new")], {}))["gateway"][0].values


async def test_failures_are_told_by_the_median_of_a_minute(pages: tuple[Pages, str]) -> None:
    found, template = pages
    now, total = 1000.0, 0

    async with MetricsReader(template, clock=lambda: now) as reader:
        workspace = WorkspaceLoad(reader)

        async def read(*grown: int) -> list[float | None]:
            nonlocal now, total
            lately = []
            for more in grown:
                now, total = now + 10, total + more
                lines = ("process_cpu_seconds_total 1", f'palaver_rest_errors_total{{area="a"}} {total}')
                found["g"] = answers("\n".join(lines))
                await workspace.read([pod("g")], {})
                assert workspace.failures["g"].total == total
                lately.append(workspace.failures["g"].lately)
            return lately

        assert await read(7, 20, 20, 20) == [None, None, None, 2.0]
        assert await read(0, 0, 0) == [2.0, 2.0, 0.0]
        assert await read(900, 900, 0, 0) == [0.0] * 4, "twenty seconds without a database"
        assert await read(900, 900, 900) == [0.0, 90.0, 90.0]
        total = 0
        assert await read(5, 10, 10, 10) == [None, None, None, 1.0], "another process"
        found["g"] = answers("", status=500)
        await workspace.read([pod("g")], {})
        assert workspace.failures == {}


async def test_who_refuses_its_settings_is_asked_why(pages: tuple[Pages, str]) -> None:
    found, template = pages
    found["auth/metrics"] = answers("process_cpu_seconds_total 1\npalaver_settings_file_wrong 1\n")
    found["auth/readyz"] = answers('{"status": "ready", "problems": {"settings file": "there is no setting Site_Nam"}}')
    found["other/metrics"] = answers("process_cpu_seconds_total 1\npalaver_settings_file_wrong 0\n")
    async with MetricsReader(f"{template}/metrics") as reader:
        workspace = WorkspaceLoad(reader)
        pods = [pod("auth", "auth"), pod("other", "auth")]
        await workspace.read(pods, {})
        assert workspace.refused_settings == {"auth": "there is no setting Site_Nam"}
        found["auth/readyz"] = answers("<html>", status=200)
        await workspace.read(pods, {})
        assert workspace.refused_settings == {"auth": ""}
        found["auth/metrics"] = found["other/metrics"]
        await workspace.read(pods, {})
        assert workspace.refused_settings == {}


async def test_a_closed_reader_leaves_nothing_behind(pages: tuple[Pages, str]) -> None:
    found, template = pages
    found["g"] = answers(PAGE)
    before = len(asyncio.all_tasks())
    async with MetricsReader(template) as reader:
        await reader.read([pod("g")])
    assert len(asyncio.all_tasks()) == before
