"""Interventions as edits of an nnsight trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from negspace.interop.plain import changes
from negspace.intervention import Mode, Zero
from negspace.models.load import wrap
from negspace.neurons.neuronset import NeuronSet
from negspace.neurons.scan import Scan


def nnsight_edit(
    model: Any,
    neurons: NeuronSet,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
    tokenizer: Any = None,
) -> Callable[[], None]:
    """A function that, called inside a trace of an nnsight model, does in one forward pass what `intervene` does.

        edit = ns.nnsight_edit(model, neurons, zero="negative")
        with model.trace("The dogs"):
            edit()
            logits = model.output.logits.save()

    Logits are bit for bit those under `intervene`. nnsight hands out values in the order in which the model computes
    them: call it before reading what comes after the first changed layer, or inside `model.edit()`, whose edits run
    beside the trace.

    A generation has one forward pass a token, and a call changes the first alone: call it for each step of
    `tracer.iter[:]`. Statements after that loop never run, and two edits in one block come out of order: give each edit
    a block of its own, and what is read another. The first acts first, as the outer of nested interventions does.

        with model.generate(max_new_tokens=5) as tracer:
            with tracer.invoke("The dogs"):
                for _ in tracer.iter[:]:
                    edit()
            with tracer.invoke():
                for _ in tracer.iter[:]:
                    other_edit()
            with tracer.invoke():
                tokens = tracer.result.save()

    nnsight warns that each loop asked for a step too many: that is how such a loop ends.

    Args:
        model: an nnsight model (`LanguageModel`, `TransformersModel`, `NNsight`) over a transformers model.
        neurons: the neurons to change.
        zero, mode, scan: as in `intervene`.
        tokenizer: of a model that has none by itself.

    Raises:
        ModelError, SiteError: as `wrap`.
        InterventionError, SelectionError: as `torch_hooks`.
    """
    ablation, places = changes(wrap(model, tokenizer), neurons, zero, mode, scan)
    on_output = ablation.chosen.on_output

    def edit() -> None:
        for site, change in places.items():
            envoy = model.get(site.path)
            a = envoy.input
            if on_output:
                envoy.output = change(a, envoy.output)
            else:
                envoy.input = change(a)

    return edit
