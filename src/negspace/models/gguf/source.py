"""Origin of a model from a GGUF file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class GGUFSource(BaseModel):
    """The GGUF file that a model came from, and what was made of it."""

    model_config = ConfigDict(frozen=True)

    file: str
    """Name of the file."""
    sha256: str
    """SHA-256 (hexadecimal) of the file."""
    architecture: str
    """llama.cpp's name of the architecture."""
    quantisation: str
    """The mixture of storage that the file was made as, as llama.cpp calls it: "Q4_K_M"."""
    tensors: dict[str, int]
    """Kind of storage -> number of tensors."""
    gguf: str
    """Version of the gguf package that dequantised it."""
    mended: tuple[str, ...] = ()
    """Corrections to transformers' reading of the file."""

    def __str__(self) -> str:
        by_number = sorted(self.tensors.items(), key=lambda pair: (-pair[1], pair[0]))
        kinds = ", ".join(f"{count} {kind}" for kind, count in by_number)
        return f"{self.file}, {self.quantisation} ({kinds} tensors)"
