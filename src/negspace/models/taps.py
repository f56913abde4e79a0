"""The one place where hooks are set: reading and replacing activations' inputs and outputs during a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from negspace.errors import SiteError
from negspace.models.compiled import uncompiled
from negspace.models.experts import Rows, experts_ancestor, kind_of
from negspace.models.identity import changing
from negspace.models.model import Model, check_model
from negspace.models.overrides import activation
from negspace.models.site import Site

Tokens = Callable[[Site, torch.Tensor], None]
Inputs = Callable[[Site, torch.Tensor, torch.Tensor | None], None]
Before = Callable[[Site, torch.Tensor, torch.Tensor | None], torch.Tensor | None]
After = Callable[[Site, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor | None]


@contextmanager
def tap(
    model: Model,
    before: Before | None = None,
    after: After | None = None,
    sites: Collection[Site] | None = None,
    inputs: Inputs | None = None,
    rows: Tokens | None = None,
) -> Iterator[None]:
    """Call back at sites in every forward pass of `model.module` while the context is open.

    Args:
        model: the model.
        before: called as `before(site, a, experts)` with the activation's input a [..., width], not copied, in the
            shape and dtype that the model gives it (OPT flattens batch and time; routed experts have [rows, width]).
            `intervene` may overwrite it in place later in the same pass: clone what you keep.
            A returned tensor replaces a. Where a is a view of a fused projection (Phi-3, GLM), a replacement with other
            strides may move the activation's last bit: return None to change nothing. Where some rows belong to no
            token (Llama 4 and ZAYA run rows that no router asked for), a is a copy of the others.
        after: called as `after(site, a, out, experts)` with the activation's input (after replacements) and output. A
            returned tensor replaces the output.
        sites: which sites; None for all. The others get no hook at all.
        inputs: called as `inputs(site, x, experts)` with what enters the projection that produces a, x [..., hidden],
            in the order of a's rows, before `before` is called for the same site. Not called at dense sites without a
            `projection`.
        rows: called as `rows(site, tokens)` at sites of routed experts, before `inputs`, with the flattened position in
            the batch (sequence * length + position) that each row of a belongs to, int64 [rows]. At other sites the
            rows are the positions themselves.

    `experts` holds the expert of each row, an int64 tensor [rows], at sites of routed experts, and is None elsewhere.
    There, one forward pass calls back once, or with the "eager" experts implementation once per expert that was hit;
    at other sites, once for each of the site's `passes`.

    All hooks are removed on leaving, after an exception too. Nested taps compose: the outer one is called first.

    Raises:
        ModelError: not a model, or one of which a part was compiled since it was wrapped.
        SiteError: a site is not one of the model's.
    """
    check_model(model, "a tap")
    uncompiled(f"a tap on {model.source.name}", model.module)
    chosen = model.sites if sites is None else tuple(sites) if isinstance(sites, Iterable) else (sites,)
    known = set(model.sites)
    for site in chosen:
        if site not in known:
            raise SiteError(
                asked=f"a tap at {getattr(site, 'path', repr(site))}",
                found=f"a model without this site ({model.source.name})",
                todo="take the sites from the model itself (model.sites)",
            )
    with ExitStack() as stack:
        stack.enter_context(changing(model.module))

        def keep(handle: RemovableHandle) -> None:
            stack.callback(handle.remove)

        for site in chosen:
            act = stack.enter_context(activation(model.module, site.path, site.alone))
            if site.experts:
                _tap_experts(model.module, site, act, keep, before, after, inputs, rows)
            else:
                _tap_dense(model.module, site, act, keep, before, after, inputs)
        yield


def _tap_dense(
    root: nn.Module,
    site: Site,
    act: nn.Module,
    keep: Callable[[RemovableHandle], None],
    before: Before | None,
    after: After | None,
    inputs: Inputs | None,
) -> None:
    if inputs is not None and site.projection is not None:

        def on_projection(_: nn.Module, args: tuple[Any, ...]) -> None:
            inputs(site, args[0], None)

        keep(root.get_submodule(site.projection).register_forward_pre_hook(on_projection))
    if before is not None:

        def on_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
            new = before(site, args[0], None)
            return None if new is None else (new, *args[1:])

        keep(act.register_forward_pre_hook(on_input))
    if after is not None:

        def on_output(_: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor | None:
            return after(site, args[0], out, None)

        keep(act.register_forward_hook(on_output))


def _tap_experts(
    root: nn.Module,
    site: Site,
    act: nn.Module,
    keep: Callable[[RemovableHandle], None],
    before: Before | None,
    after: After | None,
    inputs: Inputs | None,
    rows: Tokens | None,
) -> None:
    found = experts_ancestor(root, site.path)
    assert found is not None  # resolve() gives a site experts only when there is one
    path, holder = found
    kind = kind_of(holder)
    routing = kind.routing(path, kind)
    current: list[Rows] = []
    routing.follow(holder, keep)

    def of_tokens(values: torch.Tensor) -> torch.Tensor:
        places = current[0].places
        return values if places is None else values.reshape(-1, values.shape[-1])[places]

    def put_back(values: torch.Tensor, old: torch.Tensor, new: torch.Tensor | None) -> torch.Tensor | None:
        """Return the replacement for `values` after `old` became `new`; None if nothing has changed."""
        places = current[0].places
        if places is None:
            return new
        if new is None:
            # What was given away is a copy: a change in place has to be carried over.
            if torch.equal(of_tokens(values), old):
                return None
            new = old
        # The same strides, so that the activation rounds as it does without a tap.
        whole = torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device=values.device)
        whole.copy_(values)
        whole.view(-1, values.shape[-1])[places] = new.to(values.dtype)
        return whole

    def on_input(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        current[:] = [routing.rows(args[0])]
        experts = current[0].experts
        if rows is not None:
            rows(site, current[0].tokens)
        if inputs is not None:
            inputs(site, current[0].inputs(), experts)
        if before is not None:
            a = of_tokens(args[0])
            new = put_back(args[0], a, before(site, a, experts))
            return None if new is None else (new, *args[1:])
        return None

    keep(act.register_forward_pre_hook(on_input))
    if after is not None:

        def on_output(_: nn.Module, args: tuple[Any, ...], out: torch.Tensor) -> torch.Tensor | None:
            y = of_tokens(out)
            return put_back(out, y, after(site, of_tokens(args[0]), y, current[0].experts))

        keep(act.register_forward_hook(on_output))
