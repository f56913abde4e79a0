"""SyntaxGym's prediction formulae: what they say of the surprisals of an item's regions, parsed and never run as code.

A formula compares sums and differences of surprisals, `(2;%match%) < (2;%mismatch%)`, where `(2;%match%)` is region 2
of the condition "match" and `(*;%match%)` all of its regions; `&` and `|` join comparisons. `+` and `-` bind closer
than `<`, `>` and `=`, these closer than `&` and `|`, which are equals; brackets are parentheses. `=` holds within 1e-3
bits and 1e-5 of the right side. Source: cpllab/syntaxgym-core, syntaxgym/prediction.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

EQUAL_ABSOLUTE = 1e-3
"""Largest difference of equals, in bits, beside the relative one."""
EQUAL_RELATIVE = 1e-5
"""Largest difference of equals as a part of the right side."""
_EVEN = 0.5
ALL = -1
"""Stands for the number of a region: all of them. No formula can name a region by it."""

Place = tuple[str, int]
"""Condition and number of a region, `ALL` for all."""
Surprisals = Mapping[Place, float]

_TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<region>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\)"
    r"|(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+)"
    r"|(?P<sign>[-+<>=&|()\[\]]))"
)
_OPEN, _CLOSE = ("(", "["), (")", "]")


@dataclass(frozen=True)
class Sides:
    """The two sides of the comparison that decides whether a formula holds, in bits."""

    good: float
    """The side that the formula predicts to be higher."""
    bad: float
    """The side that it predicts to be lower."""

    @property
    def margin(self) -> float:
        """By how much the formula holds; it does exactly if this is above 0."""
        return self.good - self.bad


@dataclass(frozen=True)
class Value:
    """A part of a formula that is a number of bits."""

    of: Callable[[Surprisals], float]
    """Its value, given the regions' surprisals."""
    places: frozenset[Place] = frozenset()
    """The regions that it names."""
    shifted: bool = False
    """Whether a number other than zero is part of it."""


@dataclass(frozen=True)
class Formula:
    """A formula, or a part of one, that holds or does not."""

    text: str
    """Text of the formula, as in its suite."""
    of: Callable[[Surprisals], Sides]
    """The comparison that decides it, given the regions' surprisals in bits: of several joined by `&` the one that
    holds least, by `|` the one that holds most."""
    places: frozenset[Place]
    """The regions that it names."""
    chance: float = math.nan
    """How often it holds by guessing: one half where a single < or > compares surprisals; NaN where nobody knows."""


class FormulaError(ValueError):
    """A text that is no formula."""


def parse(text: str) -> Formula:
    """Parse a formula.

    Raises:
        FormulaError: it is none; says what was found where.
    """
    try:
        made = _Parser(text).whole()
    except RecursionError as error:
        raise FormulaError("parentheses nested too deeply") from error
    return replace(made, text=text)


class _Parser:
    """Recursive descent, one method a level of binding."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[re.Match[str]] = list(self._split())
        self.at = 0

    def _split(self) -> Iterator[re.Match[str]]:
        end = len(self.text.rstrip())
        at = 0
        while at < end:
            match = _TOKEN.match(self.text, at)
            if match is None:
                raise FormulaError(f"{self.text[at:].strip()[:20]!r} at character {at}")
            yield match
            at = match.end()

    def whole(self) -> Formula:
        made = self.joined()
        if self.at < len(self.tokens):
            raise FormulaError(f"{self.tokens[self.at][0].strip()!r} after the end of the formula")
        if isinstance(made, Value):
            raise FormulaError("a number, where a comparison belongs")
        return made

    def joined(self) -> Formula | Value:
        """Comparisons joined by & and |, from the left."""
        made = self.compared()
        while sign := self._next("&", "|"):
            first, second = _truth(made, sign), _truth(self.compared(), sign)
            made = _join(first, second, min if sign == "&" else max)
        return made

    def compared(self) -> Formula | Value:
        """One comparison, or what stands alone."""
        made = self.summed()
        if sign := self._next("<", ">", "="):
            made = _compare(_number(made, sign), _number(self.summed(), sign), sign)
            if again := self._next("<", ">", "="):
                raise FormulaError(f"a second comparison, {again!r}, without parentheses")
        return made

    def summed(self) -> Formula | Value:
        """Sums and differences, from the left."""
        made = self.atom()
        while sign := self._next("+", "-"):
            made = _add(_number(made, sign), _number(self.atom(), sign), sign)
        return made

    def atom(self) -> Formula | Value:
        """A region, a number, or what parentheses hold."""
        if self.at == len(self.tokens):
            raise FormulaError("an end where a region belongs" if self.tokens else "no formula")
        token = self.tokens[self.at]
        self.at += 1
        if token["condition"]:
            try:
                place = token["condition"].strip(), ALL if token["region"] == "*" else int(token["region"])
            except ValueError as error:
                raise FormulaError(f"a region number of {len(token['region']):,} digits") from error
            return Value(lambda surprisals: surprisals[place], frozenset({place}))
        if token["number"]:
            number = float(token["number"])
            return Value(lambda _: number, shifted=number != 0)
        if token["sign"] in ("+", "-"):
            return _add(Value(lambda _: 0.0), _number(self.atom(), token["sign"]), token["sign"])
        if token["sign"] not in _OPEN:
            raise FormulaError(f"{token['sign']!r} where a region belongs")
        made = self.joined()
        if not self._next(_CLOSE[_OPEN.index(token["sign"])]):
            raise FormulaError(f"{token['sign']!r} that is not closed")
        return made

    def _next(self, *signs: str) -> str:
        """The sign that comes next, if it is one of these; it is then passed."""
        if self.at < len(self.tokens) and self.tokens[self.at]["sign"] in signs:
            self.at += 1
            return self.tokens[self.at - 1]["sign"]
        return ""


def _number(part: Formula | Value, sign: str) -> Value:
    if isinstance(part, Formula):
        raise FormulaError(f"a comparison beside {sign!r}, where a number belongs")
    return part


def _truth(part: Formula | Value, sign: str) -> Formula:
    if isinstance(part, Value):
        raise FormulaError(f"a number beside {sign!r}, where a comparison belongs")
    return part


def _add(first: Value, second: Value, sign: str) -> Value:
    factor = 1 if sign == "+" else -1
    return Value(
        lambda s: first.of(s) + factor * second.of(s), first.places | second.places, first.shifted or second.shifted
    )


def _compare(first: Value, second: Value, sign: str) -> Formula:
    def sides(s: Surprisals) -> Sides:
        left, right = first.of(s), second.of(s)
        if sign == "=":
            return Sides(EQUAL_ABSOLUTE + EQUAL_RELATIVE * abs(right), abs(left - right))
        # A low surprisal is a high log-probability.
        return Sides(-left, -right) if sign == "<" else Sides(-right, -left)

    even = sign != "=" and not (first.shifted or second.shifted)
    return Formula("", sides, first.places | second.places, _EVEN if even else math.nan)


def _join(first: Formula, second: Formula, choose: Callable[..., Sides]) -> Formula:
    def sides(s: Surprisals) -> Sides:
        return choose(first.of(s), second.of(s), key=lambda some: some.margin)

    return Formula("", sides, first.places | second.places)
