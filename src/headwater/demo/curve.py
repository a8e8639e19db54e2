"""The found-versus-checked curves as an SVG drawing that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.demo.ranking import Detection

WIDTH, HEIGHT = 620, 380
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 48
# Where the interesting part ends: past it, every sensible ranking has found all there is.
SHARE_SHOWN = 0.4


def found_curves(detections: Sequence[Detection]) -> str:
    """Return an `<svg>` with one curve per detection, in classes `curve-0`, `curve-1`, ..."""
    curves = "\n".join(
        f'<path class="curve curve-{number}" d="{_path(detection)}"/>'
        # The first is the one that the page is about, so it is drawn last, on top.
        for number, detection in reversed(list(enumerate(detections)))
    )
    return f"""\
<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"
 aria-label="Share of the flipped labels found against share of the training set checked">
{_axes()}
{curves}
{_legend(detections)}
</svg>"""


def _x(share: float) -> float:
    return LEFT + share / SHARE_SHOWN * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)


def _path(detection: Detection) -> str:
    found = detection.found.tolist()
    total = found[-1]
    shown = found[: max(1, round(SHARE_SHOWN * len(found)))]
    points = (
        f"L{_x(checked / len(found)):.1f} {_y(count / total):.1f}"
        for checked, count in enumerate(shown, start=1)
    )
    return f"M{_x(0):.1f} {_y(0):.1f}" + "".join(points)


def _axes() -> str:
    marks = []
    for percent in (0, 25, 50, 75, 100):
        y = _y(percent / 100)
        marks.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        marks.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}%</text>')
    for percent in (0, 10, 20, 30, 40):
        x, y = _x(percent / 100), HEIGHT - BOTTOM
        marks.append(f'<path class="grid" d="M{x:.1f} {TOP}V{y}"/>')
        marks.append(f'<text x="{x:.1f}" y="{y + 18}" text-anchor="middle">{percent}%</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    marks.append(
        f'<text class="axis" x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">'
        "of the training set checked</text>"
    )
    return "\n".join(marks)


def _legend(detections: Sequence[Detection]) -> str:
    left, top, step = _x(0.2) + 16, _y(0.86), 24
    entries = []
    for number, detection in enumerate(detections):
        y = top + number * step
        entries.append(
            f'<path class="curve curve-{number}" d="M{left:.1f} {y:.1f}h26"/>'
            f'<text class="legend" x="{left + 36:.1f}" y="{y + 4:.1f}">'
            f"{escape(detection.name)}</text>"
        )
    return "\n".join(entries)
