"""Loading a causal language model and its tokenizer, with every choice explicit, recorded and checked."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel
from transformers.utils.hub import cached_file

from negspace.errors import ModelError
from negspace.memory import give_back
from negspace.models import adapters
from negspace.models.compiled import uncompiled
from negspace.models.gguf import names as gguf_names
from negspace.models.gguf.cache import cache_folder, converted
from negspace.models.gguf.convert import require_package
from negspace.models.held import unwrapped
from negspace.models.hub import cache_alone_where_unreachable
from negspace.models.kernels import unmasked
from negspace.models.language import embeddings, language_class
from negspace.models.model import Model, ModelSource
from negspace.models.probe import dropping_parts, is_causal
from negspace.models.quantised import check_apart, leaves, unread
from negspace.models.quiet import quiet
from negspace.models.sites import resolve

DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float64": torch.float64,
}
# Entries of old checkpoints that are no weights: masks and rotary tables, which follow from the configuration.
_NO_WEIGHTS = (".attn.bias", ".attention.bias", ".masked_bias", "rotary_emb.inv_freq", "rotary_emb.cos_cached")


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
            weights that are missing, unexpected or not finite; a GGUF file that is damaged, or that transformers cannot
            convert into what it says.
        SiteError: the places where its MLPs apply their activation cannot be resolved.
    """
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
    try:
        loaded = _load(name, revision=revision, **options) if own is None else _base(own, options)
    except ModelError as error:
        if own is not None or Path(name).expanduser().exists() or not error.asked.startswith("the configuration"):
            raise
        own = adapters.in_repository(name, revision)
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
        get = partial(AutoTokenizer.from_pretrained, held.folder, trust_remote_code=trusted)
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
    where = _folder(name, revision) if file is None else ""
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    with quiet(), ExitStack() as stack:
        if file is None:
            commit = _commit(name, where, revision)
            if not Path(where).is_dir():
                # Everything of one commit, should the branch move on meanwhile.
                options["revision"] = commit or revision
        else:
            path, commit = _gguf_file(file, name, revision)
            folder, made_from = stack.enter_context(converted(path, kind, cache_folder(gguf_cache)))
            where = str(folder)
        config = fetch(lambda: AutoConfig.from_pretrained(where, **options), name, revision, "configuration")
        auto = language_class(name, config, trust_remote_code)
        tokenizer = fetch(lambda: AutoTokenizer.from_pretrained(where, **options), name, revision, "tokenizer")
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
            raise unread(name, config, error) from error.__cause__
    _check_report(name, report)
    if place is not None:
        module = module.to(place)
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
    """Take a live module and its tokenizer as they are. Both are used, never changed, and stay the caller's.

    Args:
        module: a `PreTrainedModel`, or a `PeftModel` around one, whose adapters act as they are set; of what
            `torch.compile` returned, the module that it was made of; of an nnsight model, the module inside; of a
            TransformerLens bridge, a plain transformers module that shares its weights. Interventions on that module do
            not act on the bridge: `transformer_lens_hooks` makes those that do.
        tokenizer: its tokenizer; None for the one that a bridge or an nnsight model has. A bridge's puts BOS before
            each text.
        name: what to call it in results.

    Raises:
        ModelError: not a transformers model, in training mode or with a part that drops values, an adapter that acts
            outside of the layers, compiled parts, a processor, a tokenizer that does not fit, weights not finite; a
            bridge whose weights were processed; an nnsight model with stored edits, or not loaded yet.
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
    if module.training:
        raise ModelError(asked=asked, found="a module in training mode, with dropout", todo="call module.eval() first")
    if dropping := dropping_parts(module):
        raise ModelError(
            asked=asked,
            found=f"parts in training mode that drop values at random, in a module in eval mode: {_some(dropping)}",
            todo="call module.eval() once more: adapters and parts that were added since came in training mode",
        )
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
    rows = module.get_input_embeddings().weight.shape[0]
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None and not hasattr(tokenizer, "get_vocab"):
        raise ModelError(
            asked=f"a tokenizer for {source.name}",
            found=f"a processor ({type(tokenizer).__name__}), which makes inputs of text and images",
            todo="pass its tokenizer (processor.tokenizer)",
        )
    if not callable(tokenizer):
        raise ModelError(
            asked=f"a tokenizer for {source.name}",
            found=f"an object of class {type(tokenizer).__name__}",
            todo="pass the tokenizer of the model (transformers.AutoTokenizer.from_pretrained)",
        )
    tokens = len(tokenizer) if hasattr(tokenizer, "__len__") else 0  # type: ignore[arg-type]
    # A few tokens without an embedding are harmless markers (Gemma 3's image token in its text-only models).
    if tokens > 1.01 * rows:
        raise ModelError(
            asked=f"{source.name} with its tokenizer",
            found=f"a tokenizer of {tokens} tokens for a model with {rows} embeddings",
            todo="use the tokenizer that the model was trained with",
        )
    _check_finite(source.name, module)
    check_apart(source.name, module)
    if not is_causal(module):
        kernel = unmasked(module)
        raise ModelError(
            asked=f"the causal language model {source.name}",
            found=f"a {type(module).__name__} whose logits depend on later tokens"
            + (f", with attention by {kernel}" if kernel else ""),
            todo="load it with attn_implementation='sdpa'; one of your own needs a mask registered for it "
            "(transformers.AttentionMaskInterface)"
            if kernel
            else "use a left-to-right model (a BERT needs is_decoder=True in its configuration, and training as one)",
        )
    return Model(module=module, tokenizer=tokenizer, sites=resolve(module), source=source)


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
        raise ModelError(
            asked=f"device={str(device)!r}",
            found=f"no such device here ({str(error).splitlines()[0]})",
            todo="choose 'cpu'" + (" or a CUDA device" if torch.cuda.is_available() else "; no CUDA device was found"),
        ) from error
    return place


def _folder(name: str, revision: str | None) -> str:
    """The folder that a name stands for, or the name itself when it is one of the hub's."""
    path = Path(name).expanduser()
    if path.is_dir():
        held = [] if (path / "config.json").is_file() else _revisions(path)
        if revision is not None:
            if revision in held:
                return str(path / revision)
            raise ModelError(
                asked=f"revision {revision!r} of {name}",
                found=f"a folder of these revisions: {', '.join(held)}"
                if held
                else "a local folder, which has no revisions",
                todo="name one of them" if held else "leave the revision out, or name the model on the hub",
            )
        if held:
            raise ModelError(
                asked=f"the model in {name}",
                found=f"a folder of several checkpoints: {', '.join(held)}",
                todo=f"name one as the revision, {held[-1]!r} for example, or its own folder",
            )
        if not (path / "config.json").is_file():
            raise ModelError(
                asked=f"the model in {name}",
                found="a folder without config.json",
                todo="name the folder that save_pretrained wrote (config, weights and tokenizer)",
            )
        return str(path)
    if path.is_file():
        raise ModelError(asked=f"the model {name}", found="a file", todo="name the folder that holds it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise ModelError(
            asked=f"the model in {name!r}",
            found="no such folder",
            todo="check the path, or give a name on the hub such as EleutherAI/pythia-70m",
        )
    return name


def _revisions(folder: Path) -> list[str]:
    """Subfolders that hold a model, in order of the numbers in their names: step0, step4, ..., step8192."""
    names = [path.parent.name for path in folder.glob("*/config.json")]
    return sorted(names, key=lambda name: [(len(part), part) for part in re.split(r"(\d+)", name)])


def _commit(name: str, where: str, revision: str | None) -> str | None:
    """The commit that a revision of a model on the hub stands for; None for a folder."""
    if Path(where).is_dir():
        return None
    try:
        file = fetch(lambda: cached_file(where, "config.json", revision=revision), name, revision, "configuration")
    except ModelError as error:
        raise gguf_names.in_repository(where, revision, error) from error
    return _commit_of(file)


def _commit_of(file: str) -> str | None:
    # The hub's client keeps the files of a commit in snapshots/<commit>/.
    found = re.search(r"snapshots/([0-9a-f]{40})/", Path(file).as_posix())
    return found.group(1) if found else None


def _gguf_file(file: Path | gguf_names.HubFile, name: str, revision: str | None) -> tuple[Path, str | None]:
    """A GGUF file on this machine, and the commit that it is of, when it had to be got from the hub."""
    require_package()
    if isinstance(file, gguf_names.HubFile):
        get = lambda: cached_file(file.repository, file.file, revision=revision)  # noqa: E731
        held = fetch(get, name, revision, f"file {file.file}")
        return Path(held), _commit_of(held)
    if revision is not None:
        raise ModelError(
            asked=f"revision {revision!r} of {name}",
            found="a file on this machine, which has no revisions",
            todo="leave the revision out, or name the file in its repository on the hub",
        )
    return file, None


def fetch(get: Any, name: str, revision: str | None, what: str) -> Any:
    """Get a part of a model from disk or hub; whatever transformers or the hub say about it becomes a ModelError."""
    asked = f"the {what} of {name}" + (f" at revision {revision}" if revision else "")
    try:
        return get()
    except Exception as error:
        kinds = {cls.__name__ for e in (error, error.__cause__) if e is not None for cls in type(e).__mro__}
        text = " ".join(str(error).split())
        local = Path(name).expanduser().is_dir()
        if "trust_remote_code" in text:
            todo = "read that code, and pass trust_remote_code=True (--trust-remote-code) if you trust it"
        elif kinds & {"GatedRepoError"}:
            todo = "ask for access on the model's page and log in (hf auth login)"
        elif kinds & {"RevisionNotFoundError"}:
            todo = "look up its branches and tags on the hub"
        elif "attn_implementation" in text:
            todo = "take attn_implementation='sdpa' or 'eager', or none for the default"
        elif kinds & {"ImportError"}:
            todo = "install what the message names"
        elif what == "tokenizer" and local:
            todo = "put the tokenizer's files into the folder (tokenizer.save_pretrained(folder))"
        elif local:
            todo = "check the folder: config.json, *.safetensors and the tokenizer must be whole and belong together"
        elif kinds & {"OutOfMemoryError"}:
            todo = "use a smaller dtype, another device, or device_map='auto'"
        else:
            here = Path(name).expanduser().absolute()
            todo = f"check the name and the network; a folder of this name would be {here}"
        raise ModelError(asked=asked, found=f"{type(error).__name__}: {text}", todo=todo) from error


def _check_report(name: str, report: Any) -> None:
    """Refuse a model of which some weights are random or some of the checkpoint's were left out."""
    found = []
    for key, label in (("missing_keys", "not in the checkpoint"), ("mismatched_keys", "of another shape")):
        keys = sorted(k if isinstance(k, str) else k[0] for k in report.get(key) or ())
        if keys:
            found.append(f"{len(keys)} weights {label}, so random: {_some(keys)}")
    unexpected = sorted(k for k in report.get("unexpected_keys") or () if not k.endswith(_NO_WEIGHTS))
    if unexpected:
        found.append(f"{len(unexpected)} weights of the checkpoint without a place in the model: {_some(unexpected)}")
    if report.get("error_msgs"):
        found.append("; ".join(map(str, report["error_msgs"])))
    if found:
        raise ModelError(
            asked=f"the weights of {name}",
            found="; ".join(found),
            todo="get a whole checkpoint of this architecture; if the difference is meant, load the model with "
            "transformers yourself and pass it to negspace.wrap",
        )


def _check_finite(name: str, module: torch.nn.Module) -> None:
    bad = []
    for key, parameter in module.named_parameters():
        for held in leaves(parameter.detach()):
            # Types of less than two bytes are codes, or scales for which torch has no sum.
            if held.is_meta or not held.is_floating_point() or held.element_size() < 2:
                continue
            # The sum is one cheap pass without a mask; only where it is not finite do we look closer.
            if not torch.isfinite(held.sum(dtype=torch.float32)):
                wrong = int((~torch.isfinite(held)).sum())
                if wrong:
                    bad.append(f"{key} ({wrong} of {held.numel()})")
    if bad:
        raise ModelError(
            asked=f"the weights of {name}",
            found=f"values that are NaN or infinite in {_some(bad)}",
            todo="get the checkpoint again, or load it in a wider dtype (float16 overflows above 65,504)",
        )


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


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
