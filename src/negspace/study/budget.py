"""Sizes of a study for a given time: the pairs, windows and random sets with which the least effect shows.

What a study costs at each size follows from its plan and from the speed of the model here; what it can show, from the
statistics of a planned study (`significance.power`). Nothing has been measured yet, so the variances that effects have
over items, paradigms and random sets are assumed (`significance.power.TYPICAL`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import yaml

from negspace.analyses.ablation.contrasts import PLAIN, compared
from negspace.errors import NegspaceError, StudyError
from negspace.experiment.condition import RANDOM
from negspace.experiment.config import SIZES, Study
from negspace.experiment.facts import Survey
from negspace.experiment.lab import Lab
from negspace.experiment.plan import Load, union, work
from negspace.experiment.workbench import Workbench
from negspace.files import NOT_YAML
from negspace.models.model import Model
from negspace.runs.engine import LocalEngine
from negspace.runs.store import Store
from negspace.score.pairs import prepare
from negspace.score.passes import tokens_of
from negspace.significance import detectable, planned, planned_with_sets
from negspace.significance.contrast import Scale
from negspace.significance.estimate import Estimate, total
from negspace.significance.nesting import Shortfall
from negspace.significance.power import TYPICAL, Sizes
from negspace.significance.sets import FEWEST, too_few
from negspace.study.bench import workbench
from negspace.study.registry import analysis, sections
from negspace.text.pairs import PairSet
from negspace.text.suites import TITLES
from negspace.wording import counted, duration

STUDY_FILE = "study.yaml"
SOURCE = (
    "the assumed variances are typical values built into negspace (significance.power.TYPICAL), set by judgement and "
    "not measured on this model"
)
"""Source of the assumed variance components."""
_SPARE = 0.9
"""Part of the budget that is planned for; the rest is for what forecasts miss."""
_COUNTED = (10, 40)
"""Pairs of each paradigm at which tokens are counted; between and beyond, they are taken to grow by a power."""
_PAIRS = (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160, 225, 320, 450, 640, 900, 1300, 1800)
_WINDOWS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_SETS = (5, 7, 10, 14, 19, 25, 35, 50)
_GOAL: Mapping[Scale, float] = {"points": 0.02, "log ratio": 0.02}
"""Effects that count as equally small: two points of accuracy, 2% of perplexity."""


@dataclass(frozen=True)
class Shown:
    """The power of a study of given size in one contrast."""

    name: str
    """"BLiMP: top against random sets"."""
    seconds: float
    """Time of the scores that it takes, at all shares; contrasts share some of them."""
    detectable: float
    """Least true effect found with probability 0.8, in points of accuracy (0.02) or ln of perplexity; NaN: none."""
    scale: Scale
    """"points" or "log ratio"."""
    reason: str
    """Why nothing can be judged; else empty."""


@dataclass(frozen=True)
class _Claim:
    """A contrast or dissociation of the main study at one share, as it is planned."""

    name: str
    """Its row of the plan; empty: it has none."""
    scores: tuple[str, ...]
    """What is scored for it."""
    scale: Scale
    """Scale of its effect."""
    error: Estimate | Shortfall
    """The error that it will have, or why it cannot be judged."""
    tests: int = 1
    """How many of the tests that are corrected together it makes."""
    sets: int = 1
    """Sets that the top set is compared with."""
    own_tests: int = 0
    """Tests that it is corrected with, where they are a family of their own; else 0."""


MAIN = "ablation"
"""The main study, whose contrasts sizes are chosen for."""


@dataclass(frozen=True)
class Budget:
    """A study with the sizes that were chosen for it."""

    study: Study
    """With explicit sizes."""
    sizes: Mapping[str, int]
    """Field -> what was chosen; without the fields that the user gave."""
    seconds: float
    """Time that it will take in all, by the trial."""
    rate: float
    """Tokens a second that the model reads here."""
    contrasts: Sequence[Shown]
    """Its power."""
    tests: int
    """Contrasts judged together, over all shares."""


def seconds_of(budget: str) -> float:
    """Seconds of "30m", "1h30m" or "90s"."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)\s*([hms])", budget))


def recorded_sizes(study: Study, out: Path) -> Study | None:
    """The study with the sizes that an earlier run in a folder chose for the same budget; None if there are none."""
    try:
        before = yaml.safe_load((out / STUDY_FILE).read_text(encoding="utf-8"))
        if before.get("budget") != study.budget:
            return None
        return Study.model_validate(study.model_dump() | {name: before[name] for name in _free(study)})
    except (OSError, NegspaceError, *NOT_YAML):
        return None


def undecided(study: Study) -> bool:
    """Return True if a study has a budget and sizes left to choose for it."""
    return study.budget is not None and bool(_free(study))


def choose(study: Study, model: Model | None = None) -> tuple[Budget, Model]:
    """Choose the sizes that a study leaves open for its budget; runs the model for some seconds.

    Args:
        study: one that is `undecided`.
        model: the model, where it is in memory already; else the study's is loaded.

    Returns:
        The study with explicit sizes and what it can show; and the model.

    Raises:
        StudyError: the time is too short for the least that can be judged.
        NegspaceError: bad input.
    """
    assert study.budget is not None
    small = {"limit": _COUNTED[0], "perplexity_windows": _WINDOWS[0]}
    bench = workbench(study.model_copy(update={name: small[name] for name in _free(study) if name in small}), model)
    whole = workbench(study.model_copy(update={"limit": None}), bench.model)
    costs = _Costs(study, bench, whole, bench.survey())
    rate, wanted = bench.rate(), seconds_of(study.budget)
    tokens = rate * wanted * _SPARE
    options = list(costs.options())
    least = min(options, key=costs.roughly)
    if costs.exactly(least) > tokens:
        raise StudyError(
            f"a study in {study.budget}",
            f"{duration(costs.exactly(least) / rate)} at {rate:,.0f} tokens per second for the least that can be "
            f"judged ({_named(least)}), of which the scan takes {duration(costs.scan / rate)}; a tenth is kept in "
            f"reserve, so that {duration(wanted * _SPARE)} are left to plan for",
            "give more time, fewer shares or analyses, or fewer windows of the scan (windows)",
        )
    while True:
        fitting = [sizes for sizes in options if costs.roughly(sizes) <= tokens] or [least]
        best = min(fitting, key=lambda sizes: costs.merit(sizes, rate))
        # Where plans are not proportional to what they read, or tokens were guessed, the exact cost says so. It is then
        # known for all sizes of as many pairs.
        if costs.exactly(best) <= tokens:
            break
        options.remove(best)
    made = Study.model_validate(study.model_dump() | best)
    contrasts = costs.contrasts(best, rate)
    return Budget(made, best, costs.exactly(best) / rate, rate, contrasts, costs.tests(best)), bench.model


class _Costs:
    """The cost and power of a study at each size.

    Args:
        study: with sizes left open.
        bench: its model and a little of its data.
        whole: all of its data.
        survey: what the small bench says.
    """

    def __init__(self, study: Study, bench: Workbench, whole: Workbench, survey: Survey) -> None:
        self.study, self.bench, self.survey = study, bench, survey
        self.free = _free(study)
        self.pairs: Mapping[str, PairSet] = whole.pairs
        self.tasks = {name: len(rows) for name, rows in whole.tasks.indices.items()} if whole.tasks else {}
        self.item = whole.tasks.tokens(bench.model.tokenizer) / len(whole.tasks) if whole.tasks else 0.0
        facts = survey.facts
        self.shared = {name: facts.tokens[name] for name in ("scan", "examples")}
        """Work that every size shares -> its tokens."""
        self.scan = self._priced_tokens(Load({("scan", ""): facts.tokens["scan"]}))
        """Tokens that cost with logits what the scan does."""
        self.window = bench.windows.window
        self.available = bench.windows.available
        self.groups = {
            suite: {name: sum(pair.paradigm == name for pair in some) for name in some.paradigms}
            for suite, some in self.pairs.items()
        }
        self._counted: dict[tuple[str, int], float] = {}
        self._priced: dict[int, tuple[float, dict[str, float]]] = {}

    def options(self) -> Iterator[dict[str, int]]:
        """Every choice of sizes."""
        most = max((size for groups in (*self.groups.values(), self.tasks) for size in groups.values()), default=0)
        grids = {"limit": _grid(_PAIRS, most), "perplexity_windows": _grid(_WINDOWS, self.available), "random": _SETS}
        made: list[dict[str, int]] = [{}]
        for name in self.free:
            made = [{**sizes, name: size} for sizes in made for size in grids[name]]
        yield from made

    def tokens(self, sizes: Mapping[str, int]) -> dict[str, float]:
        """Score -> tokens that the model reads for it under one condition."""
        limit, windows = self._size(sizes, "limit"), self._size(sizes, "perplexity_windows")
        read = {**self.shared, "perplexity": float(min(windows or self.available, self.available) * self.window)}
        read |= {suite: self._pair_tokens(suite, limit) for suite in self.pairs}
        if self.tasks:
            read["tasks"] = self.item * sum(min(limit or items, items) for items in self.tasks.values())
        return read

    def roughly(self, sizes: Mapping[str, int]) -> float:
        """Tokens that a study of these sizes costs, by the price of each score."""
        random = self._size(sizes, "random") or 0
        if random not in self._priced:
            names = [name for name in self.tokens(sizes) if name not in self.shared]
            nothing = {**dict.fromkeys(names, 0.0), **self.shared}
            fixed = self._read(random, nothing)
            self._priced[random] = fixed, {name: self._read(random, {**nothing, name: 1.0}) - fixed for name in names}
        fixed, prices = self._priced[random]
        return fixed + sum(prices[name] * read for name, read in self.tokens(sizes).items() if name in prices)

    def exactly(self, sizes: Mapping[str, int]) -> float:
        """The same by its own plan, with the tokens of its own pairs counted."""
        limit = self._size(sizes, "limit")
        for suite in self.pairs:
            self._count(suite, self._most(suite) if limit is None else min(limit, self._most(suite)))
        return self._read(self._size(sizes, "random") or 0, self.tokens(sizes))

    def merit(self, sizes: Mapping[str, int], rate: float) -> tuple[float, float, float]:
        """The less the better: the worst contrast first, then all of them, then the cost."""
        shown = self.contrasts(sizes, rate)
        # Perplexity against random sets takes 19 sets: it decides only where nothing else can be judged.
        main = [effect for effect in shown if not (effect.scale == "log ratio" and "random" in effect.name)]
        least = [effect.detectable / _GOAL[effect.scale] for effect in main if not math.isnan(effect.detectable)]
        least = least or [effect.detectable for effect in shown if not math.isnan(effect.detectable)] or [math.inf]
        return round(max(least), 3), round(sum(least), 3), self.roughly(sizes)

    def contrasts(self, sizes: Mapping[str, int], rate: float) -> list[Shown]:
        """Return the power of a study of these sizes, and the cost of each contrast."""
        read, claims, made = self.tokens(sizes), list(self._claims(sizes)), []
        family = self._together(claims)
        for claim in claims:
            if claim.name:
                least = detectable(claim.error, alpha=self.study.alpha, tests=claim.own_tests or family)
                reason = str(claim.error) if isinstance(claim.error, Shortfall) else ""
                tokens = (1 + claim.sets) * sum(read[score] for score in claim.scores)
                seconds = tokens * len(self.study.shares) / rate
                made.append(Shown(claim.name, seconds, least, claim.scale, reason))
        return made

    def tests(self, sizes: Mapping[str, int]) -> int:
        """The contrasts and dissociations that the main study corrects together, less those that cannot be judged."""
        return self._together(self._claims(sizes))

    def _together(self, claims: Iterable[_Claim]) -> int:
        return len(self.study.shares) * sum(claim.tests for claim in claims if isinstance(claim.error, Estimate))

    def _claims(self, sizes: Mapping[str, int]) -> Iterator[_Claim]:
        """All that the main study tests at each share."""
        study, random = self.study, self._size(sizes, "random") or 0
        there = ["top", PLAIN, *[RANDOM] * bool(random), *["matched"] * study.matched]
        errors: dict[str, Estimate | Shortfall] = {}
        for title, score, scale, nest in self._nests(sizes):
            about = TYPICAL[scale, nest.names[1]]
            errors[score] = error = planned(about, nest)
            if score == "tasks":
                # A table of its own: every set of every share against the plain model.
                own = len(study.shares) * (1 + random + study.matched)
                name = f"{title}: top against the plain model ({counted(own, 'test')})"
                yield _Claim(name, (score,), scale, error, tests=0, own_tests=own)
                continue
            scales = 1 if score == "perplexity" else 2  # accuracy and margins
            sets = max(random, study.random_perplexity) if score == "perplexity" else random
            pairs = compared(score, there)
            for pair in pairs:
                name, expected = "", error
                if pair == ("top", PLAIN):
                    name = f"{title}: top against the plain model"
                    name += " or the matched set" if ("top", "matched") in pairs else ""
                elif isinstance(error, Estimate) and pair == (RANDOM, PLAIN):
                    expected = too_few(sets, FEWEST) or error
                elif pair == ("top", RANDOM):
                    name = f"{title}: top against random sets"
                    if isinstance(error, Estimate):
                        expected = planned_with_sets(error, about.sets, sets, scale, alpha=study.alpha)
                yield _Claim(name, (score,), scale, expected, scales, sets if RANDOM in pair else 1)
        for suite in self.pairs if self.tasks and study.matched else ():
            sides = [errors["tasks"], errors[suite]]
            short = next((side for side in sides if isinstance(side, Shortfall)), None)
            error = short or total([side for side in sides if isinstance(side, Estimate)], [1, -1])
            yield _Claim(f"{TITLES[suite]}: dissociation from tasks (interaction)", (suite, "tasks"), "points", error)

    def _nests(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, str, Scale, Sizes]]:
        """Title, score, scale and sizes of everything that is scored."""
        limit, windows = self._size(sizes, "limit"), self._size(sizes, "perplexity_windows")
        yield (
            "perplexity",
            "perplexity",
            "log ratio",
            Sizes(min(windows or self.available, self.available), names=(None, "windows", None)),
        )
        for suite, some in self.pairs.items():
            groups = self.groups[suite]
            names = (
                ("families", "constructions", "pairs") if some.kind == "tse" else ("phenomena", "paradigms", "pairs")
            )
            items = len(groups) / sum(1 / min(limit or size, size) for size in groups.values())
            clusters = len(set(some.paradigms.values()))
            yield TITLES[suite], suite, "points", Sizes(len(groups), max(1, int(items)), clusters, names)
        if self.tasks:
            items = len(self.tasks) / sum(1 / min(limit or size, size) for size in self.tasks.values())
            yield "tasks", "tasks", "points", Sizes(len(self.tasks), max(1, int(items)), 0, (None, "tasks", "items"))

    def _read(self, random: int, tokens: Mapping[str, float]) -> float:
        """Tokens that a study with so many random sets costs, by their price, where each score reads so many."""
        study = self.study.model_copy(update={"random": random})
        store = Store(Path())
        engine = LocalEngine(store, self.bench.compute)
        lab = Lab(study, replace(self.survey.facts, tokens=tokens), store, engine)
        chosen = sections(study)
        loads = [analysis(name)(chosen[name], lab, read).load() for name, read in self.survey.read.items()]
        loads.append(Load({(name, ""): read for name, read in self.shared.items()}))
        return self._priced_tokens(union(loads))

    def _priced_tokens(self, load: Load) -> float:
        """Tokens of a load, each kind of work at its price: as many as cost the same with logits."""
        prices = self.survey.facts.prices
        return sum(read * prices.get(kind, 1.0) for kind, (_, read) in work(load).items())

    def _size(self, sizes: Mapping[str, int], name: str) -> int | None:
        return sizes[name] if name in sizes else getattr(self.study, name)

    def _most(self, suite: str) -> int:
        return max(self.groups[suite].values())

    def _pair_tokens(self, suite: str, limit: int | None) -> float:
        """Tokens of a suite with so many pairs of each paradigm, between or beyond what was counted."""
        most = self._most(suite)
        limit = most if limit is None else min(limit, most)
        if (suite, limit) in self._counted:
            return self._counted[suite, limit]
        for size in _COUNTED:
            self._count(suite, min(size, most))
        known = sorted(size for name, size in self._counted if name == suite)
        if len(known) == 1:
            return self._counted[suite, known[0]] * limit / known[0]
        low, high = next((both for both in pairwise(known) if both[1] >= limit), (known[-2], known[-1]))
        below, above = self._counted[suite, low], self._counted[suite, high]
        return above * (limit / high) ** (math.log(above / below) / math.log(high / low))

    def _count(self, suite: str, limit: int) -> None:
        if (suite, limit) not in self._counted:
            some = prepare(self.bench.model, self.pairs[suite].sample(limit), protocol=self.study.protocol)
            self._counted[suite, limit] = float(tokens_of(some.forest))


def _free(study: Study) -> tuple[str, ...]:
    """The sizes that a study leaves open: those that nobody gave."""
    scored = {"limit": bool(study.blimp or study.tse or study.pairs or study.tasks)}
    return tuple(name for name in SIZES if name not in study.model_fields_set and scored.get(name, True))


def _grid(sizes: Sequence[int], most: int) -> list[int]:
    """Sizes up to the most there are, which is one of them."""
    return [*(size for size in sizes if size < most), most]


def _named(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name}: {size}" for name, size in sizes.items())
