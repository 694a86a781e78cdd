"""Variable projection: the reduced residual, both Jacobians, the gradient, and the optimum of the whole problem."""

import numpy as np
import pytest
import scipy.optimize

from sosolve.curves import parse
from sosolve.objectives.least_squares import LeastSquares
from sosolve.objectives.variable_projection import VariableProjection
from sosolve.solvers import RESIDUAL_SOLVERS

FORMULAS = {
    "a*exp(-b*x) + c*exp(-d*x) + e0": [0.4, 2.0],
    "a*exp(-b*x) + x*sin(b)": [0.7],
    "a*cos(w*x) + b*sin(w*x) + exp(-k*x)": [1.3, 0.4],
}


def made(text, kaufman=True, root=None):
    """Return the formula, X, y and the objective of a synthetic problem."""
    rng = np.random.default_rng(3)
    formula = parse(text, 1)
    X = np.linspace(0.1, 4.0, 40)
    theta = rng.uniform(0.5, 2.0, formula.size)
    y = formula.value(X, theta) + 0.1 * rng.standard_normal(40)
    objective = VariableProjection(
        lambda a: formula.basis(X, a),
        lambda a: formula.basis_and_jacobian(X, a),
        len(formula.nonlinear_parameters),
        y,
        root,
        kaufman=kaufman,
    )
    return formula, X, y, objective


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("text", FORMULAS)
def test_residual_is_that_of_the_best_linear_parameters(text, weighted):
    """Hold residual and linear parameters against numpy.linalg.lstsq."""
    root = np.linspace(0.5, 2.0, 40) if weighted else np.ones(40)
    formula, X, y, objective = made(text, root=root)
    alpha = np.array(FORMULAS[text])
    Phi, offset = formula.basis(X, alpha)
    beta = np.linalg.lstsq(root[:, None] * Phi, root * (y - offset), rcond=None)[0]
    np.testing.assert_allclose(objective.linear(alpha), beta, rtol=1e-9)
    np.testing.assert_allclose(objective.at(alpha).residual, root * (offset + Phi @ beta - y), atol=1e-11)


@pytest.mark.parametrize("text", FORMULAS)
def test_full_jacobian_is_the_derivative(text):
    """Golub and Pereyra's Jacobian agrees with central differences of the reduced residual."""
    objective = made(text, kaufman=False)[3]
    alpha, h = np.array(FORMULAS[text]), 1e-6
    columns = [
        (objective.at(alpha + h * e).residual - objective.at(alpha - h * e).residual) / (2.0 * h)
        for e in np.eye(len(alpha))
    ]
    np.testing.assert_allclose(objective.at(alpha).jac, np.stack(columns, axis=1), atol=1e-7)


@pytest.mark.parametrize("text", FORMULAS)
def test_kaufman_keeps_the_gradient(text):
    """The term that Kaufman leaves out is orthogonal to the residual."""
    alpha = np.array(FORMULAS[text])
    full, short = made(text, kaufman=False)[3].at(alpha), made(text)[3].at(alpha)
    np.testing.assert_allclose(short.grad, full.grad, rtol=1e-8, atol=1e-10)
    assert not np.allclose(short.jac, full.jac, rtol=1e-8)


@pytest.mark.parametrize("solver", sorted(RESIDUAL_SOLVERS))
def test_optimum_is_that_of_the_whole_problem(solver):
    """Each least-squares solver ends where SciPy ends in all parameters."""
    formula, X, y, objective = made("a*exp(-b*x) + c")
    result = RESIDUAL_SOLVERS[solver]().minimize(objective, np.array([1.0]))
    whole = scipy.optimize.least_squares(
        lambda p: formula.value(X, p) - y, [1.0, 1.0, 1.0], lambda p: formula.jacobian(X, p), xtol=1e-14, ftol=1e-14
    )
    assert result.converged
    np.testing.assert_allclose(result.value, whole.cost, rtol=1e-12)


def test_dependent_columns_get_the_shortest_solution():
    """Two equal columns share their coefficient, and the residual does not suffer."""
    x = np.linspace(0.0, 1.0, 9)
    objective = VariableProjection(
        lambda a: (np.column_stack([x, x]), np.zeros(9)),
        lambda a: (np.column_stack([x, x]), np.zeros(9), np.zeros((9, 2, 0)), np.zeros((9, 0))),
        0,
        3.0 * x,
    )
    np.testing.assert_allclose(objective.linear(np.zeros(0)), [1.5, 1.5])
    assert objective.at(np.zeros(0)).value < 1e-28


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite_is_a_value_not_an_error(bad):
    """A basis that is not finite makes the value inf, as any model does."""
    objective = VariableProjection(
        lambda a: (np.full((4, 1), bad), np.zeros(4)),
        lambda a: (np.full((4, 1), bad), np.zeros(4), np.zeros((4, 1, 1)), np.zeros((4, 1))),
        1,
        np.ones(4),
    )
    assert objective.at(np.ones(1)).value == np.inf
    assert isinstance(objective, LeastSquares)


def test_no_linear_parameter_at_all():
    """With an empty basis the objective is plain least squares."""
    x, y = np.linspace(0.0, 1.0, 5), np.ones(5)
    objective = VariableProjection(
        lambda a: (np.zeros((5, 0)), np.exp(-a[0] * x)),
        lambda a: (np.zeros((5, 0)), np.exp(-a[0] * x), np.zeros((5, 0, 1)), -x[:, None] * np.exp(-a[0] * x)[:, None]),
        1,
        y,
    )
    point = objective.at(np.array([0.5]))
    np.testing.assert_allclose(point.residual, np.exp(-0.5 * x) - y)
    np.testing.assert_allclose(point.jac[:, 0], -x * np.exp(-0.5 * x))
