"""A formula in machine code: when, with which answer, in threads and forked children, and without LLVM."""

import multiprocessing
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from short_curves import MODELS

from sosolve import curve_fit, warmup
from sosolve.curves import parse
from sosolve.scipy_api import FitError, compiled

X = np.linspace(0.0, 4.0, 100)
NOISE = 0.02 * np.random.default_rng(0).standard_normal(X.size)
TEXT = MODELS["decay"].formula
Y = MODELS["decay"].f(X, *MODELS["decay"].true) + NOISE
START = [1.0, 1.0, 1.0]


@pytest.fixture(autouse=True)
def answers(monkeypatch):
    """Return a list of the answers of machine code, None where it had none; no formula is known yet."""
    compiled.account_of.cache_clear()
    found, real = [], compiled.compiled_fit

    def noted(*arguments):
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(compiled, "compiled_fit", noted)
    return found


def now(text, predictors=1):
    """Return a formula that is compiled."""
    formula = parse(text, predictors)
    compiled.compile_now(formula)
    assert compiled.account_of(formula).run is not None
    return formula


@pytest.mark.parametrize("name", MODELS)
def test_same_as_the_full_solver(name, answers):
    """Parameters to nine digits of their standard errors, covariances to eight."""
    f, text, true, start, _ = MODELS[name]
    y = f(X, *true) + NOISE
    popt, pcov = curve_fit(now(text), X, y, start)
    assert answers[0] is not None
    p, C = curve_fit(text, X, y, start, xtol=1e-12)
    assert (np.abs(popt - p) <= 1e-8 * np.sqrt(np.diag(C))).all()
    size = np.sqrt(np.diag(C))
    assert (np.abs(pcov - C) <= 1e-7 * np.outer(size, size)).all()


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("sigma", [0.3, np.linspace(0.5, 2.0, 200)[::2]])
def test_sigma(sigma, absolute, answers):
    """Standard deviations by point, that lie apart in memory, and for all points."""
    found = curve_fit(now(TEXT), X, Y, START, sigma, absolute)
    assert answers[0] is not None
    p, C = curve_fit(TEXT, X, Y, START, sigma, absolute, xtol=1e-12)
    np.testing.assert_allclose(found[0], p, rtol=1e-9)
    np.testing.assert_allclose(found[1], C, rtol=1e-7)


@pytest.mark.parametrize("n", [4, 5, 7, 8, 9, 33, 1000])
def test_numbers_of_points(n, answers):
    """What is left over of vectors; data that lie apart in memory."""
    x = np.linspace(0.0, 4.0, 2 * n)[::2]
    y = np.repeat(2.5 * np.exp(-1.3 * x) + 0.5 + 0.01 * np.cos(9.0 * x), 2)[::2]
    found = curve_fit(now(TEXT), x, y, START)
    assert answers[0] is not None
    p, C = curve_fit(TEXT, x, y, START, xtol=1e-12)
    np.testing.assert_allclose(found[0], p, rtol=1e-8)
    np.testing.assert_allclose(found[1], C, rtol=1e-6)


def test_predictors(answers):
    """Two rows, two columns of a mapping, and one that the formula does not name."""
    x = np.stack([X, np.cos(X), X * X])
    y = 2.0 * x[0] - x[1] ** 2 + 0.5 + NOISE
    first = curve_fit(now("a*x0 + b*x1**2 + c", 3), x, y, [1.0, 0.0, 0.0])
    second = curve_fit(now("a*t + b*u**2 + c", ("t", "u")), {"t": x[0], "u": x[1]}, y, [1.0, 0.0, 0.0])
    assert None not in answers
    assert len(answers) == 2
    p, C = curve_fit("a*x0 + b*x1**2 + c", x, y, [1.0, 0.0, 0.0], xtol=1e-12)
    for popt, pcov in (first, second):
        np.testing.assert_allclose(popt, p, rtol=1e-10)
        np.testing.assert_allclose(pcov, C, rtol=1e-9)


def test_wrong_columns(answers):
    """The message of NumPy's way: no memory is read that is not there."""
    with pytest.raises(ValueError, match="one column per predictor"):
        curve_fit(now("a*x0 + b*x1", 2), X, Y, [1.0, 1.0])
    with pytest.raises(ValueError, match="one value for each y"):
        curve_fit(now(TEXT), X[:-1], Y, START)
    assert answers == []


def test_no_answer_is_the_full_solvers(answers):
    """A model that is not finite on the way, a start that is not, and a direction that nothing depends on."""
    popt, _ = curve_fit(now("a*log(x - b)"), X + 1.0, np.log(X + 0.6), [1.0, 0.9])
    np.testing.assert_allclose(popt, [1.0, 0.4], rtol=1e-9)
    with pytest.raises((ValueError, FitError)):
        curve_fit(now("a*log(b - x)"), X, Y, [1.0, 1.0])
    with pytest.warns(UserWarning, match="not identifiable"):
        curve_fit(now("a*b*x"), X, Y, [1.0, 1.0])
    assert answers[1:] == [None, None]


def test_after_a_few_fits(answers):
    """NumPy first, machine code from the fourth fit on; the same to ten digits and more."""
    found = [curve_fit(TEXT, X, Y, START) for _ in range(compiled.FEW + 2)]
    assert len(answers) == 2
    np.testing.assert_allclose(found[-1][0], found[0][0], rtol=1e-11)
    np.testing.assert_allclose(found[-1][1], found[0][1], rtol=1e-7)
    np.testing.assert_array_equal(found[-1][0], found[-2][0])


def test_warmup(answers):
    """A formula of `warmup` is compiled before its first fit."""
    assert TEXT in warmup(linear=False, curves=False, formulas=[TEXT])
    curve_fit(TEXT, X, Y, START)
    assert answers[0] is not None


@pytest.mark.parametrize("error", [ImportError, AttributeError, NotImplementedError, RuntimeError, OSError])
def test_without_llvm(error, monkeypatch, answers):
    """NumPy goes on, and nobody asks again."""
    asked = []

    def refuse(formula):
        asked.append(formula)
        raise error("another version")

    monkeypatch.setattr(compiled, "fit_function", refuse)
    for _ in range(compiled.FEW + 3):
        popt, _ = curve_fit(TEXT, X, Y, START)
    assert len(asked) == 1
    assert answers == []
    np.testing.assert_allclose(popt, MODELS["decay"].true, rtol=0.1)


def test_nobody_waits_for_the_compiler(answers):
    """While another thread compiles, fits go on in NumPy."""
    with compiled._lock:
        for _ in range(compiled.FEW + 2):
            curve_fit(TEXT, X, Y, START)
        assert answers == []
    curve_fit(TEXT, X, Y, START)
    assert len(answers) == 1


def test_threads():
    """Fits at once do not disturb one another, one of which compiles at first."""
    data = [MODELS["decay"].f(X, 2.0 + k, 1.3, 0.5) + NOISE for k in range(8)]
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda k: curve_fit(TEXT, X, data[k % 8], START)[0], range(80)))
        alone = [curve_fit(TEXT, X, y, START)[0] for y in data]
        np.testing.assert_allclose(found, alone * 10, rtol=1e-10)
    np.testing.assert_array_equal(found, alone * 10)


def _child(queue):
    queue.put([curve_fit(text, X, Y, START)[0] for text in (TEXT, "a*exp(-b*x) + c + 0*x") for _ in range(5)])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child():
    """The child has the code of its parent, and makes its own."""
    expected = curve_fit(now(TEXT), X, Y, START)[0]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    for popt in queue.get(timeout=60):
        np.testing.assert_allclose(popt, expected, rtol=1e-11)
    child.join(timeout=60)
    assert child.exitcode == 0


def test_no_numba(monkeypatch):
    """What is compiled for one curve needs LLVM alone."""
    monkeypatch.setitem(sys.modules, "numba", None)
    compiled._loop.cache_clear()
    now("a*sin(b*x) + c/x")
