"""Runs as pictures: an SVG written by hand, and lines of blocks for a terminal. Called by `simulate/__init__.py`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from palaver_operator.roles import ROLES
from palaver_operator.simulate.scenarios import Bucket, Run

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 760, 96, 86, 46, 42
_COLORS = ("#1f6feb", "#d29922", "#2da44e", "#cf222e")
_BLOCKS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    value: Callable[[Bucket], float]
    steps: bool = False
    """It stays as it is until it jumps."""


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    unit: str
    lines: tuple[_Line, ...]


def _pods(role: str) -> _Line:
    return _Line(role, lambda bucket: bucket.pods[role], steps=True)


_PANELS = (
    _Panel(
        "people",
        "",
        (
            _Line("connected", lambda bucket: bucket.connected),
            _Line("want to be", lambda bucket: bucket.online),
        ),
    ),
    _Panel("pods", "", tuple(_pods(role) for role in reversed(ROLES))),
    _Panel("sockets of the fullest gateway", "", (_Line("fullest", lambda bucket: bucket.fullest),)),
    _Panel("refused connections", "", (_Line("refused", lambda bucket: bucket.refused),)),
    _Panel(
        "message delay",
        " ms",
        (
            _Line("mean", lambda bucket: 1000 * bucket.delay),
            _Line("at the slowest gateway", lambda bucket: 1000 * bucket.worst_delay),
        ),
    ),
)


def draw(runs: Sequence[Run]) -> str:
    """One picture of all runs, one below the other. It is as wide as a page of text."""
    parts: list[str] = []
    top = 0
    for run in runs:
        parts.append(f'<text x="8" y="{top + 20}" class="title">{escape(run.title)}</text>')
        top += _TOP
        for panel in _PANELS:
            parts.append(_draw_panel(panel, run, top))
            top += _HEIGHT + _GAP
    width = _LEFT + _WIDTH + 34
    style = (
        "text{font:11px sans-serif;fill:#57606a}.title{font-size:15px;font-weight:bold;fill:#24292f}"
        "path{fill:none;stroke-width:1.4}.axis{stroke:#d0d7de;stroke-width:1}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>' + "".join(parts) + "</svg>\n"
    )


def describe(run: Run, columns: int = 72) -> str:
    """The run for a terminal: the same lines as blocks, the changes of sizes, and what came of it."""
    lines = [run.title, "=" * len(run.title), ""]
    for panel in _PANELS:
        for line in panel.lines:
            values = [line.value(bucket) for bucket in run.buckets]
            name = panel.title if len(panel.lines) == 1 else f"{panel.title}: {line.name}"
            lines.append(f"{name[:34]:34} {_blocks(values, columns)} ≤ {_number(max(values))}{panel.unit}")
    lines += ["", "sizes that were changed:"]
    for change in run.changes:
        clock = f"{change.at // 3600:02}:{change.at // 60 % 60:02}:{change.at % 60:02}"
        to = f"{change.before} → {change.decision.size}"
        lines.append(f"  {clock}  {change.role:9} {to:8} {change.decision.reason}: {change.decision.sentence}")
    if not run.changes:
        lines.append("  none")
    lines += ["", *(f"{name:45} {value}" for name, value in summarize(run)), ""]
    return "\n".join(lines)


def summarize(run: Run) -> list[tuple[str, str]]:
    """What came of it, a figure a line."""
    most = {role: max(bucket.pods[role] for bucket in run.buckets) for role in ROLES}
    least = {role: min(bucket.pods[role] for bucket in run.buckets) for role in ROLES}
    rows = [
        ("refused connections", f"{run.refused:,.0f}"),
        ("gateways' sockets in use, of 10,000 each", f"{100 * run.utilization:.1f} %"),
        ("pods, fewest to most", ", ".join(f"{role} {least[role]}–{most[role]}" for role in ROLES)),
        ("fullest gateway", f"{max(bucket.fullest for bucket in run.buckets):,.0f} sockets"),
        ("message delay, mean", f"{1000 * run.mean_delay:,.1f} ms"),
        ("message delay, longest at any gateway", f"{1000 * run.longest_delay:,.0f} ms"),
        ("sizes changed", f"{len(run.changes)}"),
    ]
    if run.unreachable:
        rows.append(("tried while nothing could be reached", f"{run.unreachable:,.0f}"))
    if run.all_back_after is not None:
        rows.append(("everybody back after", f"{run.all_back_after} s"))
    return rows


def _draw_panel(panel: _Panel, run: Run, top: int) -> str:
    most = max((line.value(bucket) for line in panel.lines for bucket in run.buckets), default=0.0)
    ceiling = _ceiling(most)
    bottom, right = top + _HEIGHT, _LEFT + _WIDTH
    parts = [f'<text x="{_LEFT}" y="{top - 5}">{escape(panel.title)}</text>']
    for part in (0.0, 0.5, 1.0):
        y = bottom - _HEIGHT * part
        parts.append(f'<path class="axis" d="M{_LEFT} {y:g}H{right}"/>')
        text = escape(_number(ceiling * part) + panel.unit)
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:g}" text-anchor="end">{text}</text>')
    for seconds, text in _times(run.seconds):
        x = _LEFT + _WIDTH * seconds / run.seconds
        parts.append(f'<text x="{x:.0f}" y="{bottom + 14}" text-anchor="middle">{text}</text>')
    legend = right
    for line, color in reversed(tuple(zip(panel.lines, _COLORS, strict=False))):
        if len(panel.lines) > 1:
            parts.append(
                f'<text x="{legend}" y="{top - 5}" text-anchor="end" style="fill:{color}">{escape(line.name)}</text>'
            )
            legend -= 7 * len(line.name) + 10
    # The first line is drawn last: it is what the panel is about.
    for line, color in reversed(tuple(zip(panel.lines, _COLORS, strict=False))):
        parts.append(f'<path d="{_path(line, run, ceiling, bottom)}" stroke="{color}"/>')
    return "".join(parts)


def _path(line: _Line, run: Run, ceiling: float, bottom: int) -> str:
    """Absolute steps along the time; points that say nothing new are left out."""
    drawn: list[str] = []
    before = ""
    for index, bucket in enumerate(run.buckets):
        x = _LEFT + _WIDTH * bucket.at / run.seconds
        y = f"{bottom - _HEIGHT * line.value(bucket) / ceiling:.0f}"
        last = index == len(run.buckets) - 1
        if not drawn:
            drawn.append(f"M{x:.0f} {y}")
        elif y != before and line.steps:
            drawn.append(f"H{x:.0f}V{y}")
        elif y != before:
            drawn.append(f"L{x:.0f} {y}")
        elif last or (not line.steps and _moves_next(line, run, index, ceiling, bottom, y)):
            drawn.append(f"H{x:.0f}")
        before = y
    return "".join(drawn)


def _moves_next(line: _Line, run: Run, index: int, ceiling: float, bottom: int, y: str) -> bool:
    following = line.value(run.buckets[index + 1])
    return f"{bottom - _HEIGHT * following / ceiling:.0f}" != y


def _times(seconds: int) -> list[tuple[int, str]]:
    if seconds >= 86_400:
        return [(3600 * hour, f"{hour}:00") for hour in range(0, seconds // 3600 + 1, 3)]
    return [(60 * minute, f"{minute} min") for minute in range(0, seconds // 60 + 1, 10)]


def _ceiling(most: float) -> float:
    """The next round number from here on."""
    if most <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return float(next(factor * power for factor in (1, 2, 4, 5, 6, 8, 10) if factor * power >= most))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _blocks(values: Sequence[float], columns: int) -> str:
    """One block for each column: the highest of its values."""
    most = max(values, default=0.0) or 1.0
    shown = []
    for column in range(columns):
        part = values[column * len(values) // columns : max(1, (column + 1) * len(values) // columns)]
        highest = max(part, default=0.0)
        shown.append(_BLOCKS[min(len(_BLOCKS) - 1, int(highest / most * len(_BLOCKS)))])
    return "".join(shown)
