"""The no-op control: where an activation is flat below zero, zeroing negative pre-activations must change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from negspace.intervention import Zero, intervene
from negspace.models.model import check_model
from negspace.models.overrides import activation

if TYPE_CHECKING:
    from negspace.models.model import Model
    from negspace.models.site import Site
    from negspace.neurons.neuronset import NeuronSet
    from negspace.score.perplexity import Progress
    from negspace.text.windows import Windows

_GRID = torch.cat([-torch.logspace(-30, 4, 400), torch.tensor([-0.0])])


@dataclass(frozen=True)
class NoopCheck:
    """Log-probabilities with and without an ablation, compared bit by bit."""

    neurons: int
    """Neurons ablated."""
    tokens: int
    """Tokens predicted."""
    differing: int
    """Tokens whose log-probability differs in any bit."""
    largest: float
    """Largest absolute difference, in nats."""

    @property
    def same(self) -> bool:
        """True if the ablation changed nothing."""
        return self.differing == 0


def flat_below_zero(model: Model, site: Site) -> bool:
    """Return True if a site's activation maps every negative number to its value at zero, as ReLU and its square do.

    Found by applying the module to negative numbers of many sizes, not by its name.
    """
    with activation(model.module, site.path, site.alone) as act, torch.no_grad():
        try:
            below, zero = act(_GRID.to(model.device)), act(torch.zeros(1, device=model.device))
        except Exception:  # an activation that takes rows of one width only (a clamped gate) is none of these
            return False
        return bool((below == zero).all())


def rectifies(model: Model) -> bool:
    """Return True if zeroing negatives can change nothing in a model: all its sites are flat below zero."""
    check_model(model, "the no-op control")
    return all(flat_below_zero(model, site) for site in model.sites)


def check_noop(
    model: Model,
    neurons: NeuronSet,
    windows: Windows,
    *,
    zero: Zero = "negative",
    batch: int | None = None,
    progress: Progress | None = None,
) -> NoopCheck:
    """Compare the log-probability of every predicted token with and without an ablation, bit by bit.

    Raises:
        ModelError: not a model.
        TextError: no windows of text, or longer ones than the model's context.
        ScoreError: a log-probability that is not finite.
        SelectionError: not a set of neurons, or one of another layout than the model's.
    """
    from negspace.neurons.neuronset import check_neurons
    from negspace.score.perplexity import token_nll

    check_model(model, "the no-op control")
    check_neurons(neurons, "the no-op control").check(model)

    def half(first: int):
        def report(done: int, total: int, _: str) -> None:
            if progress:
                progress(first * total + done, 2 * total, "no-op")

        return report

    plain = token_nll(model, windows, batch=batch, progress=half(0))
    with intervene(model, neurons, zero):
        ablated = token_nll(model, windows, batch=batch, progress=half(1))
    return NoopCheck(
        neurons=len(neurons),
        tokens=plain.size,
        differing=int(np.count_nonzero(plain.view(np.int64) != ablated.view(np.int64))),
        largest=float(np.abs(plain - ablated).max()),
    )
