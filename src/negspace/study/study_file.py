"""Study files: YAML in which each field is given once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from negspace.errors import StudyError
from negspace.files import NOT_YAML

_TODO = "give the path of a YAML file, or for a model that of its folder or GGUF file"


class _Once(yaml.SafeLoader):
    """YAML in which a key may be given once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue  # a key that is no word is refused by the loader itself
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse(text: str, asked: str, todo: str) -> Any:
    """The value of YAML in which a key may be given once.

    Args:
        text: the YAML.
        asked, todo: for the message of the error.

    Raises:
        StudyError: invalid YAML.
    """
    try:
        return yaml.load(text, _Once)
    except NOT_YAML as error:
        where, problem = getattr(error, "problem_mark", None), str(getattr(error, "problem", error) or "")
        line = f" in line {where.line + 1}" if where else ""
        found = f"invalid YAML{line}: {problem}".splitlines()[0]
        raise StudyError(asked, found, todo) from error


def read_study(path: str | Path) -> dict[str, Any]:
    """The fields of a study file, as given; `configure` checks them.

    Raises:
        StudyError: no such file, or not a YAML mapping.
    """
    asked = f"the study file {path}"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(asked, error.strerror or str(error), _TODO) from error
    except UnicodeDecodeError as error:
        raise StudyError(asked, "not UTF-8", _TODO) from error
    content = parse(text, asked, f"write one `field: value` per line; {_TODO}")
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise StudyError(asked, f"a {type(content).__name__} instead of fields", "write one `field: value` per line")
    return content
