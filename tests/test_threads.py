"""Threads: waiting without spinning, and as many as make the work fastest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from negspace import threads

LONG = 64


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Machine:
    """A clock, and passes that take so many seconds per token under each number of threads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: dict[int, float], bits: dict[int, float]) -> None:
        self.now, self.cost, self.bits, self.longest = 0.0, cost, bits, 0
        self.passes: list[tuple[int, int]] = []
        monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def __call__(self, tokens: int) -> torch.Tensor:
        number = torch.get_num_threads()
        self.now += self.cost[number] * tokens
        self.longest = max(self.longest, tokens)
        self.passes.append((number, tokens))
        return torch.full((1, tokens), self.bits.get(number, 0.0))


@pytest.mark.parametrize(
    ("cost", "bits", "chosen"),
    [
        ({1: 4.0, 2: 2.0, 4: 1.0}, {}, 4),  # a quiet machine
        ({1: 1.0, 2: 1.5, 4: 3.0}, {}, 1),  # one on which every core is taken
        ({1: 2.0, 2: 1.0, 4: 0.99}, {}, 2),  # what more threads would gain is not worth the cores
        ({1: 1.0, 2: 1.0, 4: 4.0}, {1: 1e-30}, 2),  # one thread would be enough, but gives other bits
        ({1: 1.0, 2: 1.0, 4: 4.0}, {1: 1e-30, 2: -0.0}, 4),
    ],
)
def test_the_fewest_threads_that_are_about_as_fast_as_any_and_give_the_same_bits_are_chosen_and_set(
    cost: dict[int, float], bits: dict[int, float], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threads.choose(Machine(monkeypatch, cost, bits), LONG, (1, 2, 4))
    assert made.threads == torch.get_num_threads() == chosen
    assert made.rate == pytest.approx(1 / cost[chosen])


def test_a_trial_is_as_long_as_it_must_be_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, {1: threads._TRIAL / 30}, {})
    threads.choose(machine, 2048, (1,))
    assert machine.longest == 32
    machine = Machine(monkeypatch, {1: 1e-9}, {})
    threads.choose(machine, 100, (1,))
    assert machine.longest == 100


@pytest.mark.parametrize(("one", "looks"), [(2.0, 1), (1.2, 2)])
def test_fewer_threads_are_looked_at_twice_only_where_the_first_look_decides_nothing(
    one: float, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch, {1: one / 100, 2: 1 / 100}, {})
    assert threads.choose(machine, LONG, (1, 2)).threads == 2
    assert machine.passes.count((1, machine.longest)) == looks


@pytest.mark.parametrize(("each", "most", "last"), [(0.002, 2048, 128), (1e-9, 100, 100), (1.0, 2048, 64)])
def test_speed_is_that_of_a_pass_that_takes_long_enough_made_a_second_time(
    each: float, most: int, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, seen = [0.0], []
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def run(tokens: int) -> int:
        # A first pass of any size is slow.
        now[0] += each * tokens * (1 if tokens in seen else 3)
        seen.append(tokens)
        return tokens

    assert threads.warm_rate(run, most) == pytest.approx(1 / each)
    assert seen[-2:] == [last, last]
    assert len(seen) < 8


def test_candidates_end_with_all_threads() -> None:
    assert [list(threads.candidates(most)) for most in (1, 2, 3, 8, 12)] == [
        [1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kept"), [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")]
)
def test_importing_the_package_sets_how_threads_wait_unless_the_user_has(given: dict[str, str], kept: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    code = "import os, sys, negspace; print(os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], env=environment | given, capture_output=True, text=True)
    assert said.stdout.split() == [kept, "False"], said.stderr
