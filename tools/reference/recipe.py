"""The recipe of a reference model: every number that decides what comes out of training, in one value."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
)

END_OF_TEXT = "<|endoftext|>"


class Source(BaseModel):
    """One file of running text (a paragraph a line, a blank line between documents) and its weight in the mix."""

    model_config = ConfigDict(frozen=True)

    file: str
    """File name inside the corpus folder."""
    repeats: float
    """How many times each of its rows is drawn; 1.5 draws half of them twice."""
    licence: str
    """Licence as the source states it; copied into the model card."""


SOURCES = (
    Source(file="tinystories_train_head.txt", repeats=4, licence="CDLA-Sharing-1.0"),
    Source(file="tinystories_v2gpt4_train_head.txt", repeats=4, licence="CDLA-Sharing-1.0"),
    Source(file="fairytaleqa_stories.txt", repeats=4, licence="Apache-2.0"),
    Source(file="mctest_stories.txt", repeats=4, licence="MSR licence"),
    Source(file="onestop_english_ele.txt", repeats=4, licence="CC-BY-SA-4.0"),
    Source(file="onestop_english_int.txt", repeats=3, licence="CC-BY-SA-4.0"),
    Source(file="onestop_english_adv.txt", repeats=2, licence="CC-BY-SA-4.0"),
    Source(file="common_corpus_childrens_and_fiction.txt", repeats=3, licence="public domain (Project Gutenberg)"),
    Source(file="novels_100_english.txt", repeats=1.5, licence="public domain (Project Gutenberg)"),
)


class Recipe(BaseModel):
    """All that decides a reference model. Two runs of one recipe on one corpus see the same rows in the same order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["gpt_neox", "llama", "opt"] = "gpt_neox"
    """MLP under study: GELU (gpt_neox), gated SiLU (llama) or ReLU (opt)."""
    vocab_size: int = Field(default=4096, gt=256)
    """Byte-level BPE vocabulary, the end-of-text token included."""
    width: int = Field(default=192, gt=0)
    """Residual stream."""
    layers: int = Field(default=6, gt=0)
    heads: int = Field(default=6, gt=0)
    mlp_width: int = Field(default=768, gt=0)
    """Neurons per layer."""
    context: int = Field(default=256, gt=1)
    """Tokens per row, and the model's longest context."""
    batch: int = Field(default=16, gt=0)
    """Rows per step."""
    steps: int = Field(default=8_000, gt=0)
    warmup: int = 200
    """Steps of linear warm-up."""
    decay: float = Field(default=0.3, ge=0, le=1)
    """Last part of the steps, over which the learning rate falls linearly to zero (trapezoidal schedule)."""
    learning_rate: float = 1e-2
    """Peak, for Muon (hidden matrices, update scaled to AdamW's root mean square) and AdamW (all else) alike."""
    weight_decay: float = 0.05
    clip: float = 1.0
    """Largest gradient norm."""
    bfloat16: bool = True
    """Matrix products under bfloat16 autocast; weights, optimiser and loss stay float32."""
    seed: int = 0
    sources: tuple[Source, ...] = SOURCES
    held_out: float = 0.005
    """Tail of each source, as a fraction of its rows, kept for the validation loss."""
    snapshots: int = Field(default=0, ge=0)
    """Checkpoints to keep: step 0, the last step, and those at a half, a quarter, an eighth ... of the steps."""

    def build(self) -> PreTrainedModel:
        """A freshly initialised model of this recipe (float32, training mode), embeddings tied.

        The caller seeds torch: initialisation draws from the global generator.
        """
        shared = {
            "vocab_size": self.vocab_size,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "max_position_embeddings": self.context,
            "tie_word_embeddings": True,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "use_cache": False,
        }
        match self.family:
            case "gpt_neox":
                return GPTNeoXForCausalLM(GPTNeoXConfig(**shared, intermediate_size=self.mlp_width, hidden_act="gelu"))
            case "llama":
                return LlamaForCausalLM(LlamaConfig(**shared, intermediate_size=self.mlp_width, hidden_act="silu"))
            case "opt":
                return OPTForCausalLM(
                    OPTConfig(
                        **shared,
                        ffn_dim=self.mlp_width,
                        word_embed_proj_dim=self.width,
                        activation_function="relu",
                        dropout=0.0,
                        pad_token_id=0,
                    )
                )

    def snapshot_steps(self) -> tuple[int, ...]:
        """The steps whose checkpoints are kept, in order: 0, and each of the others at half the step of the next."""
        halves = (self.steps >> k for k in range(self.snapshots - 1))
        return tuple(sorted({0, *(step for step in halves if step)})) if self.snapshots else ()

    def rate(self, step: int) -> float:
        """Learning rate of a step (0-based): linear warm-up, plateau, linear decay to zero."""
        up = min(1.0, (step + 1) / max(1, self.warmup))
        down = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))
        return self.learning_rate * min(up, down)


RECIPES = {
    "gelu": Recipe(steps=5_000),
    "silu": Recipe(family="llama", mlp_width=512, steps=5_000),
    "relu": Recipe(family="opt", steps=5_000),
    # At a constant rate to the end, so that no checkpoint differs from the others in its schedule.
    "series": Recipe(width=96, layers=4, heads=4, mlp_width=384, steps=4_096, decay=0, snapshots=12),
}
"""The bundled models by name: three that differ in their MLP alone, and a smaller GELU model with its checkpoints.

A gated MLP has three matrices; at two thirds of the neurons its model has as many parameters as the others.
"""
