"""scikit-learn's own tests of LogisticRegression and LogisticRegressionCV, run with our classes in their place."""

import importlib.util
import re
from collections.abc import Sized
from unittest import mock

import pytest
import sklearn.linear_model

import sosolve

OURS = ("LogisticRegression", "LogisticRegressionCV")


def load():
    """Return scikit-learn's module of tests, a copy of its own in which the names of `OURS` mean our classes."""
    found = importlib.util.find_spec("sklearn.linear_model.tests.test_logistic")
    spec = importlib.util.spec_from_file_location("sklearns_test_logistic", found.origin)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.multiple(sklearn.linear_model, **{name: getattr(sosolve, name) for name in OURS}):
        spec.loader.exec_module(module)
    return module


theirs = load()

#: Tests that are not run, by a pattern of their name and parameters, with the reason.
EXCEPTIONS = {
    r"test_consistency_path|test_logistic_regression_path_.*|test_logistic_cv_multinomial_score": (
        "calls a private function of scikit-learn's module, not the class"
    ),
    r"test_liblinear_dual_random_state": "asks for results that depend on random_state; here nothing is random",
    r"test_dtype_match\[.*liblinear": "asks liblinear for float64 coefficients of float32 data; here float32 is kept",
    r"test_large_sparse_matrix\[.*(liblinear|saga?)\]": "asks for 64-bit indices to be refused; here they are accepted",
    r"test_liblinear_with_large_values": "asks for entries above 1e30 to be refused; here they are fitted",
    r"test_zero_max_iter\[(?!lbfgs)": (
        "asks for probabilities of one half before the first iteration; the start is at the class frequencies"
    ),
    r"test_newton_cholesky_fallback_to_lbfgs": "asks for a second solver after a singular Hessian; none is needed here",
    r"test_warm_start_newton_solver\[.*newton-cg\]": (
        "asks that two fits of one iteration be one of two; the accuracy of a conjugate-gradient solve depends on the "
        "step before"
    ),
    r"test_logistic_regression_callback_support\[": "counts an empty task of SciPy's L-BFGS after the last iteration",
    r"test_logistic_regression_callback_support_warning": "asks for callbacks to be refused by solvers but lbfgs",
}

pytestmark = [pytest.mark.filterwarnings("default"), theirs.pytestmark]


@pytest.fixture(autouse=True)
def exceptions(request):
    """Leave out the exceptions."""
    for pattern, reason in EXCEPTIONS.items():
        if re.match(pattern, request.node.name):
            pytest.skip(reason)


@pytest.fixture
def global_random_seed():
    """Return the seed that scikit-learn's own configuration takes by default."""
    return 42


def collected(test):
    """Return a test with the generators among its parameters as lists: pytest wants to see them twice."""
    marks = getattr(test, "pytestmark", [])
    for i, mark in enumerate(marks):
        if mark.name == "parametrize" and not isinstance(mark.args[1], Sized):
            marks[i] = pytest.mark.parametrize(mark.args[0], list(mark.args[1]), **mark.kwargs).mark
    return test


globals().update({name: collected(value) for name, value in vars(theirs).items() if name.startswith("test_")})
