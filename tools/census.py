"""Try every model type that transformers has a causal language model for: `python tools/census.py [TYPE ...]`.

Each type is made tiny (tests/tiny.py, or tests/zoo.py where it has a configuration there), with random weights, and
wrapped as a user's model would be, which proves its sites; then zeroing negatives must change the logits, unless the
activation rectifies, and leave them as they were afterwards. Without names, the outcomes of all types are written to
docs/records/census.json.
"""

from __future__ import annotations

import json
import sys
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
OUTCOMES = (RESOLVED, NO_MLP, NOT_CAUSAL, NOT_BUILT, REFUSED)


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
        kind = NO_MLP if "has no MLP" in error.found else NOT_CAUSAL if "later tokens" in error.found else REFUSED
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
    count = Counter(one["outcome"] for one in types.values())
    return count[RESOLVED] / max(1, count[RESOLVED] + count[REFUSED])


def main(names: list[str]) -> int:
    """Go over the types and write, or only print, what became of each."""
    transformers.logging.set_verbosity_error()
    types = {}
    for name in names or TYPES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            types[name] = outcome(name)
        print(name, json.dumps(types[name]), flush=True)
    count = Counter(one["outcome"] for one in types.values())
    print({kind: count[kind] for kind in OUTCOMES}, f"{share(types):.1%} of those that have an MLP")
    if not names:
        record = {"transformers": transformers.__version__, "types": types}
        RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
