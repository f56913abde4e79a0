"""Which expert and token each row of a mixture's activation belongs to, for all three implementations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.nn.utils import parametrize

import zoo
from negspace.errors import SiteError
from negspace.models import experts as experts_module
from negspace.models.experts import Kind, Routing, Rows, experts_ancestor, gate_rows, kind_of
from negspace.models.load import wrap
from negspace.models.model import Model
from negspace.models.sites import resolve
from negspace.models.taps import tap

IMPLEMENTATIONS = ("grouped_mm", "batched_mm", "eager")
NAMES = ("mixtral", "qwen2_moe", "olmoe", "deepseek_v2", "deepseek_v3", "granitemoe", "gpt_oss", "lfm2_moe")


@pytest.fixture(params=IMPLEMENTATIONS)
def how(request: pytest.FixtureRequest) -> str:
    return request.param


def build(name: str, how: str) -> Model:
    model = wrap(zoo.build(name, experts_implementation=how), zoo.tokenizer())
    for site in model.sites:
        if site.experts:
            holder: Any = experts_ancestor(model.module, site.path)
            assert holder[1].config._experts_implementation == how
    return model


def run(model: Model) -> torch.Tensor:
    with torch.no_grad():
        return model.module(input_ids=zoo.ids(), use_cache=False).logits


def gate_by_hand(experts: Any, expert: int, x: torch.Tensor) -> torch.Tensor:
    if type(experts).__name__ == "GptOssExperts":
        return (x @ experts.gate_up_proj[expert] + experts.gate_up_proj_bias[expert])[..., ::2]
    return (x @ experts.gate_up_proj[expert].T).chunk(2, dim=-1)[0]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_named_experts_of_the_named_inputs(name: str, how: str) -> None:
    model = build(name, how)
    routed: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    given: dict[str, list[torch.Tensor]] = {}
    calls: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    handles = []
    for site in model.sites:
        if site.experts:
            _, holder = experts_ancestor(model.module, site.path) or ("", None)
            assert holder is not None

            def note(_m: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, key: str = site.path) -> None:
                tensors = [*args, *kwargs.values()]
                calls[key] = (tensors[0], next(t for t in tensors if not t.is_floating_point()))

            handles.append(holder.register_forward_hook(note, with_kwargs=True))
    with tap(
        model,
        before=lambda site, a, e: routed.setdefault(site.path, []).append((a, e)) if site.experts else None,
        inputs=lambda site, x, e: given.setdefault(site.path, []).append(x) if site.experts else None,
    ):
        run(model)
    for handle in handles:
        handle.remove()
    assert routed
    for site in model.sites:
        if not site.experts:
            continue
        holder = (experts_ancestor(model.module, site.path) or ("", None))[1]
        hidden, index = calls[site.path]
        if how == "eager":
            assert [int(e[0]) for _, e in routed[site.path]] == sorted(set(index.flatten().tolist()))
        else:
            assert len(routed[site.path]) == 1
        rows = torch.cat([a for a, _ in routed[site.path]])
        ids = torch.cat([e for _, e in routed[site.path]])
        xs = torch.cat(given[site.path])
        assert rows.shape == (index.numel(), site.width)
        assert ids.dtype == torch.int64
        # Every (token, expert) of the routing is there once, with the pre-activation that its weights give.
        by_hand = torch.stack([gate_by_hand(holder, int(e), x) for e, x in zip(ids, xs, strict=True)])
        torch.testing.assert_close(rows, by_hand, atol=2e-6, rtol=1e-4)
        wanted = [(int(e), tuple(hidden.reshape(-1, zoo.HIDDEN)[t].tolist())) for t, r in enumerate(index) for e in r]
        assert sorted(wanted) == sorted((int(e), tuple(x.tolist())) for e, x in zip(ids, xs, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_zeroing_one_neuron_of_one_expert_equals_editing_its_weights(name: str, how: str) -> None:
    model = build(name, how)
    site = next(s for s in model.sites if s.experts)
    neuron, counts = 5, torch.zeros(zoo.EXPERTS)

    def count(_s: Any, _a: Any, experts: torch.Tensor) -> None:
        counts.add_(torch.bincount(experts, minlength=zoo.EXPERTS))

    with tap(model, before=count, sites=[site]):
        run(model)
    expert = int(counts.argmax())  # the busiest; another may get no token at all

    def zero(_s: Any, _a: Any, out: torch.Tensor, experts: torch.Tensor) -> torch.Tensor:
        out = out.clone()
        out[experts == expert, neuron] = 0
        return out

    plain = run(model)
    with tap(model, after=zero, sites=[site]):
        tapped = run(model)
    assert torch.equal(run(model), plain)
    holder: Any = (experts_ancestor(model.module, site.path) or ("", None))[1]
    with torch.no_grad():
        # Of expert e the down-projection reads neuron i in one column: [e, :, i], or a row where it is transposed.
        down = holder.down_proj
        (down[expert, neuron] if holder.is_transposed else down[expert, :, neuron]).zero_()
    edited = run(model)
    assert (tapped - plain).abs().max() > 1e-5
    torch.testing.assert_close(tapped, edited, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_rows_name_the_position_in_the_batch(name: str, how: str) -> None:
    model = build(name, how)
    blocks: dict[str, torch.Tensor] = {}
    handles, positions, given, order = [], {}, {}, []
    for site in model.sites:
        if site.experts:
            block = (experts_ancestor(model.module, site.path) or ("", None))[0].rsplit(".", 1)[0]

            def note(_m: Any, args: tuple[Any, ...], kwargs: dict[str, Any], key: str = site.path) -> None:
                blocks[key] = next(v for v in (*args, *kwargs.values()) if isinstance(v, torch.Tensor))

            handles.append(model.module.get_submodule(block).register_forward_pre_hook(note, with_kwargs=True))

    def on_rows(site: Any, tokens: torch.Tensor) -> None:
        positions.setdefault(site.path, []).append(tokens)
        order.append("rows")

    def on_inputs(site: Any, x: torch.Tensor, experts: torch.Tensor | None) -> None:
        if experts is not None:
            given.setdefault(site.path, []).append(x)
            order.append("inputs")

    with tap(model, rows=on_rows, inputs=on_inputs):
        run(model)
    for handle in handles:
        handle.remove()
    assert order[::2] == ["rows"] * (len(order) // 2)
    assert order[1::2] == ["inputs"] * (len(order) // 2)
    assert blocks
    for path, hidden in blocks.items():
        assert hidden.shape == (2, 9, zoo.HIDDEN)  # [sequence, position, hidden], so that flattening is what rows says
        tokens = torch.cat(positions[path])
        assert torch.equal(torch.bincount(tokens), torch.full((18,), 2))
        assert torch.equal(hidden.reshape(-1, zoo.HIDDEN)[tokens], torch.cat(given[path]))


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_implementations_agree(name: str) -> None:
    outputs = []
    for how in IMPLEMENTATIONS:
        model = build(name, how)
        with tap(model, before=lambda s, a, e: torch.where((e == 1)[:, None], a.clamp_min(0), a)):
            outputs.append(run(model))
    torch.testing.assert_close(outputs[0], outputs[1], atol=2e-6, rtol=1e-4)
    torch.testing.assert_close(outputs[0], outputs[2], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("wrong", ["unsorted", "shifted"])
def test_a_wrong_order_of_rows_is_noticed(
    wrong: str, dtype: torch.dtype, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Routing.rows

    def rows(self: Routing, a: torch.Tensor) -> Rows:
        given = right(self, a)
        if wrong == "shifted":
            return replace(given, experts=(given.experts + 1) % zoo.EXPERTS)
        return replace(given, sources=given.sources.roll(1))

    module: Any = zoo.build("mixtral", experts_implementation=how).to(dtype)
    with torch.no_grad():
        for layer in module.model.layers:
            layer.mlp.experts.gate_up_proj[:, 3] *= 20  # one large neuron, whose rounding is as large as all others
    wrap(module, zoo.tokenizer())
    monkeypatch.setattr(Routing, "rows", rows)
    with pytest.raises(SiteError, match="of its inputs equal x @ gate"):
        wrap(module, zoo.tokenizer())


@pytest.mark.parametrize("name", ["llama4_text", "gpt_oss"])
def test_experts_whose_weights_are_parametrised_are_of_their_kind(name: str) -> None:
    class Scaled(torch.nn.Module):
        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return 1.5 * weight

    module = zoo.build(name)
    sites = resolve(module)
    for part in list(module.modules()):
        if isinstance(getattr(part, "gate_up_proj", None), torch.nn.Parameter):
            parametrize.register_parametrization(part, "gate_up_proj", Scaled())
    assert any(type(part).__name__.startswith("Parametrized") for part in module.modules())
    assert resolve(module) == sites


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers for a name that is going
def test_adapters_of_experts_parametrise_them_in_each_pass() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        target_modules=[], target_parameters=["feed_forward.experts.gate_up_proj"], init_lora_weights=False
    )
    model = wrap(peft.get_peft_model(zoo.build("llama4_text"), config).eval(), zoo.tokenizer())
    assert [site.experts for site in model.sites] == [0, zoo.EXPERTS, 0]


def test_an_unknown_implementation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations.moe import ExpertsInterface, grouped_mm_experts_forward

    mapping = {**ExpertsInterface._global_mapping, "mine": grouped_mm_experts_forward}
    monkeypatch.setattr(ExpertsInterface, "_global_mapping", mapping)
    module = zoo.build("mixtral")
    module.config._experts_implementation_internal = "mine"
    with pytest.raises(SiteError, match="experts implementation 'mine'"):
        wrap(module, zoo.tokenizer())


def test_expert_parallelism_is_refused() -> None:
    module: Any = zoo.build("mixtral")
    for layer in module.model.layers:
        layer.mlp.experts._is_expert_parallel = True
    with pytest.raises(SiteError, match="expert parallelism"):
        wrap(module, zoo.tokenizer())


def test_rows_of_an_activation_that_ran_alone_are_refused() -> None:
    with pytest.raises(SiteError, match="although the experts module was not called"):
        Routing("here", Kind()).rows(torch.zeros(3, 4))


def test_a_row_count_that_does_not_fit_is_refused() -> None:
    module: Any = zoo.build("mixtral")
    routing = Routing("here", Kind())
    index = torch.tensor([[0, 1], [2, 3]])
    routing.capture(module.model.layers[0].mlp.experts, (torch.zeros(2, zoo.HIDDEN), index), {})
    with pytest.raises(SiteError, match="for 4 routed rows"):
        routing.rows(torch.zeros(5, zoo.WIDTH))


def test_routing_needs_one_integer_tensor() -> None:
    module: Any = zoo.build("mixtral")
    with pytest.raises(SiteError, match="0 integer tensors"):
        Routing("here", Kind()).capture(module.model.layers[0].mlp.experts, (torch.zeros(2, zoo.HIDDEN),), {})


@pytest.mark.parametrize(("name", "count"), [("zaya", 3), ("llama4_text", 1), ("jetmoe", 1)])
def test_experts_that_are_given_something_else_are_refused(name: str, count: int) -> None:
    module = zoo.build(name)
    holder: Any = next(part for part in module.modules() if kind_of(part).routing is not Routing)
    index = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(SiteError, match=f"2 tensors among its arguments, where {count} w"):
        kind_of(holder).routing("here", kind_of(holder)).capture(holder, (torch.zeros(2, zoo.HIDDEN), index), {})


def test_gate_rows_knows_when_it_does_not_know() -> None:
    module: Any = zoo.build("mixtral")
    holder = module.model.layers[0].mlp.experts
    x, expert = torch.randn(3, zoo.HIDDEN), torch.tensor([0, 3, 1])

    def rows(hidden: torch.Tensor) -> Rows:
        return Rows(expert, torch.arange(3), None, hidden, torch.arange(3))

    by_hand = gate_rows(holder, rows(x))
    assert by_hand is not None
    for row in range(3):
        gate = F.linear(x[row], holder.gate_up_proj[expert[row]]).chunk(2)[0]
        torch.testing.assert_close(by_hand[row], gate)
    assert gate_rows(holder, rows(torch.randn(3, zoo.HIDDEN + 1))) is None
    assert gate_rows(torch.nn.Linear(2, 2), rows(x)) is None


def test_dense_models_have_no_experts_ancestor() -> None:
    module = zoo.build("llama")
    assert experts_ancestor(module, "model.layers.0.mlp.act_fn") is None
    assert experts_module.ORDERED == IMPLEMENTATIONS
