"""Loading a causal language model and its tokenizer, with every choice explicit, recorded and checked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, PreTrainedModel

from negspace.errors import ModelError
from negspace.given import named
from negspace.memory import give_back, is_out_of_memory, shortage
from negspace.models import adapters
from negspace.models.checks import (
    check_causal,
    check_eval,
    check_finite,
    check_present,
    check_report,
    check_tokenizer,
    check_whole,
)
from negspace.models.compiled import uncompiled
from negspace.models.gguf import names as gguf_names
from negspace.models.gguf.cache import cache_folder, converted
from negspace.models.held import unwrapped
from negspace.models.hub import cache_alone_where_unreachable
from negspace.models.language import embeddings, language_class
from negspace.models.locate import commit_of, fetch, folder_of, gguf_file_of
from negspace.models.model import Model, ModelSource
from negspace.models.quantised import check_apart, check_experts, leaves, unread
from negspace.models.quiet import quiet
from negspace.models.sites import resolve
from negspace.models.tokenizers import load_tokenizer

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}


def load(
    name: str | os.PathLike[str],
    *,
    adapter: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    revision: str | None = None,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    trust_remote_code: bool = False,
    attn_implementation: str | None = None,
    experts_implementation: str | None = None,
    gguf_file: str | None = None,
    gguf_cache: str | os.PathLike[str] | bool | None = None,
) -> Model:
    """Load a causal language model with its tokenizer, in eval mode, and find its sites.

    Args:
        name: a local folder or a name on the Hugging Face hub; or a GGUF file, a folder that holds one, or a file of a
            repository on the hub ("owner/name:model-q4_k_m.gguf"), which needs the extra `gguf`; or an adapter of PEFT
            that names its base, which needs the extra `peft`.
        adapter: adapters of PEFT to put on the model, all at once active: folders, or names on the hub.
        revision: branch, tag or commit on the hub; of a folder of checkpoints, the name of one ("step512").
        dtype: "float32", "float16", "bfloat16" or "float64", whatever the checkpoint holds.
        device: "cpu", "cuda", "cuda:1", ...; by default CUDA where there is one, else the CPU.
        device_map: as transformers takes it ("auto", or module to device); needs accelerate, excludes `device`.
        trust_remote_code: run code from the model's repository. Off unless asked for.
        attn_implementation: as transformers takes it ("eager", "sdpa", ...); None for its default.
        experts_implementation: of a mixture of experts: "grouped_mm", "batched_mm" or "eager"; None for the default.
        gguf_file: name of a GGUF file in the folder or repository. Its weights are dequantised to `dtype`; the model is
            then like any other, and `source.gguf` says how they were quantised.
        gguf_cache: folder that keeps converted weights, so that the next load of the file is quick; False to keep none;
            None for the one that the environment names (NEGSPACE_CACHE; "off" for none), else ~/.cache/negspace.

    Raises:
        ModelError: no such model or revision, not a causal language model, no tokenizer, unknown dtype or device,
            weights that are missing, unexpected or not finite, or do not fit into memory; a GGUF file that is damaged,
            or that transformers cannot convert into what it says.
        SiteError: the places where its MLPs apply their activation cannot be resolved.
    """
    if not isinstance(name, str | os.PathLike):
        todo = "give a folder or a name on the Hugging Face hub; a live module goes to negspace.wrap"
        raise ModelError("to load a model", f"{named(name)} instead of its name", todo)
    name = os.fspath(name)
    given = [adapter] if isinstance(adapter, str | os.PathLike) else list(adapter)
    options: dict[str, Any] = {
        "dtype": dtype,
        "device": device,
        "device_map": device_map,
        "trust_remote_code": trust_remote_code,
        "attn_implementation": attn_implementation,
        "experts_implementation": experts_implementation,
        "gguf_file": gguf_file,
        "gguf_cache": gguf_cache,
    }
    with cache_alone_where_unreachable([name, *(os.fspath(path) for path in given)]):
        module, tokenizer, source = _gathered(name, given, revision, options)
    model = _finish(module, tokenizer, source)
    give_back()  # what files took on their way
    return model


def _gathered(
    name: str, given: Sequence[str | os.PathLike[str]], revision: str | None, options: dict[str, Any]
) -> tuple[Any, Any, ModelSource]:
    """Module, tokenizer and source, with the adapters on the module."""
    chosen = [adapters.find(os.fspath(path)) for path in given]
    own = adapters.in_folder(name)
    if own is not None and revision is not None:
        raise ModelError(
            asked=f"revision {revision!r} of {name}",
            found="a local folder, which has no revisions",
            todo="leave the revision out, or name the adapter on the hub",
        )
    try:
        loaded = _load(name, revision=revision, **options) if own is None else _base(own, options)
    except ModelError as error:
        if own is not None or Path(name).expanduser().exists() or not error.asked.startswith("the configuration"):
            raise
        try:
            own = adapters.in_repository(name, revision)
        except ModelError as other:
            # What keeps the hub from giving this file kept it from giving the other, and the first error says so.
            if not other.asked.startswith(f"the {adapters.CONFIG}"):
                raise
        if own is None:
            raise
        loaded = _base(own, options)
    module, tokenizer, source = loaded
    if own is not None:
        chosen = [own, *chosen]
    if not chosen:
        return loaded
    module = adapters.attach(module, chosen)
    held = next((folder for folder in chosen if folder.has_tokenizer), None)
    if held is not None:
        trusted = options["trust_remote_code"]
        get = partial(load_tokenizer, held.folder, trust_remote_code=trusted)
        tokenizer = fetch(get, held.name, None, "tokenizer")
    changes = {
        "name": " + ".join([source.name, *(folder.name for folder in chosen)]),
        "adapters": tuple(folder.source for folder in chosen),
        "dtype": _dtypes(module),
    }
    return module, tokenizer, source.model_copy(update=changes)


def _base(own: adapters.Adapter, options: dict[str, Any]) -> tuple[Any, Any, ModelSource]:
    """The model that an adapter names as its base."""
    asked = f"the adapter {own.name}"
    base = own.base_in(asked)
    try:
        return _load(base, revision=None if Path(base).is_dir() else own.base_revision, **options)
    except ModelError as error:
        raise ModelError(
            asked,
            f"an adapter of {base} (in its {adapters.CONFIG}), which cannot be loaded: {error.found}",
            f"{error.todo}; or give the base yourself: load(BASE, adapter={own.name!r}), or --model BASE --adapter "
            f"{own.name}",
        ) from error


def _load(
    name: str,
    *,
    revision: str | None,
    dtype: str | torch.dtype,
    device: str | torch.device | None,
    device_map: str | dict[str, Any] | None,
    trust_remote_code: bool,
    attn_implementation: str | None,
    experts_implementation: str | None,
    gguf_file: str | None,
    gguf_cache: str | os.PathLike[str] | bool | None,
) -> tuple[Any, Any, ModelSource]:
    """Module, tokenizer and source, as `load` takes them."""
    kind = _dtype(dtype)
    place = None if device_map is not None else _device(device)
    if device_map is not None and device is not None:
        raise ModelError(
            asked=f"device={str(device)!r} and device_map={device_map!r}",
            found="two answers to where the model goes",
            todo="give one of them",
        )
    file, made_from = gguf_names.find(name, gguf_file), None
    where = folder_of(name, revision) if file is None else ""
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with quiet(), ExitStack() as stack:
        if file is None:
            commit = commit_of(name, where, revision)
            if not Path(where).is_dir():
                # Everything of one commit, should the branch move on meanwhile.
                options["revision"] = commit or revision
        else:
            path, commit = gguf_file_of(file, name, revision)
            folder, made_from = stack.enter_context(converted(path, kind, cache_folder(gguf_cache)))
            where = str(folder)
        config = fetch(lambda: AutoConfig.from_pretrained(where, **options), name, revision, "configuration")
        auto = language_class(name, config, trust_remote_code)
        tokenizer = fetch(lambda: load_tokenizer(where, **options), name, revision, "tokenizer")
        extra = {"attn_implementation": attn_implementation, "experts_implementation": experts_implementation}
        options.update({key: value for key, value in extra.items() if value is not None})
        if device_map is not None:
            options["device_map"] = device_map
        # Weights of another shape are let through here because the report names them and transformers' error does not.
        options["ignore_mismatched_sizes"] = True
        get = lambda: auto.from_pretrained(where, dtype=kind, output_loading_info=True, **options)  # noqa: E731
        try:
            module, report = fetch(get, name, revision, "weights")
        except ModelError as error:
            if error.__cause__ is not None and is_out_of_memory(error.__cause__):
                raise  # no fault of how the weights are quantised
            raise unread(name, config, error) from error.__cause__
    check_report(name, report)
    if place is not None:
        module = _moved(name, module, place)
    source = ModelSource(
        name=name,
        revision=revision,
        commit=commit,
        dtype=_dtypes(module),
        device=str(module.get_input_embeddings().weight.device),
        device_map=_map(device_map, module),
        trust_remote_code=trust_remote_code,
        transformers=transformers.__version__,
        torch=torch.__version__,
        gguf=made_from,
    )
    return module.eval(), tokenizer, source


def wrap(module: Any, tokenizer: Any = None, name: str | None = None) -> Model:
    """Take a live module and its tokenizer as they are. Both are used, never changed, and stay the caller's; but layers
    of bitsandbytes in 4 bits are set to compute with their weights as stored, whatever the processor, for good.

    Args:
        module: a `PreTrainedModel`, or a `PeftModel` around one, whose adapters act as they are set; of what
            `torch.compile` returned, the module that it was made of, on which interventions act while the compiled one
            may pass over them; of an nnsight model, the module inside; of a TransformerLens bridge, a plain
            transformers module that shares its weights. Interventions on that module do not act on the bridge:
            `transformer_lens_hooks` makes those that do.
        tokenizer: its tokenizer; None for the one that a bridge or an nnsight model has. A bridge's puts BOS before
            each text.
        name: what to call it in results.

    Raises:
        ModelError: not a transformers model, in training mode or with a part that drops values, an adapter that acts
            outside of the layers, compiled parts, a processor, a tokenizer that does not fit, weights that are not
            finite, shared out among processes, or codes of experts, no output layer over the vocabulary; a bridge whose
            weights were processed; an nnsight model with stored edits, or not loaded yet.
        SiteError: the places where its MLPs apply their activation cannot be resolved.
    """
    asked = f"to wrap {name or type(module).__name__}"
    module, its_own = unwrapped(module, asked)
    tokenizer = its_own if tokenizer is None else tokenizer
    module = uncompiled(asked, module)
    if adapters.is_wrapped(module):
        module = adapters.taken_out(asked, module)
    if not isinstance(module, PreTrainedModel):
        raise ModelError(
            asked=asked,
            found=f"an object of class {type(module).__name__}, which is not a transformers model",
            todo="pass the PreTrainedModel itself",
        )
    place = embeddings(asked, module).weight.device
    check_whole(asked, module)
    check_eval(asked, module)
    source = ModelSource(
        name=name or getattr(module.config, "_name_or_path", "") or type(module).__name__,
        dtype=_dtypes(module),
        device=str(place),
        device_map=_map(None, module),
        transformers=transformers.__version__,
        torch=torch.__version__,
    )
    return _finish(module, tokenizer, source)


def _finish(module: Any, tokenizer: Any, source: ModelSource) -> Model:
    check_tokenizer(source.name, module, tokenizer)
    check_present(source.name, module)
    check_finite(source.name, module)
    check_experts(source.name, module)
    check_apart(source.name, module)
    check_causal(source.name, module)
    return Model(module=module, tokenizer=tokenizer, sites=resolve(module), source=source)


def _moved(name: str, module: Any, place: torch.device) -> Any:
    """Move a module to a device.

    Raises:
        ModelError: the device has too little memory for it.
    """
    try:
        return module.to(place)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(f"the weights of {name} on {place}", *shortage(error)) from error


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ModelError(
            asked=f"dtype={str(dtype)!r}", found="no such type of weights", todo=f"choose one of {', '.join(DTYPES)}"
        )
    return DTYPES[name]


def _device(device: str | torch.device | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except Exception as error:
        if is_out_of_memory(error):
            raise ModelError(f"device={str(device)!r}", *shortage(error)) from error
        raise ModelError(
            asked=f"device={str(device)!r}",
            found=f"no such device here ({str(error).splitlines()[0]})",
            todo="choose 'cpu'" + (" or a CUDA device" if torch.cuda.is_available() else "; no CUDA device was found"),
        ) from error
    return place


def _dtypes(module: torch.nn.Module) -> str:
    kinds = {str(held.dtype).removeprefix("torch.") for p in module.parameters() for held in leaves(p)}
    return "+".join(sorted(kinds))


def _map(asked: str | dict[str, Any] | None, module: Any) -> str | dict[str, str] | None:
    made = getattr(module, "hf_device_map", None)
    if made:
        return {str(part): str(place) for part, place in made.items()}
    if isinstance(asked, dict):
        return {str(part): str(place) for part, place in asked.items()}
    return asked
