"""Options made from the fields of a study, which are declared there and nowhere else; and `--json`."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from negspace.errors import StudyError
from negspace.experiment.config import Study, by_name
from negspace.study.study_file import parse

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]

_SHOWN = {int: "INTEGER", float: "NUMBER", str: "TEXT", dict: "NAME=VALUE,..."}
"""Type of a field -> what its value is called in --help."""


def study_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each of these fields of a study; for all but `analyses`, if none are named.

    Their place in `--help` is that of the command's parameter `given`. It is called with the values of the options that
    were used, field -> text as it was typed, which is for `configure` to check.
    """
    fields = {name: Study.model_fields[name] for name in names or Study.model_fields if names or name != "analyses"}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(**values: Any) -> None:
            typed = {name: values.pop(name) for name in fields}
            given = {name: _value(name, value) for name, value in typed.items() if value not in (None, [])}
            command(given=given, **values)

        own = inspect.signature(command, eval_str=True)
        parameters = []
        for parameter in own.parameters.values():
            made = [_parameter(name, field) for name, field in fields.items()]
            parameters += made if parameter.name == "given" else [parameter]
        run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return run

    return decorate


def set_fields(fields: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The fields that `--set` changes, from NAME=VALUE or SECTION.NAME=VALUE; values are YAML.

    Args:
        fields: what the sections hold so far. A section is a field that has fields of its own, or else an analysis.
        settings: as given. Their order does not matter.

    Raises:
        StudyError: no such form, invalid YAML, or a section that cannot hold settings.
    """
    made: dict[str, Any] = {}
    seen: dict[str, str] = {}
    # A field as a whole first: it would replace what was set in it before.
    for setting in sorted(settings, key=lambda setting: "." in setting.partition("=")[0]):
        asked, todo = f"--set {setting}", "write random=5, or dose.points=6 for a setting of an analysis"
        name, equals, text = setting.partition("=")
        section, dot, field = name.partition(".")
        if not equals or not section or (dot and not field):
            raise StudyError(asked, "not NAME=VALUE", todo)
        value = parse(text, asked, todo)
        if name in seen:
            raise StudyError(f"--set {seen[name]} and {asked}", "two values for one", "give one of them")
        seen[name] = setting
        if not dot:
            made[name] = value
            sections = by_name(value) if name == "analyses" else {name: value}
            for part, held in sections.items() if isinstance(sections, Mapping) else ():
                seen |= {f"{part}.{inner}": setting for inner in held} if isinstance(held, Mapping) else {}
        elif section in Study.model_fields and _section(section):
            made[section] = {**_held(made, fields, section, asked), field: value}
        else:
            analyses = _held(made, fields, "analyses", asked)
            made["analyses"] = {**analyses, section: {**_held(analyses, {}, section, asked), field: value}}
    return made


def _held(made: Mapping[str, Any], before: Mapping[str, Any], name: str, asked: str) -> Mapping[str, Any]:
    """Return the content of a section.

    Raises:
        StudyError: something that is no section.
    """
    held = made.get(name, before.get(name)) or {}
    held = by_name(held) if name == "analyses" else held
    if not isinstance(held, Mapping):
        raise StudyError(
            asked, f"{name}: {held!r}, which is not a section with settings", "set the whole of it, or none"
        )
    return held


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """The parameter of a command that typer makes a field's option of."""
    kind, several = _type(field.annotation)
    spelled, text = name.replace("_", "-"), " ".join((field.description or "").split())
    annotation: Any = str
    more: dict[str, Any] = {"metavar": _SHOWN.get(kind, "YAML")}
    if kind is bool:
        annotation, more, spellings = bool, {}, [f"--{spelled}/--no-{spelled}"]
    elif several:
        # Given once for each value, so that the singular reads better; the field's own name does as well.
        annotation, text = list[str], f"{text} May be repeated."
        spellings = list(dict.fromkeys((f"--{spelled.removesuffix('s')}", f"--{spelled}")))
    else:
        # A list, so that a second value can be told from the first and refused.
        annotation, spellings = list[str], [f"--{spelled}"]
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        more = {"metavar": f"[{'|'.join(choices)}]"}
        more["autocompletion"] = lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]
    if default := _default(field, spelled):
        text += f" [default: {default}]"
    option = typer.Option(*spellings, help=text, show_default=False, **more)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, option]
    )


def _type(annotation: Any) -> tuple[Any, bool]:
    """A field's type without its checks and without None, and whether it is a tuple of values of that type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0])
    if origin in (Union, UnionType):
        return _type(next(part for part in arguments if part is not type(None)))
    if origin is tuple:
        return _type(arguments[0])[0], True
    return (annotation if origin is Literal else origin or annotation), False


def _default(field: FieldInfo, spelled: str) -> str:
    """A field's default as it would be given; empty where its meaning says what happens without a value."""
    value = field.get_default(call_default_factory=True)
    if field.is_required() or value is None or value == () or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return spelled if value else f"no-{spelled}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _section(name: str) -> type[BaseModel] | None:
    """Return the model of a study's field that has fields of its own, or None."""
    kind, _ = _type(Study.model_fields[name].annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _value(name: str, value: Any) -> Any:
    """A value as it was typed; that of a field that has fields of its own is read as YAML.

    Raises:
        StudyError: no YAML, or several values of a field that has one.
    """
    if isinstance(value, list) and not _type(Study.model_fields[name].annotation)[1]:
        if len(value) > 1:
            asked = " ".join(f"--{name.replace('_', '-')} {one}" for one in value)
            raise StudyError(asked, f"{len(value)} values for one", "give one of them")
        return _value(name, value[0])
    if (section := _section(name)) is None:
        return value
    todo = f"write '{{NAME: VALUE, ...}}' with some of: {', '.join(section.model_fields)}"
    return parse(str(value), f"--{name} {value}", todo)
