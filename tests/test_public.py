"""What users may import is documented, all else says that it is internal, and no example imports what is not public."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import negspace as ns
import zoo
from negspace.errors import NegspaceError

ROOT = Path(__file__).parents[1]
DOCUMENTED = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference/python.md").read_text(encoding="utf-8"), re.MULTILINE)


def names_of(module: ModuleType) -> set[str]:
    """The public names of a public module: those that it lists, or else those that it defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return set(listed)
    own = {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__}
    return {name for name in own if not name.startswith("_")}


PUBLIC = {"negspace": names_of(ns) | set(ns.PUBLIC)} | {
    f"negspace.{name}": names_of(importlib.import_module(f"negspace.{name}")) for name in ns.PUBLIC
}
"""Public module -> its public names."""


def examples() -> Iterator[tuple[str, str]]:
    """The Python of every page, of the README and of every notebook."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            yield path.name, block
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                yield path.name, re.sub(r"^( *)[%!].*$", r"\1pass", "".join(cell["source"]), flags=re.MULTILINE)


def not_public(source: str) -> set[str]:
    """What an example takes from negspace that is not public."""
    wrong: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wrong |= {part.name for part in node.names if part.name.startswith("negspace") and part.name not in PUBLIC}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "negspace":
            allowed = PUBLIC.get(node.module or "", set())
            wrong |= {f"{node.module}.{part.name}" for part in node.names if part.name not in allowed}
        elif isinstance(node, ast.Attribute):
            dotted = ast.unparse(node)
            if found := re.fullmatch(r"(?:ns|negspace)\.(\w+)(?:\.(\w+))?", dotted):
                if found[1] not in PUBLIC["negspace"]:
                    wrong.add(dotted)
                if found[1] in ns.PUBLIC and found[2] and found[2] not in PUBLIC[f"negspace.{found[1]}"]:
                    wrong.add(dotted)
    return wrong


@pytest.mark.parametrize(("page", "source"), list(examples()))
def test_examples_take_what_is_public(page: str, source: str) -> None:
    assert not not_public(source), f"{page} imports what is internal"


def test_an_example_that_takes_what_is_internal_is_noticed() -> None:
    source = "import negspace.study.run\nfrom negspace.significance import nothing\nns.stats\nns.reference.model_path"
    assert not_public(source) == {"negspace.study.run", "negspace.significance.nothing", "ns.stats"}


def test_public_is_documented_and_documented_is_public() -> None:
    wanted = {f"negspace.{name}" for name in PUBLIC["negspace"] - {"__version__"}}
    assert set(DOCUMENTED) == wanted
    assert len(DOCUMENTED) == len(set(DOCUMENTED))
    for module, names in PUBLIC.items():
        home = importlib.import_module(module)
        for name in names - {"__version__"}:
            value = getattr(home, name)
            if inspect.isclass(value) or inspect.isfunction(value):
                assert inspect.getdoc(value), f"{module}.{name} has no docstring"


@pytest.mark.parametrize("name", [found.name for found in pkgutil.iter_modules(ns.__path__)])
def test_what_is_not_public_says_so(name: str) -> None:
    source = importlib.util.find_spec(f"negspace.{name}").origin  # type: ignore[union-attr]
    said = ast.get_docstring(ast.parse(Path(str(source)).read_text(encoding="utf-8"))) or ""
    assert said, f"negspace.{name} says nothing of itself"
    assert said.startswith("Internal: ") == (name not in ns.PUBLIC), (
        f"negspace.{name} must be in negspace.PUBLIC and in docs/reference/python.md, or begin with 'Internal: '"
    )


def test_type_checkers_see_the_names_that_are_loaded_when_used() -> None:
    tree = ast.parse(Path(str(ns.__file__)).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {part.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for part in node.names}
    assert set(seen) | {"__version__"} == set(ns.__all__)
    for name, home in seen.items():
        assert getattr(importlib.import_module(str(home)), name) is getattr(ns, name)


def test_no_argument_is_for_other_parts_of_negspace_only() -> None:
    """A user cannot make what only cells and their engines hand to one another, so no public function takes it."""
    machinery = {
        name
        for found in pkgutil.walk_packages(importlib.import_module("negspace.stats").__path__, "negspace.stats.")
        for name in re.findall(r"^class (\w+)", inspect.getsource(importlib.import_module(found.name)), re.MULTILINE)
    }
    assert {"Part", "Sketch"} <= machinery
    for name in ns.__all__:
        value = getattr(ns, name)
        if inspect.isfunction(value):
            for parameter in inspect.signature(value).parameters.values():
                assert not machinery & set(re.findall(r"\w+", str(parameter.annotation))), (name, parameter.name)


@pytest.mark.parametrize("given", ["gpt2", 3, None])
def test_what_is_no_model_is_named(given: Any) -> None:
    for call in (
        lambda: ns.scan(given),
        lambda: ns.perplexity(given),
        lambda: ns.minimal_pairs(given, [("a b", "b a")]),
        lambda: ns.tasks(given),
        lambda: ns.intervene(given, None, zero="negative").__enter__(),  # type: ignore[arg-type]
        lambda: ns.torch_hooks(given, None, zero="negative"),  # type: ignore[arg-type]
        lambda: ns.tap(given).__enter__(),
        lambda: ns.NeuronSet.from_indices(given, {}),
        lambda: ns.match_perplexity(given, None, 5.0),  # type: ignore[arg-type]
        lambda: ns.controls.match_residual(given, None, None),  # type: ignore[arg-type]
        lambda: ns.controls.residual_change(given, None, None),  # type: ignore[arg-type]
        lambda: ns.controls.check_noop(given, None, None),  # type: ignore[arg-type]
        lambda: ns.controls.rectifies(given),
    ):
        with pytest.raises(NegspaceError, match=r"of a model|on neurons of a model"):
            call()


def test_a_live_module_is_sent_to_wrap() -> None:
    with pytest.raises(NegspaceError, match=r"negspace\.wrap"):
        ns.load(zoo.build("llama"))  # type: ignore[arg-type]


def test_what_is_no_set_no_scan_and_no_run_is_named(tmp_path: Path) -> None:
    model: Any = ns.wrap(zoo.build("llama"), zoo.tokenizer())
    text = [" ".join(f"w{number % 90}" for number in range(600))]
    scan = ns.scan(model, text, window=32)
    top, windows, wrong = scan.top(0.1), ns.make_windows(ns.read_text(text, role="perplexity"), model.tokenizer), [1, 2]
    any_ns: Any = ns
    for call, found in (
        (lambda: any_ns.intervene(model, wrong, zero="both").__enter__(), "a list"),
        (lambda: any_ns.intervene(model, top, mode="mean", scan="x").__enter__(), "a str"),
        (lambda: any_ns.torch_hooks(model, wrong, zero="both"), "a list"),
        (lambda: any_ns.torch_hooks(model, top, mode="mean", scan=5), "an int"),
        (lambda: any_ns.tap(model, sites=[1]).__enter__(), "without this site"),
        (lambda: any_ns.NeuronSet.from_indices(model, wrong), "a list"),
        (lambda: top.check(model.module), "a LlamaForCausalLM"),
        (lambda: any_ns.match_perplexity(model, "x", 5.0, text=windows), "a str"),
        (lambda: any_ns.controls.match_residual(model, scan, wrong, text=windows), "a list"),
        (lambda: any_ns.controls.match_residual(model, "x", top, text=windows), "a str"),
        (lambda: any_ns.controls.match_residual(model, scan, top, text=windows, batch="2"), "not a whole number"),
        (lambda: any_ns.controls.residual_change(model, top, windows, batch=1.5), "not a whole number"),
        (lambda: any_ns.controls.residual_change(model, top, 5), "an int"),
        (lambda: any_ns.controls.check_noop(model, top, 5), "an int"),
        (lambda: any_ns.controls.bottom_like(scan, wrong), "a list"),
        (lambda: any_ns.controls.growth(scan, exclude=wrong), "a list"),
        (lambda: any_ns.random_sets("x", 0.1, [1]), "a str"),
        (lambda: any_ns.random_sets(scan, 0.1, 5), "no list of seeds"),
        (lambda: any_ns.random_sets(scan, None, [1], like=wrong), "a list"),
        (lambda: any_ns.match_perplexity(model, scan, "x", text=windows), "not a perplexity"),
        (lambda: any_ns.tap(model, sites=5).__enter__(), "without this site"),
        (lambda: any_ns.plan_study({"model": "m"}), "a dict"),
        (lambda: any_ns.run_study("m", tmp_path / "run"), "a str"),
        (lambda: any_ns.agreement(wrong), "an int"),
        (lambda: any_ns.agreement(scan), "fewer than two"),
        (lambda: any_ns.agreement(5), "an int"),
        (lambda: any_ns.write_report(["folder"], tmp_path / "a.html"), "a str"),
        (lambda: any_ns.write_report([], tmp_path / "a.html"), "no run"),
        (lambda: any_ns.write_figures("folder", tmp_path, "pdf"), "a str"),
        (lambda: any_ns.write_figures([], tmp_path, ["pdf"]), "no run"),
        (lambda: any_ns.read_runs("/no/such"), "/no/such"),
        (lambda: any_ns.read_runs([5]), "an int"),
        (lambda: any_ns.read_runs(5), "an int"),
    ):
        with pytest.raises(NegspaceError, match=found):
            call()
