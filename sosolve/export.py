"""Fitted estimators in other formats: what skops must trust, and converters to ONNX."""

from __future__ import annotations

import copy

import scipy.sparse
from sklearn.linear_model import LogisticRegression as SklearnLogisticRegression

from . import estimators
from ._compat import to_host
from .history import History, Result, Status
from .protocols import Counts
from .solvers import SOLVERS

#: The classifiers of the package, all with `coef_`, `intercept_` and `classes_`.
CLASSIFIERS = (estimators.LogisticRegression, estimators.LogisticRegressionCV, estimators.SoftmaxRegression)


def trusted_types() -> list[str]:
    """Return the names of the types in a fitted classifier, for the argument `trusted` of `skops.io.load`.

    Your own solver or loss is not among them: look at `skops.io.get_untrusted_types` and add what you know.

    Returns
    -------
    list of str
        Full names, sorted.

    Examples
    --------
    >>> from sosolve.export import trusted_types
    >>> "sosolve.estimators.logistic.LogisticRegression" in trusted_types()
    True
    """
    types = {*CLASSIFIERS, *SOLVERS.values(), History, Result, Status, Counts, estimators.Optimality}
    return sorted(f"{found.__module__}.{found.__qualname__}" for found in types)


def register_onnx() -> None:
    """Register converters of the classifiers with skl2onnx, alone and as steps of pipelines.

    After it `skl2onnx.to_onnx(clf, X)` works with all options of scikit-learn's LogisticRegression ("zipmap", "nocl",
    "output_class_labels", "raw_scores"). The graph computes in the type of its input: float32 for X of float32. Calling
    it again does no harm.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    """
    try:
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    except ImportError as error:
        raise ImportError(
            "sosolve.export.register_onnx needs skl2onnx, which is not installed: pip install 'sosolve[onnx]'"
        ) from error
    options = {
        "zipmap": [True, False, "columns"],
        "nocl": [True, False],
        "output_class_labels": [False, True],
        "raw_scores": [True, False],
    }
    for classifier in CLASSIFIERS:
        update_registered_converter(
            classifier,
            f"Sosolve{classifier.__name__}",
            calculate_linear_classifier_output_shapes,
            _convert,
            options=options,
        )


def _convert(scope, operator, container) -> None:
    """Convert by skl2onnx's own converter, on a classifier of scikit-learn's with the same coefficients."""
    from skl2onnx.operator_converters.linear_classifier import convert_sklearn_linear_classifier

    ours = operator.raw_operator
    theirs = as_sklearn(ours)
    stand_in = copy.copy(operator)
    stand_in.raw_operator = theirs
    for holder in (scope, container):  # options are kept by the identity of the model, or by its type
        found = (holder.options or {}).get(id(ours), (holder.options or {}).get(type(ours)))
        if found is not None:
            holder.options[id(theirs)] = found
    convert_sklearn_linear_classifier(scope, stand_in, container)


def as_sklearn(clf) -> SklearnLogisticRegression:
    """Return scikit-learn's LogisticRegression with the coefficients of a fitted classifier: equal probabilities.

    Parameters
    ----------
    clf : LogisticRegression or SoftmaxRegression
        Fitted, on any device. Two rows of coefficients for two classes become their difference.

    Returns
    -------
    sklearn.linear_model.LogisticRegression
        Fitted; its arrays are NumPy's and are not shared with `clf`.

    Raises
    ------
    NotFittedError
        If `clf` is not fitted.
    TypeError
        If it is no linear classifier of sosolve.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sosolve import SoftmaxRegression
    >>> from sosolve.export import as_sklearn
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxRegression().fit(X, y)
    >>> bool((as_sklearn(clf).predict(X) == clf.predict(X)).all())
    True
    """
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(clf, CLASSIFIERS):
        names = ", ".join(kind.__name__ for kind in CLASSIFIERS)
        raise TypeError(
            f"received an object of type {type(clf).__name__}; expected one of {names}: pass it, of a pipeline the "
            "last step"
        )
    check_is_fitted(clf)
    coef = clf.coef_.toarray() if scipy.sparse.issparse(clf.coef_) else to_host(clf.coef_)
    intercept = to_host(clf.intercept_)
    if coef.shape[0] == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    shared = SklearnLogisticRegression().get_params().keys() - {"solver", "penalty", "n_jobs"}
    theirs = SklearnLogisticRegression(**{k: v for k, v in clf.get_params(deep=False).items() if k in shared})
    theirs.coef_, theirs.intercept_ = coef.copy(), intercept.copy()
    theirs.classes_, theirs.n_iter_ = to_host(clf.classes_).copy(), to_host(clf.n_iter_).copy()
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(clf, name):
            setattr(theirs, name, getattr(clf, name))
    return theirs
