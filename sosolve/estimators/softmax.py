"""SoftmaxRegression: one row of coefficients for each class, for two classes too, or a reference class."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np

from .._compat import Interval, fit_context
from .base import LinearClassifier
from .outputs import AgainstReference, OneRowEach


class SoftmaxRegression(LinearClassifier):
    r"""Softmax (multinomial logistic) regression with K rows of coefficients for any number of classes K >= 2.

    .. math:: \min_{W, b} \; C \sum_i s_i \Bigl( \log \sum_k e^{w_k x_i + b_k} - (w_{y_i} x_i + b_{y_i}) \Bigr)
              + \tfrac{1 - \rho}{2} \lVert W \rVert^2_2 + \rho \lVert W \rVert_1

    with rho = l1_ratio. Without `reference_class` the problem has one row more than it needs: the intercepts (and
    without a penalty the coefficients) are centred over the classes. With it, the row of that class is zero and the
    others are log odds against it, as in statsmodels' MNLogit.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, in (0, inf]; inf means none.
    reference_class : label or None, default=None
        The class whose row of coefficients is fixed at zero.
    tol : float, default=1e-4
        Half the squared Newton decrement must fall to tol^2 times the objective; >= 0.
    fit_intercept : bool, default=True
        Whether to add unpenalised constants.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes.
    solver : str or Solver, default="auto"
        As in :class:`LogisticRegression`.
    max_iter : int, default=100
        Most iterations, >= 0, for a solver without a limit of its own.
    verbose : int, default=0
        Positive: a line for each iteration; from 2 on one more, how it ended.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    device : {"auto", "cpu", "cuda"} or None, default=None
        Where to compute. None: where X is (an array of CuPy, or of PyTorch on an NVIDIA device, stays there while
        scikit-learn's array_api_dispatch is on; NumPy means the processor). "cuda" takes X from the host to the current
        CUDA device and brings the results back as NumPy arrays; X is streamed where it does not fit. "auto" does so
        where a rough model of the time says that it pays and a device is there. `device_` tells.
    l1_ratio : float, default=0.0
    penalty_weights : array-like of shape (n_features,), default=None
    bounds : pair (lower, upper), default=None
        These three as in :class:`LogisticRegression`; a reference class keeps its zeros.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features)
        In the dtype of X; zero in the row of `reference_class`.
    intercept_ : ndarray of shape (n_classes,)
    n_iter_ : ndarray of shape (1,), int32
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has column names.
    solver_, device_, history_, result_, optimality_
        As in :class:`LogisticRegression`.

    Raises
    ------
    InvalidParameterError, ValueError, ImportError, RuntimeError, MemoryError
        (from fit) As in :class:`LogisticRegression`; ValueError also if `reference_class` is not among the labels.

    References
    ----------
    Böhning, D. (1992). Multinomial logistic regression algorithm. Ann. Inst. Statist. Math. 44, 197-200.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sosolve import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxRegression(reference_class=0).fit(X, y)
    >>> clf.coef_.shape, bool((clf.coef_[0] == 0).all())
    ((3, 4), True)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LinearClassifier._parameter_constraints,
        "reference_class": "no_validation",
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "penalty_weights": ["array-like", None],
        "bounds": [tuple, list, None],
    }

    def __init__(
        self,
        *,
        C=1.0,
        reference_class=None,
        tol=1e-4,
        fit_intercept=True,
        class_weight=None,
        solver="auto",
        max_iter=100,
        verbose=0,
        warm_start=False,
        device=None,
        l1_ratio=0.0,
        penalty_weights=None,
        bounds=None,
    ):
        self.C = C
        self.reference_class = reference_class
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.device = device
        self.l1_ratio = l1_ratio
        self.penalty_weights = penalty_weights
        self.bounds = bounds

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, offset=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), optional
            >= 0; weight 2 is the same as a repeated row, weight 0 as a removed one.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            Known parts of the scores, added to X coef' + intercept: log odds of the second class for two classes, or
            a column for each class. Predictions are without one unless they are given theirs.

        Returns
        -------
        self
        """
        return self._fit(X, y, sample_weight, float(self.C), float(self.l1_ratio), offset)

    def _outputs(self, classes):
        if self.reference_class is None:
            return OneRowEach(len(classes))
        found = [k for k, c in enumerate(classes) if np.ndim(self.reference_class) == 0 and c == self.reference_class]
        if not found:
            raise ValueError(
                f"received reference_class={self.reference_class!r}; expected one of the labels in y, "
                f"{np.asarray(classes)[:10].tolist()}: name one of them, or None for a row each"
            )
        return AgainstReference(len(classes), found[0])
