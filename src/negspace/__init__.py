"""negspace: find out what language models compute below zero.

import negspace as ns

model = ns.load("EleutherAI/pythia-1.4b")
scan = ns.scan(model, text="wikitext-2")
top = scan.top(0.01)
with ns.intervene(model, top, zero="negative"):
    ns.perplexity(model, text="wikitext-2").value
    ns.minimal_pairs(model, "path/to/blimp", protocol="paper").accuracy

Public are the names in `__all__` here, and those of the modules in `PUBLIC`; docs/reference/python.md documents them
all. Every other package or module is internal: it says so at its top, and may change in any release.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from negspace.threads import wait_softly

if TYPE_CHECKING:
    from negspace.analyses.parts_of_speech.excess import PartsOfSpeech, parts_of_speech
    from negspace.controls import Match, match_perplexity, random_sets
    from negspace.errors import NegspaceError
    from negspace.experiment.agreement import Agreement, agreement
    from negspace.experiment.config import Study
    from negspace.interop import TorchHook, nnsight_edit, torch_hooks, transformer_lens_hooks
    from negspace.intervention import INTERVENTIONS, intervene
    from negspace.models.load import load, wrap
    from negspace.models.model import Model, ModelSource
    from negspace.models.site import Site
    from negspace.models.taps import tap
    from negspace.neurons.neuronset import NeuronSet
    from negspace.neurons.scan import Scan, ScanInfo, scan
    from negspace.report.export import write_figures
    from negspace.report.page import write_report
    from negspace.score.pairs import PairScores, minimal_pairs
    from negspace.score.perplexity import Perplexity, perplexity
    from negspace.score.tasks import TaskScores, tasks
    from negspace.stats.histogram import Histogram
    from negspace.study.reading import read_runs
    from negspace.study.run import Plan, plan_study, run_study
    from negspace.study.tables import Tables
    from negspace.text.pairs import PairSet, read_pairs
    from negspace.text.source import Text, read_text
    from negspace.text.windows import Windows, make_windows

__version__ = "0.1.0"

wait_softly()  # before anything imports torch

_HOMES = {
    "negspace.controls": ("Match", "match_perplexity", "random_sets"),
    "negspace.errors": ("NegspaceError",),
    "negspace.interop": ("TorchHook", "nnsight_edit", "torch_hooks", "transformer_lens_hooks"),
    "negspace.intervention": ("INTERVENTIONS", "intervene"),
    "negspace.models.load": ("load", "wrap"),
    "negspace.models.model": ("Model", "ModelSource"),
    "negspace.models.site": ("Site",),
    "negspace.models.taps": ("tap",),
    "negspace.neurons.neuronset": ("NeuronSet",),
    "negspace.neurons.scan": ("Scan", "ScanInfo", "scan"),
    "negspace.score.pairs": ("PairScores", "minimal_pairs"),
    "negspace.score.perplexity": ("Perplexity", "perplexity"),
    "negspace.score.tasks": ("TaskScores", "tasks"),
    "negspace.stats.histogram": ("Histogram",),
    "negspace.experiment.agreement": ("Agreement", "agreement"),
    "negspace.experiment.config": ("Study",),
    "negspace.analyses.parts_of_speech.excess": ("PartsOfSpeech", "parts_of_speech"),
    "negspace.report.export": ("write_figures",),
    "negspace.report.page": ("write_report",),
    "negspace.study.reading": ("read_runs",),
    "negspace.study.run": ("Plan", "plan_study", "run_study"),
    "negspace.study.tables": ("Tables",),
    "negspace.text.pairs": ("PairSet", "read_pairs"),
    "negspace.text.source": ("Text", "read_text"),
    "negspace.text.windows": ("Windows", "make_windows"),
}
PUBLIC = ("controls", "errors", "extend", "reference", "significance")
"""Modules whose names users may import besides those of this one: `negspace.controls` and so on."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "INTERVENTIONS",
    "Agreement",
    "Histogram",
    "Match",
    "Model",
    "ModelSource",
    "NegspaceError",
    "NeuronSet",
    "PairScores",
    "PairSet",
    "PartsOfSpeech",
    "Perplexity",
    "Plan",
    "Scan",
    "ScanInfo",
    "Site",
    "Study",
    "Tables",
    "TaskScores",
    "Text",
    "TorchHook",
    "Windows",
    "__version__",
    "agreement",
    "intervene",
    "load",
    "make_windows",
    "match_perplexity",
    "minimal_pairs",
    "nnsight_edit",
    "parts_of_speech",
    "perplexity",
    "plan_study",
    "random_sets",
    "read_pairs",
    "read_runs",
    "read_text",
    "run_study",
    "scan",
    "tap",
    "tasks",
    "torch_hooks",
    "transformer_lens_hooks",
    "wrap",
    "write_figures",
    "write_report",
]


def __getattr__(name: str) -> Any:
    # Loaded when first used: the command line answers --help without importing torch.
    if name in PUBLIC:
        return importlib.import_module(f"negspace.{name}")
    if name in _HOME_OF:
        value = getattr(importlib.import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'negspace' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
