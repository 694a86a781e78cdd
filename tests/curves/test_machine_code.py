"""A small part of Python in machine code: the same numbers to the last bit, and what is not known is refused."""

import ctypes
import functools
import itertools
import math

import numpy as np
import pytest

from sosolve.curves import machine_code, native, parse
from sosolve.curves.functions import FUNCTIONS

SOURCE = '''
"""Left out."""
import math

def several(x: Array, n: int, out: Array) -> float:
    """All that is known."""
    a, b, k = 1.0, -2.5, 3
    a, b = b, a
    spare = room(4)
    for i in range(1, n):
        for _ in range(2):
            spare[i // 2] += x[i] / 3 - i
    if not (a < b and b != a) or k == 2:
        return -1.0
    if x[0] > 1e300:
        out[0] = LARGE
    else:
        out[0] = sqrt(-a) if x[0] >= 0.0 else floor(b)
    k += 1
    out[1] = max(x[0], 0.5) * min(spare[1], k)
    out[2] = pow(fabs(a), 1.5) * power_of_two(k - 5.0)
    twice(out, x[0])
    for i in range(n):
        if x[i] <= 0:
            return b
    return spare[0] - 0.5 * fabs(-k)

def twice(out: Array, value: float) -> None:
    if value > 5.0:
        return
    out[3] = 2 * value
    out[4] = is_small(value, -1) + 0.0 if is_small(value, 1) != is_small(value, 2) else -0.0

def is_small(value: float, k: int) -> float:
    return sin(value) if value < k else 0.25
'''


def called(engine, name, result, *arguments):
    """Return what a function returns for arrays, ints and floats."""
    kinds = {np.ndarray: ctypes.c_void_p, int: ctypes.c_int64, float: ctypes.c_double}
    function = ctypes.CFUNCTYPE(result, *(kinds[type(a)] for a in arguments))(engine.get_function_address(name))
    return function(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))


@functools.cache
def engine(fast):
    return machine_code.compiled(machine_code.translated(SOURCE, {"LARGE": 7.0}), fast)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("first", [-1.5, 0.0, 0.7, 1.5, 6.0, 1e301, math.nan])
def test_same_as_python(first, fast):
    """Each statement, each operator and each function, with NaN on every path."""
    space = {**vars(math), "Array": None, "LARGE": 7.0, "room": np.zeros, "power_of_two": lambda k: 2.0**k}
    exec(SOURCE, space)  # noqa: S102 our own text
    x = np.array([first, 2.0, 3.5, 0.1, 4.0])
    expected, out = np.zeros(5), np.zeros(5)
    value = space["several"](x, 5, expected)
    assert called(engine(fast), "several", ctypes.c_double, x, 5, out) == value
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "line",
    [
        "while a < 1.0: a = 2.0",
        "a = [1.0]",
        "a = a ** 2",
        "a = x[0] if a < 1.0 < 2.0 else a",
        "a = unknown(a)",
        "a = missing",
        "a = 1",  # a name keeps its kind
        "a = a // 2.0",
    ],
)
def test_what_is_not_known(line):
    """Refused, not guessed."""
    source = f"def f(x: Array, a: float) -> float:\n    {line}\n    return a"
    with pytest.raises((NotImplementedError, KeyError, RuntimeError, ValueError)):
        machine_code.compiled(machine_code.translated(source, {}), fast=False)


def test_missing_functions_and_versions(monkeypatch):
    """LLVM ends a process that calls what is not there, and prints what it cannot read: neither is tried."""
    binding = pytest.importorskip("llvmlite.binding")
    text = machine_code.translated("def f(a: float) -> float:\n    return erfc(a)", {})
    with monkeypatch.context() as patch:
        patch.setattr(binding, "address_of_symbol", lambda name: None)
        with pytest.raises(NotImplementedError, match="erfc"):
            machine_code.compiled(text, fast=True)
    monkeypatch.setattr(binding, "llvm_version_info", (15, 0, 7))
    with pytest.raises(NotImplementedError, match="15"):
        machine_code.compiled(text, fast=True)


# ---------------------------------------------------------------------- the pass of a formula


HOSTILE = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 30.0, -700.0, 710.0, 1e200, -1e200, math.inf, -math.inf, math.nan]
CALLS = [f"a*{name}({', '.join(['b*x', 'a', 'b'][: known.arity])})" for name, known in FUNCTIONS.items()]


@pytest.mark.parametrize(
    "text",
    [
        *CALLS,
        "a*x**b",
        "a**x + b",
        "a/(x - b)",
        "a*x**-3 + b**5",
        "sqrt(a - x)*log(b + x)",
        "a*exp(b*x)**2",
        "where(x < a, b*log(a - x), b)",
    ],
)
def test_hostile_numbers(text):
    """NaN, inf and digits of functions and powers are NumPy's, at negative bases, poles and overflow."""
    formula = parse(text, 1)
    x = np.array([0.25, 0.5, 0.75, 1.0])
    y, s = np.array([1.0, -2.0, 0.5, 3.0]), np.array([1.0, 2.0, 0.5, 1.0])
    rows = machine_code.compiled(native.pass_text(formula), fast=True)
    for theta in itertools.product(HOSTILE, HOSTILE):
        given, sums = np.array(theta), np.empty(6)
        called(rows, "rows", None, x, y, s, 4, 0.5, given, sums)
        value, J = formula.value_and_jacobian(x, given)
        with np.errstate(all="ignore"):
            A = 0.5 * s * np.vstack([J.T, value - y])
            expected, size = (A @ A.T)[np.tril_indices(3)], np.sqrt(np.square(A).sum(axis=1))
            size = np.outer(size, size)[np.tril_indices(3)]
            error = np.abs(sums - expected)
        np.testing.assert_array_equal(np.isfinite(sums), np.isfinite(expected), err_msg=str(theta))
        known = np.isfinite(sums) & np.isfinite(size)
        assert (error[known] <= 1e-12 * (size + np.abs(expected))[known]).all(), theta
