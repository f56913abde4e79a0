"""The calibration models: their heads, their planted neurons, what they can do, and their folders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import negspace as ns
from negspace.reference.calibration import Lexicon, Made, Material, make, write_material
from negspace.reference.calibration.circuit import CONTEXT, LAYERS, PLANTED, Sight, circuit
from negspace.reference.calibration.lexicon import NUMBERED
from negspace.reference.calibration.readout import code_of, fit, soft_targets
from negspace.reference.calibration.sentences import text


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon()


@pytest.fixture(scope="module")
def material(lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return write_material(tmp_path_factory.mktemp("material"), lexicon)


@pytest.fixture(scope="module")
def negative(lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make("negative", tmp_path_factory.mktemp("negative"), lexicon)


def test_heads_copy_the_previous_token_and_the_latest_animal_verb_and_person(lexicon: Lexicon) -> None:
    frequency = np.ones(len(lexicon.words))
    made = circuit(lexicon, Sight("subject", -2.4, 1.6, ordinary=False), frequency)
    tokens = made.tokenizer(text(lexicon, 40, "heads"), verbose=False)["input_ids"][:CONTEXT]
    assert len(tokens) == CONTEXT
    seen: list[torch.Tensor] = []
    first = made.module.transformer.h[0]
    handle = first.register_forward_hook(
        lambda _module, _given, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    with torch.no_grad():
        made.module(torch.tensor([tokens]))
    handle.remove()
    stream = seen[0][0].numpy()
    p, codes = made.plan, made.module.transformer.wte.weight.detach().numpy()
    size = p.copied[1] - p.copied[0]
    checked = 0
    for at in range(30, CONTEXT):
        wanted: list[int | None] = [tokens[at - 1]]
        for kind in ("animal", "verb", "person"):
            before = [token for token in tokens[: at + 1] if lexicon.words[token].head == kind]
            wanted.append(before[-1] if before else None)
        for start, token in zip(p.copied, wanted, strict=True):
            if token is not None:
                np.testing.assert_allclose(
                    stream[at, start : start + size], codes[token, p.code : p.code + size], atol=0.05
                )
                checked += 1
        assert wanted[1] is not None
        assert stream[at, p.subject] == pytest.approx(lexicon.words[wanted[1]].number, abs=0.02)
    assert checked > 3 * (CONTEXT - 30)


def test_planted_neurons_come_first_and_carry_agreement_below_zero(negative: Made, material: Material) -> None:
    model = ns.load(str(negative.folder))
    scan = ns.scan(model, str(material.statistics), windows=32, md_pairs=0)
    top = scan.top(0.01)
    assert [tuple(indices.tolist()) for indices in top.indices.values()] == list(negative.planted)
    assert len(top) == LAYERS * PLANTED
    table = scan.table.set_index(["layer", "neuron"])
    planted = [(layer, n) for layer, row in enumerate(negative.planted) for n in row]
    # Two points far apart: E| |Z| - 1 | = 0.48; the others are near Gaussian.
    assert table.loc[planted, "wd"].min() > 0.4
    assert table["wd"].drop(planted).max() < 0.25
    assert table.loc[planted, "fraction_negative"].min() == 1

    def right() -> float:
        return ns.minimal_pairs(model, str(material.pairs), limit=6).accuracy

    assert right() > 0.95
    with ns.intervene(model, top, zero="negative"):
        assert 0.4 < right() < 0.6  # all verbs are singular: half of the pairs
    with ns.intervene(model, top, zero="positive"):
        assert right() > 0.95
    with ns.intervene(model, scan.random(0.01, seed=0), zero="negative"):
        assert right() > 0.95


def test_a_folder_is_built_once_and_anew_when_it_is_not_whole(
    negative: Made, lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = (negative.folder / "model.safetensors").stat().st_mtime_ns
    assert make("negative", negative.folder, lexicon) == negative
    assert (negative.folder / "model.safetensors").stat().st_mtime_ns == weights

    def built(*_: object) -> None:
        raise RuntimeError("built anew")

    monkeypatch.setattr("negspace.reference.calibration.folder.build", built)
    for name, other in (("negative", Lexicon(1)), ("null", lexicon)):
        with pytest.raises(RuntimeError, match="built anew"):
            make(name, negative.folder, other)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="built anew"):
        make("negative", negative.folder, lexicon, seed=1)


def test_soft_targets_spread_doubt_over_alternatives_only() -> None:
    made = soft_targets(torch.tensor([0, 1, 4]), {(1, 2, 3): 0.6}, 5)
    expected = [[1, 0, 0, 0, 0], [0, 0.6, 0.2, 0.2, 0], [0, 0, 0, 0, 1]]
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float32))


def test_the_fit_finds_the_distribution_and_leaves_number_alone(lexicon: Lexicon) -> None:
    code = code_of(lexicon)
    assert code.outputs == len(lexicon.lemmas) + len(NUMBERED)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.tensor([5, 9, 40, 100])
    state = torch.randint(4, (2000,), generator=generator)
    activations = torch.nn.functional.one_hot(state, 4).float() + 0.1 * torch.randn((2000, 4), generator=generator)
    targets = torch.nn.functional.one_hot(tokens[state], len(lexicon.words)).float()
    nothing = torch.zeros(2000, code.outputs)
    weights = fit(activations, targets, code, nothing, number=False, ridge=1e-4)
    outputs = torch.cat([activations, torch.ones(2000, 1)], 1) @ weights
    assert (weights[:, code.lemmas :] == 0).all()
    # A noun's two forms share their output: the lemma is what can be found.
    found = code.lemma[code.logits(outputs).argmax(1)]
    assert (found == code.lemma[tokens[state]]).float().mean() > 0.99
