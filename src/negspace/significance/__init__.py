"""Estimates, intervals, p-values and findings from outcomes of single items: one rule for every contrast.

## How to use it

1. **Nest the items.** `Nesting.pairs(paradigm, phenomenon)` for BLiMP, `.constructions(construction, family)` for TSE,
   `.tasks(task)`, `.windows(count, document)`. One row per item; leave identical pairs out first.
2. **Contrast.** `compare(condition, reference, nesting, scale=...)`: two arrays [items], the same items in the same
   order. "points": outcomes 0 or 1; "nats": margins log p(good) - log p(bad); "sd": margins over the plain
   ones' `plain_sd`; "log ratio": mean negative log-likelihood of each window. The estimate: condition minus reference.
   Random sets: `compare_with_sets(condition, sets, ...)` for "more than random sets do", and
   `compare_sets(sets, plain, ...)` for what random sets do; `sets` is [R, items], never their mean.
   Equivalence: `compare(..., margin=Margin(size=0.01, share=0.25, of=top - plain))`.
   One phenomenon or one task by itself: `within=True`, and say that it holds for that one.
3. **Dissociation.** `dissociate(grammar: Suite, other: Suite, Doses(...))`.
4. **Correct together.** `judge_together({name: contrast or dissociation, ...})` over all that a study says in its
   headline (shares, suites, scores, controls); a table by phenomenon or by task is a family of its own. Only then read
   `finding` and `verdict`, and print `reason` where nothing can be judged.
5. **Beside it.** `floors` and `above_chance` (accuracy where there is something to lose), `nesting.pooled()` (every
   pair weighs the same), `compare_curves` and `band` (loss over perplexity, for several families of sets),
   `additivity` (groups of layers), `pool` (many models), `reliability` (two halves of a text), `components`, `planned`
   and `detectable` (what a study of given size can show).

Nothing here prints, draws at random without a seed, or knows of studies. What cannot be judged comes back as finding
"cannot be judged" with NaN for every number and a `reason` that says what to add; `ValueError` is for arrays that do
not fit each other, `JudgementError` for what a user asked and nothing could bear out.

## Why this rule

An interval rests on the highest level with enough units (`ENOUGH`): phenomena for BLiMP, constructions within three
families for TSE, tasks, documents or windows. Units are carried whole, with a small-sample variance and degrees of
freedom (`estimate.mean`). Random sets are a sample of sets (`sets`). Nothing rests on McNemar's test over pairs, which
takes pairs of one template as independent.
"""

from negspace.significance.additivity import Additivity, additivity
from negspace.significance.contrast import Contrast, Finding, Margin, Scale, Sets, compare, plain_sd
from negspace.significance.correction import Corrected, correct
from negspace.significance.curves import Band, Curve, CurveContrast, band, compare_curves
from negspace.significance.dissociation import Dissociation, Doses, Verdict, Without, dissociate
from negspace.significance.estimate import describe
from negspace.significance.family import correct_rows, judge_together
from negspace.significance.floor import AboveChance, Floor, Floors, above, above_chance, floors
from negspace.significance.interval import Interval, grouped_interval, mean_interval, wilson
from negspace.significance.nesting import ENOUGH, Nesting
from negspace.significance.permutation import sign_flip
from negspace.significance.pooling import ModelEffect, Pooled, pool
from negspace.significance.power import Components, Sizes, components, detectable, planned, planned_with_sets, power_of
from negspace.significance.reliability import Reliability, reliability
from negspace.significance.sets import compare_sets, compare_with_sets, fewest_sets
from negspace.significance.sides import OnScales, Suite

__all__ = [
    "ENOUGH",
    "AboveChance",
    "Additivity",
    "Band",
    "Components",
    "Contrast",
    "Corrected",
    "Curve",
    "CurveContrast",
    "Dissociation",
    "Doses",
    "Finding",
    "Floor",
    "Floors",
    "Interval",
    "Margin",
    "ModelEffect",
    "Nesting",
    "OnScales",
    "Pooled",
    "Reliability",
    "Scale",
    "Sets",
    "Sizes",
    "Suite",
    "Verdict",
    "Without",
    "above",
    "above_chance",
    "additivity",
    "band",
    "compare",
    "compare_curves",
    "compare_sets",
    "compare_with_sets",
    "components",
    "correct",
    "correct_rows",
    "describe",
    "detectable",
    "dissociate",
    "fewest_sets",
    "floors",
    "grouped_interval",
    "judge_together",
    "mean_interval",
    "plain_sd",
    "planned",
    "planned_with_sets",
    "pool",
    "power_of",
    "reliability",
    "sign_flip",
    "wilson",
]
