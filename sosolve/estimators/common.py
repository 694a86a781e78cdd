"""What all estimators share: attributes that survive a failed fit, parameters that are checked once, callbacks."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping

from sklearn.base import BaseEstimator

from ..history import Record, Result, Status
from ..protocols import Point
from .advice import advised


@contextlib.contextmanager
def restored_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Put the fitted attributes back as they were when the block raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        forget(estimator)
        vars(estimator).update({k: v for k, v in before.items() if _is_fitted_name(k)})
        raise


def forget(estimator: BaseEstimator) -> None:
    """Drop the fitted attributes, so that none of an earlier fit stays where this one sets fewer."""
    for name in [k for k in vars(estimator) if _is_fitted_name(k)]:
        delattr(estimator, name)


def _is_fitted_name(name: str) -> bool:
    return name.endswith("_") and not name.startswith("_")


#: Parameters that were found to be valid, by class, types and values, and how many of them are remembered.
_valid: set[tuple] = set()
REMEMBERED = 1000
#: Types whose values never change; an array or a solver is looked at each time.
_PLAIN = frozenset({str, int, float, bool, type(None)})


def validate_once(estimator: BaseEstimator, validate: Callable[[], None], advice: Mapping[str, str]) -> None:
    """Validate the parameters of an estimator, unless the same ones were valid before: a search fits many times.

    Parameters
    ----------
    estimator : estimator instance
    validate : callable
        scikit-learn's check of its parameters.
    advice : mapping of str to str
        See `advised`.

    Raises
    ------
    InvalidParameterError
        If a parameter has a wrong type or value.
    """
    values = [getattr(estimator, name) for name in estimator._get_param_names()]
    types = [*map(type, values)]
    given = (type(estimator), *types, *values)  # 1 equals True
    known = _PLAIN.issuperset(types)
    if known and given in _valid:
        return
    with advised(advice, estimator):
        validate()
    if known:
        if len(_valid) >= REMEMBERED:
            _valid.clear()
        _valid.add(given)


class Watcher:
    """The loop's callback: scikit-learn's callbacks, and progress on the terminal.

    Parameters
    ----------
    estimator : estimator instance
        Its `verbose` says whether to write a line for each iteration, and one at the end.
    X : array of shape (n, d)
        What callbacks are handed.
    max_subtasks : int or None
        Most iterations that may come; None where that is not known.
    parent : CallbackContext, optional
        The context of a fit of which this one is the last part.
    """

    def __init__(self, estimator: BaseEstimator, X, max_subtasks: int | None, parent=None):
        self.estimator, self.X, self.context, self.task = estimator, X, None, None
        self.last: Point | None = None
        self.verbose = estimator.verbose
        if getattr(estimator, "_skl_callbacks", None):
            if parent is None:
                self.context = estimator._init_callback_context(max_subtasks=max_subtasks)
            else:
                self.context = parent.subcontext(task_name="refit", max_subtasks=max_subtasks)
            self.context.call_on_fit_task_begin(estimator=estimator, X=X, y=None)

    def begin(self) -> None:
        """Begin the task of one iteration."""
        if self.context is not None:
            self.task = self.context.subcontext(task_name="iteration")
            last = self.last
            attributes = None if last is None else lambda: self.attributes(last)
            self.task.call_on_fit_task_begin(estimator=self.estimator, X=self.X, reconstruction_attributes=attributes)

    def __call__(self, record: Record, point: Point) -> Status | bool | None:
        """End the task; return whether to stop."""
        if self.verbose > 0:
            sys.stdout.write(
                f"[{type(self.estimator).__name__}] iteration {record.iteration:4d}  value {record.value:.10g}  "
                f"max |grad| {record.grad_norm:.2e}  {self.detail(record)}\n"
            )
        stop = False
        if self.task is not None:
            task, self.task, self.last = self.task, None, point
            stop = task.call_on_fit_task_end(
                estimator=self.estimator, X=self.X, reconstruction_attributes=lambda: self.attributes(point)
            )
        return self.verdict(point) or stop

    def tell(self, message: str, result: Result) -> None:
        """Write how the fit ended, with `verbose` above 1."""
        if self.verbose > 1:
            seconds = result.history[-1].seconds if len(result.history) else 0.0
            sys.stdout.write(
                f"[{type(self.estimator).__name__}] {message} ({result.n_iter} iterations, {seconds:.2g} s)\n"
            )

    def detail(self, record: Record) -> str:
        """Return what else the line of an iteration tells."""
        return f"decrement {record.decrement:.2e}  passes {record.n_passes}"

    def attributes(self, point: Point) -> dict:
        """Return the fitted attributes at a point."""
        raise NotImplementedError(f"{type(self).__name__} has no attributes: define attributes(point) -> dict")

    def verdict(self, point: Point) -> Status | None:
        """Return the status that ends the fit at a point, None to go on."""
        return None

    def close(self) -> None:
        """End what is still open: the task of an interrupted iteration, and the fit."""
        self.last = None
        if self.context is None:
            return
        if self.task is not None:
            self.task.call_on_fit_task_end(estimator=self.estimator)
        self.context.call_on_fit_task_end(estimator=self.estimator, X=self.X, reconstruction_attributes={})
