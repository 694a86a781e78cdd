"""ConvergenceDisplay: what is drawn, where, and what is said when it cannot be drawn."""

import builtins
import math

import numpy as np
import pytest
from sklearn.datasets import load_iris

from sosolve import ConvergenceDisplay, History, LogisticRegression, Record
from sosolve.plotting import EPS, relative_gap

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402  (the backend is chosen first)


@pytest.fixture(autouse=True)
def _closed_figures():
    """Close what a test has drawn."""
    yield
    pyplot.close("all")


@pytest.fixture
def history():
    """Three iterations: values 3, 2 and 1."""
    return History([Record(k, 3.0 - k, 1.0, n_passes=1 + 2 * k, seconds=0.1 * k) for k in range(3)])


@pytest.mark.parametrize(
    ("x", "positions", "label"),
    [
        ("n_passes", [1.0, 3.0, 5.0], "passes over the data"),
        ("iteration", [0.0, 1.0, 2.0], "iterations"),
        ("seconds", [0.0, 0.1, 0.2], "seconds"),
    ],
)
def test_draws_the_gap_against_each_kind_of_work(history, x, positions, label):
    display = ConvergenceDisplay.from_history(history, reference=0.5, x=x)
    assert display.ax_.get_xlabel() == label
    assert display.ax_.get_yscale() == "log"
    np.testing.assert_allclose(display.line_.get_xdata(), positions)
    np.testing.assert_allclose(display.line_.get_ydata(), [5.0, 3.0, 1.0])


def test_without_a_reference_the_best_value_has_no_gap(history):
    display = ConvergenceDisplay.from_history(history)
    np.testing.assert_allclose(display.line_.get_ydata(), [2.0, 1.0, math.nan])


def test_a_gap_below_rounding_is_drawn_at_rounding():
    assert relative_gap([2.0, 1.0, 1.0 - 1e-12], reference=1.0) == [1.0, EPS, EPS]


def test_values_that_are_not_finite_are_left_out():
    gaps = relative_gap([math.inf, 3.0, math.nan, 1.0])
    np.testing.assert_allclose(gaps, [math.nan, 2.0, math.nan, math.nan])
    assert relative_gap([2.0], reference=0.0) == [2.0]


def test_several_fits_share_one_picture(history):
    ax = pyplot.figure().add_subplot()
    first = ConvergenceDisplay.from_history(history, ax=ax, label="first", color="black", marker="x")
    second = ConvergenceDisplay.from_history(history, ax=ax, label="second")
    assert first.ax_ is second.ax_ is ax
    assert first.figure_ is ax.figure
    assert len(ax.lines) == 2
    assert (first.line_.get_color(), first.line_.get_marker()) == ("black", "x")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["first", "second"]


def test_an_estimator_is_labelled_by_its_solver():
    clf = LogisticRegression(solver="newton-cg").fit(*load_iris(return_X_y=True))
    display = ConvergenceDisplay.from_estimator(clf, reference=clf.result_.value)
    assert display.line_.get_label() == "newton-cg"
    assert len(display.line_.get_xdata()) == len(clf.history_)
    again = display.plot(label="once more")
    assert again is display
    assert display.line_.get_label() == "once more"


def test_misuse_is_told_in_three_parts(history):
    with pytest.raises(ValueError, match=r"received x='time'; expected one of 'n_passes'.*: choose"):
        ConvergenceDisplay.from_history(history, x="time")
    with pytest.raises(ValueError, match=r"received a history without records; .*: pass"):
        ConvergenceDisplay.from_history(History())
    with pytest.raises(ValueError, match=r"received reference=nan; expected .*: pass"):
        ConvergenceDisplay.from_history(history, reference=math.nan)
    with pytest.raises(AttributeError, match=r"received a LogisticRegression without history_; .*: call fit"):
        ConvergenceDisplay.from_estimator(LogisticRegression())


def test_without_matplotlib_the_message_says_what_to_install(history, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.split(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"found no matplotlib; it needs .*: pip install \"sosolve\[plot\]\""):
        ConvergenceDisplay.from_history(history)
