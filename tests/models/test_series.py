"""A series of checkpoints: steps from names, places of folders and revisions, contents by hash, duplicates by name."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from negspace.errors import ModelError
from negspace.models import hub, series
from negspace.models.series import Contents, Place, contents, find, screen, step_of


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Four checkpoints of two shards; one folder that is none, and one whose name tells no step."""
    for name in ("step0", "step10", "step200", "step1k", "final"):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        for shard in (1, 2):
            (folder / f"model-{shard:05}-of-00002.safetensors").write_text(f"{name} {shard}")
    (tmp_path / "run" / "logs").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("step143000", 143000),
        ("checkpoint-500", 500),
        ("global_step1000", 1000),
        ("iter_0001000", 1000),
        ("stage1-step150-tokens1B", 150),
        ("step10k", 10_000),
        ("ckpt-2M", 2_000_000),
        ("0012", 12),
        ("/runs/7/step3/model", 3),
        ("pythia-7b", None),
        ("v1.2", None),
        ("main", None),
        ("2024-11-05", None),
    ],
)
def test_steps_from_names(name: str, step: int | None) -> None:
    assert step_of(name) == step


@pytest.mark.parametrize("how", ["folder", "pattern", "list"])
def test_a_series_from_folders_comes_in_order_of_steps(folders: Path, how: str) -> None:
    names = ["step200", "step0", "step1k", "step10"]
    given = {"folder": [str(folders)], "pattern": [f"{folders}/step*"], "list": [str(folders / n) for n in names]}[how]
    places, notes = find(given, str(folders / "step1k"))
    assert [(place.name, place.step) for place in places] == [
        ("step0", 0),
        ("step10", 10),
        ("step200", 200),
        ("step1k", 1000),
    ]
    assert all(Path(place.model).is_dir() and place.revision is None for place in places)
    left = [f"{folders / 'final'} is left out of the series: its name contains no training step"]
    assert list(notes) == (left if how == "folder" else [])


def test_a_checkpoint_named_twice_counts_once(folders: Path) -> None:
    places, _ = find([str(folders / "step*"), str(folders / "step0"), f"{folders}/../run/step10"], str(folders))
    assert [place.step for place in places] == [0, 10, 200, 1000]


def test_steps_can_be_given(folders: Path) -> None:
    places, _ = find([str(folders / "final"), str(folders / "step0")], str(folders), steps=[77, 3])
    assert [(place.name, place.step) for place in places] == [("step0", 3), ("final", 77)]


def test_revisions_of_a_model_on_the_hub() -> None:
    places, _ = find(["step3000", "step0"], "EleutherAI/pythia-70m")
    assert places == (
        Place(name="step0", step=0, model="EleutherAI/pythia-70m", revision="step0"),
        Place(name="step3000", step=3000, model="EleutherAI/pythia-70m", revision="step3000"),
    )


def test_a_pattern_of_revisions_is_matched_against_the_hub_s_list(monkeypatch: pytest.MonkeyPatch) -> None:
    refs = SimpleNamespace(
        branches=[SimpleNamespace(name=n) for n in ("main", "step0", "step512", "final-step9")],
        tags=[SimpleNamespace(name="step512")],
    )
    monkeypatch.setattr(series, "HfApi", lambda: SimpleNamespace(list_repo_refs=lambda name: refs))
    places, _ = find(["step*"], "someone/model")
    assert [place.revision for place in places] == ["step0", "step512"]
    with pytest.raises(ModelError, match="no such branch or tag"):
        find(["epoch*"], "someone/model")


def test_a_pattern_of_revisions_of_a_file_in_a_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    def refs(name: str) -> Any:
        assert name == "someone/model"
        return SimpleNamespace(branches=[SimpleNamespace(name=n) for n in ("main", "step0", "step8")], tags=[])

    monkeypatch.setattr(series, "HfApi", lambda: SimpleNamespace(list_repo_refs=refs))
    places, _ = find(["step*"], "someone/model:tiny.gguf")
    assert [(place.model, place.revision) for place in places] == [
        ("someone/model:tiny.gguf", "step0"),
        ("someone/model:tiny.gguf", "step8"),
    ]


@pytest.mark.parametrize("name", ["tiny.gguf", "held:tiny.gguf"])
def test_revisions_of_a_file_on_this_machine(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is not asked for them."""
    (tmp_path / "held").mkdir()
    for path in (tmp_path / "tiny.gguf", tmp_path / "held" / "tiny.gguf"):
        path.write_bytes(b"GGUF")
    monkeypatch.setattr(series, "HfApi", lambda: pytest.fail("asked the hub"))
    with pytest.raises(ModelError, match="no GGUF file"):
        find(["step*"], str(tmp_path / name))
    with pytest.raises(ModelError, match="is a file, which has no revisions"):
        find(["step3", "step4"], str(tmp_path / name))


@pytest.mark.parametrize(
    ("given", "steps", "found"),
    [
        (["final", "step0"], None, "no step in its name"),
        (["step0"], None, "1 checkpoint$"),
        ([], None, "0 checkpoints"),
        (["step0", "step10"], [1], "lists of two lengths"),
        (["step0", "step10"], [5, 5], "the same training step, 5"),
        (["step0", "nowhere"], None, "no such folder"),
        (["logs"], None, "a folder without checkpoints"),
        (["epoch*"], None, r"no folder with a config\.json"),
    ],
)
def test_series_that_cannot_be(folders: Path, given: list[str], steps: list[int] | None, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        find([str(folders / name) for name in given], str(folders / "step0"), steps)
    assert series.re.search(found, caught.value.found)


def test_a_revision_of_a_folder(folders: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, which has no revisions"):
        find(["step3", "step4"], str(folders / "step0"))


def test_contents_are_those_of_the_files_that_are_loaded(folders: Path) -> None:
    places, _ = find([str(folders / "step*")], str(folders))
    plain = contents(places)
    (folders / "step0" / "optimizer.bin").write_text("not a weight")
    (folders / "step0" / "trainer_state.json").write_text("{}")
    (folders / "step0" / "consolidated.safetensors").write_text("another format")
    assert contents(places) == plain
    assert set(plain[0].weights) == {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert len({one.rest for one in plain}) == 1
    (folders / "step0" / "tokenizer.json").write_text("{}")
    (folders / "step10" / "model-00002-of-00002.safetensors").write_text("other")
    changed = contents(places)
    assert changed[0].rest != plain[0].rest
    assert changed[0].weights == plain[0].weights
    assert changed[1].identity != plain[1].identity
    assert changed[2:] == plain[2:]


def test_identity_ignores_names_of_weight_files(folders: Path) -> None:
    shard = folders / "step0" / "model-00001-of-00002.safetensors"
    places, _ = find([str(folders / "step*")], str(folders))
    before = contents(places)[0]
    shard.rename(shard.with_name("model-00007-of-00009.safetensors"))
    after = contents(places)[0]
    assert after != before
    assert after.identity == before.identity


def test_a_checkpoint_without_weights(folders: Path) -> None:
    for path in (folders / "step10").glob("*.safetensors"):
        path.unlink()
    places, _ = find([str(folders / "step*")], str(folders))
    with pytest.raises(ModelError, match=r"no \*\.safetensors and no pytorch_model"):
        contents(places)


def test_contents_on_the_hub_without_a_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def info(name: str, revision: str, files_metadata: bool) -> Any:
        assert files_metadata
        big = SimpleNamespace(rfilename="model.safetensors", lfs=SimpleNamespace(sha256=f"sha of {revision}"))
        old = SimpleNamespace(rfilename="pytorch_model.bin", lfs=SimpleNamespace(sha256="never loaded"))
        small = SimpleNamespace(rfilename="config.json", lfs=None, blob_id="git")
        return SimpleNamespace(sha=f"commit of {revision}", siblings=[small, old, big])

    monkeypatch.setattr(series, "HfApi", lambda: SimpleNamespace(model_info=info))
    places, _ = find(["step0", "step1"], "someone/model")
    assert contents(places)[1] == Contents(
        weights={"model.safetensors": "sha of step1"}, rest="commit of step1", commit="commit of step1"
    )


def test_whether_the_hub_is_known_is_settled_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is a flag of the whole process: threads that each set it and put it back would leave it set."""
    constants, looked, offline = huggingface_hub.constants, [], []

    def known() -> bool:
        looked.append(1)
        time.sleep(0.05)  # for other threads to come here
        return False

    def info(name: str, revision: str, files_metadata: bool) -> Any:
        offline.append(constants.HF_HUB_OFFLINE)
        file = SimpleNamespace(rfilename="model.safetensors", lfs=SimpleNamespace(sha256=revision))
        return SimpleNamespace(sha=revision, siblings=[file])

    monkeypatch.setattr(hub, "_known", known)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(series, "HfApi", lambda: SimpleNamespace(model_info=info))
    places, _ = find([f"step{number}" for number in range(8)], "someone/model")
    assert [one.commit for one in contents(places)] == [place.revision for place in places]
    assert len(looked) == 1
    assert offline == [True] * 8
    assert constants.HF_HUB_OFFLINE is False


def test_contents_of_an_earlier_download(folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, commit = tmp_path / "hub", "0123456789abcdef0123456789abcdef01234567"
    repository = cache / "models--someone--tiny"
    shutil.copytree(folders / "step0", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "step0").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub._snapshot_download.constants.HF_HUB_CACHE", str(cache))
    place = Place(name="step0", step=0, model="someone/tiny", revision="step0")
    (found,) = contents([place])
    (local,) = contents([Place(name="step0", step=0, model=str(folders / "step0"))])
    assert found.weights == local.weights
    assert found.commit == found.rest == commit
    with pytest.raises(ModelError, match="list of files of someone/tiny at revision step9"):
        contents([place.model_copy(update={"revision": "step9"})])


def series_of(*held: tuple[str, ...]) -> tuple[list[Place], list[Contents]]:
    places = [Place(name=f"step{n}", step=n, model="m", revision=f"step{n}") for n in range(len(held))]
    return places, [
        Contents(weights={f"shard{k}": value for k, value in enumerate(files)}, rest="same") for files in held
    ]


def test_no_duplicates() -> None:
    assert screen(*series_of(("a", "b"), ("c", "d"), ("e", "f"))) == []


def test_a_branch_that_serves_the_final_weights_is_the_duplicate_not_the_final_one() -> None:
    (found,) = screen(*series_of(("a",), ("z",), ("c",), ("z",)))
    assert str(found) == "step1 holds the very weights of step3"


def test_of_two_that_are_equal_the_earlier_one_counts() -> None:
    found = screen(*series_of(("a",), ("a",), ("a",), ("z",)))
    assert [str(one) for one in found] == [
        "step1 holds the very weights of step0",
        "step2 holds the very weights of step0",
    ]


def test_a_single_shard_of_another_checkpoint_is_found() -> None:
    (found,) = screen(*series_of(("a", "b"), ("z", "d"), ("z", "f")))
    assert found.partly
    assert str(found) == "step1 holds the very weight file shard0 of step2"


def test_a_file_that_all_share_is_frozen_and_no_duplicate() -> None:
    assert screen(*series_of(("frozen", "b"), ("frozen", "d"), ("frozen", "f"))) == []
    (found,) = screen(*series_of(("frozen", "b"), ("frozen", "b"), ("frozen", "f")))
    assert str(found) == "step1 holds the very weights of step0"


def test_a_series_of_gguf_files(tmp_path: Path) -> None:
    """Files, patterns of them, and folders that hold them or one each; the quantisation in a name is no step."""
    for step in (100, 2000):
        for name in (f"a/tiny-step{step}.Q4_K_M.gguf", f"b/{step}-q8_0.gguf", f"c/checkpoint-{step}/tiny.gguf"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"GGUF" + name.encode())
    for given in ("a", "a/*.gguf", "b", "c", "c/*"):
        places, _ = find([str(tmp_path / given)], str(tmp_path))
        assert [place.step for place in places] == [100, 2000]
    places, _ = find([str(path) for path in sorted((tmp_path / "a").iterdir())], str(tmp_path))
    assert [place.name for place in places] == ["tiny-step100.Q4_K_M.gguf", "tiny-step2000.Q4_K_M.gguf"]
    held = contents(places)
    assert [list(one.weights) for one in held] == [[place.name] for place in places]
    assert not screen(places, held)
    (tmp_path / "a/tiny-step100.Q4_K_M.gguf").write_bytes((tmp_path / "a/tiny-step2000.Q4_K_M.gguf").read_bytes())
    assert [one.place.step for one in screen(places, contents(places))] == [100]
