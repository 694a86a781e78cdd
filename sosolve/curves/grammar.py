"""The grammar of formulas: from a user's text to a small tree of numbers, names, sums, products, powers and calls.

Text is never executed and never reaches a parser of SymPy (`sympify` and `parse_expr` both evaluate it). It passes
four gates: a limit on its length; a scan into numbers, names and arithmetic signs, which refuses every other
character by its column and bounds the nesting before Python's parser sees it; `ast.parse`; and a whitelist of nodes.
Numbers are doubles from the start and constant parts are folded in double precision, so that a tower such as
9**9**9**9 overflows at once and is refused.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from .functions import ALIASES, FUNCTIONS

#: Limits of RELIABILITY.md: a formula beyond them is a program, and belongs into a Python function.
MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 2000, 500, 50

CONSTANTS = {"pi": math.pi, "e": math.e}

_TOKEN = re.compile(
    r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[^\W\d]\w*)|(?P<sign>\*\*|[<>=!]=|[-+*/(),<>])"
)
_LOGIC = "write a chain such as 0 < x < c, or put a where into another"
_HINTS = {
    "^": "write ** for a power",
    "=": "give the right-hand side alone, without 'y ='; a comparison is ==, <= or >=",
    "&": _LOGIC,
    "|": _LOGIC,
    "!": _LOGIC,
    "'": "write column names bare, without quotes",
    '"': "write column names bare, without quotes",
    "[": "use parentheses, and one name per parameter",
    "{": "use parentheses",
    ".": "write a number as 0.5 and a function by its bare name, exp(x) rather than np.exp(x)",
}
_WHITELIST = "numbers, names, + - * / **, parentheses and calls of known functions"
#: Comparisons as functions, and whether their sides are to be exchanged. The scan has refused `is` and `in`.
_COMPARISONS: dict[type, tuple[str, bool]] = {
    ast.Lt: ("less", False),
    ast.LtE: ("less_equal", False),
    ast.Gt: ("less", True),
    ast.GtE: ("less_equal", True),
    ast.Eq: ("equal", False),
    ast.NotEq: ("not_equal", False),
}
_OTHERWISE = "pass a Python function as the model where a formula is not enough"


@dataclass(frozen=True)
class Number:
    """A finite double."""

    value: float


@dataclass(frozen=True)
class Name:
    """A predictor or a parameter."""

    id: str


@dataclass(frozen=True)
class Negative:
    """Minus its part."""

    part: Tree


@dataclass(frozen=True)
class Sum:
    """Parts added or subtracted in the order of the text: `signs` holds +1 and -1."""

    signs: tuple[int, ...]
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Product:
    """Parts multiplied or divided in the order of the text: `signs` holds +1 and -1 (divided)."""

    signs: tuple[int, ...]
    parts: tuple[Tree, ...]


@dataclass(frozen=True)
class Power:
    """A base raised to an exponent."""

    base: Tree
    exponent: Tree


@dataclass(frozen=True)
class Call:
    """A known function, or a comparison, of one to three parts."""

    function: str
    parts: tuple[Tree, ...]


Tree = Number | Name | Negative | Sum | Product | Power | Call


def children(tree: Tree) -> tuple[Tree, ...]:
    """Return the parts a tree is made of."""
    match tree:
        case Negative(part):
            return (part,)
        case Power(base, exponent):
            return (base, exponent)
        case Sum() | Product() | Call():
            return tree.parts
    return ()


def names(tree: Tree) -> frozenset[str]:
    """Return the names of predictors and parameters that occur in a tree."""
    if isinstance(tree, Name):
        return frozenset((tree.id,))
    return frozenset().union(*(names(part) for part in children(tree)))


def refuse(text: str, column: int | None, received: str, expected: str, advice: str) -> ValueError:
    """Return a ValueError in three parts: received (with the place), expected, what to do next."""
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    place = "" if column is None else f" at column {column + 1}"
    return ValueError(f"received {received}{place} of the formula {shown!r}; expected {expected}: {advice}")


def scan(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield (kind, token, column) for each token, where kind is "number", "name" or "sign".

    Raises
    ------
    ValueError
        At the first character that no formula contains.
    """
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _TOKEN.match(text, at)
        if found is None:
            raise refuse(text, at, f"the character {text[at]!r}", _WHITELIST, _HINTS.get(text[at], _OTHERWISE))
        kind, token = str(found.lastgroup), found.group()
        after = text[found.end() : found.end() + 1]
        if kind == "number" and (after.isalnum() or after in ("_", ".")) and after:
            advice = "write a product with its sign, 2*x rather than 2x, and numbers as 12, 0.5 or 1e-3"
            raise refuse(text, at, f"{token + after!r}", "a decimal number followed by a sign", advice)
        if kind == "name" and (keyword.iskeyword(token) or not token.isidentifier() or token.startswith("__")):
            advice = "choose another name: a Python identifier that is no keyword and begins with no double underscore"
            advice = _LOGIC if token in ("and", "or", "not") else advice
            raise refuse(text, at, f"the word {token!r}", "names of predictors, parameters and functions", advice)
        yield kind, token, at
        at = found.end()


def read(text: str, constants: dict[str, float] = CONSTANTS) -> tuple[Tree, dict[str, int]]:
    """Return the tree of a formula and the column of the first appearance of each of its names, in text order.

    Parameters
    ----------
    text : str
    constants : dict of str to float, default pi and e
        Names that stand for a number.

    Raises
    ------
    ValueError
        When it is empty, too long or too deep, or holds anything but arithmetic.
    """
    if len(text) > MAX_CHARACTERS:
        received = f"{len(text)} characters in the text"
        raise refuse(text, None, received, f"at most {MAX_CHARACTERS}", _OTHERWISE)
    _bound_nesting(text)
    flat = "".join(" " if character.isspace() else character for character in text)
    indent = len(flat) - len(flat.lstrip())
    try:
        body = ast.parse(flat[indent:], mode="eval").body
    except SyntaxError as error:
        column = indent + (error.offset or 1) - 1
        received = f"text that is no arithmetic ({error.msg})"
        raise refuse(text, column, received, "an expression such as a*exp(-b*x) + c", "correct the text") from None
    except (ValueError, MemoryError, RecursionError):
        raise refuse(
            text, None, "nesting beyond the parser's limits", f"at most {MAX_DEPTH} levels", _OTHERWISE
        ) from None
    reader = _Reader(text, indent, flat[indent:].encode(), constants)
    return reader.read(body, 0), dict(sorted(reader.columns.items(), key=lambda item: item[1]))


def _bound_nesting(text: str) -> None:
    """Refuse empty text, parentheses deeper than the limit and runs of signs longer than it."""
    depth, run, column = 0, 0, -1
    for kind, token, column in scan(text):
        depth += (token == "(") - (token == ")")
        run = run + 1 if kind == "sign" and token in "+-" else 0
        if depth > MAX_DEPTH or run > MAX_DEPTH:
            received = f"more than {MAX_DEPTH} nested parentheses" if depth > MAX_DEPTH else f"a run of {run} signs"
            raise refuse(text, column, received, f"at most {MAX_DEPTH} levels", _OTHERWISE)
    if column < 0:
        raise refuse(text, None, "nothing in the text", "an expression such as a*exp(-b*x) + c", "write the model")


class _Reader:
    """Turns checked `ast` nodes into a `Tree`, counting nodes and remembering the columns of names."""

    def __init__(self, text: str, indent: int, utf8: bytes, constants: dict[str, float]):
        self._text, self._indent, self._utf8, self._constants = text, indent, utf8, constants
        self._nodes = 0
        self.columns: dict[str, int] = {}

    def _column(self, node: ast.expr) -> int:
        return self._indent + len(self._utf8[: node.col_offset].decode())

    def _refuse(self, node: ast.expr, received: str, expected: str, advice: str) -> ValueError:
        return refuse(self._text, self._column(node), received, expected, advice)

    def read(self, node: ast.expr, depth: int) -> Tree:
        """Return the tree of a node; a chain of + and -, or of * and /, counts as one level."""
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            limit = f"{MAX_DEPTH} levels" if depth > MAX_DEPTH else f"{MAX_NODES} nodes"
            raise self._refuse(
                node, f"more than {limit}", f"at most {MAX_NODES} nodes in {MAX_DEPTH} levels", _OTHERWISE
            )
        match node:
            case ast.Constant(value) if type(value) in (int, float):
                return self._number(node, float, value)
            case ast.Name(id):
                return self._name(node, id)
            case ast.UnaryOp(ast.UAdd(), operand):
                return self.read(operand, depth + 1)
            case ast.UnaryOp(ast.USub(), operand):
                part = self.read(operand, depth + 1)
                return Number(-part.value) if isinstance(part, Number) else Negative(part)
            case ast.BinOp(op=ast.Add() | ast.Sub()):
                return self._chain(node, depth, (ast.Add, ast.Sub))
            case ast.BinOp(op=ast.Mult() | ast.Div()):
                return self._chain(node, depth, (ast.Mult, ast.Div))
            case ast.BinOp(left, ast.Pow(), right):
                base, exponent = self.read(left, depth + 1), self.read(right, depth + 1)
                if isinstance(base, Number) and isinstance(exponent, Number):
                    return self._number(node, math.pow, base.value, exponent.value)
                return Power(base, exponent)
            case ast.Call(ast.Name(id), args, []):
                return self._call(node, id, args, depth)
            case ast.Compare():
                advice = "write where(x < c, a, b), a where the comparison holds and b elsewhere"
                raise self._refuse(node, "a comparison", "one as the first argument of where alone", advice)
        raise self._refuse(node, f"{type(node).__name__} syntax", _WHITELIST, _OTHERWISE)

    def _number(self, node: ast.expr, function, *arguments: float) -> Number:
        try:
            value = function(*arguments)
        except (ArithmeticError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise self._refuse(
                node, "a constant that is no finite double", "constants below 1.8e308 in size", "rescale the formula"
            )
        return Number(value)

    def _name(self, node: ast.expr, name: str) -> Name:
        if name in self._constants:
            return Number(self._constants[name])
        if name in FUNCTIONS or name in ALIASES:
            raise self._refuse(
                node, f"the function {name!r} without arguments", f"{name}(...)", "call it, or rename the parameter"
            )
        self.columns.setdefault(name, self._column(node))
        return Name(name)

    def _chain(self, node: ast.expr, depth: int, pair: tuple[type, type]) -> Tree:
        links = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, pair):
            links.append((node, 1 if isinstance(node.op, pair[0]) else -1))
            node = node.left
        signs, parts = [1], [self.read(node, depth + 1)]
        for link, sign in reversed(links):
            part = self.read(link.right, depth + 1)
            if len(parts) == 1 and isinstance(parts[0], Number) and isinstance(part, Number):
                parts[0] = self._fold(link, parts[0].value, sign, part.value)
                continue
            if pair[0] is ast.Mult and sign < 0 and part == Number(0.0):
                raise self._refuse(link.right, "a division by zero", "a divisor other than 0", "correct the text")
            signs.append(sign)
            parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return (Sum if pair[0] is ast.Add else Product)(tuple(signs), tuple(parts))

    def _fold(self, node: ast.BinOp, left: float, sign: int, right: float) -> Number:
        if isinstance(node.op, ast.Add | ast.Sub):
            return self._number(node, lambda: left + sign * right)
        return self._number(node, lambda: left * right if sign > 0 else left / right)

    def _call(self, node: ast.Call, name: str, args: list[ast.expr], depth: int) -> Tree:
        name = ALIASES.get(name, name)
        if name not in FUNCTIONS:
            close = get_close_matches(name, FUNCTIONS, n=3)
            advice = f"did you mean {', '.join(close)}" if close else "write a product with its sign, a*(x + 1)"
            raise self._refuse(node, f"a call of {name!r}", f"one of the functions {', '.join(FUNCTIONS)}", advice)
        known = FUNCTIONS[name]
        if len(args) != known.arity:
            received = f"{len(args)} arguments of {name!r}"
            raise self._refuse(node, received, f"{known.arity}", "correct the call; arguments go by position")
        if name == "where" and isinstance(args[0], ast.Compare):
            first = self._comparison(args[0], depth + 1)
            return Call(name, (first, *(self.read(argument, depth + 1) for argument in args[1:])))
        parts = tuple(self.read(argument, depth + 1) for argument in args)
        if all(isinstance(part, Number) for part in parts):
            return self._number(node, known.fold, *(part.value for part in parts))
        return Call(name, parts)

    def _comparison(self, node: ast.Compare, depth: int) -> Tree:
        """Return a comparison, or a chain of two that must both hold, as calls."""
        if len(node.ops) > 2:
            received = f"a chain of {len(node.ops)} comparisons"
            raise self._refuse(node, received, "one, or two as in 0 < x < c", "put a where into another")
        sides = [self.read(side, depth + 1) for side in (node.left, *node.comparators)]
        calls = []
        for sign, left, right in zip(node.ops, sides[:-1], sides[1:], strict=True):
            function, exchanged = _COMPARISONS[type(sign)]
            calls.append(Call(function, (right, left) if exchanged else (left, right)))
        return calls[0] if len(calls) == 1 else Call("both", tuple(calls))


def normal(name: str) -> str:
    """Return a name in the normal form in which Python's parser hands identifiers over (NFKC)."""
    return unicodedata.normalize("NFKC", name)
