"""Internal: interventions on chosen neurons: only their values change, and nothing outlives the context."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast, get_args
from weakref import WeakKeyDictionary

import numpy as np
import torch

from negspace.errors import InterventionError
from negspace.models import probe
from negspace.models.model import Model, check_model
from negspace.models.site import Site
from negspace.models.taps import tap
from negspace.neurons.neuronset import NeuronSet, check_neurons
from negspace.neurons.scan import Scan, check_scan

Zero = Literal["negative", "positive", "both"]
Mode = Literal["relu_on_positives", "sign_flip", "mean", "negative_mean"]

Edit = Callable[..., torch.Tensor]
"""`edit(a, experts=, out=)` returns the edited input a of an activation, `edit(a, y, experts=, out=)` its edited output
y; `experts` as `tap` gives them; `out` is the tensor to write into, or None for a new one."""


@dataclass(frozen=True)
class Intervention:
    """The intervention on the chosen neurons, by the name under which results record it."""

    name: str
    """One of `INTERVENTIONS`."""

    @property
    def arguments(self) -> tuple[Zero | None, Mode | None]:
        """The `zero` and `mode` that ask for it."""
        part = self.name.removeprefix("zero_")
        return (None, cast(Mode, part)) if part == self.name else (cast(Zero, part), None)

    @property
    def needs_means(self) -> bool:
        """True if the neurons' corpus means must be known."""
        return self.name in ("mean", "negative_mean")

    @property
    def on_output(self) -> bool:
        """True if it changes the activation's output rather than its input."""
        return self.name in ("relu_on_positives", "sign_flip")


INTERVENTIONS = tuple(f"zero_{part}" for part in get_args(Zero)) + get_args(Mode)
"""Names of all interventions: zero_negative, zero_positive, zero_both and the modes."""


def intervention(zero: Zero | None = None, mode: Mode | None = None) -> Intervention:
    """The intervention that `zero=` or `mode=` names; exactly one of the two must be given.

    Raises:
        InterventionError: none or both are given, or the name is unknown.
    """
    asked = f"intervene(zero={zero!r}, mode={mode!r})"
    if (zero is None) == (mode is None):
        raise InterventionError(
            asked,
            "neither of the two" if zero is None else "both of the two",
            f"give either zero= (one of {', '.join(get_args(Zero))}) or mode= (one of {', '.join(get_args(Mode))})",
        )
    name = mode if zero is None else f"zero_{zero}"
    if name not in INTERVENTIONS:
        raise InterventionError(
            asked,
            f"an unknown name {mode if zero is None else zero!r}",
            f"use zero= one of {', '.join(get_args(Zero))}, or mode= one of {', '.join(get_args(Mode))}",
        )
    return Intervention(str(name))


@contextmanager
def intervene(
    model: Model,
    neurons: NeuronSet,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
) -> Iterator[None]:
    """Change the chosen neurons, and them alone, in every forward pass of `model.module` while the context is open.

    With pre-activation a and activation function act, for the chosen neurons (Kong et al. 2026):

    | argument | effect |
    | --- | --- |
    | zero="negative" | a -> max(a, 0) |
    | zero="positive" | a -> min(a, 0) |
    | zero="both" | a -> 0 |
    | mode="relu_on_positives" | act(a) -> a where a > 0: touches positives only |
    | mode="sign_flip" | act(a) -> -act(a) where act(a) < 0: keeps the magnitude, loses the sign |
    | mode="mean" | a -> its mean over the scanned text |
    | mode="negative_mean" | where a < 0: a -> the mean of its negative part over the scanned text |

    Weights are never written. Sites without a chosen neuron get no hook, so that an empty set leaves the forward pass
    bitwise as it is. Contexts nest: the outer intervention acts first. The model is restored on leaving, after an
    exception too.

    What `torch.compile` returned may pass over the hooks and give the plain model's logits: call `model.module`.

    Args:
        model: the model.
        neurons: the neurons to change; of the same layout as the model.
        zero: which part of the pre-activation to set to zero.
        mode: another intervention; exclusive with `zero`.
        scan: where the means come from; needed by the two modes that use them.

    Raises:
        ModelError: not a model, or one of which a part was compiled, or put into training mode, since it was wrapped.
        InterventionError: the names are wrong, or a mean is asked for without a scan of this layout.
        SelectionError: not a set of neurons, or one of another layout than the model's.
    """
    with make_ablation(model, neurons, zero, mode, scan).open():
        yield


@dataclass(frozen=True, eq=False)
class Ablation:
    """An intervention on chosen neurons of a model, checked and made once, to be opened many times."""

    model: Model
    """The model."""
    chosen: Intervention
    """The intervention."""
    edits: Mapping[Site, Edit]
    """The function that edits each site's tensor, for the sites of chosen neurons, in the order of the model's."""
    in_place: bool
    """True if an edit may overwrite the tensor that it is given."""

    @contextmanager
    def open(self, layers: Collection[int] | None = None) -> Iterator[None]:
        """Do it while the context is open, as `intervene` does.

        It runs no forward pass, so that it may be opened within one.

        Args:
            layers: change the chosen neurons of these layers only; None: of all.

        Raises:
            ModelError: a part of the model was compiled, or put into training mode, meanwhile.
        """
        sites = tuple(site for site in self.edits if layers is None or site.layer in layers)
        if not sites:
            yield
            return

        def apply(site: Site, experts: torch.Tensor | None, *tensors: torch.Tensor) -> torch.Tensor | None:
            value = tensors[-1]
            fresh = not self.in_place or (torch.is_grad_enabled() and value.requires_grad)
            result = self.edits[site](*tensors, experts=experts, out=None if fresh else value)
            return result if fresh else None

        if self.chosen.on_output:
            context = tap(self.model, after=lambda site, a, out, experts: apply(site, experts, a, out), sites=sites)
        else:
            context = tap(self.model, before=lambda site, a, experts: apply(site, experts, a), sites=sites)
        with context:
            yield


def make_ablation(
    model: Model,
    neurons: NeuronSet,
    zero: Zero | None = None,
    mode: Mode | None = None,
    scan: Scan | None = None,
) -> Ablation:
    """The intervention that `intervene` does with the same arguments; runs the model on a few tokens for its checks.

    Raises:
        ModelError, InterventionError, SelectionError: as `intervene`.
    """
    chosen, what = intervention(zero, mode), "an intervention on neurons"
    check_model(model, what)
    check_neurons(neurons, what).check(model)
    if chosen.needs_means and scan is None:
        raise InterventionError(
            f"intervene(mode={chosen.name!r})", "no scan, hence no means", "pass scan=, the result of negspace.scan"
        )
    if scan is not None:
        check_scan(scan, f"an intervention by {chosen.name}", InterventionError)
    sites = [site for site in model.sites if len(neurons.at(site.path))]
    if scan is not None and chosen.needs_means and sites:
        _check_scanned(model, chosen, scan)
    edits = {site: _edit(model, site, neurons.indices[site.path], chosen, scan) for site in sites}
    return Ablation(model, chosen, edits, bool(edits) and in_place_is_exact(model))


def _edit(model: Model, site: Site, flat: np.ndarray, chosen: Intervention, scan: Scan | None) -> Edit:
    """The function that edits one site's tensor, with its per-neuron constants ready on whatever device it meets."""
    mask = torch.zeros(site.size, dtype=torch.bool)
    mask[torch.from_numpy(np.array(flat, dtype=np.int64))] = True

    match chosen.name:
        case "zero_negative":
            # The bound of a neuron that is not chosen is infinite: max(a, -inf) is a, bit for bit.
            floor = _PerNeuron(site, torch.where(mask, 0.0, -torch.inf))
            return lambda a, experts, out: torch.maximum(a, floor.like(a, experts), out=out)
        case "zero_positive":
            ceiling = _PerNeuron(site, torch.where(mask, 0.0, torch.inf))
            return lambda a, experts, out: torch.minimum(a, ceiling.like(a, experts), out=out)
        case "zero_both":
            which = _PerNeuron(site, mask)
            zero = torch.zeros(())
            return lambda a, experts, out: torch.where(which.like(a, experts), zero.to(a), a, out=out)
        case "relu_on_positives":
            which = _PerNeuron(site, mask)
            return lambda a, y, experts, out: torch.where(which.like(a, experts) & (a > 0), a, y, out=out)
        case "sign_flip":
            which = _PerNeuron(site, mask)
            return lambda a, y, experts, out: torch.where(which.like(a, experts) & (y < 0), -y, y, out=out)
        case _:
            which = _PerNeuron(site, mask)
            means = _PerNeuron(site, _means(model, site, mask, chosen, scan))
            below_zero_only = chosen.name == "negative_mean"

            def replace(a: torch.Tensor, experts: torch.Tensor | None, out: torch.Tensor | None) -> torch.Tensor:
                where = which.like(a, experts)
                return torch.where(where & (a < 0) if below_zero_only else where, means.like(a, experts), a, out=out)

            return replace


def _check_scanned(model: Model, chosen: Intervention, scan: Scan) -> None:
    """Refuse a scan of another model, or of this one while something else changed it; runs it on a few tokens.

    Raises:
        InterventionError: it is one.
        ModelError: as `Model.identify`.
    """
    if scan.info.fingerprint != model.fingerprint:
        raise InterventionError(
            f"intervene(mode={chosen.name!r}) on {model.source.name}",
            f"a scan of other weights ({scan.info.model.name})",
            "scan this model, and pass that scan: means of one model say nothing of another",
        )
    if not model.behaves_as(scan.info.behaviour):
        raise InterventionError(
            f"intervene(mode={chosen.name!r}) on {model.source.name}",
            "a scan that was made while something else changed this model: an open intervention, a patched function",
            "scan the model as it is now, and pass that scan",
        )


def _means(model: Model, site: Site, mask: torch.Tensor, chosen: Intervention, scan: Scan | None) -> torch.Tensor:
    """The chosen neurons' means (float32 [site.size], zero elsewhere)."""
    assert scan is not None  # make_ablation() has refused otherwise
    column = "mean_negative" if chosen.name == "negative_mean" else "mean"
    table = scan.table
    rows = table[(table["layer"] == site.layer) & (table["branch"] == site.branch)]
    if len(rows) != site.size:
        raise InterventionError(
            f"intervene(mode={chosen.name!r}) on {model.source.name}",
            f"a scan with {len(rows)} neurons at layer {site.layer} ({site.branch}), where the model has {site.size}",
            "scan this model, and pass that scan",
        )
    values = torch.from_numpy(rows.sort_values(["expert", "neuron"])[column].to_numpy(dtype=np.float32).copy())
    # A neuron that was never negative has no negative mean, and its replacement never happens on such text.
    if chosen.name == "negative_mean":
        values = torch.nan_to_num(values, nan=0.0)
    if not bool(torch.isfinite(values[mask]).all()):
        raise InterventionError(
            f"intervene(mode={chosen.name!r})",
            f"chosen neurons of layer {site.layer} whose {column} is not finite in the scan",
            "scan more text, or leave these neurons out",
        )
    return torch.where(mask, values, 0.0)


class _PerNeuron:
    """A constant per neuron of a site, in the shape, dtype and device of the tensor that it meets."""

    def __init__(self, site: Site, values: torch.Tensor) -> None:
        self._values = values.view(site.experts, site.width) if site.experts else values
        self._ready: dict[tuple[torch.device, torch.dtype], torch.Tensor] = {}

    def like(self, a: torch.Tensor, experts: torch.Tensor | None) -> torch.Tensor:
        dtype = torch.bool if self._values.dtype == torch.bool else a.dtype
        key = (a.device, dtype)
        if key not in self._ready:
            # Under a caller's inference mode this would make a tensor that no later gradient may pass through.
            with torch.inference_mode(False):
                self._ready[key] = self._values.to(device=a.device, dtype=dtype)
        ready = self._ready[key]
        return ready if experts is None else ready[experts]


_IN_PLACE: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def in_place_is_exact(model: Model) -> bool:
    """Return True if the pre-activation may be overwritten in place, found by a trial on a few tokens.

    Overwriting saves a copy of every MLP's hidden layer (0.7% against 5% of a forward pass on two CPU cores). It is
    exact as long as nothing but the activation reads that tensor; a model for which this fails is edited in copies.
    """
    known = _IN_PLACE.get(model.module)
    if known is None:
        ids = probe.sequence(model.module, 4)
        logits = []
        for overwrite in (True, False):

            def clamp(_: Site, a: torch.Tensor, __: torch.Tensor | None, out: bool = overwrite) -> torch.Tensor:
                return torch.clamp(a, min=0.0, out=a if out else None)

            with tap(model, before=clamp):
                logits.append(probe.forward(model.module, ids))
        known = bool(torch.equal(logits[0], logits[1]))
        _IN_PLACE[model.module] = known
    return known
