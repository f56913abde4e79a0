"""Bad input: one clear message on stderr, exit status 2, no traceback, nothing half-written."""

from __future__ import annotations

import errno
import json
import mmap
import os
import pickle
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import typer

from negspace.cli.guard import guarded


def _refused(shown: Any, *words: str) -> None:
    """Asserts the three parts of the message, its words, the status, and silence otherwise."""
    assert shown.status == 2, shown
    assert shown.err.count("asked: ") == shown.err.count("found: ") == shown.err.count("to do: ") == 1
    for word in words:
        assert word in shown.err, shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.fixture
def run_options(tiny_model_path: Path, tiny_text_path: Path, tiny_pairs_path: Path) -> dict[str, Any]:
    return {
        "--model": tiny_model_path,
        "--text": tiny_text_path,
        "--blimp": tiny_pairs_path / "blimp",
        "--window": 64,
        "--windows": 4,
        "--perplexity-windows": 4,
        "--md-pairs": 16,
        "--random": 1,
        "--draws": 100,
        "--share": 0.1,
        "--limit": 2,
    }


@pytest.fixture
def run(call: Any, run_options: dict[str, Any], tmp_path: Path) -> Any:
    """run(**{"--share": 2}) -> what `negspace run` gave with these options changed."""

    def ran(changes: dict[str, Any], *more: object) -> Any:
        options = {"--out": tmp_path / "run", **run_options, **changes}
        return call("run", *(word for pair in options.items() for word in pair), "--no-matched", *more)

    return ran


def _no_records(folder: Path) -> bool:
    return not list(folder.glob("run/cells/*")) and not list(folder.glob("run/run.json"))


def test_a_missing_model(call: Any, tmp_path: Path) -> None:
    _refused(call("sites", tmp_path / "absent"), "absent")


def test_a_folder_that_is_no_model(call: Any, tmp_path: Path) -> None:
    _refused(call("sites", tmp_path), str(tmp_path))


def test_an_unknown_kind_of_model(call: Any, tiny_model_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model_path, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nobody_knows"}))
    _refused(call("sites", folder), "nobody_knows")


def test_nan_weights(run: Any, tiny_model_path: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "model"
    shutil.copytree(tiny_model_path, folder)
    module = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        module.gpt_neox.layers[0].mlp.dense_h_to_4h.weight[1, 2] = float("nan")
    module.save_pretrained(folder)
    _refused(run({"--model": folder}), "dense_h_to_4h.weight")
    assert _no_records(tmp_path)


def test_a_text_shorter_than_a_window(run: Any, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("The cat sees the dog.")
    _refused(run({"--text": tmp_path / "short.txt"}), "windows of 64 tokens", "short.txt")
    assert _no_records(tmp_path)


@pytest.mark.parametrize("content", ["", " \n\t"])
def test_an_empty_text(call: Any, tiny_model_path: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.txt").write_text(content)
    out = tmp_path / "scan.parquet"
    _refused(call("scan", tiny_model_path, "--text", tmp_path / "empty.txt", "--out", out), "empty.txt", "empty")
    assert not out.exists()


def test_a_missing_text(run: Any, tmp_path: Path) -> None:
    _refused(run({"--text": tmp_path / "absent.txt"}), "absent.txt")


def test_malformed_jsonl_names_its_line(run: Any, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    row = {"sentence_good": "a b", "sentence_bad": "b a", "UID": "x", "linguistics_term": "y"}
    pairs.write_text(json.dumps(row) + "\n" + '{"sentence_good": "a"\n')
    _refused(run({"--blimp": pairs}), "pairs.jsonl", "line 2")
    assert _no_records(tmp_path)


def test_a_pickle_with_a_forbidden_class_is_not_executed(run: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    (tmp_path / "evil.pickle").write_bytes(pickle.dumps({"case": [Evil()]}))
    _refused(run({"--tse": tmp_path / "evil.pickle"}), "evil.pickle", "mkdir")
    assert not (tmp_path / "executed").exists()
    assert _no_records(tmp_path)


@pytest.fixture
def without_special_tokens(tiny_model_path: Path, tmp_path: Path) -> Path:
    """The tiny model with a tokenizer that names neither BOS, EOS nor padding."""
    folder = tmp_path / "bare"
    shutil.copytree(tiny_model_path, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    bare = {key: value for key, value in config.items() if not key.endswith("_token")}
    (folder / "tokenizer_config.json").write_text(json.dumps(bare))
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    return folder


def test_a_tokenizer_without_bos_and_pad(run: Any, without_special_tokens: Path) -> None:
    """Works where no BOS is needed; where one is asked for, says so."""
    _refused(run({"--model": without_special_tokens, "--bos": "always"}), "BOS")
    _refused(run({"--model": without_special_tokens, "--protocol": "lm-eval"}), "neither BOS nor EOS")
    assert run({"--model": without_special_tokens}).status == 0


@pytest.mark.parametrize("share", ["-0.1", "1.5", "nan"])
def test_a_share_out_of_range(run: Any, tmp_path: Path, share: str) -> None:
    _refused(run({"--share": share}), "from 0 to 1")
    assert not (tmp_path / "run").exists()


def test_a_set_from_another_model(stories260k_path: Path, tiny_model_path: Path) -> None:
    """No command takes a set, so this one is the library's; its message is the same kind of message."""
    import negspace as ns
    from negspace.errors import SelectionError

    other = ns.NeuronSet.from_indices(ns.load(str(stories260k_path)), {0: [1]})
    with pytest.raises(SelectionError) as error, ns.intervene(ns.load(str(tiny_model_path)), other, zero="negative"):
        pass
    assert all(part in str(error.value) for part in ("asked: ", "found: ", "to do: ", "172", "64"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--protocol": "mine"}, ("protocol", "'paper' or 'lm-eval'")),
        ({"--zero": "upwards"}, ("zero",)),
        ({"--limit": 0}, ("limit",)),
        ({"--by": "beauty"}, ("beauty", "skewness")),
        ({"--layer": 7}, ("layer",)),
        ({"--dtype": "float31"}, ("float31",)),
        ({"--device": "quantum"}, ("quantum",)),
        ({"--window": 4096}, ("4096", "128")),
    ],
)
def test_options_that_cannot_be(run: Any, changes: dict[str, Any], words: tuple[str, ...]) -> None:
    _refused(run(changes), *words)


def test_a_study_file_with_an_unknown_field(call: Any, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("model: m\nsharez: 0.1\n")
    _refused(call("run", tmp_path / "study.yaml", "--out", tmp_path / "run"), "sharez", "shares")
    _refused(call("run", tmp_path / "absent.yaml", "--out", tmp_path / "run"), "absent.yaml")


def test_no_folder_for_the_records(call: Any) -> None:
    _refused(call("run", "--model", "m"), "--out")


def test_a_report_of_nothing(call: Any, tmp_path: Path) -> None:
    _refused(call("report", tmp_path / "absent"), "no such folder")
    _refused(call("report", tmp_path), "run.json")


def test_out_below_a_file_is_refused_before_any_work(
    run: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import negspace.experiment.workbench

    monkeypatch.setattr(negspace.experiment.workbench, "load", lambda *_, **__: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    _refused(run({"--out": tmp_path / "file" / "run"}), "Not a directory")
    _refused(call("scan", "model", "--out", tmp_path / "file" / "scan.parquet"), "Not a directory")
    _refused(call("scan", "model", "--out", tmp_path / "absent" / "scan.parquet"), "No such file")
    _refused(call("scan", "model", "--out", tmp_path), "directory")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_no_permission(call: Any) -> None:
    """As nobody, where this user is root, who may write everywhere."""
    import negspace.neurons.scan
    import negspace.study.run  # noqa: F401 - nobody may not be allowed to read these files either

    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    root = os.geteuid() == 0
    try:
        if root:
            os.seteuid(65534)
        scanned = call("scan", "m", "--out", folder / "s.parquet")
        ran = call("run", "--model", "m", "--out", folder / "r")
    finally:
        if root:
            os.seteuid(0)
        left = list(folder.iterdir())
        shutil.rmtree(folder)
    _refused(scanned, "Permission denied", "may write")
    _refused(ran, "Permission denied", "may write")
    assert not left


def test_a_disk_that_fills_up_during_a_run(run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record finds no space: those before it are whole, it has no trace, and the run can go on."""
    from negspace import files
    from negspace.runs.packing import unpack

    written = []
    really = os.fsync

    def full(handle: int) -> None:
        if len(written) >= 8:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(handle)
        really(handle)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        _refused(run({}), "No space left on device", "free some space")
    records = list((tmp_path / "run" / "cells").iterdir())
    assert records
    assert all(unpack(path.read_bytes()).status == "complete" for path in records)
    assert not (tmp_path / "run" / "run.json").exists()
    assert run({}).status == 0


def test_a_full_disk_for_a_scan(
    call: Any, tiny_model_path: Path, tiny_text_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    options = ["--text", tiny_text_path, "--window", 64, "--windows", 2, "--md-pairs", 8]
    _refused(call("scan", tiny_model_path, *options, "--out", tmp_path / "s.parquet"), "No space left")
    assert not list(tmp_path.iterdir())


def test_control_characters_of_a_name_do_not_reach_the_terminal(call: Any) -> None:
    shown = call("report", "evil\x1b]0;title\x07name")
    assert shown.status == 2
    assert "\x1b" not in shown.err
    assert "\x07" not in shown.err


def test_debug_shows_the_traceback_with_the_same_status(call: Any, tmp_path: Path) -> None:
    shown = call("--debug", "report", tmp_path / "absent")
    assert shown.status == 2
    assert "Traceback" in shown.err
    assert "found: no such folder" in shown.err


def test_what_the_file_system_refuses_is_no_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded
    def command(error: OSError) -> None:
        raise error

    for error, message in (
        (PermissionError(errno.EACCES, "Permission denied", "/theirs/text"), "/theirs/text\nfound: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "found: No space left on device\nto do: look whether"),
    ):
        with pytest.raises(typer.Exit) as ended:
            command(error)
        assert ended.value.exit_code == 2
        assert message in capsys.readouterr().err
    with pytest.raises(typer.Exit) as ended:
        command(OSError("a library's own"))
    assert ended.value.exit_code == 1


def test_too_little_memory_is_no_fault_of_ours(capsys: pytest.CaptureFixture[str]) -> None:
    """As the system, torch, Python and CUDA say it."""
    import torch

    @guarded
    def command(take: Any) -> None:
        take()

    def full() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    for take in (lambda: mmap.mmap(-1, 1 << 47), lambda: torch.empty(1 << 46), lambda: bytes(1 << 62), full):
        with pytest.raises(typer.Exit) as ended:
            command(take)
        assert ended.value.exit_code == 2
        said = capsys.readouterr().err
        assert "found: not enough memory" in said
        assert "to do: use a smaller dtype" in said
        assert "--batch" in said
        assert "report it" not in said
