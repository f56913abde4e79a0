"""SyntaxGym's suites: items in several conditions, sentences in regions, and what is predicted of their surprisals.

Source: Hu, Gauthier, Qian, Wilcox and Levy, "A Systematic Assessment of Syntactic Generalization in Neural Language
Models", ACL 2020; the form of a suite's JSON: cpllab/syntaxgym-core, docs/suite_json.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from negspace.text.content import Request, clean
from negspace.text.formula import ALL, Formula, FormulaError, parse
from negspace.wording import listed

Metric = Literal["sum", "mean", "median", "range", "max", "min"]
"""Metric over the surprisals of a region's tokens."""
_CIRCUITS = {
    "npi": "licensing",
    "reflexive": "licensing",
    "fgd": "long_distance_dependencies",
    "cleft": "long_distance_dependencies",
    "number": "agreement",
    "npz": "garden_path_effects",
    "mvrr": "garden_path_effects",
    "subordination": "gross_syntactic_state",
    "center": "center_embedding",
}
"""Beginning of a published suite's name -> its circuit in the paper's figure 2."""
_FORM = "give a suite as SyntaxGym describes it: meta, predictions, items of conditions of regions"


@dataclass(frozen=True)
class Sentence:
    """A sentence in regions; they stand apart by one space."""

    regions: tuple[tuple[int, str], ...]
    """Number and content of each region, in order; an empty one stands for nothing."""

    @property
    def text(self) -> str:
        """The sentence."""
        return " ".join(content for _, content in self.regions if content)

    @property
    def ends(self) -> tuple[int, ...]:
        """Offset in the text after each region; the space between two belongs to the second."""
        ends, at = [], 0
        for _, content in self.regions:
            at += len(content) + (1 if content and at else 0)
            ends.append(at)
        return tuple(ends)


@dataclass(frozen=True)
class Prediction:
    """A suite's prediction for one of its items."""

    sentences: Mapping[str, Sentence]
    """The item's sentences by condition: those that the formula names."""
    formula: Formula
    """The prediction."""
    metric: Metric
    """Metric over the surprisals of a region's tokens."""
    paradigm: str
    """The suite; with the number of the prediction, from 1, where it has several."""
    phenomenon: str
    """The suite's tag, or its circuit, as published (the published suites have no tag), or the suite itself."""
    index: int
    """Place in its paradigm, from 0."""
    language: str = ""
    """Its language, "" where none is named."""

    def __str__(self) -> str:
        return f"item {self.index} of {self.paradigm}"

    @property
    def key(self) -> list[Any]:
        """All that its outcome depends on, and its place, as JSON."""
        sentences = {
            name: [list(region) for region in sentence.regions] for name, sentence in sorted(self.sentences.items())
        }
        # Region 0 once stood for the whole sentence; records of that time are not to be taken for those of now.
        zero = ["region 0"] if any(number == 0 for _, number in self.formula.places) else []
        return [self.paradigm, self.phenomenon, self.index, self.formula.text, self.metric, sentences, *zero]


def is_suite(content: Any) -> bool:
    """Return True if JSON is a suite, sound or not."""
    return isinstance(content, Mapping) and "items" in content and ("predictions" in content or "meta" in content)


def predictions(content: Mapping[str, Any], name: str, request: Request) -> Iterator[Prediction]:
    """The predictions of a suite, one an item and formula, formula by formula.

    Args:
        name: what to call a suite that does not say its name.
    """
    meta = content.get("meta") or {}
    if not isinstance(meta, Mapping):
        raise request.refusal(f"meta is a {type(meta).__name__}", _FORM)
    suite = clean(str(meta.get("name") or name), "the suite's name", request).strip()
    if not suite:
        raise request.refusal("a suite whose name is white space", _FORM)
    metric = _metric(meta.get("metric", "sum"), request)
    formulas = _formulas(content, meta, request)
    items = content["items"]
    if not isinstance(items, list) or not items:
        raise request.refusal("no items", _FORM)
    sentences = [_item(item, place, request) for place, item in enumerate(items, start=1)]
    tag = clean(str(meta.get("tag") or ""), "the suite's tag", request).strip()
    circuit = next((circuit for start, circuit in _CIRCUITS.items() if suite.startswith(start)), None)
    phenomenon = tag or circuit or suite
    for number, formula in enumerate(formulas, start=1):
        paradigm = suite if len(formulas) == 1 else f"{suite} {number}"
        for index, item in enumerate(sentences):
            _check_named(formula, item, index, request)
            named = {condition: item[condition] for condition, _ in sorted(formula.places)}
            yield Prediction(named, formula, metric, paradigm, phenomenon, index)


def _metric(metric: Any, request: Request) -> Metric:
    if isinstance(metric, list) and len(metric) == 1:
        metric = metric[0]
    known: tuple[Metric, ...] = get_args(Metric)
    for name in known:
        if metric == name:
            return name
    raise request.refusal(f"the metric {metric!r}", f"name one of {', '.join(known)}")


def _formulas(content: Mapping[str, Any], meta: Mapping[str, Any], request: Request) -> list[Formula]:
    given = content.get("predictions") or meta.get("string_predictions") or []
    if not isinstance(given, list | tuple):
        raise request.refusal(f"predictions of type {type(given).__name__} instead of a list", _FORM)
    texts = [item.get("formula") if isinstance(item, Mapping) else item for item in given]
    if not texts:
        raise request.refusal("no predictions, by which its items could be right or wrong", _FORM)
    made = []
    for text in texts:
        if not isinstance(text, str):
            raise request.refusal(f"a prediction without a formula: {text!r:.60}", _FORM)
        text = clean(text, "a formula", request)
        try:
            made.append(parse(text))
        except FormulaError as error:
            raise request.refusal(
                f"the formula {text[:80]!r}: {error}", "write it as SyntaxGym does: (2;%match%) < (2;%mismatch%)"
            ) from error
        if not made[-1].places:
            raise request.refusal(f"the formula {text[:80]!r}, which names no region", _FORM)
    return made


def _item(item: Any, place: int, request: Request) -> dict[str, Sentence]:
    """The sentences of an item by condition."""
    sentences: dict[str, Sentence] = {}
    try:
        for condition in item["conditions"]:
            name = clean(condition["condition_name"], "the name of a condition", request).strip()
            regions = tuple(
                (_number(region["region_number"]), clean(region["content"], "a region", request).strip())
                for region in condition["regions"]
            )
            if name in sentences:
                raise request.refusal(f"item {place}: the condition {name!r} twice", _FORM)
            if len({number for number, _ in regions}) < len(regions):
                raise request.refusal(f"item {place}, {name}: two regions of one number", _FORM)
            sentences[name] = Sentence(regions)
            if not sentences[name].text:
                raise request.refusal(f"item {place}, {name}: a sentence without a word", _FORM)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise request.refusal(f"item {place}: {type(error).__name__}: {error}", _FORM) from error
    return sentences


def _number(given: Any) -> int:
    """The number of a region, which may be in quotes."""
    number = int(given)
    if isinstance(given, bool) or (not isinstance(given, str) and number != given):
        raise ValueError(f"{given!r} as the number of a region")
    return number


def _check_named(formula: Formula, item: Mapping[str, Sentence], index: int, request: Request) -> None:
    for condition, number in sorted(formula.places):
        if condition not in item:
            raise request.refusal(
                f"item {index + 1}: no condition {condition!r}, which a prediction names; it has {listed(item)}", _FORM
            )
        if number != ALL and number not in {region for region, _ in item[condition].regions}:
            raise request.refusal(f"item {index + 1}, {condition}: no region {number}, which a prediction names", _FORM)
