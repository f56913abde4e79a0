"""The transformers class of a checkpoint's language model, and the models that have none."""

from __future__ import annotations

import re
from typing import Any

import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from negspace.errors import ModelError

try:
    from transformers import AutoModelForMultimodalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING as _MULTIMODAL
except ImportError:  # before transformers 5.1
    AutoModelForMultimodalLM = AutoModelForImageTextToText
    _MULTIMODAL = transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

_TOWER = re.compile("vis|image|audio")
"""In patterns of weights that a class of text models leaves out: those of a tower that it has not."""


def language_class(name: str, config: Any, trust_remote_code: bool = False) -> Any:
    """The auto class that loads the language model of a checkpoint with this configuration.

    A checkpoint that reads images or sounds as well is loaded whole where transformers has no class for its text part,
    or only one that cannot say which of the checkpoint's weights it leaves out. It is run on text alone in any case.

    Raises:
        ModelError: transformers has no causal language model for it; the message says what it is instead.
    """
    if trust_remote_code and "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {}):
        return AutoModelForCausalLM
    refuse_encoder_decoder(f"the causal language model {name}", config)
    kind = type(config)
    whole = _MULTIMODAL.get(kind, None)
    if kind in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        alone = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[kind]
        left_out = getattr(alone, "_keys_to_ignore_on_load_unexpected", None) or ()
        if whole in (None, alone) or any(_TOWER.search(pattern) for pattern in left_out):
            return AutoModelForCausalLM
    if whole is not None:
        return AutoModelForMultimodalLM
    raise ModelError(
        asked=f"the causal language model {name}",
        found=f"a model of type {config.model_type!r}, which transformers has no causal language model for",
        todo="name a decoder-only language model, or a vision-language model",
    )


def embeddings(asked: str, module: Any) -> Any:
    """The module that embeds a model's tokens.

    Raises:
        ModelError: it has none, so that it reads no text; or it is an encoder-decoder model.
    """
    refuse_encoder_decoder(asked, module.config)
    try:
        found = module.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = None
    if getattr(found, "weight", None) is None:
        raise ModelError(
            asked=asked,
            found=f"a {type(module).__name__}, which has no embeddings of tokens: it reads no text",
            todo="pass a causal language model, or a vision-language model",
        )
    return found


def refuse_encoder_decoder(asked: str, config: Any) -> None:
    """Refuse models whose decoder is given what an encoder made of another sequence.

    Raises:
        ModelError: the configuration says that the model is one.
    """
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(
            asked=asked,
            found=f"an encoder-decoder model (type {config.model_type!r}): its decoder reads what an encoder made of "
            "another sequence, and no text by itself",
            todo="name a decoder-only language model",
        )
