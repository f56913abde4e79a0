"""The configuration of a study: one frozen value, from options or from the fields of a file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    model_serializer,
    model_validator,
)

from negspace.errors import SelectionError, StudyError
from negspace.neurons.shares import share as check_share
from negspace.stats.scores import Statistic


def _several(value: Any) -> Any:
    """One value stands for a list of one."""
    return value if isinstance(value, list | tuple) or value is None else [value]


def _path(value: Any) -> Any:
    """A path as text."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


Shares = Annotated[tuple[float, ...], BeforeValidator(_several)]
Place = Annotated[str, BeforeValidator(_path)]
"""A file, a folder, or a name."""
Paths = Annotated[tuple[Place, ...], BeforeValidator(_several)]


def _roles(value: Any) -> Any:
    """ROLE=COLUMN, apart by commas, as a mapping; blanks around names are no part of them."""
    if not isinstance(value, str):
        return value
    made: dict[str, str] = {}
    for part in value.split(","):
        role, _, column = (half.strip() for half in part.partition("="))
        if not (role and column):
            raise ValueError("give ROLE=COLUMN apart by commas, such as good=right,bad=wrong")
        if role in made:
            raise ValueError(f"{role} is named twice, {made[role]!r} and {column!r}")
        made[role] = column
    return made


def _time(value: Any) -> Any:
    """A time as hours, minutes and seconds: "1h30m"."""
    if value is None or (isinstance(value, str) and re.fullmatch(r"(\d+(\.\d+)?\s*[hms]\s*)+", value.strip())):
        return value if value is None else "".join(value.split())
    raise ValueError("give a time such as 30m, 1h30m or 90s")


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


def each_once(name: str, values: Sequence[Any]) -> None:
    """Check what a field lists.

    Raises:
        ValueError: nothing, or one thing twice.
    """
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{name} must be given, each once; got {list(values)}")


def some_shares(name: str, values: Sequence[float]) -> None:
    """Check what a field lists as shares.

    Raises:
        ValueError: none, one twice, or one that no set can have.
    """
    if not values or len(set(values)) < len(values) or not all(0 < p <= 1 for p in values):
        raise ValueError(f"{name} must be shares above 0 and up to 1, each once; got {list(values)}")


SIZES = ("limit", "perplexity_windows", "random")
"""Fields of a study that a budget chooses, unless given."""


class _Fields(BaseModel):
    """Frozen fields without unknown ones. The line under a field documents it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, given: Any) -> Any:
        # To Python, and so to pydantic, true is the number one.
        for name, value in given.items() if isinstance(given, dict) else ():
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and not _takes_truth(field.annotation):
                raise ValueError(f"{name} cannot be {str(value).lower()}")
        return given


def _takes_truth(annotation: Any) -> bool:
    """Return True if true and false are values of a type."""
    return annotation in (bool, Any) or any(map(_takes_truth, get_args(annotation)))


class Settings(_Fields):
    """An analysis's section of a study file."""


class Resources(_Fields):
    """Resources of each worker of a cluster."""

    workers: int | None = Field(default=None, ge=1)
    """Number of workers. Default: as many as fit on the cluster."""
    cpus: float = Field(default=1, gt=0)
    """CPU cores per worker; torch runs as many threads."""
    gpus: float = Field(default=0, ge=0)
    """GPUs per worker, including those over which `device_map` spreads a model."""
    memory: int | None = Field(default=None, ge=1)
    """Bytes of main memory per worker. Default: none reserved."""


class Study(_Fields):
    """The analyses, model and data of a study. Analyses use these fields unless they set their own.

    Each field, with the line under it, becomes an option of `negspace run` and a row of the documentation.

    Raises:
        StudyError: an unknown field, a missing one, or an invalid value.
        SelectionError: a share out of range, or 0.
    """

    analyses: Sections = Field(default_factory=lambda: {"ablation": {}})
    """Analyses by name, each with its settings. A list of names uses their default settings."""
    model: Place
    """Folder, GGUF file, PEFT adapter, or name on the Hugging Face hub."""
    adapter: Paths = ()
    """PEFT adapters to add to the model, all active at once: folders, or names on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: str = "float32"
    """Type of the weights: float32, float16, bfloat16 or float64."""
    device: str | None = None
    """cpu, cuda, cuda:1 and so on. Default: CUDA if available, otherwise the CPU."""
    device_map: str | None = None
    """Placement of the layers by accelerate, for example "auto"; excludes `device`."""
    trust_remote_code: bool = False
    """Allow code from the model's repository to run."""
    text: Place = "wikitext-2"
    """Text for statistics and perplexity: a file, a folder (with splits if its file names say so), or "wikitext-2"."""
    statistics_text: Place | None = None
    """Text for the statistics, instead of `text`."""
    perplexity_text: Place | None = None
    """Text for perplexity, instead of `text`."""
    window: int | None = Field(None, ge=2)
    """Tokens per window for the statistics. Default: 2,048, or fewer if model or text require."""
    stride: int | None = Field(None, ge=1)
    """Tokens between the starts of these windows. Default: half a window."""
    windows: int | None = Field(None, ge=1)
    """Number of these windows. Default: as many as give 131,072 tokens."""
    perplexity_window: int | None = Field(None, ge=2)
    """Tokens per window for perplexity. Default: as for `window`."""
    perplexity_windows: int | None = Field(None, ge=1)
    """Number of these windows, from the start of the text. Default: all."""
    bos: Literal["auto", "always"] = "auto"
    """"auto": windows are slices of the text as the tokenizer encodes it; "always": BOS before each."""
    batch: int | None = Field(None, ge=1)
    """Windows in one forward pass. In float32 it changes results by rounding at most."""
    exact: bool = False
    """Keep all activations and compute distances in closed form; for samples that fit in memory."""
    md_pairs: int = Field(1024, ge=0)
    """Number of token pairs for the mapping difficulty."""
    scan_parts: int = Field(1, ge=1)
    """Number of parts into which the scan is divided. Each part is a cell: workers of a cluster compute them in
    parallel, and a killed scan resumes after its last finished part. Changes results by float rounding at most, and
    with the default batch not at all."""
    shares: Shares = (0.01,)
    """Shares p of each layer's neurons to ablate: 0.01 is 1%."""
    by: Statistic = "wd"
    """Statistic that ranks the neurons."""
    layers: tuple[int, ...] | None = None
    """Layers whose neurons may be chosen, from 0. Default: all."""
    zero: Literal["negative", "positive", "both"] | None = "negative"
    """Part of the pre-activation that is set to zero; null with a `mode`."""
    mode: Literal["relu_on_positives", "sign_flip", "mean", "negative_mean"] | None = None
    """Another intervention, instead of `zero`."""
    random: int = Field(5, ge=0)
    """Random sets per share, each of the top set's size in every layer. Findings need at least 5."""
    random_perplexity: int = Field(20, ge=0)
    """Random sets of the main study whose perplexity is scored, including those of `random`. Sets differ greatly in
    perplexity, so findings need at least 19. With random: 0, none."""
    matched: bool = True
    """Search for the perplexity-matched control: the low-ranked set that raises perplexity as much."""
    tolerance: float = Field(0.01, gt=0, lt=1)
    """Largest relative mismatch of perplexity at which the control counts as matched, if what it adds to the logarithm
    of perplexity is within a tenth of the top set's as well."""
    margin: float = Field(0.01, gt=0, lt=1)
    """Equivalence margin in accuracy, fixed before anything is scored: 0.01 is one point."""
    margin_share: float = Field(0.25, gt=0, lt=1)
    """Second equivalence margin, as a share of the top set's loss. Equivalence must hold within both."""
    evaluations: int = Field(8, ge=1)
    """Maximum number of perplexity evaluations per search."""
    blimp: Paths = ()
    """BLiMP: files or folders in its format, or "nyu-mll/blimp" from the hub."""
    tse: Paths = ()
    """TSE: files or folders, as JSONL or as the official pickles."""
    pairs: Paths = ()
    """Other minimal pairs: files, folders or hub names of MultiBLiMP, RuBLiMP, JBLiMP, SLING, CLAMS, Zorro, SyntaxGym,
    or your own."""
    pair_columns: PairColumns | None = None
    """Roles of the columns of `pairs`, if their names do not show them: "good=COLUMN,bad=COLUMN", and likewise
    paradigm, phenomenon and language."""
    tasks: Paths = ()
    """Tasks outside grammar: names from lm-evaluation-harness, and at most one folder of local files."""
    fewshot: int = Field(0, ge=0)
    """Number of solved examples before each item of a task."""
    protocol: Literal["paper", "lm-eval"] = "paper"
    """Tokenisation of sentences: with the tokenizer's own special tokens (paper), or always with a prefix token
    (lm-eval)."""
    limit: int | None = Field(None, ge=1)
    """Maximum number of pairs per paradigm and items per task, spread evenly. Default: all."""
    budget: Time | None = None
    """Time for the whole run on this machine, such as 30m or 1h30m. It chooses `limit`, `perplexity_windows` and
    `random`, unless given, so that the detectable effect is smallest."""
    seed: int = Field(0, ge=0)
    """Seed of the random sets (seed, seed + 1, ...), the MD pairs and the bootstrap."""
    resources: Resources = Field(default_factory=Resources)
    """Resources of each worker on a cluster; changes no result."""
    alpha: float = Field(0.05, gt=0, lt=1)
    """Significance level of the tests; intervals have level 1 - alpha."""
    draws: int = Field(2000, ge=100)
    """Number of bootstrap resamples."""

    @model_serializer(mode="wrap")
    def _without_empty(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A study of a plain model is written as it was before there were adapters.
        return {name: value for name, value in write(self).items() if name != "adapter" or value}

    @model_validator(mode="after")
    def _check(self) -> Study:
        if (self.zero is None) == (self.mode is None):
            raise ValueError("give either zero or mode (with a mode, zero is null)")
        each_once("shares", self.shares)
        if self.exact and self.scan_parts > 1:
            raise ValueError("exact statistics keep all activations together; with exact, scan_parts must be 1")
        if self.pair_columns and not self.pairs:
            raise ValueError("pair_columns are columns of pairs; give the files with --pairs, not --blimp or --tse")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, given: Any, make: ModelWrapValidatorHandler[Study], info: ValidationInfo) -> Study:
        """What is wrong, also by `_check`, as errors of this package; the context may name the fields' "source"."""
        if isinstance(given, Mapping):
            given = dict(given)
            if given.get("mode") is not None and "zero" not in given:
                given["zero"] = None
            for share in _several(given.get("shares")) or ():
                if check_share(share) == 0:
                    raise SelectionError(
                        "a share p=0 of the neurons", "no neurons", "give a fraction above 0, such as 0.01 for 1%"
                    )
        try:
            return make(given)
        except ValidationError as error:
            raise explain(error, (info.context or {}).get("source", "a study"), Study) from error

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
    """Return a study's fields as in a manifest; fields that an earlier version did not have get their defaults."""
    later = {name: field.default for name, field in Study.model_fields.items() if name not in fields}
    return {**fields, **{name: value for name, value in later.items() if isinstance(value, int | float | str | None)}}


def configure(given: Mapping[str, Any], source: str = "the options") -> Study:
    """Return a checked study from field names and values; `sections` checks the settings of its analyses.

    Args:
        source: origin of the fields, for error messages.

    Raises:
        StudyError, SelectionError: as `Study`.
    """
    return Study.model_validate(dict(given), context={"source": source})


def override(fields: Mapping[str, Any], by: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a study with some of them replaced.

    An intervention replaces another, whether `zero` or `mode` names either of them.
    """
    gone = {"zero", "mode"} if by.keys() & {"zero", "mode"} else set()
    return {**{name: value for name, value in fields.items() if name not in gone}, **by}


def explain(error: ValidationError, asked: str, kind: type[BaseModel]) -> StudyError:
    """Return the error for invalid fields of a configuration; an unknown field is reported first."""
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
        how = "negspace run MODEL, or" if field == "model" else "give"
        return StudyError(asked, f"no {field!r}", f"{how} --{field}, or {field}: ... in a study file")
    message = found["msg"].removeprefix("Value error, ") + (f", not {found['input']!r}" if field else "")
    return StudyError(
        asked,
        f"{field}: {message}" if field else message,
        "correct it: `negspace run --help` and the documentation list the possible values",
    )
