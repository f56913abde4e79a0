"""Cells on a real Ray cluster of two nodes on loopback: the same bytes; what dies is done by another, or said."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file, save_file

from negspace.errors import ClusterError, StudyError
from negspace.experiment.config import Resources, Study, configure
from negspace.runs import ray_cluster
from negspace.runs.cell import Cell
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
def two_nodes() -> Iterator[Any]:
    """A cluster of a head and another node, both on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def fields(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> dict[str, Any]:
    data = {"text": str(tiny_text_path), "blimp": [str(tiny_pairs_path / "blimp")], "limit": 3}
    small = {"window": 64, "windows": 12, "md_pairs": 64, "draws": 100, "shares": [0.1, 0.3], "random": 2}
    small["random_perplexity"] = 3
    return {"model": str(tiny_model_path), **data, **small}


@pytest.fixture(scope="module")
def study(fields: dict[str, Any]) -> Study:
    return configure(fields)


@pytest.fixture(scope="module")
def local(study: Study, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run in this process leaves."""
    folder = tmp_path_factory.mktemp("ray") / "local"
    run_study(study, folder)
    return snapshot(folder)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything in a run folder but the log and the lock, which hold times and process numbers."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", "run.log.jsonl"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def open_cluster(study: Study, nodes: Any) -> RayCluster:
    return RayCluster(partial(workbench, study), study.resources, nodes.address)


def computed(folder: Path) -> Counter[str]:
    """How often each cell was recorded."""
    lines = (json.loads(line) for line in (folder / "run.log.jsonl").read_text().splitlines())
    return Counter(line["key"] for line in lines if line["event"] == "computed")


def test_two_workers_leave_what_one_process_does(
    study: Study, local: dict[str, bytes], two_nodes: Any, tmp_path: Path
) -> None:
    with open_cluster(study, two_nodes) as cluster:
        busy: list[int] = []
        run_study(study, tmp_path / "run", cluster=cluster, progress=lambda _: busy.append(len(cluster.busy)))
        again = run_study(study, tmp_path / "run", cluster=cluster)
    assert snapshot(tmp_path / "run") == local
    assert max(busy) >= 1
    assert set(computed(tmp_path / "run").values()) == {1}
    assert again["summary"]["perplexity"].notna().all()


def test_a_worker_killed_within_a_cell(study: Study, local: dict[str, bytes], two_nodes: Any, tmp_path: Path) -> None:
    killed: list[str] = []

    def kill(_now: Any) -> None:
        if not killed and cluster.busy:
            pid, label = next(iter(cluster.busy.items()))
            os.kill(pid, signal.SIGKILL)
            killed.append(label)

    with open_cluster(study, two_nodes) as cluster:
        run_study(study, tmp_path / "run", cluster=cluster, progress=kill)
    assert killed
    assert snapshot(tmp_path / "run") == local
    assert set(computed(tmp_path / "run").values()) == {1}


def test_a_node_lost(study: Study, local: dict[str, bytes], two_nodes: Any, tmp_path: Path) -> None:
    lost: list[bool] = []
    node = two_nodes.add_node(num_cpus=1)

    def lose(_now: Any) -> None:
        if not lost:
            lost.append(True)
            two_nodes.remove_node(node, allow_graceful=False)

    with open_cluster(study, two_nodes) as cluster:
        run_study(study, tmp_path / "run", cluster=cluster, progress=lose)
    assert lost
    assert snapshot(tmp_path / "run") == local
    assert set(computed(tmp_path / "run").values()) == {1}


def test_the_driver_killed_and_started_again(
    fields: dict[str, Any], local: dict[str, bytes], two_nodes: Any, tmp_path: Path
) -> None:
    """The command itself, killed once some cells are recorded, then given again."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(fields))
    out = tmp_path / "run"
    program = "import sys; from negspace.cli import main; sys.exit(main())"
    options = ["run", str(tmp_path / "study.yaml"), "--out", str(out), "--engine", "ray"]
    command = [sys.executable, "-c", program, *options, "--ray-address", two_nodes.address]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while len(list((out / "cells").glob("*.parquet"))) < 3:
        assert first.poll() is None, first.stderr.read().decode()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.kill()
    first.communicate()
    before = len(list((out / "cells").glob("*.parquet")))
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert before < len(local)
    assert snapshot(out) == local
    # A record that was whole when the driver died may lack its line in the log; none may have two.
    assert set(computed(out).values()) == {1}


def test_a_series_of_checkpoints(fields: dict[str, Any], two_nodes: Any, tmp_path: Path) -> None:
    """Two checkpoints at a time, with the bytes of one after the other."""
    for step in (0, 10, 20, 30):
        folder = Path(shutil.copytree(fields["model"], tmp_path / f"step{step}"))
        weights = load_file(folder / "model.safetensors")
        changed = {name: value * (1 + step / 100) for name, value in weights.items()}
        save_file(changed, folder / "model.safetensors", {"format": "pt"})
    training = {"revisions": [str(tmp_path / "step*")]}
    study = configure({**fields, "model": str(tmp_path / "step30"), "analyses": {"training": training}})
    run_study(study, tmp_path / "local")
    with open_cluster(study, two_nodes) as cluster:
        run_study(study, tmp_path / "run", cluster=cluster)
    assert snapshot(tmp_path / "run") == snapshot(tmp_path / "local")
    assert set(computed(tmp_path / "run").values()) == {1}


def test_a_scan_in_parts(fields: dict[str, Any], two_nodes: Any, tmp_path: Path) -> None:
    """Two workers read the text together; their sketches merge to the bytes of one scan at once."""
    only = {"analyses": {"ablation": {}}, "blimp": [], "matched": False, "shares": [0.1], "random": 1}
    only["random_perplexity"] = 2
    longer = {**fields, **only, "stride": 16, "windows": 180, "perplexity_windows": 4}
    run_study(configure(longer), tmp_path / "local")
    told: list[str] = []
    study = configure({**longer, "scan_parts": 3})
    with open_cluster(study, two_nodes) as cluster:
        run_study(study, tmp_path / "run", cluster=cluster, progress=lambda now: told.append(now.label))
    assert {"scan, part 1 of 3", "scan, part 2 of 3", "scan, part 3 of 3"} <= set(told)
    ours, whole = snapshot(tmp_path / "run"), snapshot(tmp_path / "local")
    differ = {name for name in ours | whole if ours.get(name) != whole.get(name)}
    assert differ == {"run.json", "study.yaml"}  # both say what was asked for


def test_what_a_worker_raises_arrives_as_it_was(fields: dict[str, Any], two_nodes: Any, tmp_path: Path) -> None:
    study = configure({**fields, "text": str(tmp_path / "absent.txt")})
    with open_cluster(study, two_nodes) as cluster, pytest.raises(Exception, match="no such file or folder") as error:
        run_study(study, tmp_path / "run", cluster=cluster)
    assert type(error.value).__name__ == "TextError"
    assert not (tmp_path / "run").exists()


def fragile(folder: Path, starts: str = "", **fails: Any) -> Callable[[], Any]:
    """A maker of benches without a model that fail as told. Within a function, so that it travels by value.

    Args:
        folder: where they leave a file for each start and each cell that they begin.
        starts: for each start, "x" if the process dies at it, "e" if it raises; all others go well.
        fails: "exits", number of first cells at which the process dies; "raises", called for each cell; "acts", called
            with each.
    """

    def leave(what: str) -> int:
        import uuid

        (folder / f"{what}-{uuid.uuid4()}").touch()
        return len(list(folder.glob(f"{what}-*")))

    class Fragile:
        def __init__(self) -> None:
            import os

            number = leave("start")
            how = starts[number - 1 : number]
            if how == "x":
                os._exit(1)
            if how == "e":
                raise OSError("the disk of the model is not there")

        def listen(self, note: Callable[[str], None]) -> None: ...

        def survey(self) -> str:
            return "surveyed"

        def compute(self, cell: Cell, step: Any) -> tuple[dict[str, Any], Any]:
            import os

            import pandas as pd

            number = leave("cell")
            if number <= fails.get("exits", 0):
                os._exit(1)
            if "raises" in fails:
                fails["raises"]()
            if "acts" in fails:
                fails["acts"](cell)
            return {"number": cell.spec["n"]}, pd.DataFrame({"none": [0]})

    return Fragile


def count(folder: Path, what: str) -> int:
    return len(list(folder.glob(f"{what}-*")))


class Session:
    """A cluster of workers of `fragile` benches, with an open store."""

    def __init__(self, nodes: Any, folder: Path, starts: str = "", workers: int = 1, **fails: Any) -> None:
        (folder / "left").mkdir()
        self.left, self.notes = folder / "left", list[str]()
        make = fragile(self.left, starts, **fails)
        self.cluster, self.store = RayCluster(make, Resources(workers=workers), nodes.address), Store(folder / "run")

    def __enter__(self) -> Session:
        self.cluster.__enter__()
        self._hold = self.store.hold()
        self._hold.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._hold.__exit__(*exc)
        self.cluster.__exit__(*exc)

    def run(self, n: int = 0, **inputs: Any) -> int:
        cell = Cell("probe", {"n": n}, f"cell {n}", inputs=inputs)
        return self.cluster.engine(self.store, note=self.notes.append).run([cell])[0].results["number"]


def raising(name: str) -> Callable[[], None]:
    """A function that raises an exception of a class. Within a function, as in `fragile`."""

    def value_error() -> None:
        raise ValueError("no such thing\nas this")

    def out_of_memory() -> None:
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    def of_no_other_process() -> None:
        class Odd(Exception):
            def __init__(self, text: str, other: object) -> None:
                super().__init__(text)
                self.other = other

        raise Odd("cannot be pickled", (n for n in range(3)))

    return {"ValueError": value_error, "OutOfMemoryError": out_of_memory, "Odd": of_no_other_process}[name]


@pytest.mark.parametrize(
    ("kind", "text", "todo"),
    [
        ("ValueError", "no such thing\nas this", "or report it with this traceback"),
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB.", "give each worker more memory"),
        ("Odd", "cannot be pickled", "or report it with this traceback"),
    ],
)
def test_what_a_cell_raises_is_told_at_once_with_its_traceback(
    two_nodes: Any, tmp_path: Path, kind: str, text: str, todo: str
) -> None:
    raises = raising(kind)
    with Session(two_nodes, tmp_path, raises=raises) as session:
        with pytest.raises(ClusterError) as error:
            session.run()
        assert count(session.left, "cell") == count(session.left, "start") == 1
    assert error.value.asked == "to compute cell 0"
    assert error.value.found.startswith(f"{kind} in process ")
    assert f": {text}\nTraceback (most recent call last):\n" in error.value.found
    assert f"in {raises.__name__}\n" in error.value.found
    assert todo in error.value.todo


def failing_beside_waiting(folder: Path) -> Callable[[Cell], None]:
    """Cell 0 raises once cell 1 is under way, which waits for a file."""

    def act(cell: Cell) -> None:
        import time

        wanted = {0: "begun", 1: "go"}.get(cell.spec["n"])
        if cell.spec["n"] == 1:
            (folder / "begun").touch()
        for _ in range(600):
            if wanted is None or (folder / wanted).exists():
                break
            time.sleep(0.1)
        if cell.spec["n"] == 0:
            raise ValueError("no such thing")

    return act


def test_a_cluster_goes_on_after_a_cell_that_raised_and_takes_no_answer_from_before(
    two_nodes: Any, tmp_path: Path
) -> None:
    with Session(two_nodes, tmp_path, workers=2, acts=failing_beside_waiting(tmp_path)) as session:
        cells = [Cell("probe", {"n": n}, f"cell {n}") for n in range(4)]
        with pytest.raises(ClusterError, match="compute cell 0"):
            session.cluster.engine(session.store).run([cells[1], cells[0]])
        (tmp_path / "go").touch()
        made = session.cluster.engine(session.store).run([cells[2], cells[3]])
        assert [record.results["number"] for record in made] == [2, 3]
        assert session.store.read(cells[1]) is None


class Unreadable:
    """Cannot be unpickled anywhere."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


def test_a_cell_that_no_worker_can_read_costs_none_of_them(two_nodes: Any, tmp_path: Path) -> None:
    with Session(two_nodes, tmp_path) as session:
        with pytest.raises(ClusterError, match=r"(?s)compute cell 0.*ValueError: invalid literal.*report it"):
            session.run(what=Unreadable())
        assert (count(session.left, "start"), count(session.left, "cell")) == (1, 0)


def test_a_cell_that_kills_every_worker_ends_the_run_with_what_ray_says(two_nodes: Any, tmp_path: Path) -> None:
    with Session(two_nodes, tmp_path, exits=9) as session:
        with pytest.raises(ClusterError, match=r"(?s)compute cell 0.*3 workers were lost over it; the last: .*worker"):
            session.run()
        assert count(session.left, "cell") == 3


@pytest.mark.parametrize("asks", [False, True])
def test_workers_that_die_at_their_start_end_the_run(two_nodes: Any, tmp_path: Path, asks: bool) -> None:
    with Session(two_nodes, tmp_path, starts="x" * 6) as session:
        with pytest.raises(ClusterError, match=r"(?s)3 in a row died at their start; the last: .*worker process has"):
            session.cluster.survey() if asks else session.run()
        assert count(session.left, "start") == 3


def test_a_worker_that_starts_well_forgives_those_before_it(two_nodes: Any, tmp_path: Path) -> None:
    """Two starts fail, then the worker dies within a cell, then two more starts fail: never three in a row."""
    with Session(two_nodes, tmp_path, starts="xx.xx.", exits=1) as session:
        assert session.run(7) == 7
        assert (count(session.left, "start"), count(session.left, "cell")) == (6, 2)
        assert len(session.notes) == 2
        assert all(note.startswith("a worker died at its start, and another is started: ") for note in session.notes)
        assert all("worker process has died" in note and len(note.splitlines()) == 1 for note in session.notes)


def test_what_the_start_of_a_worker_raises_is_told_at_once(two_nodes: Any, tmp_path: Path) -> None:
    with Session(two_nodes, tmp_path, starts="e" * 6) as session:
        with pytest.raises(ClusterError, match=r"(?s)asked: to start a worker\nfound: OSError in process .*not there"):
            session.run()
        assert count(session.left, "start") == 1


def test_patience_ends_while_one_start_after_another_fails(
    two_nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "PATIENCE", 10.0)  # the time of several starts
    monkeypatch.setattr(ray_cluster, "ATTEMPTS", 100)
    none = pytest.raises(ClusterError, match="none for 10 seconds")
    with Session(two_nodes, tmp_path, starts="x" * 20) as session, none:
        session.run()


def test_patience_begins_when_a_worker_is_lost(two_nodes: Any, tmp_path: Path) -> None:
    """However long it had computed before."""
    with Session(two_nodes, tmp_path, exits=1) as session:
        assert session.cluster.survey() == "surveyed"
        session.cluster._alone_since -= 10 * ray_cluster.PATIENCE
        assert session.run(3) == 3
        assert count(session.left, "cell") == 2


def test_more_than_the_cluster_has_is_refused(fields: dict[str, Any], two_nodes: Any) -> None:
    study = configure({**fields, "resources": {"gpus": 8}})
    with pytest.raises(ClusterError, match="a worker of 1 CPUs, 8 GPUs"), open_cluster(study, two_nodes):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.0.0.1:99999"])
def test_no_such_cluster(study: Study, address: str) -> None:
    with (
        pytest.raises(ClusterError, match="start one with `ray start --head`"),
        RayCluster(partial(workbench, study), study.resources, address),
    ):
        pass


def test_options_that_contradict(study: Study) -> None:
    from negspace.cli.running import Where

    with pytest.raises(StudyError, match="use: local, ray"):
        Where("slurm").check()
    with pytest.raises(StudyError, match="add --engine ray"):
        Where(None, "auto").check()


def test_a_record_damaged_on_the_way_is_not_written(study: Study, local: dict[str, bytes], tmp_path: Path) -> None:
    from negspace.errors import RecordError

    name = next(name for name in local if name.startswith("cells/"))
    key = Path(name).stem
    store = Store(tmp_path / "run")
    with store.hold():
        with pytest.raises(RecordError, match="damaged on the way"):
            store.accept(key, local[name][:-5])
        with pytest.raises(RecordError, match="found: the record"):
            store.accept("0" * 64, local[name])
        assert not list(store.cells.iterdir())
        store.accept(key, local[name])
        assert store.require(key).key == key
