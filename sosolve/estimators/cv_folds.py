"""The folds of a search: the paths of fits on training rows with the scores of test rows, or one fit less each row."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import check_cv
from threadpoolctl import threadpool_limits

from .._compat import effective_threads, to_host
from ..caller import warn_caller
from ..history import Status
from ..kernels.pool import thread_limit
from .alo import LeftOut, leave_one_out
from .arguments import check_in_memory, unfinished
from .cv_scores import TestRows, is_direct
from .logistic import LogisticRegression
from .offsets import knowing_offset
from .path import Ended, Path

if TYPE_CHECKING:
    from .problem import Problem


class Fold(NamedTuple):
    """What one fold found, for each l1_ratio and C."""

    paths: np.ndarray
    scores: np.ndarray
    n_iter: np.ndarray
    bad: list[Status]


class Search(NamedTuple):
    """What is looked for, the same on every fold.

    Attributes
    ----------
    template : LogisticRegression
        With the settings of the search; gets the coefficients to be scored.
    problem : Problem
        All rows.
    Cs, l1_ratios : array
    scorer : callable
    params : mapping
        What the scorer is given besides.
    """

    template: LogisticRegression
    problem: Problem
    Cs: np.ndarray
    l1_ratios: Sequence[float]
    scorer: Callable
    params: Mapping


def folds_of(cv, X, y, split) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the numbers of the training rows and of the test rows of each fold.

    Parameters
    ----------
    cv : int, splitter, iterable or None
        As in scikit-learn.
    X, y : array
    split : mapping
        What the splitter is given besides.

    Raises
    ------
    ValueError
        If there are no folds, or one has no test rows or rows that X has not.
    """
    folds = [
        (
            _row_numbers(train, X.shape[0], f"training rows of fold {k}"),
            _row_numbers(test, X.shape[0], f"test rows of fold {k}"),
        )
        for k, (train, test) in enumerate(check_cv(cv, y, classifier=True).split(X, y, **split))
    ]
    if not folds:
        raise ValueError(f"received cv={cv!r} without a fold; expected at least one: pass for instance cv=5")
    for k, (_, test) in enumerate(folds):
        if not test.size:
            raise ValueError(
                f"received cv with no test rows in fold {k}; expected at least one in each, there is no score else: "
                "leave the fold out"
            )
    return folds


def _row_numbers(rows, n: int, which: str) -> np.ndarray:
    """Return row numbers from numbers or from a mask of the rows."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        return np.flatnonzero(rows)
    if not rows.size:
        return np.zeros(0, dtype=np.intp)
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or not -n <= rows.min() <= rows.max() < n:
        found = f"between {rows.min()} and {rows.max()}" if rows.dtype.kind in "iu" else f"of dtype {rows.dtype}"
        raise ValueError(
            f"received cv with {which} {found}, shape {rows.shape}; expected whole numbers from 0 to {n - 1}, or a "
            f"mask of shape ({n},), as X has {n} rows: make the folds from this X"
        )
    return rows


def fit_folds(search: Search, folds: Sequence, n_jobs: int | None, done: Callable[[Fold], None]) -> list[Fold]:
    """Return what each fold finds, as many at once as `n_jobs` says; `done` hears of each."""
    n_jobs = n_jobs if search.problem.xp is np else 1  # on a device a fold needs room for its rows
    at_once = min(effective_n_jobs(n_jobs), len(folds))
    threads = max(1, effective_threads() // at_once)
    is_sparse = hasattr(search.problem.X, "indptr")  # BLAS sees long vectors alone, and a second thread of it spins
    alone = at_once == 1 and not is_sparse
    found = []
    with contextlib.nullcontext() if alone else threadpool_limits(1 if is_sparse else threads, user_api="blas"):
        parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
        for fold in parallel(delayed(fit_fold)(search, rows, threads) for rows in folds):
            found.append(fold)
            done(fold)
    return found


def fit_fold(search: Search, rows: tuple[np.ndarray, np.ndarray], threads: int) -> Fold:
    """Return what one fold finds.

    Parameters
    ----------
    search : Search
    rows : pair of ndarrays of int
        Numbers of the training rows and of the test rows.
    threads : int
        Of the kernels.
    """
    template, problem, Cs, l1_ratios = search.template, search.problem, search.Cs, search.l1_ratios
    train, test = rows
    check_in_memory(problem)
    with thread_limit(threads), np.errstate(all="ignore"):
        part = problem.of_rows(train if problem.xp is np else problem.xp.asarray(train, device=problem.device))
        ends = [Path(template, part).solve_all(Cs, l1_ratio) for l1_ratio in l1_ratios]
    fits = [end for row in ends for end in row]
    n_iter = np.array([end.n_iter for end in fits], dtype=np.int32).reshape(len(l1_ratios), len(Cs))
    paths = np.stack([_joined(*end.attributes.values(), template.fit_intercept) for end in fits])
    scores = _scores(search, test, fits)
    bad = [end.bad for end in fits if end.bad is not None]
    return Fold(paths.reshape(*n_iter.shape, *paths.shape[1:]), scores.reshape(n_iter.shape), n_iter, bad)


def _scores(search: Search, test: np.ndarray, fits: list[Ended]) -> np.ndarray:
    """Return the scores of the fits on the test rows: the scores of all in one product where the scorer takes them."""
    template, problem, scorer = search.template, search.problem, search.scorer
    rows = TestRows(scorer, problem.given, problem.classes, to_host(problem.codes), test, search.params)
    offset = None if problem.offset is None else to_host(problem.offset)[test]
    # in double precision: a metric that clips probabilities would do so by their dtype
    coef = np.stack([end.attributes["coef_"] for end in fits]).astype(np.float64)
    intercept = np.stack([end.attributes["intercept_"] for end in fits]).astype(np.float64)
    if is_direct(scorer):
        z = (rows.X @ coef.reshape(-1, coef.shape[-1]).T).reshape(-1, *intercept.shape) + intercept
        if offset is not None:
            z += offset.reshape(len(z), 1, -1)
        return np.array([rows.score(template, z[:, k]) for k in range(len(fits))])
    estimator, scores = knowing_offset(copy.copy(template), offset), np.empty(len(fits))
    settings = ((C, l1_ratio) for l1_ratio in search.l1_ratios for C in search.Cs)
    for k, (C, l1_ratio) in enumerate(settings):
        vars(estimator).update(coef_=coef[k], intercept_=intercept[k], C=C, l1_ratio=l1_ratio)
        scores[k] = rows.score(estimator)
    return scores


class _LeftOutPredictions(LogisticRegression):
    """A classifier that answers for its own rows as if each had been left out; made by `fit_left_out`."""

    def _scores(self, X, method: str, offset=None) -> np.ndarray:
        return self.z_.copy()  # probabilities are written over scores


def fit_left_out(search: Search, threads: int) -> tuple[Fold, list[LeftOut]]:
    """Return the path of all rows, scored on the predictions of each row without it, as one fold; and these."""
    template, problem, Cs = search.template, search.problem, search.Cs
    order, all_rows = np.argsort(Cs, kind="stable"), np.arange(problem.X.shape[0])
    left: list[Any] = [None] * len(Cs)
    fitted: list[Any] = [None] * len(Cs)
    n_iter, bad = np.zeros((1, len(Cs)), dtype=np.int32), []
    with thread_limit(threads), np.errstate(all="ignore"):
        path = Path(template, problem)
        for c in order:
            solved, solver, result = path.solve(float(Cs[c]))
            fitted[c], n_iter[0, c] = solved.attributes(result.theta), result.n_iter
            left[c] = leave_one_out(solved, solver, result)
            bad += [] if result.converged else [result.status]
    estimator = _LeftOutPredictions(**template.get_params(deep=False))
    estimator.classes_, estimator.n_features_in_ = problem.classes, problem.X.shape[1]
    test_rows = TestRows(search.scorer, problem.X, problem.classes, problem.codes, all_rows, search.params)
    scores, paths = np.empty((1, len(Cs))), []
    for c, C in enumerate(Cs):
        vars(estimator).update(fitted[c], C=C, z_=left[c].z)
        scores[0, c] = test_rows.score(estimator, left[c].z)
        paths.append(_joined(fitted[c]["coef_"], fitted[c]["intercept_"], template.fit_intercept))
    return Fold(np.stack(paths)[None], scores, n_iter, bad), left


def _joined(coef: np.ndarray, intercept: np.ndarray, fit_intercept: bool) -> np.ndarray:
    """Return coefficients with the intercepts last, where there are any."""
    return np.concatenate([coef, intercept[:, None]], axis=1) if fit_intercept else coef


def warn_of_left_out(estimator: LogisticRegression, left: list[LeftOut], Cs: np.ndarray) -> None:
    """Warn where the approximation of leave-one-out is not good to two per cent of the mean log loss."""
    poor = [(C, found) for C, found in zip(Cs, left, strict=True) if not found.is_good]
    if poor:
        C, worst = max(poor, key=lambda pair: pair[1].error)
        warn_caller(
            f"{type(estimator).__name__}: at {len(poor)} of {len(Cs)} values of C the leave-one-out log loss may be "
            f"more than 2 % off, most at C={C:g} ({worst.error:.0%} estimated after {worst.n_exact} exact fits): drop "
            "such C, or use folds, cv=10",
            ConvergenceWarning,
        )


def warn_of_folds(estimator: LogisticRegression, found: list[Fold]) -> None:
    """Warn once of all scores that are NaN, and once of all fits on folds that did not converge."""
    missing = sum(int(np.isnan(fold.scores).sum()) for fold in found)
    if missing:
        warn_caller(
            f"{type(estimator).__name__}: {missing} of {sum(fold.scores.size for fold in found)} scores on the folds "
            "are NaN and were left out of the choice: take a scorer that is defined on each fold, or other folds",
            UserWarning,
        )
    bad = Counter(status for fold in found for status in fold.bad)
    if not bad:
        return
    fits = sum(fold.n_iter.size for fold in found)
    opening = unfinished(estimator.solver, estimator.max_iter) if Status.MAX_ITER in bad else ""
    reasons = "; ".join(f"{count} {status.name}: {status.value}" for status, count in bad.items())
    warn_caller(
        f"{opening}{type(estimator).__name__}: {sum(bad.values())} of {fits} fits on the folds did not converge "
        f"({reasons})",
        ConvergenceWarning,
    )
