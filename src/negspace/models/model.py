"""A loaded language model: the Hugging Face module and tokenizer as they are, and the sites found in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from negspace.errors import ModelError
from negspace.given import checked
from negspace.models.adapters import AdapterSource
from negspace.models.checks import check_eval
from negspace.models.gguf.source import GGUFSource
from negspace.models.identity import Identifier, Identity
from negspace.models.layers import decoder_layers
from negspace.models.lengths import counted_positions
from negspace.models.site import Site


class ModelSource(BaseModel):
    """Origin of a model, and the way it was loaded."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Hub name, folder, or the name given to a live module; adapters follow after " + "."""
    revision: str | None = None
    """Branch, tag or commit that was asked for on the hub; or which checkpoint of a folder of them."""
    commit: str | None = None
    """Commit that the revision stood for; None for a folder or a live module."""
    dtype: str
    """Types of the parameters, codes of quantised weights included: "float32", or several joined by "+"."""
    device: str
    """Device of the input ids."""
    device_map: str | dict[str, str] | None = None
    """Placement of the parts by accelerate; None without."""
    trust_remote_code: bool = False
    """True if code from the model's repository was allowed to run."""
    transformers: str
    """Version of transformers."""
    torch: str
    """Version of torch."""
    gguf: GGUFSource | None = None
    """The GGUF file that the weights were dequantised from; None for weights of any other kind."""
    adapters: tuple[AdapterSource, ...] = ()
    """The adapters that were put on it, and that its name tells after the base's; none are not recorded."""

    @model_serializer(mode="wrap")
    def _without_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if name != "adapters" or value}


@dataclass(frozen=True, eq=False)
class Model:
    """A causal language model in eval mode with its tokenizer and sites. Neither of the first two is ever changed."""

    module: Any
    """The `PreTrainedModel`, untouched: no hooks, no changed configuration."""
    tokenizer: Any
    """The tokenizer as transformers made it, untouched."""
    sites: tuple[Site, ...]
    """One site a layer, in order of layers; a layer with routed and shared experts has two, "experts" first; a layer of
    a hybrid model that only mixes tokens has none."""
    source: ModelSource
    """Origin of the model."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of whatever decides what the module computes, as it is now: weights, configuration,
        adapters, quantisation. The weights are hashed when first asked for, and again only where they changed.

        Hooks that others left on the module are not in it: `identify` refuses those that change anything.

        Raises:
            ModelError: some of its weights are not in memory.
        """
        return self._identifier.fingerprint

    def identify(self) -> Identity:
        """Fingerprint and behaviour (logits on fixed tokens) of the module as it is now; runs it on a few tokens.

        Raises:
            ModelError: as `fingerprint`; the module is in training mode; something left hooks on it that change its
                logits; or these changed although nothing that the fingerprint covers did.
        """
        return self._identifier.identify()

    def behaves_as(self, behaviour: Sequence[float]) -> bool:
        """Return True if a behaviour is this model's, up to rounding; an empty one could be anybody's."""
        return self._identifier.behaves_as(behaviour)

    @cached_property
    def _identifier(self) -> Identifier:
        return Identifier(self.module, self.source.dtype)

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(decoder_layers(self.module))

    @property
    def device(self) -> torch.device:
        """Device on which input ids must be."""
        return self.module.get_input_embeddings().weight.device

    @property
    def context(self) -> int | None:
        """Longest sequence that the model's positions allow, in tokens; None without a bound (ALiBi, recurrence)."""
        config = self.module.config.get_text_config(decoder=True)
        # Relative positions that only lose accuracy with distance set no bound: Falcon with ALiBi keeps a default
        # max_position_embeddings that its code never reads.
        if getattr(config, "alibi", False):
            return None
        for field in ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx"):
            bound = getattr(config, field, None)
            if isinstance(bound, int) and bound > 0:
                return int(min(bound, counted_positions(self.module)))
        return None

    @property
    def bos_token_id(self) -> int | None:
        """The tokenizer's token for the beginning of a text; None when it has none."""
        return getattr(self.tokenizer, "bos_token_id", None)

    def __repr__(self) -> str:
        return (
            f"Model({self.source.name!r}, {type(self.module).__name__}, {len(self.sites)} sites, {self.source.dtype})"
        )


def check_model(given: Any, what: str) -> Model:
    """What was given, if it is a model as `load` and `wrap` return it, and in eval mode still.

    Args:
        what: what it is needed for.

    Raises:
        ModelError: it is something else, or was put into training mode since.
    """
    todo = "pass negspace.load(NAME)" if isinstance(given, str) else "pass negspace.wrap(MODULE, TOKENIZER)"
    model = checked(given, Model, ModelError, f"{what} of a model", todo)
    check_eval(f"{what} of {model.source.name}", model.module)
    return model
