"""The source of tables: a manifest and records, never the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from negspace.experiment.condition import Condition
from negspace.runs.cell import Record


@dataclass(frozen=True)
class Book:
    """The source of tables: records only, never the model."""

    study: Mapping[str, Any]
    """The study's configuration, as the manifest has it."""
    part: Mapping[str, Any]
    """The result of the analysis's `run`."""
    manifest: Mapping[str, Any]
    """The whole manifest: model, identity, data, scan."""
    record: Callable[[str], Record]
    """Record of a key; raises RecordError where it is missing or damaged."""

    @property
    def bootstrap(self) -> dict[str, Any]:
        """Keyword arguments that the functions of `significance` share: level, draws, seed."""
        return {"level": self.level, "draws": self.study["draws"], "seed": self.study["seed"]}

    @property
    def baseline(self) -> Condition:
        """The part's plain model."""
        return Condition.model_validate(self.part["baseline"])

    @property
    def conditions(self) -> list[Condition]:
        """The part's conditions, in their order."""
        return [Condition.model_validate(condition) for condition in self.part["conditions"]]

    def of_role(self, role: str) -> list[Condition]:
        """The conditions of a role in all analyses of the run: what one has measured, another can show."""
        parts = self.manifest["analyses"].values()
        given = [condition for part in parts for condition in part.get("conditions", ()) if condition["role"] == role]
        return [Condition.model_validate(condition) for condition in given]

    @property
    def intervention(self) -> str:
        """The study's intervention, one of `INTERVENTIONS`."""
        return self.study["mode"] or f"zero_{self.study['zero']}"

    @property
    def alpha(self) -> float:
        """Level of the study's tests."""
        return self.study["alpha"]

    @property
    def level(self) -> float:
        """Level of its intervals."""
        return 1 - self.alpha
