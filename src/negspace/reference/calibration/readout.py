"""Output weights of ordinary neurons: the most probable next words, a convex problem with one solution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from negspace.reference.calibration.lexicon import NUMBERED, Lexicon

RIDGE = 5e-3
_DAMPING = 1e-2
_STEPS = 15


@dataclass(frozen=True, eq=False)
class Code:
    """Return the map from outputs to logits: a token has its lemma's; forms of a verb add or subtract the number."""

    lemma: Tensor
    """[vocabulary] output of each token's lemma, int64; lemmas are the first outputs."""
    number: Tensor
    """[vocabulary] output of the number of each token's lemma, int64; any where it has none."""
    agrees: Tensor
    """[vocabulary] +1 for forms that go with a plural subject, -1 for a singular one, else 0; float32."""
    lemmas: int
    """Outputs that are lemmas."""
    outputs: int
    """Outputs, those of number included."""

    def logits(self, outputs: Tensor) -> Tensor:
        """[n, vocabulary] from [n, outputs]."""
        return outputs[:, self.lemma] + outputs[:, self.number] * self.agrees


def code_of(lexicon: Lexicon) -> Code:
    """The code of a vocabulary."""
    lemmas, numbered = len(lexicon.lemmas), {lemma: n for n, lemma in enumerate(NUMBERED)}
    return Code(
        torch.tensor([lexicon.lemmas[word.lemma] for word in lexicon.words]),
        torch.tensor([lemmas + numbered.get(word.lemma, 0) for word in lexicon.words]),
        torch.tensor([word.agrees for word in lexicon.words], dtype=torch.float32),
        lemmas,
        lemmas + len(numbered),
    )


def soft_targets(targets: Tensor, doubts: Mapping[tuple[int, ...], float], vocabulary: int) -> Tensor:
    """[n, vocabulary] distributions: part of each target's probability is spread evenly over its alternatives.

    Args:
        targets: [n] next tokens.
        doubts: group of tokens that are alternatives to each other -> the part, from 0 to 1; no token in two groups.
        vocabulary: number of tokens.
    """
    spread = torch.eye(vocabulary)
    for group, doubt in doubts.items():
        members = torch.tensor(group)
        spread[members] *= 1 - doubt
        spread[members[:, None], members] += doubt / len(members)
    return spread[targets]


def fit(activations: Tensor, targets: Tensor, code: Code, given: Tensor, number: bool, ridge: float = RIDGE) -> Tensor:
    """Weights and bias that make the targets most probable: multinomial logistic regression with a ridge penalty.

    Features are whitened, in float64, and the penalty is on the whitened weights, so that a few steps of L-BFGS come
    close to the optimum.

    Args:
        activations: [n, neurons], float32.
        targets: [n, vocabulary] distributions of the next token.
        code: from outputs to logits.
        given: [n, outputs] what other neurons write.
        number: whether these neurons may write numbers.
        ridge: weight of the penalty.

    Returns:
        [neurons + 1, outputs], float32; the bias is the last row.
    """
    features = torch.cat([activations, torch.ones(len(activations), 1)], 1)
    wide = features.double()
    gram = wide.T @ wide / len(wide) + _DAMPING * torch.eye(wide.shape[1], dtype=torch.float64)
    factor = torch.linalg.cholesky(gram)
    white = torch.linalg.solve_triangular(factor, wide.T, upper=False).T.float().contiguous()
    free = code.outputs if number else code.lemmas
    weights = torch.zeros(features.shape[1], free, requires_grad=True)
    steps = torch.optim.LBFGS([weights], lr=1, max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        steps.zero_grad()
        outputs = given + torch.nn.functional.pad(white @ weights, (0, code.outputs - free))
        value = cross_entropy(code.logits(outputs), targets) + ridge / 2 * weights.square().sum()
        value.backward()
        return value

    steps.step(loss)  # type: ignore[arg-type]
    found = torch.linalg.solve_triangular(factor.T, weights.detach().double(), upper=True).float()
    return torch.nn.functional.pad(found, (0, code.outputs - free))
