"""Too little to judge by: said so, with what to add, and without a number that looks like a result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from negspace.experiment.config import configure
from negspace.study.run import run_study


def test_one_paradigm_is_judged_by_no_analysis(
    tiny_fields: dict[str, Any], tiny_pairs_path: Path, tmp_path: Path
) -> None:
    pairs = [str(tiny_pairs_path / "blimp" / "paradigm_0.jsonl")]
    sizes = {"random": 1, "random_perplexity": 1, "shares": [0.3], "matched": False, "tse": []}
    doses = {"shares": [0.1, 0.3], "interventions": ["zero_negative", "sign_flip"]}
    controls = {"controls": ["random", "count"], "noop": False}
    analyses = {"ablation": {}, "dose": doses, "layers": {}, "rankings": {"by": ["wd", "kurtosis"]}}
    study = configure({**tiny_fields, **sizes, "blimp": pairs, "analyses": {**analyses, "controls": controls}})
    tables = run_study(study, tmp_path / "run")
    said = [line for name in study.analyses for line in tables.sentences(name) if "BLiMP" in line]
    assert len(said) > 10
    for line in said:
        assert re.search(r"cannot be judged|sign or magnitude", line, re.IGNORECASE), line
        assert not re.search(r"\d (points|nats)|harm is shown|more harm", line), line
    assert any("add paradigms of 4 more phenomena" in line for line in said)
    assert any("cannot be judged with 1 random set; draw 5 or more" in line for line in said)
    of_pairs = [claim for claim in tables.claims() if claim.of.startswith("BLiMP")]
    assert of_pairs
    assert {claim.answer for claim in of_pairs} == {"cannot be judged"}
