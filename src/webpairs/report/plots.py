"""Drawing plots as SVG that stands in a page: its colours are the page's, light or dark.

Matplotlib draws with stand-in colours that become the page's variables, and with texts as text in
the page's font. No text of the web is ever drawn: what is in a plot is ours, numbers and words.
Drawing the same numbers again gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup, escape

from webpairs.report.map import Map

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE: Final = (860, 260)
NARROW: Final = (400, 240)
"""Pixels; a phone is as wide as a narrow one, so that its letters keep their size there."""
SQUARE: Final = (640, 440)
NUM_COLOURS: Final = 10

_FONT_PX: Final = 11.5
_VARIABLES: Final = ("ink", "muted", "rule", "paper", "one", "two", "faint")
_STAND_IN: Final = {
    name: f"#0{number:x}0{number:x}0{number:x}"
    for number, name in enumerate(
        (*_VARIABLES, *(f"c{number}" for number in range(1, NUM_COLOURS + 1))), start=1
    )
    if number < 16
} | {f"c{number}": f"#f{number:x}f{number:x}f{number:x}" for number in range(1, NUM_COLOURS + 1)}
"""A colour of no other use for each variable of the page's stylesheet."""
_RC: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": _FONT_PX,
    "text.parse_math": False,
    "path.simplify": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, slots=True)
class Axis:
    """Describe the x axis: what it shows, where its ticks are (None: matplotlib's), and how."""

    label: str
    ticks: Sequence[tuple[float, str]] | None = None
    log: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Values between edges, and the variable of the page that is their colour."""

    values: Sequence[float]
    colour: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot in the sizes it is shown in, as SVG: one of them is shown at a time."""

    wide: Markup
    narrow: Markup | None = None


def histogram(
    edges: Sequence[float],
    series: Sequence[Series],
    axis: Axis,
    label: str,
    *,
    stacked: bool = False,
    shares: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    wide: bool = False,
) -> Plot:
    """Draw counts, or parts of all with `shares`, between edges.

    Several series lie one on the other with `stacked`, else as outlines over each other; `marks`
    are lines across, and their words. `label` says to those who cannot see it what it shows.
    """
    finite = _finite(edges, log=axis.log)

    def draw(axes: Axes) -> None:
        below = np.zeros(len(finite) - 1)
        for one in series:
            values = np.asarray(one.values, np.float64)
            colour = _STAND_IN[one.colour]
            if stacked or len(series) == 1:
                axes.stairs(below + values, finite, baseline=below, fill=True, color=colour, lw=0)
                below = below + values
            else:
                axes.stairs(values, finite, fill=True, color=colour, alpha=0.16, lw=0)
                axes.stairs(values, finite, color=colour, lw=1.6)
        if axis.log:
            axes.set_xscale("log")
        axes.set_xlim(finite[0], finite[-1])
        axes.set_ylim(0, None)
        for line, (where, word) in enumerate(marks):
            if finite[0] <= where <= finite[-1]:
                _draw_mark(axes, where, word, line)
        _style(axes, axis, _percent if shares else compact)

    return _plot(draw, label, wide=wide)


def curve(
    lines: Sequence[tuple[Sequence[float], Sequence[float], str]], axis: Axis, label: str
) -> Plot:
    """Draw parts of all over rising numbers, each line with its variable of colour."""

    def draw(axes: Axes) -> None:
        for xs, ys, colour in lines:
            axes.plot(xs, ys, color=_STAND_IN[colour], lw=1.8, solid_joinstyle="round")
            if len(xs) == 1:
                axes.plot(xs, ys, color=_STAND_IN[colour], marker="o", ms=4)
        if axis.log:
            axes.set_xscale("log")
        axes.set_ylim(0, 1.03)
        most = max(max(xs) for xs, _, _ in lines)
        axes.set_xlim(1 if axis.log else 0, max(most, 2))
        _style(axes, axis, _percent)

    return _plot(draw, label)


def scatter(points: Map, label: str) -> Plot:
    """Draw the points of a map in the colours of their clusters, and the clusters' numbers."""

    def draw(axes: Axes) -> None:
        size = 34 if len(points.points) < 600 else 16
        for number in range(1, len(points.clusters) + 1):
            here = points.points[points.labels == number - 1]
            colour = _STAND_IN[f"c{number}"]
            axes.scatter(here[:, 0], here[:, 1], s=size, c=colour, lw=0, alpha=0.7)
        for number, one in enumerate(points.clusters, start=1):
            axes.text(
                *(one.x, one.y, str(number)),
                ha="center",
                va="center_baseline",
                fontsize=17,
                fontweight="bold",
                color=_STAND_IN["ink"],
                gid="halo",
            )
        axes.set_axis_off()
        axes.margins(0.03)

    return Plot(_svg(draw, SQUARE, label, margins=(2, 2, 2, 2)))


def _draw_mark(axes: Axes, where: float, word: str, line: int) -> None:
    """Draw a line across, and its word beside it, the second one's a line lower."""
    axes.axvline(where, color=_STAND_IN["ink"], lw=1, ls=(0, (4, 3)))
    right = where > sum(axes.get_xlim()) / 2
    axes.annotate(
        word,
        (where, 1),
        xycoords=("data", "axes fraction"),
        xytext=(-6 if right else 6, -3 - 1.4 * _FONT_PX * line),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        color=_STAND_IN["ink"],
    )


def _style(axes: Axes, axis: Axis, count: Callable[[float], str]) -> None:
    """Leave out all that is not needed: faint lines across, a line below, small words."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_STAND_IN["muted"])
    axes.spines["bottom"].set_linewidth(0.8)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_STAND_IN["rule"], lw=0.8)
    axes.tick_params(axis="y", length=0, colors=_STAND_IN["muted"], pad=4)
    axes.tick_params(axis="x", length=3, colors=_STAND_IN["muted"], width=0.8)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], integer=count is compact))
    axes.yaxis.set_major_formatter(FuncFormatter(_formatter(count)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    if axis.ticks is not None:
        low, high = axes.get_xlim()
        within = [(value, word) for value, word in axis.ticks if low <= value <= high]
        axes.set_xticks([value for value, _ in within], [word for _, word in within])
    elif axis.log:
        axes.xaxis.set_major_formatter(FuncFormatter(_formatter(compact)))
    axes.set_xlabel(axis.label, color=_STAND_IN["muted"], labelpad=5)


def _plot(draw: Callable[[Axes], None], label: str, *, wide: bool = False) -> Plot:
    if not wide:
        return Plot(_svg(draw, NARROW, label))
    return Plot(_svg(draw, WIDE, label), _svg(draw, NARROW, label))


def _svg(
    draw: Callable[[Axes], None],
    size: tuple[int, int],
    label: str,
    margins: tuple[int, int, int, int] = (46, 8, 10, 44),
) -> Markup:
    """Draw into an SVG of `size`; `margins` are left, right, top and bottom."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    width, height = size
    left, right, top, bottom = margins
    # The salt makes ids that no other plot of the page has, and the same ones every time.
    settings: Any = {**_RC, "svg.hashsalt": f"{label} {size}"}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        FigureCanvasSVG(figure)
        axes = figure.add_axes(
            (
                left / width,
                bottom / height,
                (width - left - right) / width,
                (height - top - bottom) / height,
            )
        )
        axes.patch.set_visible(False)
        figure.patch.set_visible(False)
        draw(axes)
        return _for_page(_saved(figure), size, label)


def _saved(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Type": None})
    return out.getvalue()


def _for_page(svg: str, size: tuple[int, int], label: str) -> Markup:
    """Return what is inside an SVG file as an element of a page, in the page's colours."""
    inner = svg[svg.index("<svg") :]
    inner = inner[inner.index(">") + 1 : inner.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", inner, flags=re.S)
    # Only what is referred to, a marker or what clips, keeps its id: others come in every plot.
    used = set(re.findall(r'(?:href="#|url\(#)([\w.-]+)', inner))
    inner = re.sub(r' id="([\w.-]+)"', lambda m: m[0] if m[1] in used else "", inner)
    inner = inner.replace("xlink:href", "href")
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r"font: ([^;\"]*?)'[^;\"]*", lambda m: f"font: {m[1]}var(--font)", inner)
    inner = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", inner)
    for name, colour in _STAND_IN.items():
        inner = inner.replace(colour, f"var(--{name})")
    inner = re.sub(r"(\d\.\d{2})\d+", r"\1", inner)
    inner = re.sub(r">\s+<", "><", inner).strip()
    width, height = size
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">{inner}</svg>'
    )


def _finite(edges: Sequence[float], *, log: bool) -> list[float]:
    """Return edges that can be drawn: an infinite last one, or a first of 0, a step further on."""
    finite = list(map(float, edges))
    if log and finite[0] <= 0:
        finite[0] = finite[1] / 2
    if np.isinf(finite[-1]):
        step = finite[-2] - finite[-3] if len(finite) > 2 else 1.0
        factor = finite[-2] / finite[-3] if len(finite) > 2 and finite[-3] > 0 else 2.0
        finite[-1] = finite[-2] * factor if log else finite[-2] + step
    return finite


def _formatter(count: Callable[[float], str]) -> Callable[[float, float | None], str]:
    return lambda value, place: count(value)


def compact(value: float) -> str:
    """Return 1200000 as 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _percent(value: float) -> str:
    return f"{100 * value:.3g}%"
