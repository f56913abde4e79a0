"""Tiny random models for scoring, and the plainest way to score a sentence: one forward pass, nothing shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from negspace.models.load import wrap
from negspace.models.model import Model


def _build(kind: str, vocabulary: int) -> torch.nn.Module:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": vocabulary}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        match kind:
            case "gpt_neox":
                module = GPTNeoXForCausalLM(
                    GPTNeoXConfig(**small, intermediate_size=64, max_position_embeddings=64, initializer_range=0.2)
                )
            case "llama":
                module = LlamaForCausalLM(
                    LlamaConfig(**small, intermediate_size=64, max_position_embeddings=64, initializer_range=0.2)
                )
            case "opt":
                module = OPTForCausalLM(
                    OPTConfig(**small, ffn_dim=64, max_position_embeddings=64, word_embed_proj_dim=32, init_std=0.2)
                )
            case "gemma2":  # soft-caps its logits after the output layer
                module = Gemma2ForCausalLM(
                    Gemma2Config(
                        **small,
                        intermediate_size=64,
                        head_dim=8,
                        num_key_value_heads=2,
                        max_position_embeddings=64,
                        final_logit_softcapping=3.0,
                        initializer_range=0.5,
                    )
                )
            case "bloom":  # ALiBi: positions come from the attention mask
                module = BloomForCausalLM(
                    BloomConfig(vocab_size=vocabulary, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2)
                )
            case _:
                raise ValueError(kind)
    return module.eval()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """make_model(tokenizer, kind="gpt_neox"): a random model of 64 tokens' context for a tokenizer."""

    def make(tokenizer, kind: str = "gpt_neox") -> Model:
        return wrap(_build(kind, len(tokenizer)), tokenizer, name=f"tiny {kind}")

    return make


@pytest.fixture(scope="session")
def plain_log_probs() -> Callable[[Model, Sequence[int]], torch.Tensor]:
    """log p(token t | tokens before it) for t >= 1, float64, by one forward pass of that sequence alone."""

    def score(model: Model, tokens: Sequence[int]) -> torch.Tensor:
        ids = torch.tensor([list(tokens)])
        with torch.no_grad():
            logits = model.module(input_ids=ids).logits[0].double()
        return torch.log_softmax(logits, dim=-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]

    return score
