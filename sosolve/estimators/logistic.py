"""LogisticRegression: scikit-learn's contract, solved to the optimum."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

from .._compat import Hidden, Interval, StrOptions, fit_context
from .arguments import check_liblinear_classes, strength_and_mixture
from .base import LinearClassifier
from .outputs import OneRow, OneRowEach


class LogisticRegression(LinearClassifier):
    r"""Logistic regression, binary or multinomial, by second-order methods.

    Minimises the objective of :class:`sklearn.linear_model.LogisticRegression`,

    .. math:: C \sum_i s_i \, \ell(y_i, W x_i + b)
              + \sum_j \omega_j \bigl( \tfrac{1 - \rho}{2} \lVert w_j \rVert_2^2 + \rho \lVert w_j \rVert_1 \bigr)

    with s_i = sample_weight_i * class_weight[y_i], rho = l1_ratio, and for each column j of X its coefficients w_j and
    omega_j = 1, or penalty_weights[j]. For two classes there is one coefficient vector and l is the
    logistic loss; for more there is one vector for each class and l is the softmax loss. The intercept b is never
    penalised. Works in a standardised basis internally (exactly equivalent, X is not copied), so that columns of
    very different units need no scaling, and stops on a scale-free test: half the squared Newton decrement at most
    tol^2 times the objective, which leaves a relative gap to the minimum of about tol^2.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet", None}, default="deprecated"
        As in scikit-learn 1.9: deprecated, use l1_ratio, and C=np.inf instead of penalty=None.
    C : float, default=1.0
        Inverse strength of the penalty, in (0, inf]; inf means none.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, in [0, 1]: 0 is L2, 1 is L1, between them the elastic net.
    dual : bool, default=False
        Accepted for compatibility; the primal problem is solved, the optimum is the same.
    tol : float, default=1e-4
        Tolerance, >= 0, see above; also the bound on the largest gradient component in the standardised basis.
    fit_intercept : bool, default=True
        Whether to add an unpenalised constant.
    intercept_scaling : float, default=1
        Accepted for compatibility; the intercept is not penalised and needs no scaling.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" is n / (K * count of the class).
    random_state : int, RandomState instance or None, default=None
        Accepted for compatibility; nothing is random.
    solver : str or Solver, default="auto"
        "auto", "newton-cg", "newton-cholesky", "trust-region", "bfgs", "lbfgs", "proximal-newton" (the one for L1 and
        bounds, which "auto" takes there), or an instance such as `TrustRegion(radius0=10)`, whose settings a grid
        search reaches as `solver__radius0`. "liblinear", "sag" and "saga" are accepted: the same objective is solved
        by the automatic choice, and `solver_` tells which.
    max_iter : int, default=100
        Most iterations, >= 0, for a solver without a limit of its own.
    verbose : int, default=0
        Positive: a line for each iteration; from 2 on one more, how it ended.
    warm_start : bool, default=False
        Start from the coefficients of the previous fit.
    n_jobs : None
        Accepted for compatibility (deprecated in scikit-learn 1.8). The number of threads follows
        SOSOLVE_NUM_THREADS, OMP_NUM_THREADS and threadpoolctl.
    device : {"auto", "cpu", "cuda"} or None, default=None
        Where to compute. None: where X is (an array of CuPy, or of PyTorch on an NVIDIA device, stays there while
        scikit-learn's array_api_dispatch is on; NumPy means the processor). "cuda" takes X from the host to the current
        CUDA device and brings the results back as NumPy arrays; X is streamed where it does not fit. "auto" does so
        where a rough model of the time says that it pays and a device is there. `device_` tells.
    penalty_weights : array-like of shape (n_features,), default=None
        >= 0, dimensionless: multiply the penalty of each column, the L1 and the L2 part; 0 leaves it unpenalised.
    bounds : pair (lower, upper), default=None
        Each a number or an array of shape (n_features,), -inf and inf where there is none: every coefficient of
        column j keeps lower_j <= w <= upper_j. The intercept is not bounded.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        In the dtype of X.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    n_iter_ : ndarray of shape (1,), int32
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has column names.
    solver_ : Solver
        What ran, with its settings; `history_.notes["solver"]` says why.
    device_ : str
        Where the fit ran: "cpu", "cuda:0" or what the library of X calls it.
    history_ : History
        One record an iteration: value, gradient, decrement, CG iterations, passes over X, seconds.
    result_ : Result
        Status, value, gradient norm and counts.
    optimality_ : Optimality
        An upper bound on the distance of the objective from its minimum, how it is known, and in words.

    Raises
    ------
    InvalidParameterError
        (from fit) If a parameter has a wrong type or value.
    ValueError
        (from fit) If data or weights are not finite, shapes do not match, or y has one class.
    ImportError, RuntimeError, MemoryError
        (from fit) With device="cuda": if CuPy, a driver or a device is missing, or the data have no room there; the
        message says what was found and what to install or free.

    Warns
    -----
    ConvergenceWarning
        (from fit) If the fit ends otherwise than converged; the message names the status and the cure.

    References
    ----------
    Nocedal and Wright (2006). Numerical Optimization, 2nd edition. Springer, chapters 4, 6 and 7.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sosolve import LogisticRegression
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegression().fit(X, y)
    >>> clf.result_.status.name, round(clf.score(X, y), 3)
    ('CONVERGED', 0.958)
    """

    _parameter_constraints: ClassVar[dict] = {
        **LinearClassifier._parameter_constraints,
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), None, Hidden(StrOptions({"deprecated"}))],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "dual": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "n_jobs": [None, Integral],
        "penalty_weights": ["array-like", None],
        "bounds": [tuple, list, None],
    }

    def __init__(
        self,
        penalty="deprecated",
        *,
        C=1.0,
        l1_ratio=0.0,
        dual=False,
        tol=1e-4,
        fit_intercept=True,
        intercept_scaling=1,
        class_weight=None,
        random_state=None,
        solver="auto",
        max_iter=100,
        verbose=0,
        warm_start=False,
        n_jobs=None,
        device=None,
        penalty_weights=None,
        bounds=None,
    ):
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.device = device
        self.penalty_weights = penalty_weights
        self.bounds = bounds

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, offset=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            float32 and float64 in C or F order and CSR are used as they are; anything else is converted: whole numbers
            and booleans to float64, a copy of 8 bytes an entry.
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
        return self._fit(X, y, sample_weight, *strength_and_mixture(self), offset)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = not (isinstance(self.solver, str) and self.solver == "liblinear")
        return tags

    def _outputs(self, classes):
        check_liblinear_classes(self.solver, len(classes))
        return OneRow(2) if len(classes) == 2 else OneRowEach(len(classes))
