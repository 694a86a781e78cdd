"""What the classifiers share: validate, build the objective, minimise, unpack."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cache
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from .._compat import (
    CallbackSupportMixin,
    Interval,
    SparseCoefMixin,
    StrOptions,
)
from .._version import __version__
from ..caller import warn_caller
from ..history import Result, Status
from ..protocols import Array, Point
from ..solvers import SOLVERS, Solver
from .advice import CLASSIFIERS
from .arguments import unfinished
from .auto import START_TOL, choose, first_state, proximal, start_solver
from .certificate import certify
from .common import Watcher, restored_on_error, validate_once
from .linear_predict import LinearPredictions
from .optimality import percent
from .outputs import OneRowEach
from .placement import DEVICES, guarded
from .problem import Problem
from .second import checked, doubted, gone_on, may_go_on, settled
from .threads import fit_threads, solver_threads

#: Names of scikit-learn's solvers that have no second-order counterpart: the automatic choice stands in for them.
STAND_INS = ("liblinear", "sag", "saga")
SOLVER_NAMES = frozenset({"auto", "l-bfgs", *SOLVERS, *STAND_INS})

#: How a fit ends whose basis does not suit the data.
LOST = (Status.NONFINITE, Status.LINE_SEARCH_FAILED, Status.STALLED, Status.NOT_POSITIVE_DEFINITE)


class LinearClassifier(CallbackSupportMixin, LinearPredictions, SparseCoefMixin, BaseEstimator):
    """Base of the linear classifiers: everything but the constructor and the shape of the coefficients."""

    #: Where to compute, for those that have no parameter of that name: where X is.
    device: str | None = None

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="right")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "solver": [StrOptions(set(SOLVER_NAMES)), Solver],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "device": [StrOptions(set(DEVICES)), None],
    }

    # ------------------------------------------------------------------ fit

    def _fit(self, X, y, sample_weight, C: float, l1_ratio: float = 0.0, offset=None):
        """Fit with inverse penalty C (inf for none) and a share of L1; attributes change only when all went well."""
        guard = guarded(X, self.device, type(self).__name__)
        with restored_on_error(self), fit_threads(X, l1_ratio), np.errstate(all="ignore"), guard:
            # in a frame of its own: once that is left, nothing holds memory of a device
            result = self._minimised(X, y, sample_weight, C, l1_ratio, offset)
        warn_unless_converged(self, result)
        return self

    def _minimised(self, X, y, sample_weight, C: float, l1_ratio: float, offset) -> Result:
        """Return the outcome of the fit, with the fitted attributes set."""
        problem = Problem(self, X, y, sample_weight, C, l1_ratio, offset=offset)
        watcher = LoopWatcher(self, problem)
        solver, result = self._solve(problem, watcher)
        if result.status in LOST and problem.unseen:
            problem.check_finite()  # raises for NaN and inf; else entries too far out for the basis of a sample
            problem = watcher.problem = Problem(self, X, y, sample_weight, C, l1_ratio, True, offset)
            solver, result = self._solve(problem, watcher)
        watcher.close()
        result = self._unpack(problem, solver, result)
        watcher.tell(self.optimality_.message, result)
        return result

    def _solve(
        self, problem: Problem, watcher: Callable | None, start: tuple[Array, str] | None = None
    ) -> tuple[Solver, Result]:
        """Return the solver that ran, and the minimiser from the start: parameters, and where they come from."""
        solver, reason = self._resolve_solver(problem)
        theta0, note = self._start(problem) if start is None else start
        state = first_state(solver, theta0, problem.inverse)
        with solver_threads(solver):
            if state is None:
                result = solver.minimize(problem.objective, theta0, watcher)
            else:
                problem.data.keeps_rows = False  # the steps ask for values and gradients alone
                result = solver.go_on(problem.objective, problem.objective.at(theta0), state, watcher)
        result.history.notes.update(start=note, solver=reason)
        if result.status in LOST and may_go_on(problem, solver, self.solver, result):
            solver, result = gone_on(problem, solver, result, result.status.name, watcher)
        return solver, result

    def _unpack(self, problem: Problem, solver: Solver, result: Result) -> Result:
        """Set the fitted attributes; return the result, another one where the proof says that it was too early."""
        names = getattr(self, "feature_names_in_", None)
        proof = certify(problem, result, names)
        if doubted(problem, result, proof, solver) and may_go_on(problem, solver, self.solver, result):
            before = result
            solver, result = checked(problem, solver, result)
            proof = proof if result is before else certify(problem, result, names)
        self.optimality_ = settled(problem, result, proof, solver, names)
        result.point = result.state = None  # they hold the data and preconditioners
        for name, value in problem.attributes(result.theta).items():
            setattr(self, name, value)
        self.classes_ = problem.classes
        home = problem.placement.home
        self.n_iter_ = home(problem.xp.asarray([result.n_iter], dtype=problem.xp.int32, device=problem.device))
        result.theta = home(result.theta)
        self.device_ = problem.placement.name
        self.solver_ = solver
        self.history_ = result.history
        self.result_ = result
        return result

    def _resolve_solver(self, problem: Problem) -> tuple[Solver, str]:
        """Return the solver to run, with the estimator's tolerances where it has none of its own, and why."""
        if not problem.penalty.is_smooth:
            solver, reason = proximal(self.solver)
        elif isinstance(self.solver, Solver):
            solver, reason = self.solver, "given as an instance"
        elif self.solver == "auto" or self.solver in STAND_INS:
            model = problem.model
            n, d = model.X.shape
            solver, reason = choose(n, d, model.n_outputs, hasattr(model.X, "indptr"), model.follows_bulk)
            if problem.model.X is not problem.X:
                reason = f"{problem.X.shape[1]} columns replaced by the {d} of their thin factor; {reason}"
            if self.solver in STAND_INS:
                reason = f"stands in for {self.solver!r} with the same objective; {reason}"
        else:
            solver, reason = SOLVERS[self.solver.replace("l-bfgs", "lbfgs")](), "given by name"
        changes = {name: getattr(self, name) for name in ("tol", "max_iter") if getattr(solver, name) is None}
        if solver is self.solver:
            return dataclasses.replace(solver, **changes), reason
        vars(solver).update(changes)
        return solver, reason

    def _start(self, problem: Problem) -> tuple[Array, str]:
        """Return the starting parameters and where they come from."""
        theta0 = problem.start(self)
        if problem.warm:
            return theta0, "the previous coefficients"
        sample = problem.sample() if self.solver == "auto" else None
        if sample is None:
            problem.forget_sample()
            return theta0, "the logarithms of the class frequencies"
        if problem.penalty.is_smooth:
            model = sample.terms[0].model
            solver = start_solver(model.n_rows, model.n_features, model.n_outputs)
        else:
            solver = dataclasses.replace(proximal("auto")[0], tol=START_TOL, max_iter=20)
        with solver_threads(solver):
            found = solver.minimize(sample, theta0)
        if found.status is Status.INTERRUPTED:
            raise KeyboardInterrupt  # there is no iterate on all rows that could be kept
        if problem.ordinary:
            problem.inverse = getattr(found.state, "solve", None)
        problem.forget_sample()
        return found.theta, f"{found.n_iter} iterations on {problem.share:.0%} of the rows"

    def _outputs(self, classes: np.ndarray) -> OneRowEach:
        """Return how these classes become outputs of the model."""
        raise NotImplementedError

    # ------------------------------------------------------------------ scikit-learn

    def _validate_params(self):
        """Check the constructor's parameters, and add to scikit-learn's message what to do."""
        validate_once(self, super()._validate_params, CLASSIFIERS)

    @classmethod
    @cache
    def _get_param_names(cls):
        """Return the names of the parameters; scikit-learn reads them from the signature each time."""
        return super()._get_param_names()

    def set_params(self, **params):
        """Set parameters by name; `solver__name=value` reaches the settings of the solver, given by name or not.

        Parameters
        ----------
        **params
            Names and values.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a name is not a parameter, or the solver has no settings to reach ("auto").
        """
        nested = [name for name in params if name.startswith("solver__")]
        solver = params.get("solver", self.solver)
        if nested and isinstance(solver, str):
            known = SOLVERS.get(solver.replace("l-bfgs", "lbfgs"))
            if known is None:
                raise ValueError(
                    f"received {nested[0]} for solver={solver!r}, which has no settings of its own; expected one of "
                    f"{', '.join(SOLVERS)} or an instance: set solver to one of these as well"
                )
            params = {**params, "solver": known()}
        return super().set_params(**params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        smooth = not getattr(self, "l1_ratio", 0.0) and getattr(self, "bounds", None) is None
        tags.array_api_support = smooth  # L1 and bounds are for NumPy alone
        return tags

    def __getstate__(self):
        return {**super().__getstate__(), "_sosolve_version": __version__}


class LoopWatcher(Watcher):
    """The loop's callback, with the watch for separation."""

    def __init__(self, estimator: LinearClassifier, problem: Problem, parent=None):
        limit = getattr(estimator.solver, "max_iter", None) or estimator.max_iter
        super().__init__(estimator, problem.X, max(limit, 1), parent)
        self.problem = problem

    def attributes(self, point: Point) -> dict:
        """Return the fitted attributes at a point."""
        return {
            **self.problem.attributes(point.theta),
            "classes_": self.problem.classes,
            "n_features_in_": self.problem.X.shape[1],
        }

    def verdict(self, point: Point) -> Status | None:
        """Return SEPARATED where the value proves that there is no finite optimum."""
        return Status.SEPARATED if self.problem.separated(point) else None


def warn_unless_converged(estimator: LinearClassifier, result: Result) -> None:
    """Warn with the status, the numbers and the cure where the fit did not converge."""
    if result.converged:
        return
    proof = estimator.optimality_
    decrement = "" if math.isnan(proof.decrement) else f", half the squared Newton decrement {proof.decrement:.2g}"
    known = "" if proof.proof == "value" else f"at most {percent(proof.relative_bound)} above its minimum, "
    notes = "".join(f" Found {note}." for note in proof.notes)
    opening = unfinished(estimator.solver, result.n_iter) if result.status is Status.MAX_ITER else ""
    warn_caller(
        f"{opening}{type(estimator).__name__} {result.status.name}: {result.message} (after {result.n_iter} iterations "
        f"of {estimator.solver_.name or type(estimator.solver_).__name__}: objective {proof.value:.6g}, "
        f"{known}max |gradient| {result.grad_norm:.2g}{decrement}; the best iterate is kept).{notes}",
        ConvergenceWarning,
    )
