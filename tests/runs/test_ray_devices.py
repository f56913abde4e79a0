"""What Ray gives a worker: its own GPUs, a place to stay at, an ear for its notes. Benches here hold no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from negspace.experiment.config import Resources, configure
from negspace.runs.cell import Cell, Record
from negspace.runs.ray_cluster import RayCluster
from negspace.runs.store import Store
from negspace.study.run import run_study, workbench

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray's own imports warn of what it will change.
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def node() -> Iterator[Any]:
    """A node that says that it has two GPUs, which Ray believes."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def probe() -> Callable[[], Any]:
    """What makes a bench that tells what it finds around it. Within a function, so that it travels by value."""

    class Probe:
        def __init__(self) -> None:
            import os

            import torch

            self.visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            self.early = torch.cuda.is_initialized()
            self.at: str | None = None
            self.opened = 0
            self.note: Callable[[str], None] = print

        def listen(self, note: Callable[[str], None]) -> None:
            self.note = note

        def compute(self, cell: Cell, step: Any) -> tuple[dict[str, Any], Any]:
            import os
            import time

            import pandas as pd

            if cell.place != self.at:
                self.at = cell.place
                self.opened += 1
            if "say" in cell.spec:
                self.note(cell.spec["say"])
            time.sleep(cell.spec.get("seconds", 0.1))
            found = {"pid": os.getpid(), "visible": self.visible, "early": self.early, "opened": self.opened}
            return found, pd.DataFrame({"none": [0]})

    return Probe


class Session:
    """A cluster with an open store: run(cells) -> what each found."""

    def __init__(self, node: Any, folder: Path, **resources: Any) -> None:
        self.cluster = RayCluster(probe(), Resources(**resources), node.address)
        self._store = Store(folder)
        self.notes: list[str] = []
        self._count = 0

    def __enter__(self) -> Session:
        self.cluster.__enter__()
        self._hold = self._store.hold()
        self._hold.__enter__()
        self.engine = self.cluster.engine(self._store, note=self.notes.append)
        return self

    def __exit__(self, *exc: Any) -> None:
        self._hold.__exit__(*exc)
        self.cluster.__exit__(*exc)

    def run(self, places: Sequence[str], **spec: Any) -> list[dict[str, Any]]:
        """One cell for each place."""
        cells = []
        for place in places:
            self._count += 1
            cells.append(Cell("probe", {"number": self._count, **spec}, f"cell {self._count}", place=place))
        records: list[Record] = self.engine.run(cells)
        return [dict(record.results) for record in records]

    def all_up(self, workers: int) -> None:
        """Have cells computed until so many workers have computed one."""
        seen: set[int] = set()
        while len(seen) < workers:
            seen |= {found["pid"] for found in self.run([""] * 2 * workers)}


@pytest.fixture(scope="class")
def two(node: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Two workers of a GPU each, both at work already."""
    with Session(node, tmp_path_factory.mktemp("two") / "run", gpus=1, cpus=0.5) as session:
        session.all_up(2)
        yield session


class TestTwoWorkers:
    """Of one session, since workers take their time to start."""

    def test_there_are_as_many_as_gpus(self, two: Session) -> None:
        assert two.engine.width == 2

    def test_each_sees_a_gpu_of_its_own_before_cuda_starts(self, two: Session) -> None:
        found = two.run([""] * 8)
        assert {one["visible"] for one in found} == {"0", "1"}
        assert len({(one["pid"], one["visible"]) for one in found}) == 2
        assert not any(one["early"] for one in found)

    def test_cells_go_to_the_worker_that_has_their_model(self, two: Session) -> None:
        """Two models, open at one worker each: no cell moves one of them, however the cells are handed in."""
        before = two.run(["a", "b"])
        assert len({one["pid"] for one in before}) == 2
        home = {place: one["pid"] for place, one in zip("ab", before, strict=True)}
        opened = {one["pid"]: one["opened"] for one in before}
        for places in ("b", "a", "bb", "aabb", "bbaa", "abab", "a"):
            for place, one in zip(places, two.run(places), strict=True):
                assert one["pid"] == home[place], places
                assert one["opened"] == opened[one["pid"]], places

    def test_many_cells_of_one_model_are_shared(self, two: Session) -> None:
        two.run(["a", "b"])
        assert len({one["pid"] for one in two.run("a" * 8)}) == 2

    def test_what_a_worker_has_to_say_is_said_once_and_by_whom(self, two: Session) -> None:
        sentence = "out of memory in a cell: batches are 2 times smaller from now on"
        (found,) = two.run([""], say=sentence)
        two.run([""] * 4)
        assert two.notes == [f"worker {found['pid']}: {sentence}"]


def test_a_worker_of_two_gpus_sees_both(node: Any, tmp_path: Path) -> None:
    with Session(node, tmp_path / "run", gpus=2, cpus=1) as session:
        assert session.engine.width == 1
        (found,) = session.run([""])
    assert sorted(found["visible"].split(",")) == ["0", "1"]


@pytest.mark.gpu
def test_a_model_is_loaded_on_the_worker_s_gpu(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path: Path
) -> None:
    study = gpu_study(tiny_model_path, tiny_text_path, tiny_pairs_path, resources={"gpus": 1})
    with RayCluster(partial(workbench, study), study.resources) as cluster:
        assert cluster.survey().facts.source.device == "cuda:0"  # the only one that it sees
        made = run_study(study, tmp_path / "ray", cluster=cluster)["summary"]
    local = run_study(study, tmp_path / "local")["summary"]
    assert made["perplexity"].tolist() == pytest.approx(local["perplexity"].tolist(), rel=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_workers_compute_on_two_gpus(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path, tmp_path: Path
) -> None:
    study = gpu_study(tiny_model_path, tiny_text_path, tiny_pairs_path, resources={"gpus": 1, "workers": 2})
    pids: set[int] = set()
    with RayCluster(partial(workbench, study), study.resources) as cluster:
        run_study(study, tmp_path / "ray", cluster=cluster, progress=lambda _: pids.update(cluster.busy))
    run_study(study, tmp_path / "local")
    assert len(pids) == 2
    names = {path.name for path in (tmp_path / "local" / "cells").iterdir()}
    assert {path.name for path in (tmp_path / "ray" / "cells").iterdir()} == names


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_device_map_spreads_over_the_worker_s_gpus(
    tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path
) -> None:
    paths = (tiny_model_path, tiny_text_path, tiny_pairs_path)
    study = gpu_study(*paths, resources={"gpus": 2}, device_map="balanced")
    with RayCluster(partial(workbench, study), study.resources) as cluster:
        device_map = cluster.survey().facts.source.device_map
    assert {str(place) for place in device_map.values()} == {"0", "1"}


def gpu_study(model: Path, text: Path, pairs: Path, **fields: Any) -> Any:
    """A small study of the tiny model."""
    given = {"model": str(model), "text": str(text), "blimp": [str(pairs / "blimp")], "limit": 2, "window": 64}
    return configure({**given, "windows": 6, "md_pairs": 64, "draws": 100, "shares": [0.1], "random": 1, **fields})
