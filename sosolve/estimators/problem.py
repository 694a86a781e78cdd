"""The data of one fit, checked, and the objective built from it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse
from array_api_compat import is_cupy_array, is_numpy_array
from sklearn.utils import assert_all_finite
from sklearn.utils.class_weight import compute_class_weight

from .._compat import check_sample_weight, count, get_namespace_and_device, move_to, to_host
from ..kernels import kernels_for
from ..kernels.streamed import StreamedRows
from ..objectives import Composite, DataTerm, LinearModel, Sum
from ..objectives.basis import moments_of_sample, sample_blocks, take_rows
from ..objectives.small import CopiedModel, suits
from ..objectives.thin import ThinModel, pays
from ..protocols import Array, Point
from .auto import START_CLASS, start_share
from .device_csr import is_there, placed_there, stand_in
from .inputs import check_indices, checked_data, may_look_later, refuse_masked, refuse_missing, summed
from .labels import classes_and_codes
from .offsets import checked_offset
from .penalty import PenaltyTerms
from .placement import Placement, on_host, placed

#: Rows at least in the sample that gives the basis of such data, and its largest share of all rows: it is a copy.
SAMPLE_LEAST, SAMPLE_MOST = 2_000, 0.1
#: Parameters of standardised columns from which a warm start is compared with the other one.
FAR = 30.0

if TYPE_CHECKING:
    from .base import LinearClassifier


class Problem:
    """The data of one fit, checked, and the objective in the standardised basis.

    Everything of size n or d is in the namespace and on the device of X: NumPy, unless scikit-learn's
    `array_api_dispatch` is on or the estimator's `device` takes X to another place. The labels may be elsewhere; only
    their codes follow X.
    """

    def __init__(
        self,
        estimator: LinearClassifier,
        X,
        y,
        sample_weight,
        C: float,
        l1_ratio: float = 0.0,
        careful: bool = False,
        offset=None,
    ):
        # 1. Arrays in one library, checked
        self.name = type(estimator).__name__
        found_later = not careful and may_look_later(X)
        self.unseen = found_later  # whether there may be NaN, inf or far outliers in X
        wanted = estimator.device
        X, y, sample_weight, there = self._brought(X, y, sample_weight, wanted)
        xp, _, where = (np, False, None) if type(X) is np.ndarray else get_namespace_and_device(X)
        X, y = checked_data(estimator, X, y, xp, not found_later)
        if scipy.sparse.issparse(X):
            X = summed(X)
        # 2. Classes, outputs and penalty
        self.classes, codes = classes_and_codes(y)
        self.n_classes = self.classes.shape[0]
        if self.n_classes < 2:
            raise ValueError(
                f"{self.name} received y with one class only, {self.classes[0]}; it needs samples of at least 2 "
                "classes: check how y was selected or split"
            )
        self.outputs = estimator._outputs(to_host(self.classes))
        n_outputs = self.outputs.loss.n_outputs
        self.penalty = PenaltyTerms.of(estimator, X.shape[1])
        # 3. Where to compute, and the data there
        leaves_one_out = isinstance(getattr(estimator, "cv", None), str)
        if wanted == "auto" and (leaves_one_out or not self.penalty.at(C, l1_ratio, 1.0).is_smooth):
            wanted = "cpu"
        self.given, self.placement = X, there or placed(X, wanted, n_outputs, self.name, xp, where)
        self.X, self.xp, self.device = self.placement.X, self.placement.xp, self.placement.device
        if self.xp is not np and is_numpy_array(codes):
            codes = codes.astype(np.intp, copy=False)  # PyTorch takes no rows by bytes
        self.codes = codes if self.xp is np and is_numpy_array(codes) else self.moved(codes)
        wide = None if offset is None else checked_offset(offset, X.shape[0], self.n_classes)
        #: Of the outputs of the model, shape (n,) or (n, K).
        self.offset = None if wide is None else self.array(self.outputs.offset(wide))
        self.total, self.weights = self._weigh(estimator, X, sample_weight)
        self.prior = self._prior()
        # 4. The model in the standardised basis, and the objective
        self._penalise(C, l1_ratio)
        self.inverse: Callable[[Array], Array] | None = None  # of the curvature, from a start on a sample
        self.share = 0.0 if careful or scipy.sparse.issparse(X) else start_share(*X.shape, n_outputs)
        self._standardise(bool(estimator.fit_intercept))
        self._state()

    def _brought(self, X, y, sample_weight, wanted: str | None) -> tuple[Any, Any, Any, Placement | None]:
        """Return X, y and the weights for scikit-learn's checks, and the placement of a sparse X on a device."""
        there = None
        if type(X) is type(y) is np.ndarray and y.dtype.kind != "O" and sample_weight is None:
            return X, y, None, None  # nothing below could find fault with these
        if is_there(X):
            X, there = (X.tocsr().get(), None) if wanted == "cpu" else (stand_in(X), placed_there(X, self.name))
            y, sample_weight = (to_host(a) if is_cupy_array(a) else a for a in (y, sample_weight))
        X, y, sample_weight = (on_host(a, wanted, self.name) for a in (X, y, sample_weight))
        for name, array in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            refuse_masked(array, name, self.name)
        refuse_missing(y, self.name)
        check_indices(X)
        return X, y, sample_weight, there

    def _standardise(self, intercept: bool) -> None:
        """Set the model in the standardised basis; that of large data comes from a sample of the rows."""
        thin = self.penalty.is_plain and pays(self.X, self.alpha)
        make = ThinModel if thin else (CopiedModel if suits(self.X) else LinearModel).standardised
        drawn, moments = self._drawn if self.unseen else None, None
        if drawn is not None:
            moments = moments_of_sample(drawn[1], intercept, kernels_for(self.X), self.weights, drawn[0])
        #: Whether the rows of the sample are like all rows as far as they tell: then its factor preconditions them all.
        self.ordinary = moments is not None
        arguments = (self.X, self.weights, self._strength(), self.outputs.loss.n_outputs, intercept)
        self.model = make(*arguments, moments=moments) if self.ordinary else make(*arguments)
        if self.unseen and not (self._is_finite(self.model.mean) and self._is_finite(self.model.variance)):
            self.check_finite()

    def _penalise(self, C: float, l1_ratio: float) -> None:
        """Set the strength of the penalty beside the mean loss, and its share of L1."""
        self.penalty = self.penalty.at(C, l1_ratio, self.total)
        self.alpha = self.penalty.alpha
        #: scikit-learn's objective, C sum loss + |W|^2 / 2, over ours; the sum of the losses without a penalty.
        self.unit = self.total * C if math.isfinite(C) else self.total

    def _state(self) -> None:
        """State the objective of these data, this model and this penalty."""
        y = self.outputs.encode(self.codes)
        self.data = DataTerm(self.model, self.outputs.loss, y, self.weights, self.offset)
        if not self.penalty.is_smooth and self.outputs.loss.n_outputs == 1:
            self.data.keeps_margins = self.data.shares_rows  # fits of some columns hand them on
        self.objective = self.penalty.objective(self.data, self.model)

    def _strength(self) -> Array | float:
        """Return the strength of the penalty: a number, or one for each column where X is."""
        return self.alpha if self.penalty.weights is None else self.array(self.penalty.strength)

    def at(self, C: float, l1_ratio: float | None = None) -> Problem:
        """Return the problem of the same data under another inverse strength, in about O(d) and without a pass.

        Parameters
        ----------
        C : float
        l1_ratio : float, optional
            The same share of L1 where None. Wide problems under L2 alone are stated in their rows, so that from one
            without an L1 part no other can be made.

        Raises
        ------
        ValueError
            If these are the rows of a wide problem under L2, and an L1 part is asked for.
        """
        other = copy.copy(self)
        other.inverse = None
        other._penalise(C, self.penalty.l1_ratio if l1_ratio is None else l1_ratio)
        if isinstance(self.model, ThinModel) and not other.penalty.is_plain:
            raise ValueError(
                f"received l1_ratio={l1_ratio:g} for a problem stated in its rows; expected 0: make the problem with "
                "an L1 part from the start"
            )
        other.model = self.model.rescaled(other._strength())
        other._state()
        return other

    def of_rows(self, rows: Array) -> Problem:
        """Return the problem of some of the rows, with all the classes: those without a row among them too.

        Parameters
        ----------
        rows : Array of int, shape (m,)

        Raises
        ------
        ValueError
            If none of these rows has weight.
        """
        other = copy.copy(self)
        weights = self.weights if self.weights.shape[0] == 1 else self.weights[rows]
        share = float(self.xp.sum(self.xp.broadcast_to(weights, rows.shape)))
        if not share > 0.0:
            raise ValueError(
                f"{self.name} received a fold whose {rows.shape[0]} training rows have no weight; each needs some: "
                "change cv or the weights"
            )
        other.offset = None if self.offset is None else self.offset[rows]
        other.codes, other.weights, other.total = self.codes[rows], weights / share, self.total * share
        other.prior = count(other.codes, self.xp.broadcast_to(other.weights, rows.shape), self.n_classes)
        other._penalise(1.0 / (self.alpha * self.total) if self.alpha else math.inf, self.penalty.l1_ratio)
        other.model = self.model.of_rows(rows, other.weights, other._strength())
        other.X = self.X if isinstance(self.model, ThinModel) else other.model.X
        other.inverse, other.share = None, 0.0
        other.forget_sample()
        other._state()
        return other

    def array(self, values) -> Array:
        """Return a small host array in double precision where X is."""
        return self.xp.asarray(values, dtype=self.xp.float64, device=self.device)

    def _prior(self) -> np.ndarray:
        """Return the weight of each class."""
        if self.weights.shape[0] == 1 and is_numpy_array(self.codes):
            if self.n_classes == 2:
                ones = np.count_nonzero(self.codes)
                return np.array([self.codes.shape[0] - ones, ones]) * float(self.weights[0])
            return np.bincount(self.codes, minlength=self.n_classes) * float(self.weights[0])
        return count(self.codes, self.xp.broadcast_to(self.weights, self.codes.shape), self.n_classes)

    @cached_property
    def _drawn(self) -> tuple[Array, Array] | None:
        """Indices of a sample of the rows, `SAMPLE_LEAST` of them at least, and these rows; None for all."""
        n = self.X.shape[0]
        share = max(self.share, SAMPLE_LEAST / n)
        blocks = sample_blocks(n, share) if share <= SAMPLE_MOST else None
        if blocks is None:
            return None
        numbers = np.concatenate([np.arange(a, b) for a, b in blocks])
        rows = self.xp.asarray(numbers, device=self.device)
        if isinstance(self.X, StreamedRows):
            return rows, self.X.gathered(numbers)
        return rows, take_rows(self.X, rows)

    def check_finite(self) -> None:
        """Look for NaN and inf where that was left to the first pass.

        Raises
        ------
        ValueError
            If there are any.
        """
        if self.unseen:
            assert_all_finite(self.given, estimator_name=self.name, input_name="X")

    def moved(self, a) -> Array:
        """Return an array of any library where X is."""
        if is_numpy_array(a):
            return a if self.xp is np else self.xp.asarray(a, device=self.device)
        return move_to(a, xp=self.xp, device=self.device)

    def _is_finite(self, a) -> bool:
        """Return whether all components are finite."""
        return bool(self.xp.all(self.xp.isfinite(a)))

    def _weigh(self, estimator, X, sample_weight) -> tuple[float, Array]:
        """Return the sum of the weights, and the weights divided by it: shape (1,) where all rows weigh the same."""
        n = self.X.shape[0]
        if sample_weight is None and estimator.class_weight is None:
            return float(n), self.array([1.0 / n])
        xp, weights = self.xp, self.moved(check_sample_weight(sample_weight, X))
        if estimator.class_weight is not None:
            # each class once with the weight of its rows: the same numbers as from all labels
            totals = count(self.codes, weights, self.n_classes)
            by_class = np.zeros(self.n_classes)
            if estimator.class_weight == "balanced":
                # about the classes with weight: rows without count as removed; a small fit waits for scikit-learn
                live = totals > 0.0
                by_class[live] = totals.sum() / (np.count_nonzero(live) * totals[live])
            else:
                labels = to_host(self.classes)
                by_class[:] = compute_class_weight(estimator.class_weight, classes=labels, y=labels)
            by_row = xp.take(self.array(by_class), self.codes)
            by_row *= weights
            weights = by_row
        lowest, top = float(xp.min(weights)), float(xp.max(weights))
        if not (top > 0.0 and math.isfinite(top) and lowest >= 0.0):
            raise ValueError(
                f"{self.name} received weights (sample_weight times class_weight) between {lowest:g} and "
                f"{top:g}; they must be finite, not negative and not all zero: correct them"
            )
        relative = weights / top
        del weights
        total = float(xp.sum(relative))
        relative /= total
        return total * top, relative

    @property
    def one_sided(self) -> bool:
        """Whether one class alone has weight."""
        return sum(share > 0.0 for share in self.prior.tolist()) == 1

    def start(self, estimator: LinearClassifier) -> Array:
        """Return the starting parameters: the previous coefficients (warm start), else the logarithms of the prior.

        `warm` tells which. Previous coefficients that are not finite, or so far out that the value is above that of
        the other start, are of no use: a fit might never come back from there.

        Raises
        ------
        ValueError
            If a warm start does not fit this data.
        """
        model = self.model
        coef = self.xp.zeros((model.n_outputs, self.X.shape[1]), dtype=self.xp.float64, device=self.device)
        intercept = self.array(np.zeros(model.n_outputs))
        if model.fit_intercept:
            # 1e-6: a class without weight has no finite optimum; start not too far out.
            intercept = self.array(self.outputs.intercepts(np.log(np.maximum(self.prior, 1e-6))))
            if self.offset is not None:
                same = self.weights.shape[0] == 1
                sums = self.xp.sum(self.offset, axis=0) * self.weights[0] if same else self.weights @ self.offset
                intercept = intercept - sums
        cold, self.warm = self._theta(coef, intercept), False
        if estimator.warm_start and hasattr(estimator, "coef_"):
            shape = self.outputs.to_attributes(coef, intercept, True)[0].shape
            if tuple(estimator.coef_.shape) != tuple(shape):
                classes = to_host(estimator.classes_)[:5].tolist()
                raise ValueError(
                    f"{self.name} received warm_start=True with coef_ of shape {tuple(estimator.coef_.shape)} for the "
                    f"classes {classes}, but this data asks for shape {tuple(shape)} and the classes "
                    f"{to_host(self.classes)[:5].tolist()}: fit a clone, or set warm_start=False"
                )
            old = estimator.coef_.toarray() if scipy.sparse.issparse(estimator.coef_) else to_host(estimator.coef_)
            constants = np.broadcast_to(to_host(estimator.intercept_), shape[:1]).copy()  # PyTorch wants to write
            if self.outputs.loss.is_invariant and self.penalty.is_smooth:
                old = old - old.mean(axis=0)  # as at the optimum: dense Newton steps lift what acts on sums
            warm = self._theta(*self.outputs.from_attributes(self.array(old), self.array(constants)))
            far = not float(self.xp.max(self.xp.abs(warm))) < FAR
            self.warm = not far or self.objective.at(warm).value <= self.objective.at(cold).value
        return warm if self.warm else cold

    def _theta(self, coef: Array, intercept: Array) -> Array:
        """Return the parameters of coefficients in the user's units, within the bounds."""
        theta = self.model.theta(self.penalty.clip(coef), intercept)
        return theta if self.penalty.is_smooth else self.objective.penalty.project(theta)

    def sample(self) -> Sum | Composite | None:
        """Return the objective of a share of the rows in the same basis, None where a class is too rare for it."""
        if not self.share or self._drawn is None:
            return None
        xp, (rows, X) = self.xp, self._drawn
        weights = self.weights if self.weights.shape[0] == 1 else xp.take(self.weights, rows)
        weights = xp.broadcast_to(weights, rows.shape)
        counted = count(xp.take(self.codes, rows), xp.astype(weights > 0.0, xp.float64), self.n_classes)
        if counted.min() < START_CLASS:
            return None
        model, data = self.model, self.data
        part = LinearModel(X, model.n_outputs, model.fit_intercept, model.mean, model.scale, model.variance)
        part.kernels = model.kernels if is_numpy_array(X) else part.kernels  # what all rows need is compiled anyway
        offset = None if self.offset is None else xp.take(self.offset, rows, axis=0)
        term = DataTerm(part, data.loss, xp.take(data.y, rows), weights / xp.sum(weights), offset)
        return self.penalty.objective(term, part)

    def forget_sample(self) -> None:
        """Free the copy of the rows of the sample."""
        self.__dict__.pop("_drawn", None)

    def attributes(self, theta: Array) -> dict[str, Array]:
        """Return `coef_` and `intercept_` in the user's units and dtype."""
        coef, intercept = self.model.coefficients(theta)
        coef, intercept = self.outputs.to_attributes(self.penalty.clip(coef), intercept, self.penalty.centred())
        found = {"coef_": coef, "intercept_": intercept}
        home, astype, dtype = self.placement.home, self.xp.astype, self.X.dtype
        most = float(self.xp.finfo(dtype).max)  # coefficients of a column of 1e-310 would be infinite
        return {name: home(astype(self.xp.clip(a, -most, most), dtype, copy=False)) for name, a in found.items()}

    def separated(self, point: Point) -> bool:
        """Return whether the value proves that no finite optimum exists.

        Where the largest loss is below log 2, with the coefficients alone that may grow at no cost (no penalty, no
        bound ahead), every sample is on its right side: the data are completely separable, and a multiple of those
        coefficients is better than any finite ones. With an offset the value proves nothing: `identify` looks later.
        """
        if self.offset is not None:
            return False
        if self.penalty.is_plain and self.alpha > 0.0 and not (self.model.fit_intercept and self.one_sided):
            return False
        bound = math.log(2.0) * self.smallest_weight
        if self.penalty.is_plain or not point.value < bound:
            return point.value < bound
        coef, intercept = self.model.coefficients(point.theta)
        growing = self.penalty.can_grow(coef)
        if growing.all():
            return True
        if not (growing.any() or self.model.fit_intercept):
            return False
        return self.data.at(self.model.theta(coef * self.array(growing), intercept)).value < bound

    @cached_property
    def smallest_weight(self) -> float:
        """The smallest of the weights that are not zero."""
        xp = self.xp
        return float(xp.min(xp.where(self.weights > 0.0, self.weights, xp.max(self.weights))))
