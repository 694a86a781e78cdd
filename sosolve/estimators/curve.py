"""NonlinearLeastSquares: a curve of your own behind fit and predict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin

from .._compat import CallbackSupportMixin, HasMethods, Interval, StrOptions, fit_context
from .._version import __version__
from ..curve_problems.model import CallableModel, resolve_model
from ..curve_problems.problem import CurveProblem
from ..curve_problems.start import find_start
from ..curves import CurveForm, Formula
from ..objectives.robust import NAMES as LOSSES
from ..solvers import Solver
from .advice import CURVES, advised
from .common import restored_on_error
from .curve_data import CurveData
from .curve_device import runs_there, search_there
from .curve_pickle import check_picklable
from .curve_predict import CurvePredictions
from .curve_run import NAMED_SOLVERS, CurveWatcher, check_enough, resolve_solver, warn_of
from .curve_search import search
from .curve_settings import read_settings
from .curve_summary import FittedCurve, interim, summarise
from .placement import DEVICES


class NonlinearLeastSquares(CallbackSupportMixin, CurvePredictions, RegressorMixin, BaseEstimator):
    r"""Nonlinear least squares: fits the parameters of a formula, a named curve or a function of your own.

    Minimises

    .. math:: \tfrac12 \sum_i w_i \, \rho\bigl((f(x_i; \theta) - y_i) / \sigma_i\bigr),

    with rho(r) = r^2, or a robust loss. Works at any scale of x, y and parameters, and stops at rounding level. Where
    a formula is linear in some parameters, these are solved for at every step (variable projection), as long as they
    have no bounds and the loss is linear; a few steps in all parameters end every such fit.

    Parameters
    ----------
    model : str, CurveForm, Formula, callable or None, default=None
        - a formula such as `"a*exp(-b*x) + c"`: predictors are the names of the columns of X, or x (x0, x1, ...)
          where X has no names or the text uses none of them; every other name is a parameter;
        - a name of `sosolve.curves.library`, or a sum or product of such models;
        - a function `f(x, *params)`, x of shape (n,) where X has one column, else (n, d), read-only;
        - None: b0 + b1 x0 + b2 x1 + ... over all columns; the shortest solution where there are fewer rows.
    p0 : mapping, array-like of shape (p,) or None, default=None
        Starting values, by name or in the order of the parameters. What is not given is found: by the guess of a
        named model, for formulas by a search over values of the data's scale with the linear parameters solved for,
        for functions by the defaults in the signature, else by trying (pass p0 if the model is slow).
    bounds : pair of array-likes, mapping or None, default=None
        (lower, upper) as in SciPy, or name -> (lower, upper); only for "lm", "dogleg" and "gauss-newton".
    fixed : mapping, sequence of str or None, default=None
        Parameters held at a value, or at their value in p0.
    loss : {"linear", "soft_l1", "huber", "cauchy", "arctan"}, default="linear"
        Robust losses let outliers count less.
    f_scale : float or None, default=None
        Residual (in units of sigma, where given) beyond which a robust loss takes hold, > 0. None takes 1.4826 times
        the median absolute deviation of the residuals of a preliminary robust fit.
    solver : str or Solver, default="lm"
        "lm" ("auto" is the same), "gauss-newton", "dogleg", "newton-cg", "newton-cholesky", "trust-region", "bfgs",
        "lbfgs", or an instance, whose settings a grid search reaches as `solver__...`.
    tol : float or None, default=None
        Tolerance of a solver without one of its own, >= 0. None keeps the defaults of the least-squares solvers
        (rounding level), and is 1e-6 for the others.
    max_iter : int or None, default=None
        Most iterations of each run, >= 0, for a solver without a limit of its own. None is 2000 for the
        least-squares solvers, 1000 for the others.
    jac : callable, {"auto", "2-point", "3-point", "cs"} or None, default=None
        For functions: jac(x, *params) of shape (n, p), or how derivatives are made; None is "auto", complex steps
        where they agree with differences. Formulas and named models have exact derivatives.
    absolute_sigma : bool, default=False
        Whether sigma is in the units of y: else the covariance is scaled by rss / dof.
    random_state : int, RandomState instance or None, default=None
        For the bootstrap.
    verbose : int, default=0
        Positive: a line for each iteration on the processor; from 2 on one more, how it ended.
    device : {None, "auto", "cpu", "cuda"}, default=None
        Where to iterate. "cuda" is an NVIDIA device, for formulas with loss="linear" and solver="lm"; "auto" takes it
        for a million rows and more where there is one. The errors are computed on the processor.

    Attributes
    ----------
    params_ : dict of str to float
        The parameters by name. Where y has k columns, this and the attributes below are lists of k.
    stderr_ : dict of str to float
        Standard errors; 0 for fixed parameters and those on a bound, NaN for those that the data do not determine.
    param_names_ : tuple of str
    theta_ : ndarray of shape (p,) or (k, p)
        The parameters as an array.
    covariance_, correlation_ : ndarray of shape (p, p) or (k, p, p)
    rss_ : float
        Weighted sum of squared residuals.
    dof_ : float
        Sum of the sample weights minus the number of fitted parameters that are not on a bound.
    f_scale_ : float or None
        Scale of the robust loss.
    diagnosis_ : list of str
        How the fit ended and what is remarkable, in sentences.
    curves_ : list of FittedCurve
        All of this, an entry an output.
    history_ : History
    result_ : Result
    device_ : str
        Where the iterations ran: "cpu", "cuda:0".
    n_iter_ : int
        Iterations of the last fit, >= 1.
    solver_ : Solver
        What ran.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has column names.

    Raises
    ------
    InvalidParameterError
        (from fit) If a parameter has a wrong type or value.
    ValueError, TypeError
        (from fit) If the data, the model, or the starting values cannot be used; the message says which and why.

    Warns
    -----
    ConvergenceWarning
        (from fit) If the fit ends otherwise than converged, or parameters are not determined by the data.

    References
    ----------
    Moré (1978), LNM 630, 105-116. Golub and Pereyra (1973), SIAM J. Numer. Anal. 10, 413-432. Bates and Watts (1988),
    Nonlinear Regression Analysis and Its Applications.

    Examples
    --------
    >>> import numpy as np
    >>> from sosolve import NonlinearLeastSquares
    >>> x = np.linspace(0.0, 4.0, 9)
    >>> y = 3.0 * np.exp(-0.5 * x) + 1.0
    >>> fit = NonlinearLeastSquares("a*exp(-b*x) + c").fit(x[:, None], y)
    >>> {name: round(value, 6) for name, value in fit.params_.items()}
    {'a': 3.0, 'b': 0.5, 'c': 1.0}
    """

    _parameter_constraints: ClassVar[dict] = {
        "model": [str, CurveForm, Formula, callable, None],
        "p0": [Mapping, "array-like", Real, None],
        "bounds": [Mapping, "array-like", HasMethods("residual"), None],
        "fixed": [Mapping, str, "array-like", tuple, set, None],
        "loss": [StrOptions(set(LOSSES))],
        "f_scale": [Interval(Real, 0, None, closed="neither"), None],
        "solver": [StrOptions(set(NAMED_SOLVERS)), Solver],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "max_iter": [Interval(Integral, 0, None, closed="left"), None],
        "jac": [callable, StrOptions({"auto", "2-point", "3-point", "cs"}), None],
        "absolute_sigma": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "device": [StrOptions(set(DEVICES)), None],
    }

    def __init__(
        self,
        model=None,
        *,
        p0=None,
        bounds=None,
        fixed=None,
        loss="linear",
        f_scale=None,
        solver="lm",
        tol=None,
        max_iter=None,
        jac=None,
        absolute_sigma=False,
        random_state=None,
        verbose=0,
        device=None,
    ):
        self.model = model
        self.p0 = p0
        self.bounds = bounds
        self.fixed = fixed
        self.loss = loss
        self.f_scale = f_scale
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.jac = jac
        self.absolute_sigma = absolute_sigma
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    # ------------------------------------------------------------------ fit

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, sigma=None):
        """Fit the curve.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, k)
            Several columns are k independent curves over the same X.
        sample_weight : array-like of shape (n_samples,), optional
            How many observations a row stands for, >= 0: weight 2 is a repeated row, for the errors too.
        sigma : array-like of shape (n_samples,) or that of y, optional
            Standard deviations of y, > 0; relative ones unless absolute_sigma.

        Returns
        -------
        self
        """
        with restored_on_error(self):
            data = CurveData.checked(self, X, y, sample_weight, sigma)
            solver = resolve_solver(self)
            watcher = CurveWatcher(self, data)
            try:
                curves = [self._fit_output(problem, solver, known, watcher) for problem, known in self._problems(data)]
            finally:
                watcher.close()
            self._unpack(curves, solver, data.is_single)
        warn_of(self, curves)
        return self

    def _problems(self, data: CurveData) -> Iterator[tuple[CurveProblem, np.ndarray]]:
        """Yield the problem of each output, with the starting values that are known."""
        names = getattr(self, "feature_names_in_", None)
        model = resolve_model(self.model, self.jac, names, data.X.shape[1], self.p0)
        defaults = model.defaults if isinstance(model, CallableModel) else ()
        settings = read_settings(model.names, self.p0, self.bounds, self.fixed, defaults)
        if self.model is not None:
            check_enough(model.names, settings.free, data.X.shape[0])
        for k in range(data.n_outputs):
            yield (
                CurveProblem(
                    model=model,
                    X=data.X,
                    y=data.Y[:, k],
                    base=settings.start,
                    free=settings.free,
                    lower=settings.lower,
                    upper=settings.upper,
                    precision=data.precision_of(k),
                    frequency=data.frequency,
                    loss=self.loss,
                    f_scale=self.f_scale,
                    derivative=self.jac if isinstance(self.jac, str) else "auto",
                ).in_units(),
                settings.start,
            )

    def _fit_output(self, problem: CurveProblem, solver: Solver, known: np.ndarray, watcher: CurveWatcher):
        """Return one fitted curve."""
        start = find_start(problem, known)
        watcher.interim = partial(interim, problem)
        if runs_there(self, problem):
            found, self.device_ = search_there(problem, start, solver.max_iter)
        else:
            found, self.device_ = search(problem, start, solver, watcher), "cpu"
        watcher.tell(found.result.message, found.result)
        watcher.done.append(summarise(found, start, self.absolute_sigma))
        return watcher.done[-1]

    def _unpack(self, curves: list[FittedCurve], solver: Solver, is_single: bool) -> None:
        """Set the fitted attributes."""

        def each(values: list):
            return values[0] if is_single else values

        self.curves_ = curves
        self.param_names_ = curves[0].names
        self.params_ = each([curve.by_name(curve.theta) for curve in curves])
        self.stderr_ = each([curve.by_name(curve.covariance.stderr) for curve in curves])
        self.theta_ = curves[0].theta if is_single else np.stack([curve.theta for curve in curves])
        matrices = [curve.covariance.matrix for curve in curves]
        self.covariance_ = matrices[0] if is_single else np.stack(matrices)
        with np.errstate(all="ignore"):
            related = [curve.covariance.correlation for curve in curves]
        self.correlation_ = related[0] if is_single else np.stack(related)
        self.rss_ = each([curve.rss for curve in curves])
        self.dof_ = each([curve.dof for curve in curves])
        self.f_scale_ = each([curve.f_scale for curve in curves])
        self.diagnosis_ = each([curve.diagnosis() for curve in curves])
        self.history_ = each([curve.result.history for curve in curves])
        self.result_ = each([curve.result for curve in curves])
        self.n_iter_ = each([max(curve.result.history[-1].iteration, 1) for curve in curves])
        self.solver_ = solver

    # ------------------------------------------------------------------ scikit-learn

    def _validate_params(self):
        """Check the constructor's parameters, and add to scikit-learn's message what to do.

        Raises
        ------
        InvalidParameterError
            If a parameter has a wrong type or value.
        """
        with advised(CURVES, self):
            super()._validate_params()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def __getstate__(self):
        check_picklable(self.model, self.jac)
        return {**super().__getstate__(), "_sosolve_version": __version__}
