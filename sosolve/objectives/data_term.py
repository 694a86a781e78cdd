"""DataTerm: a loss after a model, as an Objective. The only place where J' H J is composed."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from array_api_compat import array_namespace

from ..kernels.reference import cost_of
from ..protocols import Array, Counts
from . import square_roots
from .basis import balanced, lifted
from .bulk import Bulk, bulk_of
from .lazy import lazy
from .losses import Loss
from .models import LinearModel
from .row_blocks import part, predictors

#: Entries of X in a row from which the predictors of one output are little beside it, and for each output from which
#: the curvatures of two points are: then a step that is taken back costs no pass.
KEPT, TWO = 100, 20


class DataTerm:
    """sum_i s_i l(y_i, z_i(theta)) with weights s that sum to 1 over the rows.

    Parameters
    ----------
    model : LinearModel
        Or any object with `size`, `counts` and `at(theta)` giving `z()`, `jvp(v)`, `vjp(r)`, `gram(blocks, rows)`
        and `diagonal(rows)`.
    loss : Loss
    y : Array of shape (n,)
    weights : Array of shape (n,) or (1,)
        Sum to 1 over the rows; shape (1,) where every row weighs the same.
    offset : Array of shape (n,) or (n, K), optional
        Added to the predictors. Value and gradient take a pass each then, in place of one for both, where rows are not
        shared.

    Attributes
    ----------
    is_invariant : bool
        Whether the same change of the parameters of all outputs changes nothing.
    keeps_rows : bool
        Whether a point keeps its predictors and curvatures by rows, default True. Without them an evaluation is
        faster and takes no memory of size n; the first point that is asked for them costs one pass more, and from
        then on they are kept.
    shares_rows : bool
        Whether one point or two keep their curvatures, and none its predictors: they take a good part of the memory of
        X where there are few columns or several outputs. The array, (n,) or (n, K), goes from each evaluated point to
        the next; one without that is asked for them again costs a pass, and so does any for its predictors.
    keeps_margins : bool
        Whether the predictors of one output are kept all the same: by default where they are little beside X.
    """

    def __init__(self, model: LinearModel, loss: Loss, y: Array, weights: Array, offset: Array | None = None):
        self.model, self.loss, self.y, self.weights, self.offset = model, loss, y, weights, offset
        self.is_fused = bool(loss.fused) and isinstance(model, LinearModel) and offset is None
        self.has_fused_mv = isinstance(model, LinearModel) and (loss.n_outputs == 1 or bool(loss.fused))
        self.is_invariant = loss.is_invariant and isinstance(model, LinearModel)
        self.keeps_rows = True
        into = type(model) is LinearModel and loss.fused_into
        self.shares_rows = bool(into) and hasattr(model.kernels, loss.fused_into)
        #: Of X in a row, on the average.
        self.entries = cost_of(model.X) / max(1, model.n_rows) if self.shares_rows else 0.0
        self.keeps_margins = loss.n_outputs == 1 and self.entries >= KEPT
        self._shared: list[tuple[Array, Callable[[], DataPoint | None]]] = []
        self._counts = Counts()
        self._parts: list[_Part] = []

    @property
    def size(self) -> int:
        """p, the number of parameters."""
        return self.model.size

    @property
    def counts(self) -> Counts:
        """The work done so far, the model's passes included; a pass over some of the columns is a part of one."""
        total = self._counts + self.model.counts
        for share in self._parts:
            total = total + share.total()
        return total

    def closure(self, wanted: Array) -> Array:
        """Return the wanted parameters and those of the same columns for other outputs, and the intercepts."""
        return self.model.closure(wanted)

    def restricted(self, index: Array) -> DataTerm:
        """Return the term as a function of some of the parameters, closed under `closure`, the others being zero.

        Its work counts for this term, a pass over some of the columns as a fraction of one.
        """
        model = self.model.restricted(index)
        term = DataTerm(model, self.loss, self.y, self.weights, self.offset)
        term.keeps_margins = self.keeps_margins and term.shares_rows
        share = model.n_features / max(self.model.n_features, 1)
        self._parts.append(_Part(term._counts, model.counts, share))
        return term

    def at(self, theta: Array) -> DataPoint:
        """Return the point at theta."""
        return DataPoint(self, theta)

    def count_product(self) -> None:
        """Count a product with the curvature."""
        self._counts.n_mv += 1

    def balanced(self, v: Array) -> Array:
        """Return a gradient or a product with the curvature without what rounding has along an invariant change."""
        return balanced(v, self.model.n_outputs, self.model.n_features)

    def shared(self, taker: DataPoint) -> Array:
        """Return an array for curvatures: a free one, a second one where that is little, or that of the last taker."""
        free = next((k for k, (_, owner) in enumerate(self._shared) if owner() in (None, taker)), -1)
        K = self.loss.n_outputs
        if free < 0 and len(self._shared) < (2 if self.entries >= TWO * K else 1):
            shape = (self.model.n_rows,) if K == 1 else (self.model.n_rows, K)
            array: Any = np.empty(shape, dtype=self.loss.shared_dtype)
        else:
            array, owner = self._shared.pop(free)
            found = owner()
            if found is not None and found is not taker:
                found.forget_rows()
        self._shared.append((array, weakref.ref(taker)))
        return array


@dataclass(frozen=True, slots=True)
class _Part:
    """The work of a term restricted to a share of the columns; it holds no data."""

    own: Counts
    model: Counts
    share: float

    def total(self) -> Counts:
        """Return the counts, passes in units of the whole."""
        return replace(self.own + self.model, n_passes=round(self.share * self.model.n_passes))


class DataPoint:
    """A `DataTerm` at one theta.

    Value, gradient and row curvatures come from one fused pass where there is a kernel for the pair of loss and
    model; else value and curvature from one pass, the gradient from another when it is asked for. A point made by
    a ray knows z already: its value costs no pass.
    """

    def __init__(self, term: DataTerm, theta: Array, z: Array | None = None):
        self.term, self._theta, self._z = term, theta, z
        self._map = term.model.at(theta)
        self._drift: tuple[Callable[[], DataPoint | None], float] | None = None

    @property
    def theta(self) -> Array:
        """The parameters, shape (p,)."""
        return self._theta

    @lazy
    def _sums(self) -> tuple[float, Array | None, Array] | None:
        """(value, sum of the curvatures if known, gradient) without anything by rows; None where rows are kept."""
        term = self.term
        kernel, fused = term.loss.rowless, term.is_fused or term.shares_rows
        if term.keeps_rows or "_rows" in self.__dict__ or self._z is not None or not (kernel and fused):
            return None
        if not hasattr(term.model.kernels, kernel) or type(term.model) is not LinearModel:
            return None
        term._counts.n_value += 1
        term._counts.n_grad += 1
        options = () if term.offset is None else (term.offset,)
        return term.model.rowless(kernel, self._theta, term.y, term.weights, *options)

    @lazy
    def _rows(self) -> tuple[float, Any, Array, Any, Any]:
        """(value, z or None, curvature rows, gradient rows or None, gradient or None)."""
        term = self.term
        term.keeps_rows = True
        term._counts.n_value += 1
        if self._z is None and (term.is_fused or term.shares_rows):
            term._counts.n_grad += 1
            kernel, options = term.loss.fused, term.loss.options()
            if term.shares_rows:
                kernel = term.loss.fused_into
                options = (*options, term.shared(self), term.offset, term.keeps_margins)
            value, z, curv, grad = term.model.fused(kernel, self._theta, term.y, term.weights, options)
            return value, z, curv, None, grad
        z = self._map.z() if self._z is None else self._z
        if self._z is None and term.offset is not None:
            z += term.offset
        value, r, curv = term.loss.rows(term.y, z, term.weights)
        if term.shares_rows:
            kept = cast(Any, term.shared(self))
            kept[...] = curv
            return value, z, kept, r, None
        return value, z, curv, r, None

    @property
    def value(self) -> float:
        """The weighted mean loss."""
        return self._sums[0] if self._sums else self._rows[0]

    def forget_rows(self) -> None:
        """Give up what there is by rows but the value and the gradient."""
        if "_rows" in self.__dict__:
            self._sums, self._z = (self.value, None, self.grad), self._rows[1]
            del self._rows

    @property
    def margins(self) -> Array:
        """The predictors z with the offset, shape (n,) or (n, K); they cost a pass where they were not kept."""
        if self._z is not None or not self.term.shares_rows or self.term.keeps_margins:
            return self._rows[1] if self._z is None else self._z
        z = self._map.z()
        return z if self.term.offset is None else z + self.term.offset

    def margins_by_rows(self, known: Any = None) -> Iterator[tuple[tuple[int, int] | None, Any]]:
        """Yield ranges of the rows, None for all, with their `margins`, which may be known."""
        term = self.term
        if known is None and (not term.shares_rows or term.keeps_margins or self._z is not None):
            known = self.margins
        for rows, z in predictors(term.model, self._theta, known):
            yield rows, z if term.offset is None or known is not None else z + part(term.offset, rows)

    def rounded_margins(self) -> Array:
        """Return the `margins` in the place of the curvatures, which a point that shares its rows forgets; a pass."""
        kept: Any = self.term.shared(self)
        self.forget_rows()
        for rows, z in self.margins_by_rows():
            part(kept, rows)[...] = z
        return kept

    def total_curvature(self) -> Array:
        """Return the curvature of the loss summed over the rows, shape (K, K): the Hessian by constants added to z."""
        if self._sums and self._sums[1] is not None:
            return array_namespace(self._theta).reshape(self._sums[1], (1, 1))
        return self.term.loss.total(self._rows[2], self.term.weights)

    @lazy
    def grad(self) -> Array:
        """Its gradient, shape (p,)."""
        if self._sums:
            return self._sums[2]
        value, z, curv, r, grad = self._rows
        if grad is None:
            self.term._counts.n_grad += 1
            grad = self._map.vjp(r)
            self._rows = (value, z, curv, None, grad)  # r is as large as z
        return self.term.balanced(grad) if self.term.is_invariant else grad

    @property
    def curvature(self) -> DataCurvature:
        """J' H J with the curvature H of the loss by rows; kept nowhere, for it holds the point."""
        return DataCurvature(self)

    def drift(self, origin: DataPoint) -> float:
        """Return c >= 0 such that the curvature here is at least exp(-c) times that at `origin`; inf if unknown."""
        if not isinstance(self.term.model, LinearModel):
            return math.inf
        if not self.term.shares_rows or self.term.keeps_margins:
            return self.term.loss.drift(self.margins - origin.margins)
        if "_rows" in self.__dict__ and "_rows" in origin.__dict__ and hasattr(self.term.loss, "ratio_drift"):
            return self.term.loss.ratio_drift(self._rows[2], origin._rows[2])
        if self._drift is None or self._drift[0]() is not origin:  # a pass, and it is asked for again
            moved = predictors(self.term.model, self._theta - origin._theta)
            largest = np.max([self.term.loss.drift(change) for _, change in moved])
            self._drift = weakref.ref(origin), float(largest)
        return self._drift[1]

    def carried(self, term: DataTerm, theta: Array) -> DataPoint:
        """Return the point of a term of the same rows at parameters with the same predictors: no pass for these."""
        return DataPoint(term, theta, self.margins)

    def along(self, d: Array) -> DataRay:
        """Return the ray theta + t d."""
        return DataRay(self, d)


class DataCurvature:
    """J' H J: J from the model, H block diagonal by rows from the loss."""

    def __init__(self, point: DataPoint):
        self._point, self._term, self._map = point, point.term, point._map
        self.exact = self._term.loss.exact and isinstance(self._term.model, LinearModel)

    @property
    def _curv(self) -> Array:
        """The curvature of the loss by rows."""
        return self._point._rows[2]

    def mv(self, v: Array) -> Array:
        """Return J' H J v, shape (p,); one pass for a linear model and a loss with a fused kernel."""
        term, loss = self._term, self._term.loss
        term.count_product()
        if term.has_fused_mv:
            product = term.model.normal_mv(loss.fused_mv, loss.weights_for_mv(self._curv, term.weights), v)
        else:
            product = self._map.vjp(loss.curv_mv(self._curv, self._map.jvp(v), term.weights))
        return term.balanced(product) if term.is_invariant else product

    def diag(self) -> Array:
        """Return the diagonal, shape (p,)."""
        return self._map.diagonal(self._term.loss.diag_rows(self._curv, self._term.weights))

    def bulk(self, share: float) -> Bulk | None:
        """Return the curvature without rows that hold at most about a share of it, see `bulk_of`."""
        return bulk_of(self._term, self._curv, share) if self._term.has_fused_mv else None

    def rough_inverse(self, rows: float = 0.0, ridge: Array | None = None) -> Callable[[Array], Array] | None:
        """Return v -> M^-1 v with M resembling the curvature plus diag(ridge), None where the model has none."""
        make = getattr(self._map, "rough_inverse", None)
        return make(self._point.total_curvature(), self._term.weights, rows, ridge) if make else None

    def dense(self, rows: float = 1.0) -> Array:
        """Return the matrix, shape (p, p), or its estimate from a fraction of the rows."""
        return self._map.gram(self._term.loss.blocks(self._curv, self._term.weights), rows)

    def root(self) -> Array | None:
        """Return A with A' A what `lifted` returns, shape (m, p), None where that is not at hand."""
        return square_roots.of_data(self._term, self._curv) if self.exact else None

    def lifted(self) -> Array:
        """Return the matrix with curvature along the same change of all outputs where the loss has none there."""
        model, H = self._term.model, self.dense()
        if not self._term.is_invariant:
            return H
        return lifted(H, model.n_outputs, model.n_features)


class DataRay:
    """A `DataTerm` along theta + t d. J d is formed once; after that a trial costs O(n) and no pass."""

    def __init__(self, start: DataPoint, d: Array):
        self._start, self._d = start, d
        self._last: tuple[float, DataPoint] | None = None

    @lazy
    def _direction(self) -> Array:
        """J d, same shape as z; one pass, none where the predictors at t = 1 are known."""
        if self._last is not None and self._last[0] == 1.0 and math.isfinite(self._last[1].value):
            return self._last[1].margins - self._start.margins
        return self._start._map.jvp(self._d)

    def __call__(self, t: float) -> tuple[float, float]:
        """Return the value and the slope at t."""
        term = self._start.term
        if term.shares_rows and (not term.keeps_margins or term.entries < KEPT):
            trial = self.point(t)  # rows of z and of J d would take thrice the memory
            return trial.value, float(trial.grad @ self._d)
        trial = self._trial(t)
        value, _, _, r, _ = trial._rows
        if r is None:
            return value, float(trial.grad @ self._d)
        return value, float(array_namespace(r).sum(r * self._direction))

    def point(self, t: float) -> DataPoint:
        """Return the point at t: a full (fused) evaluation unless J d is already there."""
        if self._last is not None and self._last[0] == t:
            return self._last[1]
        if "_direction" in self.__dict__:
            return self._trial(t)
        self._last = (t, self._start.term.at(self._start.theta + t * self._d))
        return self._last[1]

    def _trial(self, t: float) -> DataPoint:
        """Return the point at t with its z from the ray; the last one is kept."""
        if self._last is None or self._last[0] != t or self._last[1]._z is None:
            z = self._start.margins + t * self._direction
            self._last = (t, DataPoint(self._start.term, self._start.theta + t * self._d, z))
        return self._last[1]
