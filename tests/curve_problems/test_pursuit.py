"""Starting values of sums of terms: blocks are seen in the text, and found one after the other or in pairs."""

import numpy as np
import pytest

from sosolve import NonlinearLeastSquares
from sosolve.curve_problems.model import ExactModel
from sosolve.curve_problems.problem import CurveProblem
from sosolve.curve_problems.pursuit import Partial, Pursuit, _distinct
from sosolve.curves import parse

X = np.linspace(0.0, 100.0, 200)


def problem_of(text, truth, noise=0.02, x=X):
    """Return a problem with noisy data, and the sum of squares of the truth."""
    formula = parse(text, 1)
    clean = formula.value(x, truth)
    error = noise * np.std(clean) * np.random.default_rng(1).normal(size=len(x))
    p = formula.size
    problem = CurveProblem(
        ExactModel(formula),
        x[:, None],
        clean + error,
        np.full(p, np.nan),
        np.ones(p, dtype=bool),
        np.full(p, -np.inf),
        np.full(p, np.inf),
    )
    return problem, float(error @ error)


def pursuit_of(problem, candidates):
    """Return the pursuit of all nonlinear parameters."""
    search = ~problem.linear()
    return Pursuit(problem, np.ones(len(search)), search, candidates)


def places_and_widths(wanted):
    """Return candidates of a peak."""
    return np.array([(m, s) for m in np.linspace(5.0, 95.0, 19) for s in (3.0, 6.0, 12.0)])


PEAK = "h{0}*exp(-((x - m{0})/s{0})**2)"
TWO = f"{PEAK.format(1)} + {PEAK.format(2)} + c"


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        (TWO, [["m1", "s1"], ["m2", "s2"]]),
        ("a*exp(-b*x) + c*exp(-d*x) + g*exp(-b*d*x)", [["b", "d"]]),
        ("a + b*x + c*sin(w*x) + d*cos(w*x) + g*exp(-k*x)", [["w"], ["k"]]),
        ("a*exp(-b*x) + c/(1 + d*x) + x**f", []),
        ("a + b*x", []),
    ],
)
def test_blocks(text, blocks):
    """Parameters belong together where a column depends on both; a part without linear parameters stops it all."""
    problem, _ = problem_of(text, np.full(parse(text, 1).size, 0.5))
    found = pursuit_of(problem, places_and_widths)
    names = [[problem.model.names[found.nonlinear[k]] for k in block] for block in found.blocks]
    assert names == blocks


def test_overlapping_peaks_are_found_in_pairs():
    """The best single peak lies between the two; only the pair is near the truth."""
    truth = np.array([100.0, 44.0, 9.0, 70.0, 60.0, 8.0, 3.0])
    text = TWO.replace("h1", "a1").replace("h2", "a2")
    problem, rss = problem_of(text, truth)
    pursuit = pursuit_of(problem, places_and_widths)
    single = pursuit._with(Partial(np.inf, pursuit.base, frozenset()), 0)[0]
    assert 46.0 < single.theta[1] < 58.0
    best = pursuit.starts()[0]
    residual = problem.residual(best)
    assert residual @ residual < 1.05 * rss
    assert sorted([best[1], best[4]]) == pytest.approx([44.0, 60.0], abs=0.5)


def test_equal_blocks_are_tried_once():
    problem, _ = problem_of(TWO, [1.0, 20.0, 5.0, 2.0, 70.0, 5.0, 0.1])
    pursuit = pursuit_of(problem, places_and_widths)
    assert pursuit._next(frozenset()) == [0]
    assert pursuit._next(frozenset({0})) == [1]


def test_the_best_few_of_each_set_of_blocks_are_kept():
    theta = np.zeros(2)
    states = [Partial(v, theta, frozenset(b)) for v, b in ((3.0, {1}), (1.0, {0}), (1.0, {0}), (2.0, {0}), (4.0, {0}))]
    states.append(Partial(0.5, np.array([np.nan, 0.0]), frozenset({0})))
    assert [(s.value, set(s.blocks)) for s in _distinct(states)] == [(1.0, {0}), (2.0, {0}), (3.0, {1})]


CASES = {
    "three peaks": (f"{TWO} + {PEAK.format(3)}", [1.0, 15, 4, 2.0, 50, 5, 0.5, 0.7, 62.0, 4.0]),
    "negative peak": (f"{TWO} + k*x", [1.0, 30, 6, -1.5, 70, 9, 0.5, 0.01]),
    "two sines": ("a*sin(u*x) + b*cos(u*x) + c*sin(v*x) + d*cos(v*x)", [1.0, 0.83, 0.3, 0.5, 1.9, -0.7]),
    "one sine": ("a*sin(w*x) + b*cos(w*x)", [1.0, 1.37, -0.5]),
    "peak on a decay": (f"a*exp(-k*x) + {PEAK.format(1)}", [5.0, 0.05, 2.0, 60.0, 7.0]),
    "two decays": ("a*exp(-k*x) + b*exp(-l*x) + c", [5.0, 0.02, 4.0, 0.3, 1.0]),
}


@pytest.mark.parametrize("name", CASES)
def test_no_start_is_needed(name):
    """The estimator ends at a sum of squares no larger than that of the truth."""
    text, values = CASES[name]
    truth = dict(zip(sorted(set(parse(text, 1).parameters), key=parse(text, 1).parameters.index), values, strict=True))
    problem, rss = problem_of(text, [truth[name] for name in parse(text, 1).parameters])
    fit = NonlinearLeastSquares(text).fit(problem.X, problem.y)
    assert fit.result_.converged
    assert fit.rss_ <= rss


def test_known_values_and_bounds_are_kept():
    """What p0 gives stays where it is, and bounds on nonlinear parameters hold for the candidates."""
    problem, rss = problem_of(TWO, [1.0, 20.0, 5.0, 2.0, 70.0, 5.0, 0.1])
    fit = NonlinearLeastSquares(TWO, p0={"m2": 22.0}, bounds={"m1": (50.0, 90.0)}).fit(problem.X, problem.y)
    assert fit.rss_ <= rss
    assert fit.params_["m1"] == pytest.approx(70.0, abs=1.0)
    assert fit.params_["m2"] == pytest.approx(20.0, abs=1.0)


def test_models_without_nonlinear_parameters_have_no_blocks():
    """The default model, a line, is solved outright."""
    fit = NonlinearLeastSquares().fit(X[:, None], 2.0 + 3.0 * X)
    assert fit.theta_ == pytest.approx([2.0, 3.0])
