"""From trees to a program: SymPy differentiates, shared subexpressions are found once for values and derivatives.

SymPy orders the terms of a sum as it likes, and ((x - 1e9) - m) summed in another order has lost seven digits. So
every sum of the text becomes a symbol of its own, v = t1 + t2 + ..., whose terms keep the order of the text and are
SymPy expressions without sums of the text in them. SymPy differentiates the terms; the chain rule over the v's is
applied backwards (reverse accumulation, Griewank and Walther, 2008, section 3.2), with each adjoint a symbol too, so
that the derivatives for p parameters cost a small multiple of the value. A power of anything but a symbol gets the
same treatment: SymPy would expand (2*x)**9 and gather exponents of nested powers.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from .functions import FUNCTIONS, INTERNAL, toolbox
from .grammar import Call, Name, Negative, Number, Power, Product, Sum, Tree

#: Integer exponents up to this size are repeated products (at most nine); the rounding of more would exceed pow's.
MAX_PRODUCT = 32

#: Products of more factors are split.
MAX_FACTORS = 8


def need_sympy():
    """Return the module `sympy`.

    Raises
    ------
    ImportError
        When it is not installed.
    """
    try:
        import sympy
    except ImportError as error:
        raise ImportError(
            "received a formula, but SymPy, which differentiates formulas, is not installed; "
            "expected SymPy 1.13 or later: run pip install 'sosolve[formula]'"
        ) from error
    return sympy


@dataclass(frozen=True)
class Program:
    """Straight-line code: each step defines a symbol as a sum of terms, in order; then values and slopes.

    Attributes
    ----------
    steps : tuple of (symbol, tuple of terms)
    values : tuple of expressions, one per output
    slopes : tuple of tuples of expressions, one row per output, one entry per parameter
    """

    steps: tuple
    values: tuple
    slopes: tuple


class _Builder:
    """Turns trees into SymPy expressions, giving a symbol to every sum."""

    def __init__(self, symbols: dict):
        self.sympy = need_sympy()
        self.symbols = symbols
        self.sums: dict = {}
        self._known: dict = {}

    def name(self, terms: tuple, letter: str):
        """Return a symbol for a sum of terms: a new one, or that of the same sum seen before."""
        if len(terms) == 1 and (terms[0].is_Symbol or terms[0].is_Number):
            return terms[0]
        if terms not in self._known:
            symbol = self.sympy.Symbol(f"{letter}{len(self.sums)}")
            self._known[terms], self.sums[symbol] = symbol, terms
        return self._known[terms]

    def build(self, tree: Tree):
        """Return the expression of a tree."""
        match tree:
            case Number(value):
                return self.sympy.Float(value)
            case Name(id):
                return self.symbols[id]
            case Negative(part):
                return -self.build(part)
            case Sum(signs, parts):
                terms = tuple(sign * self.build(part) for sign, part in zip(signs, parts, strict=True))
                return self.name(terms, "v")
            case Product(signs, parts):
                return self._product([self.build(part) ** sign for sign, part in zip(signs, parts, strict=True)])
            case Power(base, exponent):
                return self._power(self.build(base), self.build(exponent))
            case Call(function, parts):
                return getattr(toolbox(), function)(*(self.build(part) for part in parts))

    def _product(self, factors: list):
        """Return a product; a long one in named halves, or its p derivatives would cost p products of p factors."""
        if len(factors) <= MAX_FACTORS:
            return self.sympy.Mul(*factors)
        half = len(factors) // 2
        left, right = self._product(factors[:half]), self._product(factors[half:])
        return self.name((left,), "v") * self.name((right,), "v")

    def _power(self, base, exponent):
        if exponent.is_Number:
            value = float(exponent)
            if value.is_integer() and abs(value) <= MAX_PRODUCT:
                return self.name((base,), "v") ** int(value)
            if abs(value) == 0.5:
                return toolbox().sqrt(base) ** int(2 * value)
        return toolbox().power(base, exponent)

    def slopes(self, output, wrt: list) -> list:
        """Return the derivatives of an expression with respect to symbols, through all named sums."""
        named = [known for known in self.sums if str(known)[0] == "v"]
        moving = {*wrt, *named}
        parts = defaultdict(list)
        masked, F = set(), toolbox()
        for symbol in sorted(output.free_symbols & moving, key=str):
            parts[symbol].append(output.diff(symbol))
        # A sum's terms mention only sums made before it, so one sweep from the last to the first is complete.
        for symbol in reversed(named):
            weight = self.sympy.Add(*parts.pop(symbol, ()))
            if weight == 0:
                continue
            is_masked = weight.has(F.where, F.masked) or not masked.isdisjoint(weight.free_symbols)
            if not (weight.is_Number or weight.is_Symbol or (-weight).is_Symbol):
                weight = self.name((weight,), "w")
                if is_masked:
                    masked.add(weight)
            for term in self.sums[symbol]:
                for inner in sorted(term.free_symbols & moving, key=str):
                    slope = term.diff(inner)
                    parts[inner].append(_masked(F, weight, slope) if is_masked else weight * slope)
        return [self.sympy.Add(*parts.get(symbol, ())) for symbol in wrt]


def _masked(F, weight, slope):
    """Return weight times slope, 0 where the weight is: a branch that is not taken may have slopes of inf or NaN."""
    return weight * slope if slope.is_Number else F.masked(weight, slope)


def program(trees: tuple[Tree, ...], symbols: dict, wrt: list, values: bool = True) -> Program:
    """Return the code of some trees' values and of their derivatives.

    Parameters
    ----------
    trees : tuple of Tree
        The outputs.
    symbols : dict of str to Symbol
        The symbol of every name.
    wrt : list of Symbol
        What to differentiate by; empty for values alone.
    values : bool, default=True
        False leaves the values out.
    """
    builder = _Builder(symbols)
    outputs = [builder.build(tree) for tree in trees]
    slopes = [builder.slopes(output, wrt) for output in outputs] if wrt else []
    outputs = outputs if values else []
    return _share(builder, outputs, slopes)


def _share(builder: _Builder, outputs: list, slopes: list) -> Program:
    """Return the program with common subexpressions taken out and every step before its first use."""
    sympy = builder.sympy
    finals = [*outputs, *(entry for row in slopes for entry in row)]
    live, stack = set(), list(finals)
    while stack:
        for symbol in stack.pop().free_symbols:
            if symbol in builder.sums and symbol not in live:
                live.add(symbol)
                stack.extend(builder.sums[symbol])
    sums = [(symbol, terms) for symbol, terms in builder.sums.items() if symbol in live]
    pool = [term for _, terms in sums for term in terms] + finals
    temporaries, pool = sympy.cse(pool, symbols=sympy.numbered_symbols("t"), order="none", list=True)
    pool = iter(pool)
    definitions = {symbol: tuple(next(pool) for _ in terms) for symbol, terms in sums}
    definitions |= {symbol: (value,) for symbol, value in temporaries}
    finals = list(pool)
    m, p = len(outputs), len(slopes[0]) if slopes else 0
    rows = tuple(tuple(finals[m + i * p : m + (i + 1) * p]) for i in range(len(slopes)))
    return Program(_ordered(definitions, finals), tuple(finals[:m]), rows)


def _ordered(definitions: dict, finals: list) -> tuple:
    """Return the definitions that `finals` need, each after those it needs itself (depth first, no recursion)."""
    steps, done = [], set()
    stack = [(symbol, False) for final in reversed(finals) for symbol in _needs((final,), definitions)]
    while stack:
        symbol, ready = stack.pop()
        if symbol in done:
            continue
        if ready:
            done.add(symbol)
            steps.append((symbol, definitions[symbol]))
        else:
            stack.append((symbol, True))
            stack.extend((inner, False) for inner in _needs(definitions[symbol], definitions))
    return tuple(steps)


def _needs(terms: tuple, definitions: dict) -> list:
    found = set().union(*(term.free_symbols for term in terms))
    return sorted((symbol for symbol in found if symbol in definitions), key=str, reverse=True)


@lru_cache(maxsize=64)
def plain(tree: Tree):
    """Return a tree as an expression of SymPy's own functions over symbols named as in the text, unevaluated."""
    sympy = need_sympy()
    match tree:
        case Number(value):
            return sympy.Integer(int(value)) if value.is_integer() and abs(value) < 2**53 else sympy.Float(value)
        case Name(id):
            return sympy.Symbol(id, real=True)
        case Negative(part):
            return sympy.Mul(-1, plain(part), evaluate=False)
        case Power(base, exponent):
            return sympy.Pow(plain(base), plain(exponent), evaluate=False)
        case Call(function, parts):
            return (FUNCTIONS | INTERNAL)[function].plain(sympy, *(plain(part) for part in parts))
    terms = [
        plain(part) if sign > 0 else plain(Negative(part)) if isinstance(tree, Sum) else _inverse(part)
        for sign, part in zip(tree.signs, tree.parts, strict=True)
    ]
    return (sympy.Add if isinstance(tree, Sum) else sympy.Mul)(*terms, evaluate=False)


def _inverse(tree: Tree):
    return need_sympy().Pow(plain(tree), -1, evaluate=False)
