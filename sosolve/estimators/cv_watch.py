"""What a search tells while it runs: lines on the terminal, and scikit-learn's callbacks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .cv_folds import Fold

if TYPE_CHECKING:
    from .logistic_cv import LogisticRegressionCV


class SearchWatcher:
    """Tells the terminal and the callbacks how far a search is.

    Parameters
    ----------
    estimator : LogisticRegressionCV
    X, y : array
        What callbacks are handed.
    n_folds : int

    Attributes
    ----------
    context : CallbackContext or None
        Of the fit, None where there are no callbacks.
    """

    def __init__(self, estimator: LogisticRegressionCV, X, y, n_folds: int):
        self.estimator, self.X, self.n_folds, self.n_done, self.context = estimator, X, n_folds, 0, None
        if getattr(estimator, "_skl_callbacks", None):
            self.context = estimator._init_callback_context(max_subtasks=n_folds + bool(estimator.refit))
            self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=y)

    def done(self, fold: Fold) -> None:
        """Tell that a fold is done."""
        self.n_done += 1
        if self.estimator.verbose:
            sys.stdout.write(
                f"[{type(self.estimator).__name__}] fold {self.n_done} of {self.n_folds}  best score "
                f"{fold.scores.max():.6g}  iterations {fold.n_iter.sum()}\n"
            )
        if self.context is not None:
            task = self.context.subcontext(task_name="fold")
            task.call_on_fit_task_begin(estimator=self.estimator, X=self.X)
            task.call_on_fit_task_end(estimator=self.estimator, X=self.X)

    def close(self) -> None:
        """Tell that the fit is done."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator, X=self.X, reconstruction_attributes={})
