"""What to do about an invalid parameter, said after scikit-learn's message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from sklearn.base import BaseEstimator

from .._compat import InvalidParameterError, StrOptions
from ..solvers import Solver

#: Parameters of several estimators.
SHARED = {
    "tol": "Choose a small positive number: the relative gap to the minimum is about tol squared.",
    "max_iter": "Choose a whole number of iterations.",
    "device": "Pass 'cpu', 'cuda' or 'auto', or None to stay where X is.",
    "fit_intercept": "Pass True or False.",
    "verbose": "Pass 0 for silence, 1 for a line an iteration, 2 for how it ended too.",
}
CLASSIFIERS = {
    **SHARED,
    "C": "Choose a positive number (smaller means a stronger penalty), or np.inf for no penalty.",
    "solver": "Choose one of these names, or pass an instance of a solver such as sosolve.NewtonCG(tol=1e-6).",
    "l1_ratio": "Pass the share of L1 in the penalty: 0 is L2, 1 is L1.",
    "class_weight": "Pass 'balanced', a mapping of labels to weights, or None.",
    "penalty": "Leave it out: l1_ratio says which penalty, C=np.inf that there is none.",
    "bounds": "Pass (lower, upper), each a number or one for each column.",
    "cv": "Pass a number of folds, a splitter, a list of (train, test), or 'alo' for approximate leave-one-out.",
    "scoring": "Pass a name of sklearn.metrics.get_scorer_names(), or a function of (estimator, X, y).",
}
CURVES = {
    **SHARED,
    "tol": "Choose a small positive number, or None for the rounding level.",
    "model": "Pass a formula such as 'a*exp(-b*x)', a name of sosolve.curves.library, or a function f(x, *params).",
    "solver": "Choose one of these names ('lm' for SciPy's 'trf', 'dogleg' for its 'dogbox'; both take bounds), or "
    "pass an instance such as sosolve.LevenbergMarquardt(factor=1).",
    "loss": "Choose one of these names; 'soft_l1' is the smooth form of the absolute value.",
    "f_scale": "Pass the size of a residual that is no outlier, or None to have it found.",
    "p0": "Pass a mapping of names to values, an array in the order of the parameters, or None.",
    "bounds": "Pass (lower, upper), or a mapping of names to such pairs.",
    "fixed": "Pass a mapping of names to values, or a list of names held at p0.",
    "jac": "Pass a function jac(x, *params) -> (n, p), '2-point', '3-point', 'cs', 'auto' or None.",
}

#: Words that stand for a value without looking like it.
SYNONYMS = {"gpu": "cuda", "l2": "linear", "squared": "linear"}


@contextlib.contextmanager
def advised(advice: Mapping[str, str], estimator: BaseEstimator) -> Iterator[None]:
    """Add to scikit-learn's message about an invalid parameter what to do, and what was meant where that shows.

    Parameters
    ----------
    advice : mapping of str to str
        A sentence by the name of the parameter.
    estimator : estimator instance
        Whose parameters are checked; they must not be whole numbers beyond double precision either.

    Raises
    ------
    InvalidParameterError
        What the block raised, with the advice.
    """
    try:
        yield
        for name in advice:
            value = getattr(estimator, name, None)
            if isinstance(value, int) and value.bit_length() > 1023:
                raise InvalidParameterError(
                    f"The {name!r} parameter of {type(estimator).__name__} must be below 1e308. Got a whole number of "
                    f"{value.bit_length()} bits instead."
                )
    except InvalidParameterError as error:
        name = str(error).split("'")[1]
        words = [str(error), advice.get(name, ""), meant(estimator, name)]
        words = words if any(words[1:]) else [*words, "Pass a value of that kind."]
        raise InvalidParameterError(" ".join(word for word in words if word)) from None


def meant(estimator: BaseEstimator, name: str) -> str:
    """Return a question after the value that an invalid one comes near to, "" where there is none."""
    value = getattr(estimator, name, None)
    if isinstance(value, type) and issubclass(value, Solver):
        return f"Did you mean an instance, {name}={value.__name__}()?"
    if not isinstance(value, str):
        return ""
    constraints = [c for c in estimator._parameter_constraints.get(name, ()) if isinstance(c, StrOptions)]
    options = sorted(option for constraint in constraints for option in constraint.options)
    word = value.strip().lower()
    tried = (word, word.replace("_", "-")) if word not in SYNONYMS else (SYNONYMS[word],)
    near = [close for text in tried for close in get_close_matches(text, options, n=1)]
    return f"Did you mean {near[-1]!r}?" if near else ""
