"""Write docs/architectures.md from the architectures that are tested: `python tools/architectures.py [--check]`.

Every configuration of tests/zoo.py is built, tiny and with random weights, and loaded as a user's model would be: what
the page says of it is what was found.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architectures.md"
sys.path.insert(0, str(ROOT / "tests"))

import transformers  # noqa: E402

import census  # noqa: E402
import zoo  # noqa: E402
from negspace.controls import rectifies  # noqa: E402
from negspace.errors import NegspaceError  # noqa: E402
from negspace.models.load import wrap  # noqa: E402
from negspace.models.model import Model  # noqa: E402

TYPES = json.loads(census.RECORD.read_text(encoding="utf-8"))["types"]
RESOLVED = sum(entry["outcome"] == census.RESOLVED for entry in TYPES.values())
HEAD = f"""---
hide: [toc]
---

# Architectures

negspace takes causal language models of transformers whose MLPs apply an activation module. Of the {len(TYPES)} model
types that were tried, {RESOLVED} resolve ([census](#census)). A model that does not is refused with the reason.

The architectures below are tested: each is built tiny, with random weights, by transformers {transformers.__version__},
and what negspace reads, changes and restores is compared with plain forward passes. This page is made from that matrix
by `python tools/architectures.py`; a test fails when the two differ.

The first column is `model_type` in a model's `config.json`. Sites are where pre-activations are read and changed, `N`
being the layer. To see them for a model of your own: `negspace sites MODEL`.
"""
NOTES = """
## Layouts

| layout | pre-activation | example |
| --- | --- | --- |
| plain | output of the up projection | GPT-2, GPT-NeoX, OPT |
| gated | output of the gate projection | Llama, Mistral, Qwen 3 |
| fused | the gate's half of one projection | Phi-3, GLM |
| routed experts | one activation on rows sorted by expert; read with the routing | Mixtral, OLMoE |
| shared expert | an MLP that every token passes through, alongside the routed experts | DeepSeek, Qwen 2 MoE |
| second MLP | the second of two MLPs, one after the other in a layer | LongCat-Flash |
| looped | as in its layout; a layer is run several times, and its neurons have as many values per token | HRM-Text |

An architecture that is not listed may work as well: loading proves every site with a forward pass, and says why if it
cannot.
"""


def row(name: str) -> list[str]:
    """The page's row of an architecture that loads."""
    model = loaded(name)
    kinds: dict[str, list[str]] = {}
    for site in model.sites:
        path = re.sub(r"(?<=\.)\d+(?=\.)", "N", site.path)
        branch = "" if site.branch == "mlp" else f"{site.branch}: "
        kinds.setdefault(f"{branch}`{path}`", []).append(site.activation)
    used = sorted({site.activation for site in model.sites})
    notes = ["zeroing negatives changes nothing"] if rectifies(model) else []
    passes = {site.passes for site in model.sites}
    notes += [f"each layer is run {' or '.join(map(str, sorted(passes)))} times in a pass"] if passes != {1} else []
    return [f"`{name}`", ", ".join(used), "<br>".join(kinds), "; ".join(notes)]


def refused(name: str) -> list[str]:
    """The page's row of an architecture that does not load, with the reason given."""
    try:
        loaded(name)
    except NegspaceError as error:
        return [f"`{name}`", error.found]
    raise SystemExit(f"{name} is no longer refused")


def loaded(name: str) -> Model:
    """An architecture of the zoo as a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return wrap(zoo.build(name), zoo.tokenizer(), name=name)


def page() -> str:
    """The whole page."""
    head = ["architecture", "activation", "sites", "note"]
    parts = [HEAD]
    groups = {"Dense": zoo.DENSE, "Looped": zoo.LOOPED, "Mixtures of experts": zoo.MIXTURES}
    for title, names in groups.items():
        parts += [f"## {title}: {len(names)}\n", table(head, [row(name) for name in names]), ""]
    parts += ["## Refused\n", "Their sites cannot be resolved.\n"]
    parts += [table(["architecture", "found"], [refused(name) for name in zoo.REFUSED]), ""]
    parts += [census.section(json.loads(census.RECORD.read_text(encoding="utf-8"))), NOTES.strip(), ""]
    return "\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def main(arguments: list[str]) -> int:
    """Write the page, or say whether it is stale."""
    made = page()
    if "--check" in arguments:
        stale = PAGE.read_text(encoding="utf-8") != made
        if stale:
            print("docs/architectures.md is stale: run python tools/architectures.py", file=sys.stderr)
        return int(stale)
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
