"""Study files: YAML in which each field is given once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from negspace.errors import StudyError

_TODO = "give the path of a YAML file, or for a model that of its folder or GGUF file"


class _Once(yaml.SafeLoader):
    """YAML in which a key may be given once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_study(path: str | Path) -> dict[str, Any]:
    """The fields of a study file, as given; `configure` checks them.

    Raises:
        StudyError: no such file, or not a YAML mapping.
    """
    asked = f"the study file {path}"
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _Once)
    except OSError as error:
        raise StudyError(asked, error.strerror or str(error), _TODO) from error
    except UnicodeDecodeError as error:
        raise StudyError(asked, "not UTF-8", _TODO) from error
    except yaml.YAMLError as error:
        where, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" in line {where.line + 1}" if where else ""
        found = f"invalid YAML{line}{f': {problem}' if problem else ''}"
        raise StudyError(asked, found, f"write one `field: value` per line; {_TODO}") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise StudyError(asked, f"a {type(content).__name__} instead of fields", "write one `field: value` per line")
    return content
