"""What the classifiers share: validate, build the objective, minimise, unpack."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
import warnings
from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import (
    CallbackSupportMixin,
    Interval,
    InvalidParameterError,
    LinearClassifierMixin,
    SparseCoefMixin,
    StrOptions,
    check_sample_weight,
    effective_threads,
)
from .._version import __version__
from ..history import Record, Result, Status
from ..kernels.pool import thread_limit
from ..objectives import L2, DataTerm, LinearModel, Sum
from ..protocols import Point
from ..solvers import SOLVERS, Solver
from .auto import choose
from .outputs import OneRowEach

#: Names of scikit-learn's solvers that have no second-order counterpart: the automatic choice stands in for them.
STAND_INS = ("liblinear", "sag", "saga")
SOLVER_NAMES = frozenset({"auto", "l-bfgs", *SOLVERS, *STAND_INS})

#: What to do about an invalid parameter, appended to scikit-learn's message.
ADVICE = {
    "C": "Choose a positive number (smaller means a stronger penalty), or np.inf for no penalty.",
    "solver": "Choose one of these names, or pass an instance of a solver such as sosolve.NewtonCG(tol=1e-6).",
    "tol": "Choose a small positive number: the relative gap to the minimum is about tol squared.",
    "max_iter": "Choose a whole number of iterations.",
}

class LinearClassifier(CallbackSupportMixin, LinearClassifierMixin, SparseCoefMixin, BaseEstimator):
    """Base of the linear classifiers: everything but the constructor and the shape of the coefficients."""

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="right")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions(set(SOLVER_NAMES)), Solver],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
    }

    # ------------------------------------------------------------------ fit

    def _fit(self, X, y, sample_weight, C: float):
        """Fit with inverse penalty C (inf for none); attributes change only when everything has gone well."""
        with _restored_on_error(self), thread_limit(effective_threads()):
            problem = _Problem(self, X, y, sample_weight, C)
            solver, reason = self._resolve_solver(problem)
            watcher = _Watcher(self, problem)
            result = solver.minimize(problem.objective, problem.start(self), watcher)
            watcher.close()
            self._unpack(problem, solver, reason, result)
        _warn_unless_converged(self, result)
        return self

    def _unpack(self, problem: _Problem, solver: Solver, reason: str, result: Result) -> None:
        """Set the fitted attributes."""
        result.history.notes["solver"] = reason
        result.point = None  # it holds the data
        for name, value in problem.attributes(result.theta).items():
            setattr(self, name, value)
        self.classes_ = problem.classes
        self.n_iter_ = np.array([result.n_iter], dtype=np.int32)
        self.solver_ = solver
        self.history_ = result.history
        self.result_ = result

    def _resolve_solver(self, problem: _Problem) -> tuple[Solver, str]:
        """Return the solver to run, with the estimator's tolerances where it has none of its own, and why."""
        if isinstance(self.solver, Solver):
            solver, reason = self.solver, "given as an instance"
        elif self.solver == "auto" or self.solver in STAND_INS:
            n, d = problem.X.shape
            solver, reason = choose(n, d, problem.model.n_outputs, scipy.sparse.issparse(problem.X))
            if self.solver in STAND_INS:
                reason = f"stands in for {self.solver!r} with the same objective; {reason}"
        else:
            solver, reason = SOLVERS[self.solver.replace("l-bfgs", "lbfgs")](), "given by name"
        changes = {
            name: getattr(self, name) for name in ("tol", "max_iter") if getattr(solver, name) is None
        }
        return dataclasses.replace(solver, **changes), reason

    def _outputs(self, classes: np.ndarray) -> OneRowEach:
        """Return how these classes become outputs of the model."""
        raise NotImplementedError

    # ------------------------------------------------------------------ predict

    def decision_function(self, X):
        """Return the scores of the samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log odds of `classes_[1]`, else one score for each class.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not finite or has another number of columns than in fit.
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            return scores[:, 0]
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def _scores(self, X) -> np.ndarray:
        """Return X coef' + intercept, shape (n, rows of coef_)."""
        check_is_fitted(self)
        try:
            X = validate_data(self, X, accept_sparse="csr", reset=False)
        except ValueError as error:
            if "features, but" not in str(error):
                raise
            raise ValueError(f"{error}. Pass the columns that fit was given, in the same order.") from None
        coef = self.coef_
        scores = X @ coef.T
        scores = scores.toarray() if scipy.sparse.issparse(scores) else np.asarray(scores)
        return scores + self.intercept_

    def predict_proba(self, X):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; rows sum to 1.

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X):
        """Return the logarithms of the probabilities: log-softmax of the scores, finite for any finite score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        scores = self._scores(X)
        if scores.shape[1] == 1:
            scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
        scores = scores - scores.max(axis=1, keepdims=True)
        return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    # ------------------------------------------------------------------ scikit-learn

    def _validate_params(self):
        """Check the constructor's parameters, and add to scikit-learn's message what to do.

        Raises
        ------
        InvalidParameterError
            If a parameter has a wrong type or value.
        """
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            name = str(error).split("'")[1]
            advice = ADVICE.get(name, "Pass a value of that kind.")
            raise InvalidParameterError(f"{error} {advice}") from None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self):
        return {**super().__getstate__(), "_sosolve_version": __version__}


class _Problem:
    """The data of one fit, checked, and the objective in the standardised basis."""

    def __init__(self, estimator: LinearClassifier, X, y, sample_weight, C: float):
        X, y = validate_data(
            estimator, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], accept_large_sparse=True
        )
        if scipy.sparse.issparse(X):
            check_csr(X)
        check_classification_targets(y)
        self.X, self.name = X, type(estimator).__name__
        self.classes, self.codes = np.unique(y, return_inverse=True)
        if len(self.classes) < 2:
            raise ValueError(
                f"{self.name} received y with one class only, {self.classes[0]!r}; it needs samples of at least 2 "
                "classes: check how y was selected or split"
            )
        total, self.weights = self._weigh(estimator, y, sample_weight)
        self.prior = np.bincount(self.codes, np.broadcast_to(self.weights, self.codes.shape), len(self.classes))
        self.alpha = min(1.0 / C / total, 1e300)
        self.outputs = estimator._outputs(self.classes)
        loss = self.outputs.loss
        self.model = LinearModel.standardised(
            X, self.weights, self.alpha, loss.n_outputs, bool(estimator.fit_intercept)
        )
        data = DataTerm(self.model, loss, self.outputs.encode(self.codes), self.weights)
        self.objective = Sum([data, L2(self.model.strengths(self.alpha))])

    def _weigh(self, estimator, y, sample_weight) -> tuple[float, np.ndarray]:
        """Return the sum of the weights, and the weights divided by it: shape (1,) where all rows weigh the same."""
        n = self.X.shape[0]
        if sample_weight is None and estimator.class_weight is None:
            return float(n), np.array([1.0 / n])
        weights = check_sample_weight(sample_weight, self.X)
        if estimator.class_weight is not None:
            by_class = compute_class_weight(
                estimator.class_weight, classes=self.classes, y=y, sample_weight=weights
            )
            weights = weights * by_class[self.codes]
        top = weights.max()
        if not (top > 0.0 and np.isfinite(top) and weights.min() >= 0.0):
            raise ValueError(
                f"{self.name} received weights (sample_weight times class_weight) between {weights.min():g} and "
                f"{top:g}; they must be finite, not negative and not all zero: correct them"
            )
        relative = weights / top
        total = relative.sum()
        return float(total) * float(top), relative / total

    def start(self, estimator: LinearClassifier) -> np.ndarray:
        """Return the starting parameters: the previous coefficients (warm start), else the logarithms of the prior.

        Raises
        ------
        ValueError
            If a warm start does not fit this data.
        """
        model = self.model
        coef, intercept = np.zeros((model.n_outputs, model.n_features)), np.zeros(model.n_outputs)
        if model.fit_intercept:
            # 1e-6: a class without weight has no finite optimum; start not too far out.
            intercept = self.outputs.intercepts(np.log(np.maximum(self.prior, 1e-6)))
        if estimator.warm_start and hasattr(estimator, "coef_"):
            shape = self.outputs.to_attributes(coef, intercept, True)[0].shape
            if estimator.coef_.shape != shape or not np.array_equal(estimator.classes_, self.classes):
                raise ValueError(
                    f"{self.name} received warm_start=True with coef_ of shape {estimator.coef_.shape} for the "
                    f"classes {list(estimator.classes_)[:5]}, but this data asks for shape {shape} and the classes "
                    f"{list(self.classes)[:5]}: fit a clone, or set warm_start=False"
                )
            old = estimator.coef_.toarray() if scipy.sparse.issparse(estimator.coef_) else estimator.coef_
            coef, intercept = self.outputs.from_attributes(
                old.astype(np.float64), np.broadcast_to(estimator.intercept_, shape[:1]).astype(np.float64)
            )
        return model.theta(coef, intercept)

    def attributes(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return `coef_` and `intercept_` in the user's units and dtype."""
        coef, intercept = self.outputs.to_attributes(*self.model.coefficients(theta), self.alpha > 0.0)
        dtype = self.X.dtype
        return {"coef_": coef.astype(dtype, copy=False), "intercept_": intercept.astype(dtype, copy=False)}

    def separated(self, point: Point) -> bool:
        """Return whether the value proves that no finite optimum exists.

        Without a penalty: where the largest loss is below log 2 every sample is on its right side, so that the
        data are completely separable. The same with a penalty where one class alone has weight.
        """
        if self.alpha > 0.0 and not (self.model.fit_intercept and np.count_nonzero(self.prior) == 1):
            return False
        smallest = self.weights[self.weights > 0.0].min()
        return point.value < math.log(2.0) * smallest


class _Watcher:
    """The loop's callback: scikit-learn's callbacks, progress on the terminal, and the watch for separation."""

    def __init__(self, estimator: LinearClassifier, problem: _Problem):
        self.estimator, self.problem, self.context, self.task = estimator, problem, None, None
        if getattr(estimator, "_skl_callbacks", None):
            limit = getattr(estimator.solver, "max_iter", None) or estimator.max_iter
            self.context = estimator._init_callback_context(max_subtasks=max(limit, 1))
            self.context.call_on_fit_task_begin(estimator=estimator, X=problem.X, y=None)

    def begin(self) -> None:
        """Begin the task of one iteration."""
        if self.context is not None:
            self.task = self.context.subcontext(task_name="iteration")
            self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.problem.X)

    def __call__(self, record: Record, point: Point) -> Status | bool | None:
        """End the task; return whether to stop."""
        if self.estimator.verbose:
            sys.stdout.write(
                f"[{self.problem.name}] iteration {record.iteration:4d}  value {record.value:.10g}  "
                f"max |grad| {record.grad_norm:.2e}  decrement {record.decrement:.2e}  passes {record.n_passes}\n"
            )
        stop = False
        if self.task is not None:
            task, self.task = self.task, None
            stop = task.call_on_fit_task_end(
                estimator=self.estimator,
                X=self.problem.X,
                reconstruction_attributes=lambda: {
                    **self.problem.attributes(point.theta),
                    "classes_": self.problem.classes,
                    "n_features_in_": self.problem.X.shape[1],
                },
            )
        return Status.SEPARATED if self.problem.separated(point) else stop

    def close(self) -> None:
        """End what is still open: the task of an interrupted iteration, and the fit."""
        if self.context is None:
            return
        if self.task is not None:
            self.task.call_on_fit_task_end(estimator=self.estimator)
        self.context.call_on_fit_task_end(estimator=self.estimator, X=self.problem.X, reconstruction_attributes={})


def check_csr(X) -> None:
    """Check the index arrays of a CSR matrix: compiled kernels would read foreign memory.

    Raises
    ------
    ValueError
        If an index or a pointer is out of range.
    """
    n, d = X.shape
    indices, indptr = X.indices, X.indptr
    good = (
        indptr.shape[0] == n + 1
        and indptr[0] == 0
        and indptr[-1] <= min(len(indices), len(X.data))
        and bool(np.all(indptr[1:] >= indptr[:-1]))
    )
    if not good or (len(indices) and not 0 <= indices.min() <= indices.max() < d):
        raise ValueError(
            f"received a sparse X of shape {X.shape} whose index arrays are damaged (indices outside 0 .. {d - 1}, "
            "or row pointers that decrease); expected a valid CSR matrix: rebuild it, for instance through tocoo()"
        )


@contextlib.contextmanager
def _restored_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Put the fitted attributes back as they were when the block raises."""
    before = {k: v for k, v in vars(estimator).items() if _is_fitted_name(k)}
    try:
        yield
    except BaseException:
        for name in [k for k in vars(estimator) if _is_fitted_name(k)]:
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def _is_fitted_name(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


def _warn_unless_converged(estimator: LinearClassifier, result: Result) -> None:
    """Warn with the status, the numbers and the cure where the fit did not converge."""
    if result.converged:
        return
    last = result.history[-1] if len(result.history) else None
    decrement = "" if last is None or math.isnan(last.decrement) else f", Newton decrement {last.decrement:.2g}"
    warnings.warn(
        f"{type(estimator).__name__} {result.status.name}: {result.message} (after {result.n_iter} iterations of "
        f"{estimator.solver_.name or type(estimator.solver_).__name__}: objective {result.value:.6g}, "
        f"max |gradient| {result.grad_norm:.2g}{decrement}; the best iterate is kept).",
        ConvergenceWarning,
        stacklevel=4,
    )
