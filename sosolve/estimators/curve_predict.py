"""What a fitted curve answers: values, bands, intervals of its parameters, a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .curve_data import CurveData
from .curve_intervals import band, bootstrap_interval, profile_interval, quantile, wald_interval
from .curve_report import CurveReport


class CurvePredictions:
    """The methods of a fitted `NonlinearLeastSquares`."""

    def predict(self, X, return_std=False):
        """Return the curve at X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        return_std : bool, default=False
            Also return the standard error of the curve, sqrt(j' C j) with j its derivatives (not of an observation).

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, k)
        ndarray of the same shape
            Only with return_std.
        """
        X = self._checked(X)
        if not return_std:
            with np.errstate(all="ignore"):
                values = [np.asarray(curve.model.value(X, curve.theta), dtype=np.float64) for curve in self.curves_]
            return self._columns(values)
        bands = [band(curve, X) for curve in self.curves_]
        return self._columns([value for value, _ in bands]), self._columns([error for _, error in bands])

    def predict_interval(self, X, level=0.95, kind="confidence", sigma=None):
        """Return the ends of an interval at each X: of the curve, or of a new observation.

        f(x) -+ t sqrt(j' C j), and with s^2 sigma^2 added under the root for an observation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        level : float, default=0.95
            Coverage at each point, in (0, 1).
        kind : {"confidence", "prediction"}, default="confidence"
        sigma : float or array-like of shape (n_samples,), optional
            Standard deviations of the new observations; needed for predictions after a fit with sigma.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,) or (n_samples, k)

        Raises
        ------
        ValueError
            If kind or level is none of those, or sigma is missing.
        """
        if kind not in ("confidence", "prediction"):
            raise ValueError(f"received kind={kind!r}; expected 'confidence' or 'prediction': choose one of them")
        X = self._checked(X)
        if kind == "prediction" and sigma is None and self.curves_[0].has_sigma:
            raise ValueError(
                "received sigma=None for a prediction after a fit with sigma; expected the standard deviations of "
                "the new observations, which depend on the row: pass sigma=, or use kind='confidence'"
            )
        sides: tuple[list, list] = ([], [])
        for curve in self.curves_:
            value, error = band(curve, X)
            if kind == "prediction":
                error = np.sqrt(error**2 + curve.noise * (1.0 if sigma is None else np.asarray(sigma)) ** 2)
            half = quantile(curve, level) * error
            sides[0].append(value - half)
            sides[1].append(value + half)
        return self._columns(sides[0]), self._columns(sides[1])

    def conf_int(
        self,
        level=0.95,
        method="wald",
        X=None,
        y=None,
        *,
        sample_weight=None,
        sigma=None,
        n_resamples=1000,
        n_jobs=None,
    ):
        """Return confidence intervals of the parameters.

        Parameters
        ----------
        level : float, default=0.95
            Coverage, in (0, 1).
        method : {"wald", "profile", "bootstrap"}, default="wald"
            From the covariance; from refits with the parameter held, exact where the curve bends; from refits to
            resampled residuals.
        X, y, sample_weight, sigma : array-like, optional
            The data of the fit, which an estimator does not keep: needed by the last two methods.
        n_resamples : int, default=1000
            Fits of the bootstrap.
        n_jobs : int or None, default=None
            Threads of the bootstrap.

        Returns
        -------
        dict of str to (float, float)
            The ends by name, equal for a fixed parameter; a list of k for k outputs.

        Raises
        ------
        ValueError
            If the method is unknown, or data are missing or not those of the fit.
        """
        check_is_fitted(self)
        if method not in ("wald", "profile", "bootstrap"):
            raise ValueError(
                f"received method={method!r}; expected 'wald', 'profile' or 'bootstrap': choose one of them"
            )
        if method == "wald":
            ends = [wald_interval(curve, level) for curve in self.curves_]
        else:
            problems = self._refit_problems(X, y, sample_weight, sigma, method)
            rng = check_random_state(self.random_state)
            ends = [
                profile_interval(curve, problem, level)
                if method == "profile"
                else bootstrap_interval(curve, problem, self.solver_, level, n_resamples, rng, n_jobs)
                for curve, problem in zip(self.curves_, problems, strict=True)
            ]
        named = [
            {name: (float(low), float(high)) for name, (low, high) in zip(self.param_names_, pairs, strict=True)}
            for pairs in ends
        ]
        return named[0] if isinstance(self.params_, dict) else named

    def report(self):
        """Return a report that prints as text and shows as HTML in a notebook.

        Returns
        -------
        CurveReport
        """
        check_is_fitted(self)
        return CurveReport(self.curves_, self.solver_.name or type(self.solver_).__name__)

    def _checked(self, X) -> np.ndarray:
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64).view()
        X.flags.writeable = False
        return X

    def _columns(self, parts: list[np.ndarray]) -> np.ndarray:
        return parts[0] if isinstance(self.params_, dict) else np.column_stack(parts)

    def _refit_problems(self, X, y, sample_weight, sigma, method: str) -> list:
        """Return the problems of the fit, one an output, from the data given once more."""
        if X is None or y is None:
            raise ValueError(
                f"received method={method!r} without data, which a fitted estimator does not keep; expected those of "
                f"the fit: conf_int(method={method!r}, X=X, y=y), with sample_weight and sigma where they were given"
            )
        data = CurveData.checked(self, X, y, sample_weight, sigma, reset=False)
        if data.n_outputs != len(self.curves_):
            raise ValueError(
                f"received y with {data.n_outputs} columns, where the fit had {len(self.curves_)}; expected the data "
                "of the fit: pass the same y"
            )
        problems = []
        for (problem, _), curve in zip(self._problems(data), self.curves_, strict=True):
            problem = replace(problem, base=curve.theta, f_scale=curve.f_scale)
            with np.errstate(all="ignore"):
                r = problem.residual(problem.pack(curve.theta))
                w = problem.frequency if problem.frequency is not None and problem.loss != "linear" else 1.0
                rss = float(np.sum(w * r * r)) * problem.unit_squared
            if not abs(rss - curve.rss) <= 1e-6 * curve.rss + 1e-18 * curve.tss:
                raise ValueError(
                    f"received data with a sum of squares of {rss:.8g} at the fitted parameters, where the fit had "
                    f"{curve.rss:.8g}; expected the data of the fit: pass the same X, y, sample_weight and sigma"
                )
            problems.append(problem)
        return problems
