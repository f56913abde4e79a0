"""Figures: what they show, in both back-ends, and as files."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_up_run import HOSTILE, TABLED, ablation_part, dissociated, made_up
from negspace.analyses.training.figures import place_of, step_axis
from negspace.errors import RecordError
from negspace.experiment import paper
from negspace.experiment.run import Run
from negspace.figures.figure import Axis, Figure, Grid, Panel, Reference, Series, log_ticks, written
from negspace.figures.forest import Dots, forest
from negspace.figures.scores import Measure, beside, lost
from negspace.figures.style import DASHES, STYLES, nth
from negspace.neurons.neuronset import NeuronSet
from negspace.report import comparison, mpl, plotly
from negspace.report.export import write_figures
from negspace.report.sections import figures_of


def _by_name(run: Run) -> dict[str, Figure]:
    return {figure.name: figure for made in figures_of(run).values() for figure in made}


def _like(run: Run, name: str, **study: Any) -> Run:
    """The run, as if of another model."""
    model = {**run.manifest["model"], "name": name}
    return replace(run, manifest={**run.manifest, "model": model, "study": {**run.study, **study}})


def test_a_run_has_the_figures_of_its_tables() -> None:
    found = _by_name(made_up())
    assert list(found) == [
        "wd_by_layer", "distributions", "negative_share", "wd_against_md", "main_result", "contrasts",
        "blimp_by_phenomenon_1pct", "matching",
    ]  # fmt: skip
    main = found["main_result"].panels[1]
    top = next(series for series in main.series if series.role == "top")
    assert top.x.tolist() == pytest.approx([-8.0])
    assert top.low is not None
    assert top.low.tolist() == pytest.approx([-10.0])
    groups = found["blimp_by_phenomenon_1pct"].panels[0]
    assert [text for _, text in groups.y.ticks] == ["agreement", "islands"]
    assert {series.role for series in groups.series} == {"baseline", "top", "random", "matched"}


def test_margins_of_tse_are_means_per_token() -> None:
    assert Measure("tse", nats=True).label() == "change of the margin (nats per token)"
    assert Measure("blimp", nats=True).label("the control's") == "difference of the margin (nats)"
    assert [label for *_, label in lost("tse")] == ["accuracy lost (points)", "margin lost (nats per token)"]
    part = ablation_part()
    summary = part.tables["summary"].rename(columns=lambda name: name.replace("blimp_", "tse_"))
    figure = _by_name(made_up(parts=(replace(part, tables={"summary": summary}),)))["main_result"]
    assert "log p(bad) of a pair (of TSE, means per token)." in figure.caption
    assert "per token" not in _by_name(made_up())["main_result"].caption


def test_wd_by_layer_holds_the_quantiles_of_each_layer() -> None:
    run = made_up()
    assert run.scan is not None
    panel = _by_name(run)["wd_by_layer"].panels[0]
    largest = run.scan.table.groupby("layer")["wd"].max()
    np.testing.assert_allclose(panel.series[0].y, largest)


def test_the_top_set_of_the_scan_s_figures_is_the_study_s_own() -> None:
    run = made_up()
    own = run.sets["top 10% by wd"]
    others = {
        "top 1% by all texts": own,
        "top 1% by other.txt alone": own,
        "training cohort: top 1% by wd at the last checkpoint": own,
        "3 of top 10% by wd": own,
    }
    smaller = {name: NeuronSet.from_rows(one.rows[:3], one.layout, name) for name, one in others.items()}
    named = [
        series.name for series in _by_name(replace(run, sets={**smaller, **run.sets}))["wd_against_md"].panels[0].series
    ]
    assert named == ["other neurons", "top 10% by wd"]
    for where in (", layers 0, 2", ", layers 1, those with a mean"):
        few = NeuronSet.from_rows(own.rows[:3], own.layout, f"top 1% by wd{where}")
        found = _by_name(replace(run, sets={**run.sets, few.origin: few}))["wd_against_md"].panels[0].series
        assert found[-1].name == few.origin


@pytest.mark.parametrize(
    ("study", "acts"),
    [
        ({"zero": "negative", "mode": None}, True),
        ({"zero": None, "mode": "sign_flip"}, True),
        ({"zero": None, "mode": "negative_mean"}, True),
        ({"zero": "both", "mode": None}, False),
        ({"zero": "positive", "mode": None}, False),
        ({"zero": None, "mode": "mean"}, False),
    ],
)
def test_the_intervention_is_said_to_act_left_of_zero_where_it_does(study: dict[str, Any], acts: bool) -> None:
    caption = _by_name(_like(made_up(), "m", **study))["distributions"].caption
    assert "The vertical line is zero" in caption
    assert ("left of which the intervention acts" in caption) is acts


def test_the_top_neurons_distributions_come_with_every_scan() -> None:
    run = made_up(layers=4, width=2000)
    assert run.scan is not None
    assert run.scan.histograms is not None
    assert len(run.scan.histograms) < 8000
    figure = _by_name(run)["distributions"]
    assert len(figure.panels) == 9
    table = run.scan.table
    best = [table.loc[row] for row in table.groupby("layer")["wd"].idxmax()]
    for row in best:
        name = f"{row['layer']}.{row['neuron']}, WD {row['wd']:.3f}"
        panel = next(panel for panel in figure.panels if panel.title == name)
        steps, bell = panel.series
        found = run.scan.histogram(row["layer"], row["neuron"])
        held = found.counts > 0
        assert steps.y[steps.y > 0].tolist() == pytest.approx(found.density[held].tolist())
        assert np.trapezoid(bell.y, bell.x) == pytest.approx(1, abs=0.01)
        assert any(line.value == 0 and line.axis == "x" for line in panel.references)
        assert panel.x.limits is not None
        assert panel.x.limits[0] < 0 < panel.x.limits[1]
    medians = [panel.title for panel in figure.panels if "(median)" in panel.title]
    assert len(medians) == 3
    bare = replace(run, scan=replace(run.scan, histograms=None))
    assert "distributions" not in _by_name(bare)


def test_many_neurons_become_counts_that_lose_none() -> None:
    panel = _by_name(made_up(layers=4, width=2000))["wd_against_md"].panels[0]
    assert panel.grid is not None
    assert np.nansum(panel.grid.values) == 8000
    assert len(panel.series[0].x) == 800


def test_random_sets_are_drawn_as_mean_and_range() -> None:
    panel = _by_name(made_up())["blimp_by_phenomenon_1pct"].panels[1]
    random = next(series for series in panel.series if series.role == "random")
    assert random.x.tolist() == pytest.approx([-1.0, -1.0])
    assert random.low is not None
    assert random.low.tolist() == pytest.approx([-1.0, -1.0])


def test_margins_stand_beside_accuracy() -> None:
    panels = _by_name(made_up())["blimp_by_phenomenon_1pct"].panels
    assert [panel.x.label for panel in panels] == ["% right", "change (points)", "change of the margin (nats)"]
    top = next(series for series in panels[2].series if series.role == "top")
    assert top.low is not None
    assert (top.x[0], top.low[0]) == pytest.approx((-0.4, -0.5))
    assert not any(series.role == "baseline" for series in panels[2].series)


def test_every_role_has_a_style_of_its_own_in_shape_or_dash() -> None:
    shown = ("top", "random", "matched", "bottom", "baseline")
    assert len({STYLES[role].marker + STYLES[role].symbol for role in shown}) == len(shown)
    for role in ("top", "series 1", "series 2", "series 4"):  # beside the others' line in some figure
        assert STYLES["rest"].symbol != STYLES[role].symbol
        assert STYLES["rest"].dash != STYLES[role].dash
    assert all(style.dash in DASHES for style in STYLES.values())


def test_many_series_are_told_apart() -> None:
    styles = [STYLES[nth(number)] for number in range(40)]
    assert len({(style.symbol, style.dash) for style in styles}) == 40
    assert len({(style.light, style.symbol) for style in styles}) == 40
    assert len({style.marker for style in styles}) == len({style.symbol for style in styles}) == 8
    assert nth(40) == nth(0)
    runs = [made_up(f"run {number}", seed=number) for number in range(12)]
    (depth,) = (figure for figure in comparison.figures(runs) if figure.name == "comparison_depth")
    shown = [STYLES[series.role] for series in depth.panels[0].series]
    assert len({(style.symbol, style.dash) for style in shown}) == 12


@pytest.mark.parametrize(
    ("name", "share"), [("Qwen/Qwen3-8B", 0.2), ("meta-llama/Llama-3.1-8B", 0.35), ("/models/Mistral-7B-v0.3/", 0.5)]
)
def test_published_numbers_stand_beside_the_models_that_they_are_of(name: str, share: float) -> None:
    run = _like(made_up(), name)
    panel = _by_name(run)["matching"].panels[0]
    line = next(reference for reference in panel.references if reference.paper)
    assert line.value == pytest.approx(share * 100)
    assert line.label == f"Kong et al. 2026, WikiText-2: {share * 100:g}%"


@pytest.mark.parametrize("change", [{"by": "md"}, {"zero": "positive"}, {"zero": None, "mode": "mean"}])
def test_published_numbers_do_not_stand_beside_other_quantities(change: dict[str, Any]) -> None:
    assert paper.published(_like(made_up(), "Qwen/Qwen3-8B", **change)) is None
    assert paper.doubling(_like(made_up(), "Qwen/Qwen3-8B", **change)) == ()


def test_published_numbers_do_not_stand_beside_other_models_or_shares() -> None:
    assert paper.published(made_up("gpt2")) is None
    assert not any(reference.paper for reference in _by_name(made_up())["matching"].panels[0].references)
    run = _like(made_up(), "Qwen/Qwen3-8B")
    assert paper.matching(run, 0.05) == ()
    assert [round(line.value) for line in paper.tasks(run, 0.01)] == [-4, -11]
    assert paper.tasks(run, 0.01)[0].label == "Kong et al. 2026, its 8 tasks: top about -4"
    assert paper.doubling(run)[0].label == "Kong et al. 2026, WikiText-2: doubles at about 5%"
    assert paper.emergence(_like(run, "EleutherAI/pythia-1.4b"))[0].value == 25_000
    assert paper.emergence(run) == ()


def test_a_forest_keeps_rows_and_series_apart() -> None:
    nan = math.nan
    one = Dots("one", "top", {"a": (1.0, 0.5, 1.5), "b": (2.0, nan, nan)})
    two = Dots("two", "random", {"b": (3.0, 2.0, 4.0), "c": (nan, nan, nan)})
    panel = forest(["a", "b", "c"], [one, two], "x")
    assert [text for _, text in panel.y.ticks] == ["a", "b", "c"]
    first, second = panel.series
    assert first.y.tolist() == pytest.approx([-0.12, 0.88])
    assert second.y.tolist() == pytest.approx([1.12])
    assert first.low is not None
    assert math.isnan(first.low[1])
    assert panel.references[0].value == 0


def test_both_back_ends_draw_the_same_points() -> None:
    figure = _by_name(made_up())["main_result"]
    for panel, spec in zip(figure.panels, plotly.specs(figure), strict=True):
        assert [trace["x"] for trace in spec["data"]] == [pytest.approx(series.x.tolist()) for series in panel.series]
        assert all(trace["marker"]["color"].startswith("role:") for trace in spec["data"])
    with mpl.matplotlib.rc_context():
        canvas = mpl._canvas(figure)
    for panel, axes in zip(figure.panels, canvas.axes, strict=True):
        drawn = [
            line for line in axes.lines if len(line.get_xdata()) and line.get_marker() not in ("None", "|", "_", 2, 3)
        ]
        points = {(round(float(x), 6), round(float(y), 6)) for line in drawn for x, y in line.get_xydata()}
        for series in panel.series:
            assert {(round(x, 6), round(y, 6)) for x, y in zip(series.x, series.y, strict=True)} <= points


def test_log_axes_have_round_ticks_within_the_data() -> None:
    series = Series("s", "top", np.array([0.1, 1.0, 100.0]), np.array([1.0, 2.0, 3.0]))
    panel = Panel(Axis("x", log=True), Axis("y", log=True), (series,))
    assert [text for _, text in log_ticks(panel, "x")] == ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"]
    assert [text for _, text in log_ticks(panel, "y")] == ["1", "1.2", "1.5", "2", "2.5", "3"]
    close = Series("s", "top", np.array([1.0, 1.012, 1.031]), np.array([1.0, 1.1, 1.4]))
    near = Panel(panel.x, panel.y, (close,))
    assert [text for _, text in log_ticks(near, "x")] == ["1", "1.01", "1.02", "1.03"]
    assert [text for _, text in log_ticks(near, "y")] == ["1", "1.1", "1.2", "1.3", "1.4"]


def test_step_zero_has_a_place_on_a_logarithmic_axis() -> None:
    axis = step_axis(np.array([0, 1, 10, 1000], float))
    assert axis.log
    assert axis.ticks[0] == (pytest.approx(1 / 3), "0")
    assert place_of(np.array([0.0, 10.0]), 1.0).tolist() == pytest.approx([1 / 3, 10])
    assert not step_axis(np.array([100, 200, 300], float)).log


def test_numbers_in_a_matrix_have_no_negative_zero() -> None:
    grid = Grid(np.arange(2.0), np.arange(1.0), np.array([[-0.001, 12.0]]), "points", matrix=True)
    assert [written(float(value), grid) for value in grid.values[0]] == ["0.0", "12.0"]
    assert written(math.nan, grid) == ""


def test_files_are_whole_alike_each_time_and_of_the_papers_width(tmp_path: Path) -> None:
    run = made_up()
    formats = ("pdf", "png", "svg")
    first = {
        path.name: path.read_bytes() for path in write_figures([run], tmp_path / "a", formats, only=["wd_by", "main"])
    }
    second = {
        path.name: path.read_bytes() for path in write_figures([run], tmp_path / "b", formats, only=["wd_by", "main"])
    }
    assert sorted(first) == sorted(f"{name}.{form}" for name in ("wd_by_layer", "main_result") for form in formats)
    assert first == second
    pdf = first["wd_by_layer.pdf"]
    assert pdf.startswith(b"%PDF")
    box = re.search(rb"/MediaBox \[ *0 0 ([\d.]+)", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.25 * 72)
    assert b"/FontFile2" in pdf
    assert b"CreationDate" not in pdf
    assert first["main_result.svg"].lstrip().startswith(b"<?xml")
    assert first["main_result.png"].startswith(b"\x89PNG")


def _long(names: list[str], wide: bool) -> Figure:
    x = np.array([1.0, 2.0])
    series = tuple(Series(name, nth(place), x, x + place, mark="line") for place, name in enumerate(names))
    return Figure("f", "t", "c", (Panel(Axis("x"), Axis("y"), series),), wide=wide)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ["a", "b"],
        ["top 5%", "random 5%, mean of 2", "bottom 50.07%, matched to top 5%"],
        [f"checkpoint number {number} of a long name" for number in range(8)],
        ["word " * 40, "letters" * 40],
    ],
)
def test_legends_lie_inside_the_figure_and_below_its_panels(names: list[str], wide: bool) -> None:
    with mpl.matplotlib.rc_context(mpl._SETTINGS):
        canvas = mpl._canvas(_long(names, wide))
        canvas.draw_without_rendering()
        (legend,) = canvas.legends
        renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
        box, panel = legend.get_window_extent(renderer), canvas.axes[0].get_tightbbox(renderer)
    assert legend.texts[0].get_text().startswith(names[0].split()[0][:20])
    assert box.x0 >= 0
    assert box.x1 <= canvas.bbox.width
    assert box.y0 >= 0
    assert panel is not None
    assert box.y1 <= panel.y0
    assert canvas.get_size_inches()[0] == pytest.approx(6.75 if wide else 3.25)


def test_every_text_of_a_figure_lies_inside_it() -> None:
    run = made_up("m", parts=(dissociated(ablation_part(groups=("a_phenomenon_of_a_long_name",)), "reversed", False),))
    for figure in [*_by_name(run).values(), *comparison.figures([run, made_up("another")])]:
        with mpl.matplotlib.rc_context(mpl._SETTINGS):
            canvas = mpl._canvas(figure)
            canvas.draw_without_rendering()
            for axes in canvas.axes:
                if not axes.get_visible():
                    continue
                box = axes.get_tightbbox(canvas.canvas.get_renderer())  # type: ignore[attr-defined]
                assert box is not None
                assert box.x0 >= -0.5, figure.name
                assert box.x1 <= canvas.bbox.width + 0.5, figure.name
                assert box.y1 <= canvas.bbox.height + 0.5, figure.name


def test_names_of_axes_are_no_longer_than_the_axes() -> None:
    x = np.array([1.0, 2.0])
    label = "a quantity whose name is longer than the axis that it stands beside"
    series = (Series("s", "top", x, x), Series("t", "random", x, x))
    with mpl.matplotlib.rc_context(mpl._SETTINGS):
        canvas = mpl._canvas(Figure("f", "t", "c", (Panel(Axis(label), Axis(label), series),)))
        canvas.draw_without_rendering()
        (axes,) = canvas.axes
        renderer = canvas.canvas.get_renderer()  # type: ignore[attr-defined]
        for own in (axes.xaxis.label, axes.yaxis.label):
            box = own.get_window_extent(renderer)
            assert " ".join(own.get_text().split()) == label
            assert box.x0 >= 0
            assert box.y0 >= 0
            assert box.x1 <= canvas.bbox.width
            assert box.y1 <= canvas.bbox.height


def test_intervals_of_several_series_stand_beside_one_another() -> None:
    x = np.array([1.0, 10.0, 100.0])
    bare = Series("bare", "rest", x, x, mark="line")
    held = [Series(name, "top", x, x, x - 1, x + 1, mark="line") for name in "abc"]
    moved = beside([*held, bare], Axis("share", log=True))
    assert moved[3] is bare
    assert moved[1].x.tolist() == x.tolist()
    assert (moved[0].x < x).all()
    assert (moved[2].x > x).all()
    assert moved[2].x / x == pytest.approx(np.full(3, moved[2].x[0]))
    assert moved[0].labels == ("share 1", "share 10", "share 100")
    assert beside([held[0], bare], Axis("share"))[0] is held[0]


def test_hostile_names_are_drawn_as_text(tmp_path: Path) -> None:
    run = made_up("m", parts=(ablation_part(groups=TABLED, name=HOSTILE[0]),))
    made = write_figures([run], tmp_path, "svg", only="blimp")
    text = made[0].read_text(encoding="utf-8")
    assert "<script" not in text
    assert mpl.plain("a\ud800\u202e你$x$") == "a⟨U+D800⟩⟨U+202E⟩⟨U+4F60⟩$x$"


def test_unknown_formats_and_figures_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="did you mean 'pdf'"):
        write_figures([made_up()], tmp_path, ["pfd"])
    with pytest.raises(RecordError, match="there are: blimp_by_phenomenon_1pct, contrasts"):
        write_figures([made_up()], tmp_path, ["pdf"], only=["nothing"])
    with pytest.raises(RecordError, match="not a whole number"):
        write_figures([made_up()], tmp_path, ["pdf"], dpi="fine")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_several_runs_share_their_axes() -> None:
    runs = [made_up("one"), made_up("two", layers=6, seed=1)]
    found = {figure.name: figure for figure in comparison.figures(runs)}
    assert list(found) == ["comparison_1pct", "comparison_depth"]
    assert [text for _, text in found["comparison_1pct"].panels[0].y.ticks] == ["one", "two"]
    depth = found["comparison_depth"].panels[0].series
    assert [series.x[-1] for series in depth] == [1.0, 1.0]
    table = comparison.summary(runs)
    assert set(table["run"]) == {"one", "two"}
    assert set(table.columns) <= {name + end for name in comparison.SUMMARY for end in ("", "_low", "_high")}


def test_runs_of_alike_labels_have_folders_of_their_own_in_the_folder_asked_for(tmp_path: Path) -> None:
    labels = ("gpt2 (run a)", "gpt2 (run-a)", "..")
    made = write_figures([made_up(label) for label in labels], tmp_path / "out" / "figures", "svg", only="wd_by")
    places = [path.relative_to(tmp_path / "out" / "figures").as_posix() for path in made]
    assert places == [f"{name}/wd_by_layer.svg" for name in ("gpt2-run-a", "gpt2-run-a-2", "unnamed")]
    assert len(list(tmp_path.rglob("*.svg"))) == 3


def test_a_line_across_a_panel_names_the_paper_in_both_back_ends() -> None:
    series = Series("s", "top", np.array([1.0, 2.0]), np.array([1.0, 2.0]), mark="line")
    line = Reference(1.5, "x", "Kong et al. 2026: 1.5", paper=True)
    figure = Figure("f", "t", "c", (Panel(Axis("x"), Axis("y"), (series,), references=(line,)),))
    layout = plotly.specs(figure)[0]["layout"]
    assert layout["annotations"][0]["text"] == "Kong et al. 2026: 1.5"
    assert layout["shapes"][0]["line"]["dash"] == "longdash"
    axes = mpl._canvas(figure).axes[0]
    assert [text.get_text() for text in axes.texts] == ["Kong et al. 2026: 1.5"]
