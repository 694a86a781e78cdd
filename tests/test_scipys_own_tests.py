"""SciPy's own tests of `least_squares` and `curve_fit`, run with our functions in their place."""

import pytest

from sosolve import scipy_api

lsq = pytest.importorskip("scipy.optimize.tests.test_least_squares", reason="this SciPy comes without its tests")
minpack = pytest.importorskip("scipy.optimize.tests.test_minpack", reason="this SciPy comes without its tests")


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Put our functions where SciPy's tests look for theirs."""
    monkeypatch.setattr(lsq, "least_squares", scipy_api.least_squares)
    monkeypatch.setattr(minpack, "curve_fit", scipy_api.curve_fit)
    monkeypatch.setattr(minpack.optimize, "curve_fit", scipy_api.curve_fit)


class TestTRF(lsq.TestTRF):
    """The group of trf."""


class TestDogbox(lsq.TestDogbox):
    """The group of dogbox."""


class TestLM(lsq.TestLM):
    """The group of lm."""


class TestCurveFit(minpack.TestCurveFit):
    """The group of curve_fit."""


FREE = [name for name in dir(lsq) if name.startswith("test_")]


@pytest.mark.parametrize("name", FREE)
def test_of_least_squares(name):
    """A test outside of the groups."""
    getattr(lsq, name)()
