"""LogisticRegressionCV: the strength of the penalty by cross-validation, scikit-learn's contract."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

import numpy as np
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.utils.metadata_routing import UNUSED, MetadataRouter, MethodMapping, process_routing

from .._compat import (
    Hidden,
    Interval,
    StrOptions,
    deprecate_positional_args,
    effective_threads,
    fit_context,
    raise_for_params,
    routing_enabled,
    to_host,
)
from ..kernels.pool import thread_limit
from .arguments import check_search, check_weighted_classes, legacy_attributes, mixtures, scoring_of, strengths
from .base import LoopWatcher, warn_unless_converged
from .common import forget, restored_on_error
from .cv_folds import Fold, Search, fit_folds, fit_left_out, folds_of, warn_of_folds, warn_of_left_out
from .cv_layout import new_layout, old_layout
from .cv_scores import best_of_all, best_of_each, resolve_scorer
from .cv_watch import SearchWatcher
from .logistic import LogisticRegression
from .offsets import knowing_offset
from .placement import guarded
from .problem import Problem

#: Parameters that mean the same for a single fit.
SHARED = ("fit_intercept", "dual", "solver", "tol", "max_iter", "class_weight", "intercept_scaling", "random_state")


class LogisticRegressionCV(LogisticRegression):
    r"""Logistic regression, binary or multinomial, with C and l1_ratio chosen by cross-validation.

    The objective is that of :class:`LogisticRegression`. On the training rows of each fold it is minimised for all
    values of C, from the strongest penalty to the weakest, each fit starting on the line through the last two optima;
    the test rows give the scores. The best sum of scores over the folds wins (the first of several, in the order of
    `Cs`, then of `l1_ratios`), and the model is fitted to all rows once more. X is checked and, where it has fewer
    rows than columns, factorised once for all folds.

    Parameters
    ----------
    Cs : int or array-like, default=10
        Inverse strengths, > 0, np.inf for none; a number stands for a logarithmic grid from 1e-4 to 1e4.
    l1_ratios : array-like, default=None
        Shares of L1 in the penalty, in [0, 1]; None, deprecated as in scikit-learn 1.9, is (0,) in an older layout.
    fit_intercept : bool, default=True
        Whether to add an unpenalised constant.
    cv : int, splitter, iterable or "alo", default=None
        As in scikit-learn: None is five stratified folds. "alo" is leave-one-out, approximated from one fit of all
        rows for each C, with exact fits for the rows that matter most; for L2, and up to 4000 parameters. Its scores
        are those of all rows together, as of one fold.
    dual : bool, default=False
        Accepted for compatibility with "liblinear"; the primal problem is solved, the optimum is the same.
    penalty : {"l1", "l2", "elasticnet"}, default="deprecated"
        As in scikit-learn 1.9: deprecated, use l1_ratios.
    scoring : str, callable or None, default=None
        A scorer; None is the accuracy. Metadata reach it as in scikit-learn.
    solver : str or Solver, default="auto"
        As in :class:`LogisticRegression`.
    tol : float, default=1e-4
        Of each fit, see :class:`LogisticRegression`.
    max_iter : int, default=100
        Most iterations of each fit, >= 0, for a solver without a limit of its own.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes; "balanced" counts all rows, not those of a fold.
    n_jobs : int or None, default=None
        Folds at the same time, as joblib counts them; threads, where no joblib backend says otherwise. The threads of
        the kernels are divided among them.
    verbose : int, default=0
        1: a line for each fold; more: a line for each iteration of the last fit too.
    refit : bool, default=True
        Whether to fit all rows with the best parameters. Else the coefficients, C and l1_ratio that are best on each
        fold are averaged.
    intercept_scaling : float, default=1
        Accepted for compatibility; the intercept is not penalised and needs no scaling.
    random_state : int, RandomState instance or None, default=None
        Accepted for compatibility; nothing is random.
    use_legacy_attributes : bool, default=True
        The layout of `C_`, `l1_ratio_`, `scores_`, `coefs_paths_` and `n_iter_`; see there. The default becomes False
        with scikit-learn 1.10, and a warning says so.
    device : {None, "auto", "cpu", "cuda"}, default=None
        Where to fit NumPy arrays and CSR matrices, as in :class:`LogisticRegression`: on a device the folds are fitted
        one after the other and scored on the processor. L1 and cv="alo" run on the processor alone.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        In the dtype of X.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    Cs_ : ndarray of shape (n_Cs,)
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        [None] where `l1_ratios` is None.
    C_ : float, or ndarray of shape (n_classes,) or (1,) in the old layout
        The best C.
    l1_ratio_ : float, or ndarray of shape (n_classes,) or (1,) in the old layout
        The best l1_ratio.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_Cs)
        Old layout: a dict by class (the second of two) of the same array of shape (n_folds, n_Cs, n_l1_ratios) each,
        without the last axis where `l1_ratios` is None.
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_Cs, n_classes or 1, n_features + 1)
        Coefficients with the intercept last. Old layout: a dict by class of shape (n_folds, n_Cs, n_l1_ratios,
        n_features + 1) each, likewise.
    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_Cs), int32
        Old layout: (1, n_folds, n_Cs, n_l1_ratios), likewise.
    n_exact_, loo_error_ : ndarray of shape (n_Cs,)
        For cv="alo": rows that were fitted exactly, and the estimated error of the mean log loss, relative to it.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has column names.
    solver_, device_, history_, result_, optimality_
        Of the last fit, where refit is True, as in :class:`LogisticRegression`.

    Raises
    ------
    InvalidParameterError
        (from fit) If a parameter has a wrong type or value.
    ValueError
        (from fit) If data or weights are not finite, shapes do not match, y has one class, or a fold has no test rows
        or rows that X has not.

    Warns
    -----
    ConvergenceWarning
        (from fit) If fits end otherwise than converged: one warning for all folds, one for the last fit; and where
        the log loss of cv="alo" may be more than 2 % off.

    References
    ----------
    Friedman, Hastie and Tibshirani (2010). Regularization paths for generalized linear models via coordinate descent.
    J. Stat. Softw. 33(1), section 2.5: warm starts along a path. Rad and Maleki (2020). A scalable estimate of the
    out-of-sample prediction error via approximate leave-one-out cross-validation. J. R. Stat. Soc. B 82(4), 965-996.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sosolve import LogisticRegressionCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> clf = LogisticRegressionCV(l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False).fit(X, y)
    >>> clf.scores_.shape, round(clf.C_, 3)
    ((5, 1, 10), 21.544)
    """

    #: `sample_weight` of `score` has a name of its own in the signature, as long as scikit-learn's has.
    __metadata_request__score: ClassVar[dict] = {"sample_weight": UNUSED}

    _parameter_constraints: ClassVar[dict] = {
        **{
            k: v
            for k, v in LogisticRegression._parameter_constraints.items()
            if k not in ("C", "l1_ratio", "warm_start")
        },
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None, Hidden(StrOptions({"warn"}))],
        "cv": ["cv_object", StrOptions({"alo"})],
        "scoring": [StrOptions(set(get_scorer_names())), callable, None, Hidden(StrOptions({"warn"}))],
        "refit": ["boolean"],
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), Hidden(StrOptions({"deprecated"}))],
        "use_legacy_attributes": ["boolean", Hidden(StrOptions({"warn"}))],
    }

    #: A search never starts from the fit before.
    warm_start = False

    def __init__(
        self,
        *,
        Cs=10,
        l1_ratios="warn",
        fit_intercept=True,
        cv=None,
        dual=False,
        penalty="deprecated",
        scoring="warn",
        solver="auto",
        tol=1e-4,
        max_iter=100,
        class_weight=None,
        n_jobs=None,
        verbose=0,
        refit=True,
        intercept_scaling=1.0,
        random_state=None,
        use_legacy_attributes="warn",
        device=None,
    ):
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes
        self.device = device

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, offset=None, **params):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            float32 and float64 in C or F order and CSR are used as they are; anything else is converted.
        y : array-like of shape (n_samples,)
            Labels of any type.
        sample_weight : array-like of shape (n_samples,), optional
            >= 0; weight 2 is the same as a repeated row, weight 0 as a removed one. The scorer gets those of the test
            rows, where metadata routing does not say otherwise.
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As in :class:`LogisticRegression`; the folds are fitted and scored with that of their rows.
        **params
            Metadata for the splitter and the scorer, with scikit-learn's metadata routing on.

        Returns
        -------
        self
        """
        raise_for_params(params, self, "fit")
        l1_ratios, scoring, legacy = mixtures(self), scoring_of(self), legacy_attributes(self)
        Cs = strengths(self.Cs)
        check_search(self, X, y, l1_ratios)
        with restored_on_error(self), guarded(X, self.device, type(self).__name__):
            forget(self)
            problem = Problem(self, X, y, sample_weight, Cs.max(), max(l1_ratios), True, offset)
            check_weighted_classes(self.class_weight, problem.classes)
            y = problem.classes[to_host(problem.codes)]
            split, score = self._metadata(sample_weight, scoring, params)
            scorer = resolve_scorer(scoring, problem.classes)
            search = Search(self._template(problem), problem, Cs, l1_ratios, scorer, score)
            if self._leaves_one_out:
                watcher = SearchWatcher(self, problem.given, y, 1)
                found = self._leave_one_out(search, watcher)
            else:
                folds = folds_of(self.cv, problem.given, y, split)
                watcher = SearchWatcher(self, problem.given, y, len(folds))
                found = fit_folds(search, folds, self.n_jobs, watcher.done)
            warn_of_folds(self, found)
            self._store(problem, watcher.context, Cs, l1_ratios, found, legacy)
            watcher.close()
        if self.refit:
            warn_unless_converged(self, self.result_)
        return self

    def _metadata(self, sample_weight, scoring, params) -> tuple[dict, dict]:
        """Return what the splitter and what the scorer are given."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        if not routing_enabled():
            return {}, weights
        routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
        return routed.splitter.split, weights if scoring is None else routed.scorer.score

    def _leave_one_out(self, search: Search, watcher) -> list[Fold]:
        """Return one fold with the scores of each row without it."""
        fold, left = fit_left_out(search, effective_threads())
        watcher.done(fold)
        warn_of_left_out(self, left, search.Cs)
        self.n_exact_ = np.array([found.n_exact for found in left])
        self.loo_error_ = np.array([found.error for found in left])
        return [fold]

    def _template(self, problem: Problem) -> LogisticRegression:
        """Return an estimator for single fits, without callbacks and without the arguments of the search."""
        template = LogisticRegression(**{name: getattr(self, name) for name in SHARED})
        template.classes_, template.n_features_in_ = problem.classes, problem.X.shape[1]
        return template

    @property
    def _leaves_one_out(self) -> bool:
        return isinstance(self.cv, str)

    def _store(self, problem: Problem, context, Cs, l1_ratios, found: list[Fold], legacy: bool) -> None:
        """Choose, fit once more or average, and set the fitted attributes."""
        paths, scores, n_iter = (np.stack([getattr(fold, name) for fold in found]) for name in Fold._fields[:3])
        ratios = np.asarray(l1_ratios)
        if self.refit:
            c, r = best_of_all(scores)
            C, l1_ratio = Cs[c], ratios[r]
            self._refit(problem, context, float(C), float(l1_ratio))
        else:
            best = best_of_each(scores)
            C, l1_ratio = np.mean([Cs[c] for c, _ in best]), np.mean([ratios[r] for _, r in best])
            mean = np.mean([paths[k, r, c] for k, (c, r) in enumerate(best)], axis=0, dtype=np.float64)
            self.classes_, (self.coef_, self.intercept_) = problem.classes, self._split(problem, mean)
        has_ratios = not (self.l1_ratios is None or isinstance(self.l1_ratios, str))
        self.Cs_, self.l1_ratios_ = Cs, np.asarray(self.l1_ratios if has_ratios else [None])
        if legacy:
            shown = l1_ratio if has_ratios or not self.refit else None
            layout = old_layout(paths, scores, n_iter, C, shown, problem.classes, has_ratios)
        else:
            layout = new_layout(paths, scores, n_iter, C, l1_ratio)
        for name, value in layout.items():
            setattr(self, name, value)

    def _refit(self, problem: Problem, context, C: float, l1_ratio: float) -> None:
        """Fit all rows from where a single fit starts: its coefficients, whatever the folds were."""
        with thread_limit(effective_threads()), np.errstate(all="ignore"):
            problem = problem.at(C, l1_ratio)
            watcher = LoopWatcher(self, problem, context)
            watcher.verbose = self.verbose - 1
            solver, result = self._solve(problem, watcher)
            watcher.close()
            self._unpack(problem, solver, result)

    def _split(self, problem: Problem, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return coefficients and intercepts from rows that hold both, in the dtype of X."""
        dtype, d = problem.X.dtype, problem.X.shape[1]
        intercept = rows[:, d] if self.fit_intercept else np.zeros(len(rows))
        return rows[:, :d].astype(dtype), intercept.astype(dtype)

    @deprecate_positional_args(version="1.11")
    def score(self, X, y, *, sample_weight=None, offset=None, **score_params) -> float:
        """Return the score on test data by the scorer of the search.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.
        **score_params
            Metadata for the scorer, with scikit-learn's metadata routing on.

        Returns
        -------
        float
            The accuracy where `scoring` is None.
        """
        raise_for_params(score_params, self, "score")
        if sample_weight is not None:
            score_params["sample_weight"] = sample_weight
        if routing_enabled():
            score_params = process_routing(self, "score", **score_params).scorer.score
        return self._get_scorer()(knowing_offset(self, offset), X, y, **score_params)

    def get_metadata_routing(self):
        """Return the routing of metadata to the splitter and the scorer.

        Returns
        -------
        MetadataRouter
        """
        to_scorer = MethodMapping().add(caller="score", callee="score").add(caller="fit", callee="score")
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(
            splitter=None if self._leaves_one_out else self.cv,
            method_mapping=MethodMapping().add(caller="fit", callee="split"),
        )
        return router.add(scorer=self._get_scorer(), method_mapping=to_scorer)

    def _get_scorer(self):
        """Return the scorer; scikit-learn's tests ask for it by this name."""
        return get_scorer("accuracy" if self.scoring in ("warn", None) else self.scoring)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = False
        return tags
