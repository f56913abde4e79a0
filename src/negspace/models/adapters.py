"""Adapters of PEFT: finding the base that they were trained on, putting them on it, and taking wrapped models apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel
from transformers.utils.hub import cached_file

from negspace.errors import ModelError
from negspace.memory import is_out_of_memory, shortage
from negspace.models import probe
from negspace.models.checks import some_of
from negspace.models.locate import commit_in, fetch
from negspace.models.quiet import quiet

CONFIG = "adapter_config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_WHOLE = "get the whole adapter, as PEFT's save_pretrained wrote it, and the base that it was trained on"


class AdapterSource(BaseModel):
    """An adapter that was put on a model."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Folder, or name on the hub."""
    kind: str
    """PEFT's type: "LORA", "IA3", ..."""
    commit: str | None = None
    """Commit on the hub; None for a folder."""


class Adapter:
    """An adapter in a folder on this machine.

    Args:
        name: folder or hub name, as it was asked for.
        folder: where its files lie.

    Raises:
        ModelError: a configuration that cannot be read, or a kind of adapter that is no part of the layers.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        try:
            held = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            self.kind = str(held["peft_type"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                asked=f"the adapter {name}",
                found=f"no {CONFIG} with a peft_type that can be read ({type(error).__name__}: {error})",
                todo="name the folder or repository that PEFT's save_pretrained wrote",
            ) from error
        self.base: str | None = held.get("base_model_name_or_path") or None
        self.base_revision: str | None = held.get("revision") or None

    @property
    def source(self) -> AdapterSource:
        """The adapter's entry in a record."""
        return AdapterSource(name=self.name, kind=self.kind, commit=commit_in(str(self.folder / CONFIG)))

    @property
    def has_tokenizer(self) -> bool:
        """True if a tokenizer was saved beside it."""
        return any((self.folder / name).is_file() for name in _TOKENIZER)

    def base_in(self, asked: str) -> str:
        """The model that it says it was trained on: a folder, relative ones beside its own as well, or a hub name.

        Raises:
            ModelError: it names none, or a folder that is not there.
        """
        todo = f"give the base yourself: load(BASE, adapter={self.name!r}), or --model BASE --adapter {self.name}"
        if self.base is None:
            raise ModelError(asked, f"an adapter whose {CONFIG} names no base", todo)
        for folder in (Path(self.base).expanduser(), self.folder / self.base):
            if folder.is_dir():
                return str(folder)
        if self.base.startswith((".", "/", "~", "\\")) or self.base.count("/") > 1:
            raise ModelError(asked, f"an adapter of {self.base} (in its {CONFIG}), which is not a folder here", todo)
        return self.base


def in_folder(name: str) -> Adapter | None:
    """The adapter in a local folder; None for a folder without one.

    Raises:
        ModelError: the folder holds a model as well, so that it cannot be told which is meant.
    """
    folder = Path(name).expanduser()
    if not (folder / CONFIG).is_file():
        return None
    held = [weights for weights in _WEIGHTS if (folder / weights).is_file()]
    if held:
        raise ModelError(
            asked=f"the model in {name}",
            found=f"a folder of two: a model ({held[0]}) and an adapter ({CONFIG})",
            todo="move the adapter's files into a folder of their own; to have both, give it with adapter= (--adapter)",
        )
    return Adapter(name, folder)


def in_repository(name: str, revision: str | None) -> Adapter | None:
    """The adapter in a repository on the hub; None where the hub has no such repository, or no adapter in it.

    Raises:
        ModelError: the hub is out of reach, or does not give it (a gated repository, an unknown revision).
    """
    file = fetch(lambda: _got(name, revision), name, revision, CONFIG)
    return Adapter(name, Path(file).parent) if file is not None else None


def _got(name: str, revision: str | None) -> str | None:
    """Where the configuration is on this machine, with its adapter's other files beside it; None without one."""
    try:
        # Not by transformers, for whom a file that is not there and a hub that is not are one error.
        file = hf_hub_download(name, CONFIG, revision=revision)
    except (GatedRepoError, LocalEntryNotFoundError):
        raise
    except (RepositoryNotFoundError, EntryNotFoundError, HFValidationError):
        return None
    for weights in ("adapter_model.safetensors", "adapter_model.bin"):
        held = cached_file(name, weights, revision=revision, _raise_exceptions_for_missing_entries=False)
        if held is not None:
            break
    for extra in (*_TOKENIZER, "special_tokens_map.json", "vocab.json", "merges.txt", "tokenizer.model"):
        cached_file(name, extra, revision=revision, _raise_exceptions_for_missing_entries=False)
    return file


def find(name: str) -> Adapter:
    """The adapter of a name that is said to be one.

    Raises:
        ModelError: there is none, or it cannot be had.
    """
    here = Path(name).expanduser().is_dir()
    found = in_folder(name) if here else in_repository(name, None)
    if found is None:
        raise ModelError(
            asked=f"the adapter {name}",
            found="a folder without an adapter" if here else "no such folder, nor an adapter of this name on the hub",
            todo=f"name what PEFT's save_pretrained wrote: {CONFIG} and adapter_model.safetensors"
            + ("" if here else "; log in (hf auth login) where the repository is private"),
        )
    return found


def attach(module: PreTrainedModel, adapters: Sequence[Adapter]) -> PreTrainedModel:
    """Put adapters on a model, all at once active; the model then holds them in its layers.

    Raises:
        ModelError: peft is missing; an adapter does not fit, or only a part of it; several that cannot act together; or
            one that acts outside of the layers.
    """
    asked = f"{' and '.join(adapter.name for adapter in adapters)} on {type(module).__name__}"
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ModelError(asked, "an adapter, and no package to read it", "pip install 'negspace[peft]'") from error
    kinds = sorted({adapter.kind for adapter in adapters})
    if len(kinds) > 1:
        raise ModelError(
            asked, f"adapters of several kinds: {', '.join(kinds)}", "merge one into the base first (merge_and_unload)"
        )
    names = ["default", *(f"adapter_{number}" for number in range(2, len(adapters) + 1))]
    reports: list[_Report] = []
    handle = module.register_load_state_dict_post_hook(lambda _, keys: reports.append(_Report(keys)))
    try:
        with quiet():
            wrapped: Any = PeftModel.from_pretrained(module, str(adapters[0].folder))
            for name, adapter_folder in zip(names[1:], adapters[1:], strict=True):
                wrapped.load_adapter(str(adapter_folder.folder), adapter_name=name)
            if len(names) > 1:
                wrapped.base_model.set_adapter(names)
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        if isinstance(error, KeyError) and str(error.args[0]).startswith("base_model."):
            # PEFT looks up the weights of modules that were trained whole.
            raise ModelError(asked, f"a weight not in the adapter's file: {error.args[0]}", _WHOLE) from error
        raise ModelError(
            asked,
            f"{type(error).__name__}: {' '.join(str(error).split())[:600]}",
            "use the base that the adapter was trained on, as it was then (the size of its vocabulary included)",
        ) from error
    finally:
        handle.remove()
    for adapter, name, report in zip(adapters, names, reports, strict=True):
        _check_whole(f"the weights of {adapter.name} on {type(module).__name__}", wrapped, name, report)
    return taken_out(asked, wrapped.eval())


class _Report:
    """What torch found when PEFT put an adapter's file on a model: PEFT warns of some of it, and drops the rest.

    Args:
        keys: torch's lists, which go on growing until all of the wrapper's parts are done.
    """

    def __init__(self, keys: Any) -> None:
        # PEFT cuts its list down to what it warns of, when it has all of it.
        self._inside, self._all = tuple(keys.missing_keys), keys.missing_keys
        self.unexpected: list[str] = keys.unexpected_keys

    @property
    def missing(self) -> set[str]:
        """Keys of the wrapped model that the file did not set, most of them the base's own."""
        return {*self._inside, *self._all}


def _check_whole(asked: str, wrapped: Any, name: str, report: _Report) -> None:
    """Refuse an adapter of which some weights are as they begin, or some of its file were left out.

    Args:
        asked: what was asked for.
        wrapped: PEFT's model.
        name: the adapter's there.
        report: on its loading.

    Raises:
        ModelError: names the weights.
    """
    from peft import get_peft_model_state_dict
    from peft.utils.other import AuxiliaryTrainingWrapper

    if wrapped.peft_config[name].is_prompt_learning:
        return  # no weights of layers; refused for that
    state = wrapped.state_dict()
    with quiet():
        saved = get_peft_model_state_dict(wrapped, state_dict=state, adapter_name=name, save_embedding_layers=False)
    own = {id(weight): key for key, weight in saved.items()}
    missing = sorted(own[id(state[key])] for key in report.missing if id(state.get(key)) in own)
    # PEFT insists on the weights of modules that were trained whole; with embeddings, it saves them a second time.
    twice = tuple(
        f"{path}."
        for path, part in wrapped.named_modules()
        if isinstance(part, AuxiliaryTrainingWrapper) and name in part._adapters
    )
    # What it saves and does not read is made from a seed (VeRA's projections, in PEFT 0.18).
    unexpected = sorted(key for key in report.unexpected if key not in saved and not key.startswith(twice))
    found = []
    if missing:
        found.append(f"{len(missing)} weights not in its file, so as they begin: {some_of(missing)}")
    if unexpected:
        found.append(f"{len(unexpected)} weights of its file without a place in the model: {some_of(unexpected)}")
    if found:
        raise ModelError(
            asked,
            "; ".join(found),
            f"{_WHOLE}; if the difference is meant, put it on with PEFT yourself and pass the model to negspace.wrap",
        )


def is_wrapped(module: Any) -> bool:
    """Return True if a module is one of PEFT's wrappers around a model."""
    return hasattr(module, "get_base_model") and hasattr(module, "peft_config")


def taken_out(asked: str, wrapped: Any) -> PreTrainedModel:
    """The model inside PEFT's wrapper, which holds the adapters in its layers.

    Raises:
        ModelError: an adapter acts outside of the layers (virtual tokens, a router): its model inside is another one.
    """
    for name, config in wrapped.peft_config.items():
        if getattr(config, "is_prompt_learning", False):
            raise ModelError(
                asked,
                f"{name!r}, an adapter that puts virtual tokens before the text ({_kind(config)}): positions and "
                "context are then not those of the text",
                "use an adapter of weights (LoRA, IA3, ...)",
            )
        if getattr(config, "alora_invocation_tokens", None):
            raise ModelError(
                asked,
                f"{name!r}, an activated LoRA, which acts only after its invocation tokens",
                "merge it into the base (merge_and_unload) if it is to act everywhere",
            )
    inside = wrapped.get_base_model()
    if not isinstance(inside, PreTrainedModel):
        raise ModelError(
            asked,
            f"PEFT around a {type(inside).__name__}, which is not a transformers model",
            "wrap one of transformers",
        )
    # One that drops values, so that no two passes agree, is refused by whoever takes it.
    if (
        not inside.training
        and not probe.dropping_parts(inside)
        and not torch.equal(_logits(asked, wrapped, inside), probe.run(inside))
    ):
        raise ModelError(
            asked,
            f"an adapter of kind {_kind(wrapped.active_peft_config)} that acts outside of the layers: PEFT's "
            "model gives other logits than the model inside it",
            "merge it into the base (merge_and_unload), or use an adapter of weights (LoRA, IA3, ...)",
        )
    return inside


def _logits(asked: str, wrapped: Any, inside: Any) -> torch.Tensor:
    ids = probe.sequence(inside)
    try:
        with torch.no_grad():
            return wrapped(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(asked, *shortage(error)) from error
        raise ModelError(
            asked,
            f"PEFT's model does not run on text alone ({type(error).__name__}: {error})",
            "merge the adapter into the base (merge_and_unload), or use an adapter of weights (LoRA, IA3, ...)",
        ) from error


def _kind(config: Any) -> str:
    return str(getattr(config.peft_type, "value", config.peft_type))
