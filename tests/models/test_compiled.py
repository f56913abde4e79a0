"""What torch.compile made, processors, Liger: taken as the plain model, or refused for the true reason."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CompileConfig

import zoo
from negspace.errors import ModelError
from negspace.intervention import intervene
from negspace.models.load import wrap
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet


def compiled(what: Any) -> Any:
    return torch.compile(what, backend="eager")


def test_a_compiled_module_is_the_module_inside() -> None:
    plain = zoo.build("llama")
    model = wrap(compiled(plain), zoo.tokenizer())
    assert model.module is plain
    assert model.identify() == wrap(zoo.build("llama"), zoo.tokenizer()).identify()


def in_place(module: Any) -> None:
    module.compile(backend="eager")


def by_layers(module: Any) -> None:
    module.model.layers[1] = compiled(module.model.layers[1])


def its_forward(module: Any) -> None:
    module.model.layers[0].mlp.forward = compiled(module.model.layers[0].mlp.forward)


def by_generating(module: Any) -> None:
    module.get_compiled_call(CompileConfig(backend="eager"))  # as generate() with a static cache does on a GPU


@pytest.mark.parametrize(
    ("change", "undo"),
    [
        (in_place, "module._compiled_call_impl = None"),
        (by_layers, "module.get_submodule('model.layers.1')._orig_mod"),
        (its_forward, "del module.get_submodule('model.layers.0.mlp').forward"),
        (by_generating, "del module._compiled_call, call torch._dynamo.reset(), and generate with disable_compile"),
    ],
)
def test_compiled_parts_are_refused_with_the_way_back(change: Callable[[Any], None], undo: str) -> None:
    module = zoo.build("llama")
    change(module)
    for given in (module, compiled(module)):
        with pytest.raises(ModelError, match=r"compiled by torch\.compile") as caught:
            wrap(given, zoo.tokenizer())
        assert undo in caught.value.todo


@pytest.mark.parametrize("change", [in_place, by_layers, its_forward, by_generating])
def test_parts_compiled_after_wrapping_are_refused_when_activations_are_touched(change: Callable[[Any], None]) -> None:
    model = wrap(zoo.build("llama"), zoo.tokenizer())
    neurons = NeuronSet.from_indices(model, {0: range(40), 1: range(40)})
    change(model.module)
    for context in (tap(model), intervene(model, neurons, zero="both")):
        with pytest.raises(ModelError, match=r"compiled by torch\.compile"), context:
            pass


def test_what_wrap_and_intervene_say_of_a_compiled_handle_is_true() -> None:
    handle = compiled(zoo.build("llama"))
    model = wrap(handle, zoo.tokenizer())
    neurons = NeuronSet.from_indices(model, {0: range(40), 1: range(40)})
    with torch.no_grad():
        plain = handle(zoo.ids()).logits
        with intervene(model, neurons, zero="both"):
            assert torch.equal(handle(zoo.ids()).logits, plain)
            assert not torch.equal(model.module(zoo.ids()).logits, plain)
    for function in (wrap, intervene):
        assert "may pass over" in " ".join((function.__doc__ or "").partition("torch.compile` returned")[2].split())


def test_a_processor_is_no_tokenizer() -> None:
    class Processor:
        tokenizer = zoo.tokenizer()

        def __call__(self, *_: Any, **__: Any) -> None:
            raise AssertionError

    with pytest.raises(ModelError, match="a processor") as caught:
        wrap(zoo.build("llama"), Processor())
    assert "processor.tokenizer" in caught.value.todo


@pytest.mark.skipif(torch.cuda.is_available(), reason="Liger's kernels run here")
def test_ligers_kernels_without_a_gpu_are_named() -> None:
    pytest.importorskip("liger_kernel")
    # Liger patches the module of the architecture for as long as the process lives.
    program = (
        "import zoo; from liger_kernel.transformers import apply_liger_kernel_to_llama as patch\n"
        "from negspace.models.load import wrap\n"
        "module = zoo.build('llama'); patch(model=module); wrap(module, zoo.tokenizer())"
    )
    paths = os.pathsep.join([str(Path(zoo.__file__).parent), *filter(None, sys.path)])
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert ran.returncode == 1
    assert "Liger's patches bring such kernels" in ran.stderr
    assert "without the patch" in ran.stderr
