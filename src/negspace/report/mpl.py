"""Figures for a paper: the same panels drawn by matplotlib, in column width, with fonts embedded."""

from __future__ import annotations

import io
import textwrap
from functools import cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colors, font_manager, ft2font
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullFormatter, NullLocator

from negspace.figures.figure import Axis, Direction, Figure, Grid, Panel, Reference, Series, log_ticks, written
from negspace.figures.style import DASHES, DENSITY, DIVERGING, GREY, INK, STYLES
from negspace.report.text import visible

FORMATS = ("pdf", "png", "svg")
COLUMN, PAGE = 3.25, 6.75
"""Widths in inches: one column of a paper, and its page."""
_ROW, _LEAST, _REST = 0.145, 1.25, 0.62
_MARGIN, _TRIES, _SHORTEST = 0.02, 5, 8
"""Inches that a legend keeps from the figure's edge; how often a name that is too long is wrapped anew, and into lines
of how few characters."""
_SETTINGS: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e5e6",
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType: embedded whole characters that stay text
    "svg.fonttype": "path",
    "svg.hashsalt": "negspace",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "path.simplify": True,
}


def draw(figure: Figure, form: str, *, dpi: int = 300) -> bytes:
    """A figure as the bytes of a file; the same figure gives the same bytes.

    Args:
        form: one of FORMATS.
        dpi: of PNG.
    """
    with matplotlib.rc_context(_SETTINGS):
        canvas = _canvas(figure)
        buffer = io.BytesIO()
        stamp = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}[form]
        canvas.savefig(buffer, format=form, dpi=dpi, metadata=stamp)
    return buffer.getvalue()


def _canvas(figure: Figure) -> Canvas:
    """Panels in a grid, the legend below them all, in a figure as wide as the column or the page."""
    wide = figure.wide or len(figure.panels) > 1
    width = PAGE if wide else COLUMN
    columns = min(figure.columns, len(figure.panels)) if wide else 1
    lines = [figure.panels[start : start + columns] for start in range(0, len(figure.panels), columns)]
    heights = [max(_height(panel, width / columns) for panel in line) for line in lines]
    canvas = Canvas(figsize=(width, sum(heights)), layout="constrained")
    FigureCanvasAgg(canvas)
    legend = _place_legend(canvas, _legend(figure), 4 if wide else 2)
    canvas.set_size_inches(width, sum(heights) + legend)
    engine: Any = canvas.get_layout_engine()
    below = legend / (sum(heights) + legend)
    engine.set(rect=(0.006, below, 0.988, 1 - below), w_pad=0.05)
    axes = canvas.subplots(len(lines), columns, squeeze=False, height_ratios=heights)
    for line, row in zip(lines, axes, strict=True):
        for place, axis in enumerate(row):
            if place < len(line):
                _panel(axis, line[place])
                if place and line[place].rows and line[place].y.ticks == line[place - 1].y.ticks:
                    axis.tick_params("y", labelleft=False)
            else:
                axis.set_visible(False)
    _wrap_names(canvas)
    return canvas


def _wrap_names(canvas: Canvas) -> None:
    """Set what names an axis in lines where it is longer than the axis."""
    renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
    for _ in range(_TRIES):  # lines take room from the panels, whose axes become shorter
        canvas.draw_without_rendering()
        fitting = True
        for axes in canvas.axes:
            for label, length, way in (
                (axes.xaxis.label, axes.bbox.width, "width"),
                (axes.yaxis.label, axes.bbox.height, "height"),
            ):
                size = getattr(label.get_window_extent(renderer), way)
                longest = max(map(len, label.get_text().splitlines()), default=0)
                if size > length and longest > _SHORTEST:
                    most = max(_SHORTEST, min(longest - 1, int(longest * length / size)))
                    label.set_text(textwrap.fill(" ".join(label.get_text().split()), most, break_long_words=False))
                    fitting = False
        if fitting:
            return


def _place_legend(canvas: Canvas, handles: list[tuple[Any, str]], most: int) -> float:
    """Put the legend below the panels, in as many columns as fit; a name that is too long for one is set in lines.

    Args:
        most: columns at most.

    Returns:
        Its height in inches; 0 without handles.
    """
    if not handles:
        return 0.0
    room = canvas.bbox.width - 2 * _MARGIN * canvas.dpi
    labels = [plain(label) for _, label in handles]
    width = height = 0.0
    one_too_wide = False
    for columns in (*range(min(len(handles), most), 0, -1), *(1 for _ in range(_TRIES))):
        if one_too_wide:
            longest = max(len(line) for label in labels for line in label.splitlines())
            fitting = max(8, int(longest * min(1.0, room / width)) - 3)
            labels = [textwrap.fill(" ".join(label.split()), fitting) for label in labels]
        for earlier in canvas.legends[:]:
            earlier.remove()
        legend = canvas.legend(
            handles=[handle for handle, _ in handles],
            labels=labels,
            loc="lower center",
            ncols=columns,
            frameon=False,
            handlelength=2.4,
            columnspacing=1.4,
            borderaxespad=0.1,
        )
        box = legend.get_window_extent(canvas.canvas.get_renderer())  # type: ignore[attr-defined]
        width, height = box.width, box.height
        if width <= room:
            break
        one_too_wide = columns == 1
    return height / canvas.dpi + _MARGIN


def _height(panel: Panel, width: float) -> float:
    body = max(_LEAST, _ROW * panel.rows) if panel.rows else max(_LEAST, 0.62 * width - 0.2)
    return body + _REST + (0.15 if panel.title else 0)


def _panel(axes: Any, panel: Panel) -> None:
    if panel.grid is not None:
        _grid(axes, panel.grid)
    for series in panel.series:
        _series(axes, series)
    for reference in panel.references:
        _reference(axes, reference)
    _axis(axes, panel.x, panel, "x")
    _axis(axes, panel.y, panel, "y")
    if panel.rows:
        axes.grid(False, axis="y")
        for place, _ in panel.y.ticks[1::2]:
            axes.axhspan(place - 0.5, place + 0.5, color="#f3f4f3", linewidth=0, zorder=0)
    if panel.title:
        width = axes.figure.get_size_inches()[0] / max(1, axes.get_gridspec().ncols)
        # What names a line across stands between the panel and its title.
        named = any(line.axis == "x" and line.label for line in panel.references)
        wrapped = textwrap.wrap(plain(panel.title), int(width * 15))
        axes.set_title("\n".join(wrapped), loc="left", pad=11 if named else None)


def _series(axes: Any, series: Series) -> None:
    style = STYLES[series.role]
    colour, dash = style.light, DASHES[style.dash]
    if series.mark == "steps":
        axes.stairs(series.y, series.x, color=colour, fill=True, alpha=0.25)
        axes.stairs(series.y, series.x, color=colour, linewidth=0.8)
        return
    if series.low is not None and series.high is not None:
        value = series.y if series.along == "y" else series.x
        ends = np.stack([np.maximum(value - series.low, 0), np.maximum(series.high - value, 0)])
        # A missing interval has no length, and is then not drawn.
        known = np.isfinite(ends).all(axis=0) & np.isfinite(value)
        axes.errorbar(
            series.x[known],
            series.y[known],
            **{f"{series.along}err": ends[:, known]},
            fmt="none",
            ecolor=colour,
            elinewidth=0.8,
            capsize=1.6,
            capthick=0.8,
        )
    small = series.mark == "dots"
    hollow = style.symbol.endswith("open")
    axes.plot(
        series.x,
        series.y,
        linestyle=dash if series.mark in ("line", "curve") else "none",
        linewidth=0.9 if series.mark == "curve" else 1.1,
        color=colour,
        marker=None if series.mark == "curve" else style.marker or None,
        markersize=1.8 if small else 3.6,
        markerfacecolor="white" if hollow else colour,
        markeredgewidth=0 if small else 0.8,
        alpha=0.7 if small else 1,
        rasterized=small and len(series.x) > 2000,
    )


def _grid(axes: Any, grid: Grid) -> None:
    diverging = grid.limits is not None and grid.limits[0] == -grid.limits[1]
    chosen = (DIVERGING if diverging else DENSITY)["light"]
    scale = colors.LinearSegmentedColormap.from_list("negspace", list(chosen))
    known = np.isfinite(grid.values)
    low, high = grid.limits or (
        (float(np.nanmin(grid.values)), float(np.nanmax(grid.values))) if known.any() else (0, 1)
    )
    if grid.log:
        norm: Any = colors.LogNorm(max(low, 1e-12), max(high, low * 1.01))
    else:
        norm = colors.Normalize(low, high if high > low else low + 1)
    x, y = (_edges(grid.x), _edges(grid.y)) if grid.matrix else (grid.x, grid.y)
    mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(grid.values), cmap=scale, norm=norm, rasterized=not grid.matrix)
    axes.grid(False)
    if grid.matrix:
        for row, column in zip(*np.nonzero(known), strict=True):
            value = float(grid.values[row, column])
            red, green, blue, _ = scale(norm(value))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.55
            place = (grid.x[column], grid.y[row])
            text = {"ha": "center", "va": "center", "fontsize": 6, "color": "white" if dark else INK}
            axes.annotate(written(value, grid), place, **text)
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=25, shrink=0.9)
    bar.set_label(plain(grid.label), fontsize=7)
    bar.outline.set_visible(False)


def _reference(axes: Any, reference: Reference) -> None:
    colour = STYLES["paper"].light if reference.paper else GREY
    line = axes.axvline if reference.axis == "x" else axes.axhline
    dash = DASHES["longdash"] if reference.paper else "-"
    line(reference.value, color=colour, linewidth=0.8, linestyle=dash, zorder=1.5)
    if not reference.label:
        return
    text = {"fontsize": 6, "color": colour if reference.paper else INK}
    if reference.axis == "x":
        place, how = (reference.value, 1.0), {"xycoords": ("data", "axes fraction"), "va": "bottom", "ha": "left"}
    else:
        place, how = (1.0, reference.value), {"xycoords": ("axes fraction", "data"), "va": "bottom", "ha": "right"}
    axes.annotate(plain(reference.label), place, **how, **text)


def _axis(axes: Any, axis: Axis, panel: Panel, which: Direction) -> None:
    getattr(axes, f"set_{which}label")(plain(axis.label))
    if axis.log:
        getattr(axes, f"set_{which}scale")("log")
    ticks = axis.ticks or (log_ticks(panel, which) if axis.log else ())
    if ticks:
        places = [place for place, _ in ticks]
        getattr(axes, f"set_{which}ticks")(places, [plain(text) for _, text in ticks])
        if axis.slanted:
            axes.tick_params(which, rotation=40, rotation_mode="xtick")
        own = getattr(axes, f"{which}axis")
        own.set_minor_locator(NullLocator())
        own.set_minor_formatter(NullFormatter())
    if axis.limits:
        getattr(axes, f"set_{which}lim")(*axis.limits)


def _legend(figure: Figure) -> list[tuple[Any, str]]:
    """One handle a name; none where there is one series, which the title names."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found: dict[str, Any] = {}
    for series in (series for panel in figure.panels for series in panel.series):
        if series.name in found:
            continue
        style = STYLES[series.role]
        if series.mark == "steps":
            found[series.name] = Patch(color=style.light, alpha=0.4)
            continue
        found[series.name] = Line2D(
            [],
            [],
            color=style.light,
            linestyle=DASHES[style.dash] if series.mark in ("line", "curve") else "none",  # type: ignore[arg-type]
            linewidth=1.1,
            marker="None" if series.mark == "curve" else style.marker or "None",
            markersize=3.6,
            markerfacecolor="white" if style.symbol.endswith("open") else style.light,
        )
    grids = any(panel.grid is not None for panel in figure.panels)
    return [(handle, name) for name, handle in found.items()] if len(found) > 1 or grids else []


def plain(text: str) -> str:
    """Text that the font can draw: characters that it lacks as code points."""
    made = "".join(c if c == "\n" or _drawable(ord(c)) else f"⟨U+{ord(c):04X}⟩" for c in visible(text))
    return made.replace("⟨", "<").replace("⟩", ">") if not _drawable(ord("⟨")) else made


def _drawable(code: int) -> bool:
    return code in _characters()


@cache
def _characters() -> frozenset[int]:
    """Characters of the font that figures are set in; matplotlib brings it along."""
    path = font_manager.findfont(font_manager.FontProperties(family=_SETTINGS["font.family"]))
    return frozenset(ft2font.FT2Font(str(path)).get_charmap())


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges of cells around centres that are one apart."""
    return np.concatenate((centres - 0.5, centres[-1:] + 0.5))
