"""Build wheel and sdist, and use the package as an installation has it: `python tools/check_wheel.py [--python P ...]`.

The wheel is built from the sdist, so that this one is whole. Both must pass twine, hold what git has and nothing else,
and be small enough for the registry. Then the wheel is installed into an empty environment, and the README's example
runs there, away from the checkout, on the bundled material. Without `--python` the environment borrows from this one,
by links, the distributions that the wheel declares and no others, so that an import that is not declared fails. With
`--python` pip installs them for each interpreter named, which downloads them all.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LIMIT = 100 * 2**20
"""Bytes that PyPI takes in one file."""
TOP = ("src", "tests", "tools", ".gitignore", "README.md", "LICENSE", "constraints.txt", "pyproject.toml")
"""What an sdist may hold of the checkout."""


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel built from it."""
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    sdist, wheel = next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))
    run([sys.executable, "-m", "twine", "check", "--strict", str(sdist), str(wheel)])
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """Stop where a file is missing, strays, or is too large."""
    listed = run(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], quiet=True)
    kept = {name for name in listed.split("\0") if name and (ROOT / name).exists()}
    package = {name.removeprefix("src/") for name in kept if name.startswith("src/negspace/")}
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    compare("the wheel", names, package)
    with tarfile.open(sdist) as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()} - {"PKG-INFO"}
    compare("the sdist", names, {name for name in kept if name.partition("/")[0] in TOP})
    for path in (sdist, wheel):
        size = path.stat().st_size
        print(f"{path.name}: {size / 2**20:.1f} MiB")
        if size > LIMIT:
            sys.exit(f"{path.name} is larger than the registry takes ({LIMIT / 2**20:.0f} MiB)")


def compare(what: str, names: set[str], wanted: set[str]) -> None:
    """Stop where two sets of files differ."""
    if names != wanted:
        sys.exit(f"{what} lacks {sorted(wanted - names)[:5]}, and holds {sorted(names - wanted)[:5]} that git has not")


def needed(name: str) -> list[Distribution]:
    """A distribution and all that it declares, without extras that nobody asks for."""
    found: dict[tuple[str, str], Distribution] = {}
    queue = [Requirement(name)]
    while queue:
        wanted = queue.pop()
        for extra in ("", *wanted.extras):
            key = (canonicalize_name(wanted.name), extra)
            if key in found:
                continue
            found[key] = distribution(wanted.name)
            for line in found[key].requires or ():
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    queue.append(inner)
    return list({key[0]: dist for key, dist in found.items()}.values())


def borrow(wheel: Path, python: Path, folder: Path) -> None:
    """Install the wheel alone, beside links to the distributions that it declares.

    Args:
        python: interpreter of the empty environment.
        folder: where to put the links.
    """
    run([sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", str(wheel)])
    site = Path(run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], quiet=True).strip())
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(next(name for name in archive.namelist() if name.endswith("/METADATA"))).decode()
    folder.mkdir()
    for line in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        for dist in needed(f"{wanted.name}[{','.join(wanted.extras)}]" if wanted.extras else wanted.name):
            for name in {file.parts[0] for file in dist.files or () if file.parts[0] not in ("..", "__pycache__")}:
                source, link = Path(str(dist.locate_file(name))), folder / name
                if source.exists() and not link.exists():
                    link.symlink_to(source)
    (site / "borrowed.pth").write_text(f"{folder}\n")


def example() -> str:
    """The README's example in Python, on the bundled model and a part of its data in place of what is downloaded."""
    block = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    text = block[1]
    for name, bundled in {
        '"EleutherAI/pythia-1.4b"': "ns.reference.model_path()",
        '"wikitext-2"': '"text.txt"',
        '"path/to/blimp"': '"blimp"',
    }.items():
        assert name in text, f"the README's example no longer has {name}"
        text = text.replace(name, bundled)
    return f'{text}\nprint(f"{{ns.__file__}}: {{len(top)}} neurons")\n'


def try_out(python: Path, folder: Path) -> None:
    """Run the example and the command in an environment, away from the checkout."""
    data = ROOT / "src" / "negspace" / "reference" / "data"
    (folder / "text.txt").write_text((data / "held_out.txt").read_text(encoding="utf-8")[:120_000], encoding="utf-8")
    (folder / "blimp").mkdir(exist_ok=True)
    for path in sorted((data / "pairs").glob("*.jsonl"))[:3]:
        shutil.copy(path, folder / "blimp")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"HF_HUB_OFFLINE": "1"}
    said = run([str(python), "-c", example()], quiet=True, cwd=folder, env=environment)
    print(said.strip())
    if str(python.parents[1].resolve()) not in said:
        sys.exit("the example did not run from the installed wheel")
    said = run([str(python.parent / "negspace"), "--help"], quiet=True, cwd=folder, env=environment)
    print(said.strip().partition("\n")[0])


def run(command: list[str], *, quiet: bool = False, **options: object) -> str:
    """Run a command; what it says, where `quiet`. Its failure ends this one."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE if quiet else None, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)[:200]}")
    return done.stdout or ""


def main() -> None:
    """Build, check, install and try."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", nargs="*", default=[], help="interpreters for which to install everything")
    given = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name).resolve()
        sdist, wheel = build(folder / "dist")
        check_contents(sdist, wheel)
        away = folder / "away"
        away.mkdir()
        if not given.python:
            venv.create(folder / "venv", with_pip=False)
            borrow(wheel, folder / "venv" / "bin" / "python", folder / "borrowed")
            try_out(folder / "venv" / "bin" / "python", away)
        for number, interpreter in enumerate(given.python):
            run([interpreter, "-m", "venv", str(folder / f"venv{number}")])
            python = folder / f"venv{number}" / "bin" / "python"
            run([str(python), "-m", "pip", "install", "-q", str(wheel)])
            run([str(python), "-m", "pip", "check"])
            try_out(python, away)


if __name__ == "__main__":
    main()
