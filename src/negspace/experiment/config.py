"""What a study is to do: one frozen value, from options or from a YAML file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from negspace.errors import StudyError
from negspace.neurons.shares import share as check_share


def _several(value: Any) -> Any:
    """One value stands for a list of one."""
    return value if isinstance(value, list | tuple) or value is None else [value]


Shares = Annotated[tuple[float, ...], BeforeValidator(_several)]
Paths = Annotated[tuple[str, ...], BeforeValidator(_several)]


def _roles(value: Any) -> Any:
    """ROLE=COLUMN, apart by commas, as a mapping."""
    if not isinstance(value, str):
        return value
    halves = (part.partition("=") for part in value.split(","))
    return {role: column for role, _, column in halves}


def _time(value: Any) -> Any:
    """A time as hours, minutes and seconds: "1h30m"."""
    if value is None or (isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?\s*[hms]\s*)+", value.strip())):
        return value if value is None else "".join(value.split())
    raise ValueError(f"give a time such as 30m, 1h30m or 90s; got {value!r}")


Time = Annotated[str, BeforeValidator(_time)]
PairColumns = Annotated[dict[str, str], BeforeValidator(_roles)]


def by_name(value: Any) -> Any:
    """Analyses with their settings, from that or from a list of names; anything else as it is."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    if isinstance(value, Mapping):
        return {name: {} if settings is None else settings for name, settings in value.items()}
    return value


Sections = Annotated[dict[str, dict[str, Any]], BeforeValidator(by_name)]


SIZES = ("limit", "perplexity_windows", "random")
"""Fields of a study that a budget decides where they are not given."""


class Settings(BaseModel):
    """An analysis's section of a study file; frozen, unknown fields refused. The line under a field is its meaning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


class Resources(BaseModel):
    """What each worker of a cluster needs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    workers: int | None = Field(default=None, ge=1)
    """How many workers; as many as the cluster has room for."""
    cpus: float = Field(default=1, gt=0)
    """CPU cores of a worker; torch runs as many threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs of a worker, those among which `device_map` is to spread a model included."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes of main memory of a worker; not reserved."""


class Study(BaseModel):
    """What to do, on which model and data. Every analysis takes from here what it does not set itself.

    A field and the line under it are all that an option of `negspace run` and a row of the documentation are made of.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    analyses: Sections = Field(default_factory=lambda: {"ablation": {}})
    """Analyses by name, each with its own settings; a list of names takes them as they are."""
    model: str
    """Folder, GGUF file, adapter of PEFT, or name on the Hugging Face hub."""
    adapter: Paths = ()
    """Adapters of PEFT to put on it, all at once active: folders, or names on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: str = "float32"
    """Type of the weights: float32, float16, bfloat16 or float64."""
    device: str | None = None
    """cpu, cuda, cuda:1 and so on; CUDA where there is one, else the CPU."""
    device_map: str | None = None
    """How accelerate is to place the parts, "auto" for example; excludes `device`."""
    trust_remote_code: bool = False
    """Whether code from the model's repository may run."""
    text: str = "wikitext-2"
    """Text for statistics and for perplexity: file, folder (with splits, if its file names tell), or "wikitext-2"."""
    statistics_text: str | None = None
    """Another text for the statistics."""
    perplexity_text: str | None = None
    """Another text for perplexity."""
    window: int | None = Field(None, ge=2)
    """Tokens of a window of the statistics; 2,048 or what model and text allow."""
    stride: int | None = Field(None, ge=1)
    """Tokens between the starts of two such windows; half a window."""
    windows: int | None = Field(None, ge=1)
    """How many such windows; as many as make 131,072 tokens."""
    perplexity_window: int | None = Field(None, ge=2)
    """Tokens of a window of perplexity; as `window`."""
    perplexity_windows: int | None = Field(None, ge=1)
    """How many such windows, from the start; all."""
    bos: Literal["auto", "always"] = "auto"
    """"auto": windows are slices of the text as the tokenizer encodes it; "always": BOS before each."""
    batch: int | None = Field(None, ge=1)
    """Windows in one forward pass; changes no result."""
    exact: bool = False
    """Whether all activations are kept and distances computed in closed form; for samples that fit in memory."""
    md_pairs: int = Field(1024, ge=0)
    """Pairs of tokens for the mapping difficulty."""
    scan_parts: int = Field(1, ge=1)
    """Parts in which the text for the statistics is read, each a cell of its own: several workers of a cluster make
    them side by side, and a scan that was killed goes on from the last one made. Changes results by float rounding at
    most, and with the default batch not at all."""
    shares: Shares = (0.01,)
    """Shares p of each layer's neurons to ablate."""
    by: str = "wd"
    """The statistic that ranks the neurons."""
    layers: tuple[int, ...] | None = None
    """Layers whose neurons may be chosen; all."""
    zero: Literal["negative", "positive", "both"] | None = "negative"
    """Part of the pre-activation set to zero; null with a `mode`."""
    mode: Literal["relu_on_positives", "sign_flip", "mean", "negative_mean"] | None = None
    """Another intervention, instead of `zero`."""
    random: int = Field(5, ge=0)
    """Random sets for each share, as many neurons in each layer as the top set has. Fewer than 5 cannot be judged."""
    random_perplexity: int = Field(20, ge=0)
    """Random sets of the main study on which perplexity is scored, those of `random` included: what single sets do to
    perplexity differs much, and fewer than 19 cannot be judged. Without random sets (random: 0), none."""
    matched: bool = True
    """Whether to search the low-ranked set that does the same damage to perplexity."""
    tolerance: float = Field(0.01, gt=0, lt=1)
    """Largest relative mismatch of perplexity that counts as matched."""
    margin: float = Field(0.01, gt=0, lt=1)
    """Margin of equivalence in accuracy, stated before anything is scored: 0.01 is one point."""
    margin_share: float = Field(0.25, gt=0, lt=1)
    """The other margin, as a share of what the top set loses; equivalence must hold within both."""
    evaluations: int = Field(8, ge=1)
    """Most evaluations of perplexity in one search."""
    blimp: Paths = ()
    """Files or folders of BLiMP's format, or "nyu-mll/blimp" from the hub."""
    tse: Paths = ()
    """Files or folders of TSE's: JSONL or the official pickles."""
    pairs: Paths = ()
    """Other minimal pairs: files, folders or names on the hub of MultiBLiMP, RuBLiMP, JBLiMP, SLING, CLAMS, Zorro,
    SyntaxGym, or one's own."""
    pair_columns: PairColumns | None = None
    """Which column of `pairs` is which, where the names of the columns do not say so: "good=COLUMN,bad=COLUMN", and
    likewise paradigm, phenomenon and language."""
    tasks: Paths = ()
    """Tasks that are not about grammar: of lm-evaluation-harness by name, and at most one folder of local files."""
    fewshot: int = Field(0, ge=0)
    """Solved examples before each item of a task."""
    protocol: Literal["paper", "lm-eval"] = "paper"
    """How sentences become tokens: with the tokenizer's own special tokens, or with a prefix token always."""
    limit: int | None = Field(None, ge=1)
    """Only so many pairs of each paradigm and items of each task, spread evenly."""
    budget: Time | None = None
    """How long the whole run may take here, such as 30m or 1h30m: `limit`, `perplexity_windows` and `random` are chosen
    for it where they are not given, such that the least effect that can be detected is smallest."""
    seed: int = Field(0, ge=0)
    """Seed of the random sets (seed, seed + 1, ...), of the MD pairs and of the bootstrap."""
    resources: Resources = Field(default_factory=Resources)
    """What each worker needs where a cluster computes; changes no result."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Level of the tests; intervals have level 1 - alpha."""
    draws: int = Field(2000, ge=100)
    """Bootstrap resamples."""

    @model_serializer(mode="wrap")
    def _without_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A study of a plain model is written as it was before there were adapters.
        return {name: value for name, value in write(self).items() if name != "adapter" or value}

    @model_validator(mode="after")
    def _check(self) -> Study:
        if (self.zero is None) == (self.mode is None):
            raise ValueError("give either zero or mode (with a mode, zero is null)")
        if not self.shares or len(set(self.shares)) != len(self.shares):
            raise ValueError(f"shares must be given, each once; got {list(self.shares)}")
        if self.exact and self.scan_parts > 1:
            raise ValueError("exact statistics keep all activations together; with exact, scan_parts must be 1")
        return self

    @property
    def intervention(self) -> str:
        """Name under which the intervention is recorded."""
        return self.mode or f"zero_{self.zero}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the random sets."""
        return tuple(range(self.seed, self.seed + self.random))

    @property
    def more_seeds(self) -> tuple[int, ...]:
        """Seeds of the further random sets on which perplexity alone is scored."""
        return tuple(range(self.seed + self.random, self.seed + self.random_perplexity)) if self.random else ()


def stored(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A study's fields as a manifest has them; those that an earlier version did not know have their defaults."""
    later = {name: field.default for name, field in Study.model_fields.items() if name not in fields}
    return {**fields, **{name: value for name, value in later.items() if isinstance(value, int | float | str | None)}}


def configure(given: Mapping[str, Any], source: str = "the options") -> Study:
    """A study from field names and values, checked; the settings of its analyses are checked by `sections`.

    Args:
        source: where they come from, for messages: asked was this.

    Raises:
        StudyError: an unknown field, a missing one, or a value that cannot be.
        SelectionError: a share out of range.
    """
    settings = dict(given)
    if settings.get("mode") is not None and "zero" not in settings:
        settings["zero"] = None
    for share in _several(settings.get("shares")) or ():
        check_share(share)
    try:
        return Study.model_validate(settings)
    except ValidationError as error:
        raise explain(error, source, Study) from error


def override(fields: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a study, with others in their place.

    An intervention takes the place of another, whichever of `zero` and `mode` names either of them.
    """
    gone = {"zero", "mode"} if by.keys() & {"zero", "mode"} else set()
    return {**{name: value for name, value in fields.items() if name not in gone}, **by}


def explain(error: ValidationError, asked: str, kind: type[BaseModel]) -> StudyError:
    """What is wrong with the fields of a configuration, in the user's words; an unknown field before all else."""
    found = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")[0]
    parts = [part for part in found["loc"] if isinstance(part, str)]
    field = ".".join(parts)
    if found["type"] == "extra_forbidden":
        known: Any = kind
        for part in parts[:-1]:
            known = known.model_fields[part].annotation
        near = get_close_matches(parts[-1], known.model_fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return StudyError(asked, f"an unknown field {field!r}", f"{hint}use: {', '.join(known.model_fields) or 'none'}")
    if found["type"] == "missing":
        return StudyError(asked, f"no {field!r}", f"give it (--{field} or {field}: ...)")
    message = found["msg"].removeprefix("Value error, ") + (f", not {found['input']!r}" if field else "")
    return StudyError(
        asked, f"{field}: {message}" if field else message, "correct it; docs and --help list what is possible"
    )


def read_study(path: str | Path) -> dict[str, Any]:
    """The fields of a study file, as given; `configure` checks them.

    Raises:
        StudyError: no such file, or not a YAML mapping.
    """
    asked = f"the study file {path}"
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(asked, error.strerror or str(error), "give the path of a YAML file") from error
    except UnicodeDecodeError as error:
        raise StudyError(asked, "not UTF-8", "give the path of a YAML file") from error
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where else ""
        raise StudyError(asked, f"no YAML{line}", "write one `field: value` a line") from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise StudyError(asked, f"a {type(content).__name__} instead of fields", "write one `field: value` a line")
    return content
