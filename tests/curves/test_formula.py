"""Formulas: what is refused, exact values and derivatives, the linear part, and the generated code."""

import copy
import ctypes
import pickle
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

sympy = pytest.importorskip("sympy", reason="formulas need SymPy")
mpmath = pytest.importorskip("mpmath")

from sosolve.curves import FUNCTIONS, Formula, parse  # noqa: E402

ATTACKS = {
    "import": "__import__('os').system('id')*a",
    "call of eval": "eval(x)*a",
    "attribute": "x.__class__*a",
    "attribute of a number": "(1).real*a*x",
    "lambda": "(lambda: a)()*x",
    "comprehension": "sum([a for i in x])",
    "assignment": "a = x",
    "walrus": "(a := x)",
    "string": "a*'x'",
    "bytes": "a*b'x'",
    "f-string": "a*f'{x}'",
    "subscript": "a[0]*x",
    "dictionary": "{a: x}",
    "keyword argument": "exp(x=a)",
    "starred argument": "exp(*a)",
    "double-starred argument": "exp(**a)",
    "comparison": "a < x",
    "comparison as a number": "a*(x < 1)",
    "comparison as a branch": "where(a, x < 1, b)",
    "membership": "where(x in a, b, x)",
    "boolean in a comparison": "where(x < 1 and x > 0, a, b)",
    "bits in a comparison": "where((x < 1) & (x > 0), a, b)",
    "long chain": "where(" + "<".join(["x"] * 400) + ", a, b)",
    "boolean": "a and x",
    "negation": "not a*x",
    "conditional": "a if x else b",
    "tuple": "a, x",
    "empty tuple": "()",
    "statement": "a*x; import os",
    "newline statement": "a*x\nimport os",
    "dunder name": "__builtins__*x",
    "leading dunder": "__a*x",
    "unknown function": "foo(x)*a",
    "call of a number": "2(x)*a",
    "call of a call": "exp(x)(a)",
    "function as a name": "exp*x",
    "wrong arity": "exp(a, x)",
    "no argument": "exp()*a*x",
    "matrix product": "a @ x",
    "floor division": "a // x",
    "modulo": "a % x",
    "shift": "a << x",
    "bits": "a & x",
    "caret": "a*x^2",
    "inversion": "~a*x",
    "complex number": "2j*a*x",
    "implicit product": "2x*a",
    "hexadecimal": "0xFF*a*x",
    "underscore in a number": "1_000*a*x",
    "None": "None*x",
    "True": "True*a*x",
    "ellipsis": "...*a",
    "await": "await a*x",
    "yield": "(yield a)*x",
    "comment": "a*x # note",
    "backslash": "a*\\\nx",
    "null": "a*x\0",
    "surrogate": "a*x*\ud800",
    "empty": "",
    "blank": "  \n\t ",
    "unclosed": "a*(x",
    "unopened": "a*x)",
    "trailing sign": "a*x +",
    "tower": "a*x + 9**9**9**9",
    "tower of names": "**".join(["x"] * 300) + "*a",
    "huge constant": "a*x*1e999",
    "huge integer": "a*x*" + "9" * 1500,
    "overflow of constants": "a*x*exp(1000)",
    "constant outside the domain": "a*x*log(-1)",
    "division by zero": "a*x/0",
    "division by zero inside": "a*x*(1/0)",
    "3000 parentheses": "(" * 3000 + "a*x" + ")" * 3000,
    "900 parentheses": "(" * 900 + "a*x" + ")" * 900,
    "200000 signs": "-" * 200_000 + "a*x",
    "1900 signs": "-" * 1900 + "a*x",
    "spaced signs": "+ - " * 400 + "a*x",
    "100000 terms": "+".join(["a*x"] * 100_000),
    "many nodes": "+".join(["a*x"] * 300),
    "deep signs": "--(" * 30 + "a*x" + ")" * 30,
    "no parameter": "2*x + pi*e",
    "numbers alone": "1 + 2",
    "column out of range": "a*x1",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_what_is_no_formula_is_refused_at_once_in_three_parts(attack):
    began = time.thread_time()  # of this thread alone: other processes do not count
    with pytest.raises(ValueError) as caught:
        parse(attack, 1)
    assert time.thread_time() - began < 0.1
    message = str(caught.value)
    assert message.startswith("received ")
    assert "; expected " in message
    assert message.index("; expected ") < message.rindex(": ")  # a third part follows
    assert len(message) < 700


@pytest.mark.parametrize(
    ("text", "received", "column", "advice"),
    [
        ("a*x^2", "the character '^'", 4, "**"),
        ("a*2x", "'2x'", 3, "2*x"),
        ("a + np.exp(x)", "the character '.'", 7, "bare name"),
        ("y = a*x", "the character '='", 3, "right-hand side"),
        ("a*x + expp(x)", "a call of 'expp'", 7, "did you mean exp"),
        ("a*x*(x > 1)", "a comparison", 6, "where(x < c, a, b)"),
        ("where(x < c && x > 0, a, b)", "the character '&'", 13, "a chain such as 0 < x < c"),
        ("where(x < c and x > 0, a, b)", "the word 'and'", 13, "a chain such as 0 < x < c"),
        ("where(x =< c, a, b)", "the character '='", 9, "a comparison is ==, <= or >="),
        ("a*x if x else b", "the word 'if'", 5, "choose another name"),
        ("été*exp(x, x)", "2 arguments of 'exp'", 5, "by position"),
        ("a*x + 9**9**9**9", "a constant that is no finite double", 10, "rescale"),
        ("  a + (x, x)", "Tuple syntax", 7, "Python function"),
    ],
)
def test_the_message_names_the_place_and_the_cure(text, received, column, advice):
    with pytest.raises(ValueError) as caught:
        parse(text, 1)
    assert f"received {received} at column {column} of the formula {text!r}; expected" in str(caught.value)
    assert advice in str(caught.value)


@pytest.mark.parametrize("text", [None, 3, b"a*x", ["a*x"]])
def test_text_of_another_type_is_a_type_error(text):
    with pytest.raises(TypeError, match="expected a string"):
        parse(text, 1)


def test_limits_are_wide_enough_for_real_formulas():
    chain = " + ".join(f"p{i}*x" for i in range(100))
    assert parse(chain, 1).size == 100
    assert parse("a" + " " * 1990 + "*x", 1).parameters == ("a",)
    assert parse("(" * 49 + "a*x" + ")" * 49, 1).value(2.0 * np.ones(3), [3.0]).tolist() == [6.0] * 3
    assert parse("-" * 49 + "a*x", 1).value(np.ones(1), [3.0]).tolist() == [-3.0]


@pytest.mark.parametrize("text", ["a*" + "*".join(["x"] * 240), "+".join(f"a{i}*exp(-b{i}*x)" for i in range(30))])
def test_the_largest_formulas_compile_within_seconds(text):
    formula, x = parse(text, 1), np.linspace(0.0, 1.0, 5)
    began = time.thread_time()
    value, J = formula.value_and_jacobian(x, np.ones(formula.size))
    assert time.thread_time() - began < 5.0
    assert np.isfinite(value).all()
    assert J.shape == (5, formula.size)


def test_names_become_predictors_parameters_and_constants():
    formula = parse("b*exp(-a*time) + e*pi + dose", ["dose", "time", "unused column"])
    assert formula.parameters == ("b", "a")
    assert formula.predictors == ("dose", "time", "unused column")
    X = np.array([[1.0, 2.0, 9.0], [3.0, 4.0, 9.0]])
    assert np.allclose(formula.value(X, [2.0, 0.5]), 2.0 * np.exp(-0.5 * X[:, 1]) + np.e * np.pi + X[:, 0], rtol=1e-15)
    assert parse("a*e", ["e"]).value([3.0], [2.0]).tolist() == [6.0]  # a column of that name wins
    assert parse("a*x + x0", 1).value([3.0], [2.0]).tolist() == [9.0]
    assert parse("a*x0 + x2", 3).value(np.arange(6.0).reshape(2, 3), [2.0]).tolist() == [2.0, 11.0]
    assert parse("λ*x + \uff41", 1).parameters == ("λ", "a")  # identifiers in normal form, as Python has them
    with pytest.raises(ValueError, match=r"the column 'x'.*one of x0, x1: "):
        parse("a*x", 2)


@pytest.mark.parametrize(
    ("predictors", "error"), [(0, ValueError), (-1, ValueError), ([], ValueError), (["a", "a"], ValueError)]
)
def test_bad_predictors_are_refused(predictors, error):
    with pytest.raises(error, match="expected at least one"):
        parse("b*x", predictors)


@pytest.mark.parametrize("predictors", [None, 1.5, True])
def test_predictors_of_another_type_are_a_type_error(predictors):
    with pytest.raises(TypeError, match="expected names or their number"):
        parse("b*x", predictors)


# One formula per function, and formulas that mix them; arguments stay inside the domain for x, p in (0.2, 0.9).
FORMULAS = [
    *(f"a*{name}(b*x)" for name, known in FUNCTIONS.items() if known.arity == 1 and name not in ("acosh", "sign")),
    "a*acosh(1 + b*x)",
    "minimum(a*x, b)",
    "maximum(a*x, b)*c",
    "where(x < c, a + b*x, a + b*c)",
    "d + where(0.3 <= x < c, a*log(c + x), b)*b",
    "where(x > c, where(x >= d, a*sqrt(x + c), b**2)*x, exp(a*(c - x)))",
    "a*where(x != c, b, d) + where(x == 0.5, c, a)",
    "hypot(a*x, b)*atan2(c - x, b) + arctan2(a, x)",
    "a*heaviside(x - b, c)",
    "a*arcsin(b*x) + arccos(c*x)*arctan(x)",
    "b1*(1 - exp(-b2*x))",
    "h*exp(-(x - m)**2/(2*s**2)) + c",
    "a*x**n/(k**n + x**n)",
    "(b1 + b2*x + b3*x**2 + b4*x**3) / (1 + b5*x + b6*x**2 + b7*x**3)",
    "b1*(x**2 + x*b2)/(x**2 + x*b3 + b4)",
    "b1/(1 + exp(b2 - b3*x))**(1/b4)",
    "d + (u - d)*expit(k*(x - m))**g",
    "a*x**0.5 + b*x**-0.5 + c*x**1.5 + d*x**-3 + f*x**17 + g*x**40",
    "2**(a*x) + a**2.5 - -b**2",
    "a**b**c*x + x**(a*b)",
    "((a*x + b)**2 + c)**3/((a + x)*(b + x))",
    "a/b/c*x/(a*b) - (c - (b - (a - x)))",
    "exp(a*exp(b*exp(c*x)))",
    "a",
    "a + b*x*0",
    "sin(a)*cos(b) + 0*x",
]


def reference(formula, x, params):
    """Return value and Jacobian by SymPy's own derivatives in 40 digits."""
    p = [sympy.Symbol(name, real=True) for name in formula.parameters]
    rows = [formula.expression, *(sympy.diff(formula.expression.doit(), q) for q in p)]
    function = sympy.lambdify([sympy.Symbol(formula.predictors[0], real=True), *p], rows, "mpmath")
    with mpmath.workdps(40):
        table = [[float(mpmath.re(entry)) for entry in function(*map(mpmath.mpf, (xi, *params)))] for xi in x]
    return np.array(table)[:, 0], np.array(table)[:, 1:]


@pytest.mark.parametrize("text", FORMULAS)
def test_values_and_derivatives_equal_sympy_in_forty_digits(text):
    formula = parse(text, 1)
    rng = np.random.default_rng(3)
    x, params = rng.uniform(0.2, 0.9, 7), rng.uniform(0.2, 0.9, formula.size)
    value, J = formula.value_and_jacobian(x, params)
    wanted, slopes = reference(formula, x, params)
    assert np.allclose(value, wanted, rtol=2e-14, atol=1e-300)
    assert np.allclose(J, slopes, rtol=1e-12, atol=1e-14)
    assert np.allclose(formula.value(x, params), value, rtol=1e-14, atol=0)
    assert np.allclose(formula.jacobian(x, params), J, rtol=1e-13, atol=1e-16)


EVERY_FUNCTION = " + ".join(
    f"a{i}*{name}({'1 + ' * (name == 'acosh')}b*x{', c' * (known.arity - 1)})"
    for i, (name, known) in enumerate(FUNCTIONS.items())
)
GENERATED = [EVERY_FUNCTION, *FORMULAS[FORMULAS.index("maximum(a*x, b)*c") :]]


def sample(text, seed=4, n=5):
    formula, rng = parse(text, 1), np.random.default_rng(seed)
    x, params = rng.uniform(0.2, 0.9, n), rng.uniform(0.2, 0.9, formula.size)
    return formula, x, params, *formula.value_and_jacobian(x, params)


def row_of(formula, jacobian=True):
    space = {}
    exec(formula.source("numba", jacobian), space)  # noqa: S102
    return space["row"]


@pytest.mark.parametrize("text", GENERATED)
def test_scalar_source_agrees_in_plain_python(text):
    formula, x, params, value, slopes = sample(text)
    J = np.empty(formula.size)
    for i in range(len(x)):
        assert np.isclose(row_of(formula)(x[i], *params, J), value[i], rtol=1e-13)
        assert np.allclose(J, slopes[i], rtol=1e-12, atol=1e-14)
        assert np.isclose(row_of(formula, jacobian=False)(x[i], *params), value[i], rtol=1e-13)
    assert formula.source("python") == formula.source("numba")


@pytest.mark.parametrize("text", [EVERY_FUNCTION, "a*x**n/(k**n + x**n)", "d + where(0.3 <= x < c, a*log(c + x), b)*b"])
def test_numba_compiles_the_source_and_agrees(text):
    numba = pytest.importorskip("numba")
    formula, x, params, value, slopes = sample(text)
    row = numba.njit(error_model="numpy")(row_of(formula))
    J = np.empty(formula.size)
    for i in range(len(x)):
        assert np.isclose(row(x[i], *params, J), value[i], rtol=1e-13)
        assert np.allclose(J, slopes[i], rtol=1e-12, atol=1e-14)
    # Where a predictor is 0 or an argument overflows, the compiled row says what NumPy says.
    for extreme in (0.0, 800.0, -800.0):
        wanted, wanted_slopes = formula.value_and_jacobian(np.array([extreme]), params)
        assert np.allclose(row(extreme, *params, J), wanted[0], rtol=1e-12, equal_nan=True)
        assert np.allclose(J, wanted_slopes[0], rtol=1e-12, atol=1e-14, equal_nan=True)


def test_cuda_source_compiles_as_cpp_and_agrees(tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the CUDA C++ source with")
    parts = [
        f"namespace f{i} {{\n{parse(text, 1).source('cuda')}}}\n"
        f'extern "C" double row{i}(const double* x, const double* p, double* J)'
        f"{{ return f{i}::sosolve_row(x, p, J); }}\n"
        for i, text in enumerate(GENERATED)
    ]
    code, library = tmp_path / "rows.cpp", tmp_path / "rows.so"
    code.write_text("#include <math.h>\n" + "".join(parts))
    command = [compiler, "-std=c++11", "-Wall", "-Werror", "-O1", "-shared", "-fPIC", str(code), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = ctypes.CDLL(str(library))
    for i, text in enumerate(GENERATED):
        formula, x, params, value, slopes = sample(text)
        function = getattr(rows, f"row{i}")
        function.restype, J = ctypes.c_double, np.empty(formula.size)
        pointer = ctypes.POINTER(ctypes.c_double)
        for k in range(len(x)):
            found = function(*(array.ctypes.data_as(pointer) for array in (x[k : k + 1], params, J)))
            assert np.isclose(found, value[k], rtol=1e-13), text
            assert np.allclose(J, slopes[k], rtol=1e-12, atol=1e-14), text


@pytest.mark.parametrize("target", ["numpy", "numba", "cuda"])
def test_generated_code_holds_no_word_of_the_user(target):
    text = parse("os*exp(-system*eval_)", ["eval_", "open"]).source(target)
    for word in ("os", "system", "eval_", "open"):
        assert word not in re.findall(r"\w+", text)
    with pytest.raises(ValueError, match=r"received target='fortran'; expected one of .*: choose"):
        parse("a*x", 1).source("fortran")


def test_common_parts_are_computed_once():
    source = parse("h*exp(-(x - m)**2/(2*s**2)) + c", 1).source("numpy")
    assert source.count("exp(") == 1
    assert source.count("x0") == 2  # in the signature and in x0 - m
    assert parse("a*x**n/(k**n + x**n)", 1).source("numba").count("pow(x0, p1)") == 1
    assert parse("a*x**8", 1).source("numba", jacobian=False).count("*") == 4  # three squarings and a


def test_reverse_accumulation_keeps_deep_formulas_linear():
    text = "a*x"
    for k in range(12):
        text = f"exp(-b{k}*({text} + c{k})**2)"
    formula, x, params, value, J = sample(text)
    assert formula.source("numpy").count("exp(") == 12
    assert len(formula.source("numpy").splitlines()) < 12 * 14
    step = np.array([*params]) * (1 + 0j)
    for k in (0, 7, formula.size - 1):
        up, down = step.real.copy(), step.real.copy()
        up[k], down[k] = up[k] + 1e-6, down[k] - 1e-6
        slope = (formula.value(x, up) - formula.value(x, down)) / 2e-6
        assert np.allclose(J[:, k], slope, rtol=1e-5, atol=1e-10)
    assert np.isfinite(value).all()


def test_sums_keep_the_order_of_the_text():
    x = np.array([1e9 + 1.0, 1e9 + 2.0])
    for text in ("a*((x - 1e9) - m)", "a*(x - 1e9 - m)", "a*exp(log((x - 1e9) - m))"):
        value, J = parse(text, 1).value_and_jacobian(x, [1.0, 0.125] if "m" in text else [1.0])
        assert np.allclose(value, [0.875, 1.875], rtol=1e-15, atol=0)
        assert np.allclose(J[:, 0], [0.875, 1.875], rtol=1e-15, atol=0)


def test_everything_has_the_shape_of_the_rows_and_is_float64():
    for text in ("a", "a + 0*x", "2*a*b", "a*x + b"):
        formula = parse(text, 1)
        for X in (np.arange(4), np.arange(4.0, dtype=np.float32)[:, None], [0, 1, 2, 3], np.arange(8)[::2] / 2):
            value, J = formula.value_and_jacobian(X, np.ones(formula.size))
            assert value.shape == (4,)
            assert J.shape == (4, formula.size)
            assert value.dtype == J.dtype == np.float64
            assert J.flags.f_contiguous
        assert formula.value(np.empty(0), np.ones(formula.size)).shape == (0,)
    assert parse("a", 1).jacobian(np.zeros(3), [5.0]).tolist() == [[1.0]] * 3


def test_inputs_are_checked_and_never_changed():
    formula = parse("a*x0 + b*x1", 2)
    X = np.arange(6.0).reshape(3, 2)
    X.flags.writeable = False
    assert formula.value(X, [1.0, 2.0]).tolist() == [2.0, 8.0, 14.0]
    with pytest.raises(ValueError, match=r"received X of shape \(3,\); expected \(n, 2\)"):
        formula.value(np.arange(3.0), [1.0, 2.0])
    with pytest.raises(ValueError, match=r"expected \(2,\) for a, b"):
        formula.value(X, [1.0])
    with pytest.raises(TypeError, match="complex128"):
        formula.value(X + 0j, [1.0, 2.0])
    with pytest.raises(TypeError, match="expected real numbers"):
        formula.value(np.array([["1", "2"]]), [1.0, 2.0])


def test_values_that_are_not_finite_come_back_without_a_warning():
    x = np.array([-1.0, 0.0, 1.0])
    with np.errstate(all="raise"):
        value, J = parse("a*log(x) + exp(b)/x", 1).value_and_jacobian(x, [1.0, 1000.0])
    assert np.isnan(value[0])
    assert np.isinf(value[2])
    assert np.isneginf(J[1, 0])


def test_powers_at_a_zero_base_have_the_slope_zero():
    x = np.array([0.0, 1.0, 4.0])
    J = parse("a*x**n", 1).jacobian(x, [2.0, 1.5])
    assert J[0].tolist() == [0.0, 0.0]
    assert np.allclose(J[2], [8.0, 16.0 * np.log(4.0)], rtol=1e-15)
    J = parse("a*x**n/(k**n + x**n)", 1).jacobian(x, [2.0, 1.5, 1.0])
    assert J[0].tolist() == [0.0, 0.0, 0.0]
    assert parse("a*0**x", 1).value(x, [3.0]).tolist() == [3.0, 0.0, 0.0]


def test_sign_is_a_step_with_slope_zero():
    value, J = parse("a*sign(x - b)", 1).value_and_jacobian([0.0, 1.0, 2.0], [3.0, 1.0])
    assert value.tolist() == [-3.0, 0.0, 3.0]
    assert J.T.tolist() == [[-1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_a_branch_that_is_not_taken_leaves_no_trace():
    """log and the slope of sqrt do not exist there; chains and exchanged sides say what they say in Python."""
    x = np.array([0.0, 1.0, 2.0, 4.0])
    for text in ("where(x > c, a*log(x - c) + d, d)", "d + where(c < x, a*(log(x - c)**2 + 3)**2, 0)*d"):
        value, J = parse(text, 1).value_and_jacobian(x, [2.0, 3.0, 5.0][:: 1 if text[0] == "w" else -1])
        assert value[:3].tolist() == [5.0] * 3
        assert np.isfinite(J).all()
        assert (J[:3, 0 if text[0] == "w" else 1] == 0.0).all()
    for text in ("where(x > c, exp(1 - (a*log(x - c) + b)), 0)", "where(x > c, d*(y0 - (a*log(x - c) + b))**2, 0)"):
        formula = parse(text, 1)
        assert (formula.jacobian(x, np.linspace(2.0, 3.0, formula.size))[:3] == 0.0).all()
    assert parse("where(1 <= x < c, a, 0)", 1).value(x, [4.0, 7.0]).tolist() == [0.0, 7.0, 7.0, 0.0]
    assert parse("where(x, a, b)", 1).value(x, [4.0, 7.0]).tolist() == [7.0, 4.0, 4.0, 4.0]
    assert parse("where(x == 1, a, b)", 1).jacobian(x, [4.0, 7.0]).T.tolist() == [[0, 1, 0, 0], [1, 0, 1, 1]]
    assert parse("where(x < c, a + b*x, a + b*c)", 1).jacobian(x, [2.0, 1.0, 3.0])[:, 0].tolist() == [0, 0, 3, 3]
    assert parse("a*heaviside(x - b, 0.5)", 1).value(x, [2.0, 1.0]).tolist() == [0.0, 1.0, 2.0, 2.0]
    assert parse("a*hypot(x, b*0) + atan2(b*x, 0)*0", 1).jacobian(x[:1], [2.0, 1.0]).tolist() == [[0.0, 0.0]]
    assert "c > x" in parse("where(x < c, a, b)", 1).latex()
    assert r"\neq 0" in parse("where(x, a, b)", 1).latex()


def test_expit_and_its_slope_are_exact_in_both_tails():
    x = np.array([-700.0, -40.0, 0.0, 40.0, 700.0, 1e4, -1e4])
    value, J = parse("expit(a*x)", 1).value_and_jacobian(x, [1.0])
    wanted = [float(1 / (1 + mpmath.exp(-mpmath.mpf(v)))) for v in x]
    slopes = [
        float(mpmath.mpf(v) * mpmath.exp(-abs(mpmath.mpf(v))) / (1 + mpmath.exp(-abs(mpmath.mpf(v)))) ** 2) for v in x
    ]
    assert np.allclose(value, wanted, rtol=1e-13, atol=1e-305)
    assert np.allclose(J[:, 0], slopes, rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(
    ("text", "linear"),
    [
        ("a*exp(-b*x) + c", ("a", "c")),
        ("a*exp(-b*x) + c*exp(-d*x)", ("a", "c")),
        ("b1*(1 - exp(-b2*x))", ("b1",)),
        ("a*(b + c*x)", ("b", "c")),
        ("(a + b*x)/(1 + c*x)", ("a", "b")),
        ("-(a - b)*x/3 + c", ("a", "b", "c")),
        ("a**2*x + exp(b)", ()),
        ("x/a + b**1.5", ()),
        ("exp(-x) + 2*(a*sin(w*x) + b*cos(w*x) - x)", ("a", "b")),
        ("where(x < c, a + b*x, 2*d + b*x)", ("a", "b", "d")),
        ("a*where(x < c, b*x, 1)", ("a",)),
    ],
)
def test_the_model_is_its_offset_and_its_basis(text, linear):
    formula = parse(text, 1)
    assert formula.linear_parameters == linear
    rng = np.random.default_rng(1)
    x, params = (
        rng.uniform(0.2, 0.9, 6),
        dict(zip(formula.parameters, rng.uniform(0.2, 0.9, formula.size), strict=True)),
    )
    alpha = [params[name] for name in formula.nonlinear_parameters]
    beta = np.array([params[name] for name in linear])
    phi, offset = formula.basis(x, alpha)
    assert phi.shape == (6, len(linear))
    value, J = formula.value_and_jacobian(x, [*params.values()])
    assert np.allclose(offset + phi @ beta, value, rtol=1e-13)
    *again, dphi, doffset = formula.basis_and_jacobian(x, alpha)
    assert dphi.shape == (6, len(linear), len(alpha))
    at = [formula.parameters.index(name) for name in formula.nonlinear_parameters]
    assert np.allclose(doffset + np.einsum("nqr,q->nr", dphi, beta), J[:, at], rtol=1e-12, atol=1e-15)
    for one, other in zip(again, (phi, offset), strict=True):
        assert np.allclose(one, other, rtol=1e-14, atol=1e-16)


def test_linear_parameters_are_those_whose_second_derivatives_vanish():
    for text in FORMULAS:
        formula = parse(text, 1)
        f = formula.expression.doit()
        chosen = [sympy.Symbol(name, real=True) for name in formula.linear_parameters]
        assert all(sympy.simplify(sympy.diff(f, p, q)) == 0 for p in chosen for q in chosen)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_formulas_pickle_copy_compare_and_hash_by_their_text(protocol):
    formula = parse("a*exp(-b*time)", ["time"])
    formula.value(np.ones(2), [1.0, 1.0])
    for twin in (pickle.loads(pickle.dumps(formula, protocol)), copy.copy(formula), copy.deepcopy(formula)):
        assert twin == formula
        assert hash(twin) == hash(formula)
        assert twin.value(np.ones(2), [1.0, 0.0]).tolist() == [1.0, 1.0]
    assert formula != parse("a*exp(-b*x)", 1)
    assert repr(formula) == "Formula('a*exp(-b*time)', predictors=('time',))"
    assert b"exp(-b" in pickle.dumps(formula)
    assert len(pickle.dumps(formula)) < 200


def test_latex_shows_the_text():
    assert parse("a*exp(-b*x) + c", 1).latex() == "a e^{- b x} + c"
    assert parse("a*x**2/b", 1)._repr_latex_() == r"$\displaystyle \frac{a x^{2}}{b}$"


def test_sums_products_and_new_names():
    peak, line = parse("h*exp(-(x - m)**2)", 1), parse("a - b*x", 1)
    x, rng = np.linspace(-1.0, 1.0, 5), np.random.default_rng(0)
    p, q = rng.normal(size=2), rng.normal(size=2)
    both = np.concatenate([p, q])
    assert (peak + line).parameters == ("h", "m", "a", "b")
    assert np.allclose((peak + line).value(x, both), peak.value(x, p) + line.value(x, q))
    assert np.allclose((peak * line).value(x, both), peak.value(x, p) * line.value(x, q))
    assert np.allclose((line * peak).value(x, np.roll(both, 2)), peak.value(x, p) * line.value(x, q))
    with pytest.raises(ValueError, match=r"share the parameters a, b; expected names that differ: rename"):
        line + line
    twice = line + line.with_prefix("second_")
    assert twice.parameters == ("a", "b", "second_a", "second_b")
    assert line.rename({"a": "b", "b": "a"}).text == "b - a*x"
    assert parse("a*exp(a*x)", 1).rename({"a": "exp_"}).text == "exp_*exp(exp_*x)"
    with pytest.raises(ValueError, match="different predictors"):
        line + parse("c*time", ["time"])
    for changes in ({"a": "x"}, {"a": "b"}, {"z": "y"}, {"a": "pi"}, {"a": "exp"}, {"a": "1*b"}, {"a": "c*d"}):
        with pytest.raises(ValueError, match="received"):
            line.rename(changes)
    with pytest.raises(TypeError):
        line + 1


def test_first_calls_from_many_threads_agree():
    x = np.linspace(0.1, 1.0, 50)
    with ThreadPoolExecutor(8) as pool:
        found = [
            *pool.map(lambda k: parse("q*exp(-r*x)*erf(x) + s", 1).value_and_jacobian(x, [1.0, 2.0, 3.0]), range(8))
        ]
    for value, J in found:
        assert np.array_equal(value, found[0][0])
        assert np.array_equal(J, found[0][1])


def test_sympy_and_numba_load_on_first_use():
    code = (
        "import sys, types; package = types.ModuleType('sosolve'); package.__path__ = [sys.argv[1]]\n"
        "sys.modules['sosolve'] = package; import sosolve.curves; assert not {'sympy', 'numba'} & set(sys.modules)\n"
        "sys.modules['sympy'] = None\n"
        "try: sosolve.curves.parse('a*x', 1)\n"
        "except ImportError as error: assert 'pip install' in str(error)\n"
        "else: raise AssertionError\n"
    )
    folder = Path(sys.modules["sosolve"].__file__).parent
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, timeout=60)


def test_value_and_jacobian_is_a_few_array_operations():
    formula = parse("a*exp(-b*x) + c", 1)
    body = formula.source("numpy").splitlines()[1:]
    assert len(body) == 7  # three steps, one value, three slopes
    assert isinstance(formula, Formula)
