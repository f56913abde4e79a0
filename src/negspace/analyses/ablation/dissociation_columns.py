"""The columns of the tables of tasks and of the double dissociation."""

from __future__ import annotations

from negspace.analyses.ablation.columns import CONDITION
from negspace.experiment.changes import FINDING
from negspace.experiment.schema import Column, Table, schema

ALL = "all tasks"
"""The row of tasks_by_task that is the mean over tasks."""
_SHARE = Column("share", float, "share p of the top set")
_WHICH = (_SHARE, Column("suite", str, "minimal pairs that measure grammar: blimp, tse or pairs"))


def _side(name: str, what: str) -> tuple[Column, ...]:
    return (
        Column(f"{name}_baseline", float, f"the plain model's accuracy on {what}, over what is above chance"),
        Column(f"{name}_top", float, "accuracy under the top set"),
        Column(f"{name}_control", float, "accuracy under the control"),
        Column(f"{name}", float, "top minus control; 0.01 is one point"),
        Column(f"{name}_low", float, "lower end of its interval"),
        Column(f"{name}_high", float, "upper end of its interval"),
        Column(f"{name}_p", float, "its p-value"),
    )


TABLES = schema(
    Table(
        "dissociation",
        (
            *_WHICH,
            Column("control", str, "perplexity-matched control, in words"),
            Column("top_ratio", float, "perplexity under the top set divided by the plain model's: its dose"),
            Column("control_ratio", float, "the same under the control"),
            Column(
                "verdict",
                str,
                "established: grammar by itself loses more under the top set and the tasks by themselves lose more "
                "under the control, both corrected; reversed: the other way round; interaction only; not established; "
                "not testable, and why",
            ),
            Column("direction", str, "as claimed or against the claim, where there is an interaction; else empty"),
            Column(
                "carried_by", str, "side on which the interaction is shown by itself: grammar, other, both or neither"
            ),
            Column(
                "interaction",
                float,
                "(tasks: top minus control) minus (grammar: top minus control); 0.01 is one point",
            ),
            Column("low", float, "lower end of its interval (t over phenomena and tasks)"),
            Column("high", float, "upper end of its interval"),
            Column("p", float, "its p-value"),
            Column("p_holm", float, "the same, corrected"),
            Column("p_cross", float, "p-value of the crossover: the larger of the two sides' p-values"),
            Column("p_cross_holm", float, "the same, corrected"),
            *_side("grammar", "the pairs"),
            *_side("other", "the tasks"),
            Column("chance_corrected", float, "the interaction in (accuracy - chance) / (1 - chance)"),
            Column("log_odds", float, "the interaction in log-odds of being right"),
            Column(
                "scales_agree",
                bool,
                "true if the interaction has the same sign on all three scales; required for a verdict",
            ),
            Column(
                "detectable", float, "smallest true interaction that is found with probability 0.8, before correction"
            ),
            Column("paradigms", int, "paradigms or constructions included"),
            Column("tasks", int, "tasks included"),
            Column(
                "scope", str, "the phenomena or families for which alone it holds, where they are too few; else empty"
            ),
            Column(
                "left_out", int, "paradigms and tasks left out because the plain model is not shown to be above chance"
            ),
            Column("without", int, "number of phenomena and tasks left out in turn"),
            Column("changed", str, "those without which the verdict changes and can still be given"),
            Column("random", float, "interaction of the top set against random sets, in place of the control"),
            Column("random_low", float, "lower end of its prediction interval"),
            Column("random_high", float, "upper end"),
            Column("random_finding", str, "the finding on it, by its own p-value, which is in no family: uncorrected"),
            Column("sets", int, "random sets"),
            Column("reason", str, "why it is not testable, and what to add"),
        ),
        family="all contrasts of the study and its dissociations",
    ),
    Table(
        "dissociation_without",
        (
            *_WHICH,
            Column("left_out", str, "phenomenon (family, paradigm) or task that is left out"),
            Column("interaction", float, "interaction without it"),
            Column("verdict", str, "verdict without it, at the same corrected level"),
        ),
    ),
    Table(
        "dissociation_floors",
        (
            *_WHICH,
            Column("group", str, "paradigm, construction or task left out of the dissociation"),
            Column("accuracy", float, "the plain model's accuracy on it"),
            Column("chance", float, "accuracy of guessing"),
            Column("items", int, "number of items"),
            Column("p", float, "one-sided p-value of being above chance"),
            Column("why", str, "below chance, cannot be told from chance, or chance unknown"),
        ),
    ),
    Table(
        "tasks_by_task",
        (
            *CONDITION,
            Column("task", str, "task of lm-evaluation-harness, or all tasks (mean over them)"),
            Column("metric", str, "acc_norm divides a choice's log-likelihood by its characters; acc does not"),
            Column("items", int, "items scored"),
            Column("ties", int, "items whose right answer ties with a wrong one, counted as not right"),
            Column("cut", int, "items whose prompt was cut at the start to fit the model's context"),
            Column("chance", float, "accuracy of guessing; 0 for free-form answers, missing for graded ones"),
            Column("accuracy", float, "share of right items; for all tasks, the mean over tasks"),
            Column("accuracy_low", float, "lower end of its interval"),
            Column("accuracy_high", float, "upper end of its interval"),
            Column("change", float, "accuracy minus the baseline's on the same items"),
            Column("change_low", float, "lower end of its interval"),
            Column("change_high", float, "upper end of its interval"),
            Column("p", float, "two-sided p-value, by t over items; for all tasks, over tasks"),
            Column("p_holm", float, "the same, Holm-corrected"),
            Column("finding", str, FINDING),
            Column("reason", str, "why it cannot be judged, and what to add"),
        ),
        family="tasks of one condition; all tasks over conditions",
    ),
)
"""The tables, by name."""
