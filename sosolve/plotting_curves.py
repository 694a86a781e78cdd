"""The picture of a fitted curve: data, curve, bands and residuals. Matplotlib is imported where it is used."""

from __future__ import annotations

import numpy as np

#: Points at which a curve is drawn.
GRID = 400
#: Data of more points are drawn smaller and fainter.
MANY = 300


class CurveFitDisplay:
    """Data with the fitted curve, its confidence band and the prediction band, and a panel of residuals below.

    Make one with `from_estimator`.

    Parameters
    ----------
    x, y : array-like of shape (n,)
        The data.
    residual : array-like of shape (n,)
        y minus the curve; divided by sigma where that is given.
    grid : array-like of shape (m,)
        Where the curve is drawn.
    curve : array-like of shape (m,)
    confidence, prediction : pair of array-likes of shape (m,), optional
        Lower and upper ends.
    sigma : array-like of shape (n,), optional
        Standard deviations of y, drawn as bars.
    level : float, default=0.95
        Coverage of the bands, for the legend.
    names : pair of str, default=("x", "y")
        Labels of the axes.

    Attributes
    ----------
    line_ : matplotlib Line2D
        The curve.
    ax_, residual_ax_ : matplotlib Axes
        The panels; the second is None where residuals are not drawn.
    figure_ : matplotlib Figure
        Their figure.

    Examples
    --------
    >>> import numpy as np
    >>> from sosolve import CurveFitDisplay, NonlinearLeastSquares
    >>> X = np.linspace(0.0, 4.0, 30)[:, None]
    >>> y = np.exp(-X[:, 0]) + 0.01 * np.cos(9.0 * X[:, 0])
    >>> fit = NonlinearLeastSquares("a*exp(-b*x)").fit(X, y)
    >>> display = CurveFitDisplay.from_estimator(fit, X, y)  # doctest: +SKIP
    """

    def __init__(
        self,
        x,
        y,
        residual,
        grid,
        curve,
        *,
        confidence=None,
        prediction=None,
        sigma=None,
        level: float = 0.95,
        names: tuple[str, str] = ("x", "y"),
    ):
        self.x, self.y, self.residual, self.grid, self.curve = x, y, residual, grid, curve
        self.confidence, self.prediction, self.sigma = confidence, prediction, sigma
        self.level, self.names = level, names

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        sigma=None,
        level: float = 0.95,
        output: int = 0,
        grid=None,
        prediction: bool = True,
        residuals: bool = True,
        ax=None,
        label: str | None = None,
    ) -> CurveFitDisplay:
        """Return the display of a fitted curve of one predictor, drawn.

        Parameters
        ----------
        estimator : NonlinearLeastSquares
            Fitted.
        X : array-like of shape (n_samples, 1)
            The data to draw; the column's name labels the axis where it has one.
        y : array-like of shape (n_samples,) or (n_samples, k)
        sigma : array-like of shape (n_samples,), optional
            Standard deviations of y: drawn as bars, and residuals are divided by them.
        level : float, default=0.95
            Coverage of the bands, in (0, 1).
        output : int, default=0
            Which column of y, where there are several.
        grid : array-like of shape (m,), optional
            Where to draw the curve; 400 points over the range of X where None.
        prediction : bool, default=True
            Whether to draw the band of new observations; left out after a fit with sigma, whose noise depends on x.
        residuals : bool, default=True
            Whether to draw the panel of residuals.
        ax : matplotlib Axes or pair of them, optional
            For the fit, and for the residuals; a single one leaves the residuals out. A new figure where None.
        label : str, optional
            Name of the curve in the legend; "fit" where None.

        Returns
        -------
        CurveFitDisplay

        Raises
        ------
        AttributeError
            If the estimator is no fitted curve.
        ValueError
            If X has several columns or the lengths differ.
        ImportError
            If matplotlib is not installed.
        """
        if not hasattr(estimator, "curves_"):
            raise AttributeError(
                f"received a {type(estimator).__name__} without curves_; expected a fitted NonlinearLeastSquares: call "
                "fit first, and take the last step of a pipeline"
            )
        x, names = _column(X, y)
        y = np.asarray(y, dtype=np.float64)
        y = y[:, output] if y.ndim == 2 else y
        if x.shape != y.shape:
            raise ValueError(
                f"received X with {x.shape[0]} rows and y with {y.shape[0]}; expected one y for each row: pass "
                "the data of one fit"
            )
        grid = np.linspace(x.min(), x.max(), GRID) if grid is None else np.asarray(grid, dtype=np.float64)
        table = _table(grid, estimator)
        noisy = prediction and not estimator.curves_[output].has_sigma
        band = {"confidence": estimator.predict_interval(table, level)}
        if noisy:
            band["prediction"] = estimator.predict_interval(table, level, kind="prediction")
        band = {kind: tuple(_output(end, output) for end in ends) for kind, ends in band.items()}
        residual = y - _output(estimator.predict(X), output)
        sigma = None if sigma is None else np.broadcast_to(np.asarray(sigma, dtype=np.float64), y.shape)
        display = cls(
            x,
            y,
            residual if sigma is None else residual / sigma,
            grid,
            _output(estimator.predict(table), output),
            sigma=sigma,
            level=level,
            names=names,
            **band,
        )
        return display.plot(ax, residuals=residuals, label=label)

    def plot(self, ax=None, *, residuals: bool = True, label: str | None = None) -> CurveFitDisplay:
        """Draw and return the display.

        Parameters
        ----------
        ax : matplotlib Axes or pair of them, optional
            As in `from_estimator`.
        residuals : bool, default=True
            Whether to draw the panel of residuals.
        label : str, optional
            Name of the curve in the legend; "fit" where None.

        Returns
        -------
        CurveFitDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        if ax is None:
            ax = _panels(residuals)
        top, bottom = ax if np.ndim(ax) else (ax, None)
        self._draw_fit(top, label or "fit")
        if bottom is not None:
            self._draw_residuals(bottom)
            top.tick_params(labelbottom=False)
        (top if bottom is None else bottom).set_xlabel(self.names[0])
        self.ax_, self.residual_ax_, self.figure_ = top, bottom, top.figure
        return self

    def _draw_fit(self, ax, label: str) -> None:
        marker = _marker(len(self.x))
        if self.sigma is None:
            ax.plot(self.x, self.y, **marker, label="data")
        else:
            ax.errorbar(self.x, self.y, self.sigma, **marker, elinewidth=0.8, label="data")
        (self.line_,) = ax.plot(self.grid, self.curve, linewidth=1.8, color="C3", label=label, zorder=3)
        percent = f"{100.0 * self.level:g} %"
        if self.confidence is not None:
            name = f"{percent} band of the curve"
            ax.fill_between(self.grid, *self.confidence, color="C3", alpha=0.3, linewidth=0, label=name)
        if self.prediction is not None:
            name = f"{percent} band of observations"
            ax.fill_between(self.grid, *self.prediction, color="C3", alpha=0.1, linewidth=0, label=name, zorder=0)
        ax.set_ylabel(self.names[1])
        ax.grid(True, linewidth=0.5, alpha=0.4)
        ax.legend(frameon=False)

    def _draw_residuals(self, ax) -> None:
        ax.axhline(0.0, color="C3", linewidth=1.2)
        ax.plot(self.x, self.residual, **_marker(len(self.x)))
        ax.set_ylabel("residual" if self.sigma is None else "residual / sigma")
        ax.grid(True, linewidth=0.5, alpha=0.4)


def _marker(n: int) -> dict:
    size, alpha = (4.0, 0.8) if n <= MANY else (2.0, 0.4)
    return {"linestyle": "", "marker": "o", "markersize": size, "color": "0.25", "alpha": alpha, "markeredgewidth": 0.0}


def _column(X, y) -> tuple[np.ndarray, tuple[str, str]]:
    """Return the only column of X, and the names of X and y where they have some."""
    values = np.asarray(X, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != 1:
        raise ValueError(
            f"received X of shape {values.shape}; a curve is drawn over one predictor: pass X of shape (n, 1), or draw "
            "y against estimator.predict(X)"
        )
    columns = getattr(X, "columns", None)
    return values[:, 0], ("x" if columns is None else str(columns[0]), str(getattr(y, "name", None) or "y"))


def _table(grid: np.ndarray, estimator):
    """Return the grid as the estimator was given X: with the name of its column where it had one."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return grid[:, None]
    import pandas

    return pandas.DataFrame({names[0]: grid})


def _output(values: np.ndarray, output: int) -> np.ndarray:
    return values[:, output] if values.ndim == 2 else values


def _panels(residuals: bool):
    """Return the axes of a new figure: one, or two above one another that share x."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "CurveFitDisplay found no matplotlib; it needs version 3.9 or later to draw: "
            'pip install "sosolve[plot]", or use predict_interval for the numbers'
        ) from error
    if not residuals:
        return pyplot.subplots(layout="constrained")[1]
    shape = {"height_ratios": [3, 1]}
    return pyplot.subplots(2, 1, sharex=True, figsize=(6.4, 5.4), gridspec_kw=shape, layout="constrained")[1]
