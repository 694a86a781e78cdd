"""Pictures of a fit, in the manner of scikit-learn's displays. Matplotlib is imported where it is used."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .history import Record

#: What the horizontal axis may show: fields of `Record` and how they are labelled.
X_LABELS = {"n_passes": "passes over the data", "iteration": "iterations", "seconds": "seconds"}
#: Two values closer than this fraction of them differ by rounding alone: 2^-52, the spacing of doubles at 1.
EPS = 2.0**-52


class ConvergenceDisplay:
    """Relative gap to the minimum, on a logarithmic axis, against the work done.

    Make one with `from_history` or `from_estimator`; draw several fits into one picture by passing the same `ax`.

    Parameters
    ----------
    work : sequence of float
        Horizontal positions, one an iteration.
    gap : sequence of float
        (value - reference) / |reference|; NaN where nothing is drawn.
    x : {"n_passes", "iteration", "seconds"}, default="n_passes"
        What `work` is.
    label : str, optional
        Name of the fit in the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    ax_ : matplotlib Axes
        Where it was drawn.
    figure_ : matplotlib Figure
        The figure of `ax_`.

    Raises
    ------
    ValueError
        If x is not one of the three names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sosolve import ConvergenceDisplay, LogisticRegression
    >>> clf = LogisticRegression(solver="newton-cg").fit(*load_iris(return_X_y=True))
    >>> display = ConvergenceDisplay.from_estimator(clf)  # doctest: +SKIP
    """

    def __init__(self, work: Sequence[float], gap: Sequence[float], *, x: str = "n_passes", label: str | None = None):
        _check_x(x)
        self.work, self.gap, self.x, self.label = work, gap, x, label

    @classmethod
    def from_history(
        cls,
        history: Sequence[Record],
        *,
        reference: float | None = None,
        x: str = "n_passes",
        ax=None,
        label: str | None = None,
        **kwargs,
    ) -> ConvergenceDisplay:
        """Return the display of a history, drawn.

        Parameters
        ----------
        history : History
            Or any sequence of records.
        reference : float, optional
            The minimum, in the units of `Record.value`. Gaps below 2.2e-16 are drawn at 2.2e-16: smaller ones are
            rounding. Where None, the best value of the history; the iterations that reach it have no gap and are
            left out.
        x : {"n_passes", "iteration", "seconds"}, default="n_passes"
            Horizontal axis: passes over the data, iterations, or seconds of wall time.
        ax : matplotlib Axes, optional
            Where to draw; a new figure where None.
        label : str, optional
            Name of the fit in the legend.
        **kwargs
            Passed on to `matplotlib.axes.Axes.plot`.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        ValueError
            If the history is empty, the reference is not finite, or x is not one of the three names.
        ImportError
            If matplotlib is not installed.
        """
        _check_x(x)
        if not len(history):
            raise ValueError(
                "received a history without records; a curve needs the history of a fit: pass estimator.history_ or "
                "result.history"
            )
        if reference is not None and not math.isfinite(reference):
            raise ValueError(
                f"received reference={reference!r}; expected the finite minimum of the objective, in the units of "
                "Record.value: pass result_.value of a tighter fit, or None for the best value of this history"
            )
        gap = relative_gap([record.value for record in history], reference)
        work = [float(getattr(record, x)) for record in history]
        return cls(work, gap, x=x, label=label).plot(ax, **kwargs)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        reference: float | None = None,
        x: str = "n_passes",
        ax=None,
        label: str | None = None,
        **kwargs,
    ) -> ConvergenceDisplay:
        """Return the display of a fitted estimator, drawn.

        Parameters
        ----------
        estimator : estimator instance
            Fitted, with the attribute `history_`.
        reference, x, ax, label, **kwargs
            As in `from_history`; the label is the name of the solver that ran where it is None.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        AttributeError
            If the estimator has no history.
        ValueError, ImportError
            As in `from_history`.
        """
        history = getattr(estimator, "history_", None)
        if history is None:
            raise AttributeError(
                f"received a {type(estimator).__name__} without history_; expected a fitted estimator of sosolve: "
                "call fit first"
            )
        if label is None:
            label = getattr(getattr(estimator, "solver_", None), "name", None) or type(estimator).__name__
        return cls.from_history(history, reference=reference, x=x, ax=ax, label=label, **kwargs)

    def plot(self, ax=None, **kwargs) -> ConvergenceDisplay:
        """Draw the curve and return the display.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure where None.
        **kwargs
            Passed on to `matplotlib.axes.Axes.plot`; they override the defaults.

        Returns
        -------
        ConvergenceDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        ax = _axes() if ax is None else ax
        style = {"marker": "o", "markersize": 3.0, "linewidth": 1.4, "label": self.label, **kwargs}
        (self.line_,) = ax.plot(self.work, self.gap, **style)
        ax.set(yscale="log", xlabel=X_LABELS[self.x], ylabel="relative gap to the minimum")
        ax.grid(True, which="major", linewidth=0.5, alpha=0.4)
        if style["label"] is not None:
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def relative_gap(values: Sequence[float], reference: float | None = None) -> list[float]:
    """Return (value - reference) / |reference| for each value, ready for a logarithmic axis.

    Parameters
    ----------
    values : sequence of float
        Values of an objective.
    reference : float, optional
        Its minimum. Where None, the smallest finite one of the values.

    Returns
    -------
    list of float
        NaN for a value that is not finite and, without a reference, for the smallest itself; at least 2^-52
        otherwise. Where the reference is 0 the gap is absolute.
    """
    finite = [value for value in values if math.isfinite(value)]
    lowest = min(finite, default=math.nan) if reference is None else reference
    scale = abs(lowest) or 1.0
    gaps = []
    for value in values:
        hidden = not math.isfinite(value) or (reference is None and value == lowest)
        gaps.append(math.nan if hidden else max((value - lowest) / scale, EPS))
    return gaps


def _check_x(x: str) -> None:
    """Raise ValueError unless x names a horizontal axis."""
    if x not in X_LABELS:
        raise ValueError(f"received x={x!r}; expected one of {', '.join(map(repr, X_LABELS))}: choose one of them")


def _axes():
    """Return the axes of a new figure."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "ConvergenceDisplay found no matplotlib; it needs version 3.9 or later to draw: "
            'pip install "sosolve[plot]", or read the numbers with history.column'
        ) from error
    return pyplot.subplots(layout="constrained")[1]
