"""What mkdocs does beyond Markdown (`hooks:` in mkdocs.yml): pages made from the code, notebooks, formulas.

Formulas become MathML, set in a mathematical font that the site brings along, and notebooks become Markdown while the
site is built, so that no script and no network is needed to read it.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

import pages

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BLOCK = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)
_NOTEBOOK = re.compile(r"\]\(((?:\.\./)*notebooks/\w+|(?:\.\./)?\w+)\.ipynb\)")
_STYLE = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code, and the notebooks as pages."""
    for name, make in pages.PAGES.items():
        files.append(File.generated(config, name, content=make()))
    for path in sorted(Path(config.docs_dir).glob("notebooks/*.ipynb")):
        for name, content in notebook(path).items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    spec = find_spec("ziamath")
    assert spec is not None
    assert spec.origin is not None
    font = Path(spec.origin).with_name("fonts") / "STIXTwoMath-Regular.ttf"  # SIL Open Font Licence
    files.append(File.generated(config, "assets/math.ttf", content=font.read_bytes()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to notebooks lead to their pages; on GitHub they lead to the notebooks themselves."""
    return _NOTEBOOK.sub(r"](\1.md)", markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Formulas as MathML."""
    return formulas(content)


def formulas(page: str) -> str:
    """HTML of a page with what `arithmatex` left of its formulas turned into MathML."""
    page = _INLINE.sub(lambda found: convert(html.unescape(found[1])), page)
    return _BLOCK.sub(lambda found: convert(html.unescape(found[1]), display="block"), page)


def notebook(path: Path) -> Mapping[str, str | bytes]:
    """A notebook as it was executed: its page and its pictures, file name -> content."""
    where = {"unique_key": path.stem, "output_files_dir": f"{path.stem}_files"}
    read = nbformat.read(path, 4)
    read.metadata["language_info"] = {"name": "python"}
    text, more = MarkdownExporter().from_notebook_node(read, resources=dict(where))
    # A raw link, which is not taken for one to the page.
    note = f'\n*This page is a notebook that was run as it stands: <a href="{path.name}" download>{path.name}</a>.*\n'
    # Tables of pandas look like all others.
    text = _STYLE.sub("", text).replace('<table border="1" class="dataframe">', "<table>")
    title, _, rest = text.replace('<tr style="text-align: right;">', "<tr>").partition("\n")
    return {f"{path.stem}.md": f"{title}\n{note}{rest}", **more["outputs"]}
