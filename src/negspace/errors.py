"""Every error that a user can meet. Each says what was asked, what was found, and what to do about it."""

from __future__ import annotations


class NegspaceError(Exception):
    """Base of all errors that a user can cause or mend; the command line prints it and exits with status 2.

    Args:
        asked: what was asked for, as the user would put it.
        found: what was found instead.
        todo: what to do now.
    """

    def __init__(self, asked: str, found: str, todo: str) -> None:
        super().__init__(asked, found, todo)
        self.asked = asked
        self.found = found
        self.todo = todo

    def __str__(self) -> str:
        return f"asked: {self.asked}\nfound: {self.found}\nto do: {self.todo}"


class ModelError(NegspaceError):
    """A model cannot be loaded, or holds weights that are not finite."""


class SiteError(NegspaceError):
    """The place where a model applies its MLP activation cannot be found, or did not behave as resolved."""


class TextError(NegspaceError):
    """A running text is missing, empty, undecodable, or too short for one window."""


class TaggerError(NegspaceError):
    """A tagger is missing or cannot be loaded, or gives no parts of speech or no dependencies."""


class PairsError(NegspaceError):
    """A set of minimal pairs is missing, malformed, or unsafe to read."""


class StatisticsError(NegspaceError):
    """Activations from which no statistic can be made: not finite, too few, or of another grid."""


class SelectionError(NegspaceError):
    """A set of neurons that cannot be: share out of range, unknown score, index or layer, another model's layout."""


class InterventionError(NegspaceError):
    """An intervention that is unknown, or that lacks what it needs."""


class ScoreError(NegspaceError):
    """A score that is not finite, or that cannot be defined on the given tokens."""


class NonFiniteScore(ScoreError):
    """The log-probability of one of several sequences is not finite; `index` says which."""

    def __init__(self, asked: str, found: str, todo: str, index: int) -> None:
        super().__init__(asked, found, todo)
        self.index = index


class TasksError(NegspaceError):
    """A benchmark task is unknown, lacks its data or a measure of each item, or the harness is not installed."""


class StudyError(NegspaceError):
    """A study's configuration is wrong or contradicts the run folder that it names."""


class ClusterError(NegspaceError):
    """A cluster that is not there, has no room, runs other software, loses its workers, or a cell that fails on one."""


class RecordError(NegspaceError):
    """A record cannot be written or read: no permission, no space, no such run."""


class JudgementError(NegspaceError):
    """A claim that nothing could bear out: a margin that is not above zero, or runs on other items to be pooled."""
