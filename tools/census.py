"""Try every model type that transformers has a causal language model for: `python tools/census.py [TYPE ...]`.

Each type is made tiny (tests/tiny.py, or tests/zoo.py where it has a configuration there), with random weights, and
wrapped as a user's model would be, which proves its sites; then zeroing negatives must change the logits, unless the
activation rectifies, and leave them as they were afterwards. Without names, the outcomes of all types are written to
docs/records/census.json; `python tools/architectures.py` then puts them into docs/architectures.md.
"""

from __future__ import annotations

import html
import json
import re
import sys
import textwrap
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "records" / "census.json"
sys.path.insert(0, str(ROOT / "tests"))

import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TYPES  # noqa: E402

import tiny  # noqa: E402
import zoo  # noqa: E402
from negspace.controls import rectifies  # noqa: E402
from negspace.errors import NegspaceError  # noqa: E402
from negspace.models.load import wrap  # noqa: E402
from negspace.models.taps import tap  # noqa: E402

LARGEST = 30_000_000
"""Parameters above which a configuration was not made tiny."""
RESOLVED, NO_MLP, NOT_CAUSAL, NOT_BUILT, REFUSED = "resolved", "no MLP", "not causal", "not built", "refused"
OUTCOMES = (RESOLVED, REFUSED, NO_MLP, NOT_CAUSAL, NOT_BUILT)
MIXED = ("rwkv",)
"""Types whose MLP also reads the token before, with the activation in line: no site is found, yet they have an MLP."""


def outcome(name: str) -> dict[str, Any]:
    """What becomes of a model type: one of OUTCOMES, its class, and what was found."""
    try:
        module = build(name)
    except Exception as error:
        return {"outcome": NOT_BUILT, "found": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    made = {"class": type(module).__name__}
    try:
        model = wrap(module, zoo.tokenizer(), name=name)
    except NegspaceError as error:
        kind = NO_MLP if "no MLP that" in error.found else NOT_CAUSAL if "later tokens" in error.found else REFUSED
        kind = REFUSED if name in MIXED else kind
        return {"outcome": kind, **made, "found": error.found}

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return module(input_ids=zoo.ids(), use_cache=False).logits

    plain = logits()
    with tap(model, before=lambda site, a, experts: a.clamp_min(0)):
        changed = logits()
    if torch.equal(plain, changed) != rectifies(model) or not torch.equal(plain, logits()):
        return {"outcome": REFUSED, **made, "found": "zeroing negatives does not do what it must, or is not undone"}
    return {"outcome": RESOLVED, **made, "sites": len(model.sites)}


def build(name: str) -> Any:
    """A tiny model of a type, in eval mode; a ValueError where it is not tiny."""
    if name in zoo.ALL:
        return zoo.build(name)
    kind = CONFIG_MAPPING[name]
    config = kind(**tiny.arguments(kind))
    if getattr(config, "is_decoder", None) is False:
        config.is_decoder = True
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in AutoModelForCausalLM.from_config(config).parameters())
    if count > LARGEST:
        raise ValueError(f"{count:,} parameters: no tiny configuration is known")
    torch.manual_seed(0)
    module = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
    return module


def share(types: dict[str, dict[str, Any]]) -> float:
    """Of the types that have an MLP and were built, those that resolve."""
    count = Counter(entry["outcome"] for entry in types.values())
    return count[RESOLVED] / max(1, count[RESOLVED] + count[REFUSED])


def section(record: dict[str, Any]) -> str:
    """The census as a section of docs/architectures.md, from its record."""
    types = record["types"]
    names = {kind: sorted(name for name, entry in types.items() if entry["outcome"] == kind) for kind in OUTCOMES}
    resolved, refused = len(names[RESOLVED]), len(names[REFUSED])
    lines = [
        "## Census\n",
        wrapped(
            f"transformers {record['transformers']} has a causal language model for {len(types)} model types. "
            "`python tools/census.py` builds each of them tiny, as a decoder-only model with random weights, zeroes "
            "negative pre-activations, and checks that the logits change, and are restored. "
            f"{resolved} types resolve. That is {share(types):.1%} of the {resolved + refused} that could be built, "
            "are left-to-right and have an MLP. `python tools/architectures.py` makes this section from the record "
            "of that command."
        )
        + "\n",
        wrapped(
            "A type that resolves need not have checkpoints to study. Of types such as `bart` and `whisper`, the "
            "census tries the decoder alone; their encoder-decoder checkpoints are refused. Types such as `bert` are "
            "tried with `is_decoder=True`; a checkpoint without it is refused, and one with it is meaningful only if "
            "it was trained left to right."
        )
        + "\n",
        "| outcome | types |",
        "| --- | --- |",
        *(f"| {kind} | {len(names[kind])} |" for kind in OUTCOMES),
        "\n### All that resolve\n",
        wrapped(", ".join(f"`{name}`" for name in names[RESOLVED])),
        "\n### All others\n",
        "| architecture | outcome | found |",
        "| --- | --- | --- |",
    ]
    for kind in OUTCOMES[1:]:
        lines += [f"| `{name}` | {kind} | {plain(types[name]['found'])} |" for name in names[kind]]
    return "\n".join([*lines, ""])


def wrapped(text: str) -> str:
    """A paragraph in lines of at most 120 characters."""
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def plain(text: str) -> str:
    """A message as text of a Markdown table, cut where it is long."""
    short = text if len(text) <= 160 else f"{text[:157]}..."
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", html.escape(short, quote=False))


def main(names: list[str]) -> int:
    """Go over the types and write, or only print, what became of each."""
    transformers.logging.set_verbosity_error()
    types = {}
    for name in names or TYPES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            types[name] = outcome(name)
        print(name, json.dumps(types[name]), flush=True)
    count = Counter(entry["outcome"] for entry in types.values())
    print({kind: count[kind] for kind in OUTCOMES}, f"{share(types):.1%} of those that have an MLP")
    if not names:
        record = {"transformers": transformers.__version__, "types": types}
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
