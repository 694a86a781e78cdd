"""Arguments as scikit-learn 1.9 reads them: deprecated ones, and what the names of solvers promise."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from array_api_compat import is_array_api_obj, is_numpy_array
from sklearn import get_config
from sklearn.base import BaseEstimator

from ..caller import warn_caller
from ..kernels.streamed import StreamedRows

#: Solvers that minimise smooth objectives alone, and the name that also stands for a dual problem.
SMOOTH_ONLY = ("lbfgs", "l-bfgs", "newton-cg", "newton-cholesky", "sag", "bfgs", "trust-region")
DUAL = ("liblinear", "auto")

#: How scikit-learn's warning begins where the iterations of a solver did not suffice: filters that users have set by
#: these words go on working.
UNFINISHED = {
    "lbfgs": "lbfgs failed to converge after {} iteration(s). Increase the number of iterations.",
    "newton-cg": "newton-cg failed to converge after {} iteration(s). Increase the number of iterations.",
    "newton-cholesky": "Newton solver did not converge after {} iterations.",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge.",
    "saga": "The max_iter was reached which means the coef_ did not converge.",
}


def strength_and_mixture(estimator: BaseEstimator) -> tuple[float, float]:
    """Return C, inf for no penalty, and the share of L1 in the penalty, after the deprecations of scikit-learn 1.9.

    Parameters
    ----------
    estimator : LogisticRegression

    Raises
    ------
    ValueError
        If penalty="elasticnet" comes without l1_ratio, or the solver of that name cannot do what is asked.
    """
    penalty, C, l1_ratio = estimator.penalty, estimator.C, estimator.l1_ratio
    if estimator.n_jobs is not None:
        _deprecate(
            f"'n_jobs' has no effect since scikit-learn 1.8 and will be removed in 1.10; received "
            f"n_jobs={estimator.n_jobs}: leave it unspecified."
        )
    if penalty == "deprecated":
        if l1_ratio is None:
            _deprecate(
                "'l1_ratio=None' was deprecated in scikit-learn 1.8, an error from 1.10 on: use 0 <= l1_ratio <= 1."
            )
        C, l1_ratio = float(C), float(l1_ratio or 0.0)
        name = None if np.isinf(C) else penalty_name(l1_ratio)
        if name is None and 0.0 < l1_ratio < 1.0:
            _advise("l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty=None)")
        check_solver_name(estimator.solver, name, estimator.dual)
        return C, l1_ratio
    C, l1_ratio = _deprecated_penalty(penalty, float(C), l1_ratio)
    check_solver_name(estimator.solver, penalty, estimator.dual)
    return C, l1_ratio


def penalty_name(l1_ratio: float) -> str:
    """Return scikit-learn's name of the penalty with this share of L1."""
    return {0.0: "l2", 1.0: "l1"}.get(l1_ratio, "elasticnet")


def _deprecated_penalty(penalty: str | None, C: float, l1_ratio: float | None) -> tuple[float, float]:
    """Return (C, l1_ratio) from the deprecated argument `penalty`, warning of what contradicts it."""
    _deprecate(
        f"'penalty' was deprecated in scikit-learn 1.8 and will be removed in 1.10; received penalty={penalty!r}: "
        f"leave it out and say {_replacement(penalty)}."
    )
    if penalty == "elasticnet" and l1_ratio is None:
        raise ValueError(
            "received penalty='elasticnet' with l1_ratio=None; it needs the share of L1 in the penalty: "
            "give l1_ratio a number between 0 and 1"
        )
    if penalty != "elasticnet" and l1_ratio is not None and 0.0 < l1_ratio < 1.0:
        _advise(f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})")
    if l1_ratio != {"l1": 1.0, "l2": 0.0}.get(penalty, l1_ratio):
        _advise(
            f"Inconsistent values: penalty={penalty} with l1_ratio={l1_ratio}. Leave penalty out, it is deprecated."
        )
    if penalty is None and C != 1.0:
        _advise("Setting penalty=None will ignore the C and l1_ratio parameters")
    if penalty is None:
        return np.inf, 0.0
    return C, {"l1": 1.0, "l2": 0.0}.get(penalty, l1_ratio)


def mixtures(estimator: BaseEstimator) -> list[float]:
    """Return the shares of L1 that a search goes through, after the deprecations of scikit-learn 1.9.

    Parameters
    ----------
    estimator : LogisticRegressionCV

    Raises
    ------
    ValueError
        If l1_ratios are no numbers between 0 and 1, or the solver of that name cannot do what is asked.
    """
    penalty, l1_ratios = estimator.penalty, estimator.l1_ratios
    if isinstance(l1_ratios, str):
        l1_ratios = None
        _deprecate(
            "The default value for l1_ratios will change from None to (0.0,) with scikit-learn 1.10: give it a value, "
            "l1_ratios=(0,) for L2."
        )
    elif l1_ratios is None and penalty == "deprecated":
        _deprecate("'l1_ratios=None' was deprecated in scikit-learn 1.8, an error from 1.10 on: use numbers in 0 .. 1.")
    if penalty != "deprecated":
        _deprecate(
            f"'penalty' was deprecated in scikit-learn 1.8 and will be removed in 1.10; received penalty={penalty!r}: "
            f"leave it out and say {_replacement(penalty).replace('l1_ratio', 'l1_ratios')}."
        )
        if penalty != "elasticnet" and l1_ratios is not None:
            _advise(f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})")
    fixed = {"l1": [1.0], "l2": [0.0]}.get(penalty) or ([0.0] if l1_ratios is None else None)
    if penalty == "elasticnet" and l1_ratios is None:
        fixed = []
    found = fixed if fixed is not None else list(l1_ratios)
    if not found or not all(isinstance(r, Real) and 0.0 <= r <= 1.0 for r in found):
        raise ValueError(
            f"l1_ratios must be an array-like of numbers between 0 and 1; got (l1_ratios={l1_ratios!r}): use (0,) for "
            "L2, (1,) for L1"
        )
    check_solver_name(estimator.solver, penalty_name(float(max(found))), estimator.dual)
    return [float(r) for r in found]


def strengths(Cs: object) -> np.ndarray:
    """Return the inverse strengths that a search goes through: a grid from 1e-4 to 1e4 for a number of them.

    Raises
    ------
    ValueError
        If one is not positive.
    """
    try:
        found = np.logspace(-4, 4, Cs) if isinstance(Cs, Integral) else np.asarray(Cs, dtype=np.float64)
    except (TypeError, ValueError):  # ragged, or no numbers
        found = np.zeros(0)
    if found.ndim != 1 or not len(found) or not (found > 0.0).all():
        raise ValueError(
            f"received Cs={Cs!r}; expected a whole number, or a list of positive numbers (np.inf for no penalty): "
            "smaller means a stronger penalty"
        )
    return found


def scoring_of(estimator: BaseEstimator) -> object:
    """Return `scoring` of a search, None for its default, with the warning of scikit-learn 1.9 about that."""
    if isinstance(estimator.scoring, str) and estimator.scoring == "warn":
        _deprecate(
            "The default value of the parameter 'scoring' will change from None (accuracy) to 'neg_log_loss' with "
            "scikit-learn 1.11: say scoring='neg_log_loss' or scoring='accuracy'."
        )
        return None
    return estimator.scoring


def legacy_attributes(estimator: BaseEstimator) -> bool:
    """Return whether a search stores its attributes in the old layout, with the warning of scikit-learn 1.9."""
    if isinstance(estimator.use_legacy_attributes, str):
        _deprecate(
            "The default value of use_legacy_attributes will change from True to False with scikit-learn 1.10, and "
            "with it the layout of scores_, coefs_paths_, n_iter_, C_ and l1_ratio_: say which one you want."
        )
        return True
    return bool(estimator.use_legacy_attributes)


def check_search(estimator: BaseEstimator, X: object, y: object, l1_ratios: list[float]) -> None:
    """Check that a search can do what it is asked for with these arrays.

    Parameters
    ----------
    estimator : LogisticRegressionCV
    X, y : array-like
        As the user gave them.
    l1_ratios : list of float
        See `mixtures`.

    Raises
    ------
    ValueError
        If cv="alo" comes with an L1 part, or an array of another library with scikit-learn's dispatch.
    """
    if isinstance(estimator.cv, str) and max(l1_ratios) > 0.0:
        raise ValueError(
            f"received cv='alo' with l1_ratios={estimator.l1_ratios!r}; the approximation needs a smooth penalty: set "
            "l1_ratios=(0,), or use folds, cv=5"
        )
    if estimator.device == "cuda" and (isinstance(estimator.cv, str) or max(l1_ratios) > 0.0):
        raise ValueError(
            f"received device='cuda' with cv={estimator.cv!r} and l1_ratios={estimator.l1_ratios!r}; cv='alo' and an "
            "L1 part run on the processor alone: use folds and l1_ratios=(0,), or device='cpu'"
        )
    if get_config()["array_api_dispatch"] and any(is_array_api_obj(a) and not is_numpy_array(a) for a in (X, y)):
        raise ValueError(
            f"received X as {type(X).__module__}.{type(X).__name__} and y as {type(y).__module__}."
            f"{type(y).__name__} with array_api_dispatch on; LogisticRegressionCV is for NumPy arrays and SciPy's "
            "sparse matrices: convert them, or fit LogisticRegression for each C"
        )


def check_in_memory(problem) -> None:
    """Check that folds can be taken from X where it lies.

    Raises
    ------
    MemoryError
        If X is streamed because it does not fit the device.
    """
    if isinstance(problem.X, StreamedRows):
        raise MemoryError(
            f"{problem.name} received an X of {problem.X.nbytes / 1e9:.3g} GB, which does not fit the device; a search "
            "needs it there as a whole: use device='cpu', or fit LogisticRegression, which streams it, for each C"
        )


def check_weighted_classes(class_weight: object, classes: np.ndarray) -> None:
    """Check that a dict of class weights names none but these classes, as scikit-learn's search does.

    Raises
    ------
    ValueError
        If it names another.
    """
    if isinstance(class_weight, dict) and not set(class_weight) <= set(classes):
        raise ValueError(
            f"The given class_weight dict must have the class labels as keys; received the keys {list(class_weight)} "
            f"for the classes {np.asarray(classes)[:10].tolist()}: correct them"
        )


def _replacement(penalty: str | None) -> str:
    return {"l1": "l1_ratio=1", "l2": "l1_ratio=0", None: "C=np.inf"}.get(penalty, "l1_ratio=(a number in 0 .. 1)")


def check_solver_name(solver: object, penalty: str | None, dual: bool) -> None:
    """Check that a solver given by name can do what it is asked for, as in scikit-learn.

    "auto" and instances of solvers are left alone.

    Parameters
    ----------
    solver : str or Solver
    penalty : {"l1", "l2", "elasticnet", None}
    dual : bool

    Raises
    ------
    ValueError
        If it cannot.
    """
    if not isinstance(solver, str):
        return
    if solver in SMOOTH_ONLY and penalty not in ("l2", None):
        raise ValueError(
            f"Solver {solver} supports only 'l2' or None penalties, got {penalty} penalty: set l1_ratio=0 and leave "
            "penalty out, or set solver='auto'"
        )
    if dual and solver not in DUAL:
        raise ValueError(f"Solver {solver} supports only dual=False, got dual=True: leave dual out")
    if solver == "liblinear" and penalty == "elasticnet":
        raise ValueError(
            "Only 'saga' solver supports elasticnet penalty, got solver=liblinear. (Set l1_ratio to 0 or 1, or "
            "solver='auto'.)"
        )
    if solver == "liblinear" and penalty is None:
        raise ValueError(
            "C=np.inf as well as penalty=None is not supported for the liblinear solver: use a finite C, or "
            "solver='auto'"
        )
    if solver == "liblinear" and penalty == "l1" and dual:
        raise ValueError(
            "Unsupported set of arguments: The combination of penalty='l1' and loss='logistic_regression' are not "
            "supported when dual=True: leave dual out"
        )


def check_liblinear_classes(solver: object, n_classes: int) -> None:
    """Check that "liblinear" is asked for two classes only: scikit-learn's never fitted a softmax.

    Raises
    ------
    ValueError
        If there are more.
    """
    if isinstance(solver, str) and solver == "liblinear" and n_classes > 2:
        raise ValueError(
            f"The 'liblinear' solver does not support multiclass classification; received {n_classes} classes: use "
            "solver='auto', or wrap the estimator in sklearn.multiclass.OneVsRestClassifier"
        )


def unfinished(solver: object, n_iter: int) -> str:
    """Return how scikit-learn's warning of too few iterations begins for this solver, empty where it has none."""
    opening = UNFINISHED.get(solver) if isinstance(solver, str) else None
    return f"{opening.format(n_iter)} " if opening else ""


def _deprecate(message: str) -> None:
    warn_caller(message, FutureWarning)


def _advise(message: str) -> None:
    warn_caller(message, UserWarning)
