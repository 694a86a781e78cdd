"""What a solver is: its settings, `start(point)` and `step(point, state)`. The loop is that of `loop`, for all."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..history import STEP_FIELDS, Result, Status
from ..linalg import max_abs
from ..protocols import Array, Objective, Point
from .docstrings import with_settings_above
from .loop import Callback, Run


class Step:
    """What one call of `Solver.step` returns.

    Parameters
    ----------
    point : Point
        Where the iteration ends: the old point itself when nothing was accepted.
    state : object
        Whatever the solver wants to see again.
    accepted : bool
        Whether the iterate moved.
    status : Status, optional
        Ends the fit.
    reason : str, default=""
        The test that ended it, for `Result.reason`.
    **record
        Fields of `Record` by name, for instance `step_size=0.5`.

    Raises
    ------
    TypeError
        If a field is not one that a step may report.
    """

    __slots__ = ("accepted", "point", "reason", "record", "state", "status")

    def __init__(
        self,
        point: Point,
        state: object,
        accepted: bool,
        status: Status | None = None,
        reason: str = "",
        **record: Any,
    ):
        if not record.keys() <= STEP_FIELDS:
            unknown = record.keys() - STEP_FIELDS
            raise TypeError(
                f"received the unknown record field {', '.join(sorted(unknown))}; a step may report "
                f"{', '.join(sorted(STEP_FIELDS))}: use one of these names"
            )
        self.point, self.state, self.accepted, self.status, self.record = point, state, accepted, status, record
        self.reason = reason


@dataclass(kw_only=True)
class Solver:
    """Settings that every solver shares, and the loop.

    Parameters
    ----------
    tol : float, optional
        Half the squared Newton decrement must fall to tol^2 times the value: about the square root of the relative
        gap to the minimum. Dimensionless, >= 0; 1e-4 where None.
    gtol : float, optional
        Bound on the largest absolute component of the gradient, >= 0; `tol` where None.
    ftol : float, default=0
        Also converged when an accepted step lowers the value by less than ftol times the value. 0 is off.
    xtol : float, default=0
        Also converged when an accepted step is shorter than xtol times the parameter vector. 0 is off.
    max_iter : int, optional
        Iterations, >= 0; 100 where None.
    max_time : float, default=inf
        Seconds, > 0, looked at after each iteration.

    Attributes
    ----------
    needs : tuple of str
        What the solver asks of a point: "grad", and "mv" or "dense" of its curvature.
    name : str
        The name that `solver=` accepts.
    """

    needs: ClassVar[tuple[str, ...]] = ("grad",)
    name: ClassVar[str] = ""
    #: The value at the start, where a minimum of 0 is likely: decrements are compared with what the fit has won so far
    #: too, so that such a minimum is recognised, and a function in tiny units does not end at its start.
    reference = 0.0
    #: Iterations where max_iter is None.
    default_max_iter: ClassVar[int] = 100
    #: Whether it minimises objectives with a part that is not smooth.
    composite: ClassVar[bool] = False
    #: Whether `step` applies ftol and xtol itself, so that the loop leaves them alone.
    own_tests: ClassVar[bool] = False

    tol: float | None = None
    gtol: float | None = None
    ftol: float = 0.0
    xtol: float = 0.0
    max_iter: int | None = None
    max_time: float = math.inf

    def __init_subclass__(cls, **keywords: Any):
        super().__init_subclass__(**keywords)
        if cls.__doc__ and cls.__base__ and cls.__base__.__doc__:
            cls.__doc__ = with_settings_above(cls.__doc__, cls.__base__.__doc__)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # its own, so that `dataclass` writes no other one

    def __repr__(self) -> str:
        """Return the settings that are not the defaults, as scikit-learn writes its estimators."""
        given = ((f.name, getattr(self, f.name), f.default) for f in fields(self))
        changed = [f"{name}={value!r}" for name, value, default in given if not _is_same(value, default)]
        return f"{type(self).__name__}({', '.join(changed)})"

    def start(self, point: Point) -> object:
        """Return the state before the first iteration."""
        return None

    def step(self, point: Point, state: Any) -> Step:
        """Return the outcome of one iteration from `point`."""
        raise NotImplementedError(f"{type(self).__name__} has no step: define step(point, state) -> Step")

    # ------------------------------------------------------------------ settings

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the settings by name, as scikit-learn's `clone` and grid searches expect."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **params: Any) -> Solver:
        """Change settings by name and return the solver.

        Raises
        ------
        ValueError
            If a name is not a setting of this solver.
        """
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(
                    f"received the setting {name!r} for {type(self).__name__}; expected one of "
                    f"{', '.join(known)}: correct the name"
                )
            setattr(self, name, value)
        return self

    @property
    def decrement_tol(self) -> float:
        """`tol`, or its default."""
        return 1e-4 if self.tol is None else self.tol

    def level(self, point: Point) -> float:
        """Return the bound on half the squared decrement at this point: tol^2 max(|value|, reference - value)."""
        tol = self.decrement_tol
        return tol * tol * max(abs(point.value), self.reference - point.value)  # a power raises where it overflows

    def converged(self, point: Point, half_squared_decrement: float) -> bool:
        """Return whether the point meets `tol` and `gtol`.

        Parameters
        ----------
        point : Point
        half_squared_decrement : float
            g' H^-1 g / 2, or an estimate of it.
        """
        gtol = self.decrement_tol if self.gtol is None else self.gtol
        return half_squared_decrement <= self.level(point) and max_abs(point.grad) <= gtol

    def check_settings(self) -> None:
        """Check the settings that all solvers share and those in `_ranges` and `_choices`.

        Raises
        ------
        ValueError
            If a setting is outside its range, or none of the words that are known.
        """
        at_least_zero = ("tol", "gtol", "ftol", "xtol", "max_iter", "max_time")
        for name, low, high in (*((n, 0.0, math.inf) for n in at_least_zero), *self._ranges):
            value = getattr(self, name)
            if value is None:
                continue
            if not (isinstance(value, int | float) or hasattr(value, "__float__")) or not low <= value <= high:
                raise ValueError(
                    f"received {name}={value!r} for {type(self).__name__}; expected a number in "
                    f"[{low:g}, {high:g}]: choose one in that range"
                )
        for name, words in self._choices:
            if getattr(self, name) not in words:
                raise ValueError(
                    f"received {name}={getattr(self, name)!r} for {type(self).__name__}; expected one of "
                    f"{', '.join(words)}: choose one"
                )

    #: (name, lowest, highest) of a solver's own numeric settings, and (name, words) of those that are words.
    _ranges: ClassVar[tuple[tuple[str, float, float], ...]] = ()
    _choices: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()

    # ------------------------------------------------------------------ the loop

    def minimize(self, objective: Objective, theta0: Array, callback: Callback | None = None) -> Result:
        """Return the minimiser of an objective.

        Parameters
        ----------
        objective : Objective
        theta0 : Array of shape (p,)
            Starting point.
        callback : callable, optional
            `callback(record, point)` after each iteration; a true value (or a Status) stops the fit. If it has a
            method `begin`, that is called without arguments before each iteration.

        Returns
        -------
        Result
            Bad luck is told by its status, never by an exception; an interrupt from the keyboard too.

        Raises
        ------
        ValueError
            If a setting is outside its range or theta0 has the wrong shape.
        TypeError
            If the objective lacks what the solver needs.
        """
        self.check_settings()
        if tuple(theta0.shape) != (objective.size,):
            raise ValueError(
                f"received theta0 of shape {tuple(theta0.shape)}; the objective has {objective.size} parameters and "
                f"expects shape ({objective.size},): pass a flat array of that length"
            )
        return Run(self, objective, callback)(lambda: objective.at(theta0))

    def resume(self, objective: Objective, result: Result, callback: Callback | None = None) -> Result:
        """Return the outcome of more iterations from the point and the state in which a fit ended.

        Parameters
        ----------
        objective : Objective
            The one that the result came from.
        result : Result
            Of this process: a pickled one has neither point nor state.
        callback : callable, optional
            See `minimize`.

        Raises
        ------
        ValueError
            If the result has no point or no state.
        """
        if result.point is None or result.state is None:
            raise ValueError(
                "received a result without its point and state (a pickled one has none); expected one from minimize "
                "in this process: start again with minimize(objective, result.theta)"
            )
        return self.go_on(objective, result.point, result.state, callback)

    def go_on(self, objective: Objective, point: Point, state: object, callback: Callback | None = None) -> Result:
        """Return the minimiser of an objective, begun at a point in a state that is known already.

        Parameters
        ----------
        objective : Objective
        point : Point
            Of the objective.
        state : object
            In place of what `start` would make.
        callback : callable, optional
            See `minimize`.
        """
        return Run(self, objective, callback)(lambda: point, state)


def _is_same(value: object, default: object) -> bool:
    """Return whether a setting is its default; an array is none."""
    return value is default or (isinstance(value, bool | int | float | str) and value == default)
