"""What a fit leaves behind: one `Record` an iteration, their `History`, a `Status` and the `Result`."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from .protocols import Array, Counts, Point


class Status(enum.Enum):
    """How a fit ended; the value says why and what to do about it."""

    CONVERGED = "converged: half the squared Newton decrement and the gradient are within the tolerances"
    STALLED = (
        "stalled at the rounding level: nothing more can be won in double precision before the tolerances are met; "
        "loosen tol, or rescale data whose columns differ by many orders of magnitude"
    )
    MAX_ITER = "reached max_iter before the tolerances were met: increase max_iter, or choose a stronger solver"
    MAX_TIME = "reached max_time before the tolerances were met: allow more time, or loosen tol"
    LINE_SEARCH_FAILED = (
        "the line search found no acceptable step: check that gradient and value of the objective agree, "
        "or use solver='trust-region'"
    )
    NOT_POSITIVE_DEFINITE = (
        "the curvature could not be made positive definite by any shift: look for non-finite or huge values in the "
        "data, or use a solver without a factorisation (newton-cg, lbfgs)"
    )
    SEPARATED = (
        "the classes are separated, completely or in part, so that without a penalty no finite optimum exists: "
        "use a finite C, or read the coefficients as a direction only"
    )
    NONFINITE = (
        "the objective or its gradient is not finite at the starting point: check the data, the weights and the "
        "starting values"
    )
    INTERRUPTED = "interrupted from the keyboard: the best iterate so far is kept; fit again with warm_start to go on"
    CALLBACK = "stopped by a callback: the iterate at that moment is kept"

    def __reduce__(self):
        """Return the class and the value: what tools that store without pickle need to know."""
        return Status, (self.value,)


class InnerStop(enum.IntEnum):
    """Why the conjugate gradients of one iteration ended."""

    NONE = 0
    RESIDUAL = 1
    BOUNDARY = 2
    NEGATIVE_CURVATURE = 3
    CAP = 4


@dataclass(frozen=True, slots=True)
class Record:
    """One iteration in numbers; NaN where a field does not apply.

    Attributes
    ----------
    iteration : int
        0 for the starting point.
    value : float
        Objective after the iteration (for our estimators: nats per unit of sample weight).
    grad_norm : float
        Largest absolute component of the gradient, in the basis the solver works in.
    step_norm : float
        Euclidean length of the step taken.
    step_size : float
        Line-search factor t in theta + t d.
    radius : float
        Trust-region radius after the iteration, in the norm of the preconditioner.
    damping : float
        Multiple of the identity (or diagonal) added to the curvature.
    inner_iterations : int
        CG iterations.
    inner_stop : InnerStop
        Why CG stopped; an int with a name.
    predicted, actual, ratio : float
        Decrease of the quadratic model, of the objective, and actual / predicted.
    decrement : float
        Newton decrement sqrt(g' H^-1 g) at the point where the iteration began (an estimate for quasi-Newton).
    accepted : bool
        Whether the iterate moved.
    n_value, n_grad, n_mv, n_passes : int
        Work since the fit began (cumulative), see `Counts`.
    seconds : float
        Wall time since the fit began.
    """

    iteration: int
    value: float
    grad_norm: float
    step_norm: float = math.nan
    step_size: float = math.nan
    radius: float = math.nan
    damping: float = math.nan
    inner_iterations: int = 0
    inner_stop: InnerStop = InnerStop.NONE
    predicted: float = math.nan
    actual: float = math.nan
    ratio: float = math.nan
    decrement: float = math.nan
    accepted: bool = True
    n_value: int = 0
    n_grad: int = 0
    n_mv: int = 0
    n_passes: int = 0
    seconds: float = 0.0


#: The tests of least-squares solvers and the proof of a classifier's fit, by the reason they give: the end of the
#: sentence "converged: ...".
REASONS = {
    "ftol": "the actual and the predicted relative reduction of the objective are within ftol",
    "xtol": "the trust radius, or the step, relative to the parameters is within xtol",
    "gtol": "the largest cosine between the residual and a column of the Jacobian is within gtol",
    "proof": "an upper bound on the distance from the minimum is within the tolerance",
}

#: Fields that a solver's step may fill in; the loop fills the others.
STEP_FIELDS = frozenset(
    {
        "step_norm",
        "step_size",
        "radius",
        "damping",
        "inner_iterations",
        "inner_stop",
        "predicted",
        "actual",
        "ratio",
        "decrement",
    }
)
_NAMES = tuple(f.name for f in fields(Record))
#: What turns a number of a stored table into the type of its field.
_KINDS = {f.name: {"int": int, "bool": bool, "InnerStop": InnerStop}.get(str(f.type), float) for f in fields(Record)}


class History(Sequence[Record]):
    """The records of one fit, oldest first.

    Attributes
    ----------
    notes : dict of str to str
        Decisions taken before the first iteration, for instance why a solver was chosen.
    """

    def __init__(self, records: Sequence[Record] = (), notes: dict[str, str] | None = None):
        self._records = list(records)
        self.notes = dict(notes or {})

    def append(self, record: Record) -> None:
        """Add the record of one more iteration."""
        self._records.append(record)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index):
        found = self._records[index]
        return History(found, self.notes) if isinstance(index, slice) else found

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records)

    def __repr__(self) -> str:
        if not self._records:
            return "History(empty)"
        last = self._records[-1]
        return f"History({last.iteration} iterations, value {last.value:.6g}, max |grad| {last.grad_norm:.2g})"

    def column(self, name: str) -> list:
        """Return one field over all iterations.

        Parameters
        ----------
        name : str
            A field of `Record`.

        Returns
        -------
        list
            Floats, ints or bools, one an iteration.

        Raises
        ------
        KeyError
            If `Record` has no such field.
        """
        if name not in _NAMES:
            raise KeyError(f"received the column {name!r}; expected one of {', '.join(_NAMES)}: choose one of these")
        return [getattr(record, name) for record in self._records]

    def to_pandas(self):
        """Return the records as a pandas DataFrame, one row an iteration.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "History.to_pandas needs pandas, which is not installed: pip install pandas, or use History.column"
            ) from error
        return pandas.DataFrame([asdict(record) for record in self._records], columns=list(_NAMES))

    def __getstate__(self):
        """Return one table of numbers: tools that store without pickle would keep each number of a record apart."""
        table = np.array([[float(getattr(record, name)) for name in _NAMES] for record in self._records])
        return {"names": list(_NAMES), "table": table.reshape(len(self._records), len(_NAMES)), "notes": self.notes}

    def __setstate__(self, state):
        kinds = [_KINDS[name] for name in state["names"]]
        rows = ([kind(value) for kind, value in zip(kinds, row, strict=True)] for row in state["table"].tolist())
        self._records = [Record(**dict(zip(state["names"], row, strict=True))) for row in rows]
        self.notes = state["notes"]


@dataclass(repr=False)
class Result:
    """The outcome of one minimisation.

    Attributes
    ----------
    theta : Array of shape (p,)
        The best iterate.
    value : float
        The objective there.
    grad_norm : float
        Largest absolute component of the gradient there.
    status : Status
        Why the fit ended.
    history : History
    counts : Counts
        Work of the whole fit.
    reason : str
        The test that ended the fit ("ftol", "xtol", "gtol", "proof"), "" where the solver has only one.
    state : object
        The solver's last state, never pickled.
    """

    theta: Array
    value: float
    grad_norm: float
    status: Status
    history: History
    counts: Counts = field(default_factory=Counts)
    #: The final point, for callers in the same process; never pickled, because it holds the data.
    point: Point | None = None
    reason: str = ""
    state: object = None

    def __repr__(self) -> str:
        counts = self.counts  # a curve has evaluations, not passes over X
        work = f"{counts.n_passes} passes" if counts.n_passes else f"{counts.n_value} evaluations"
        return (
            f"Result({self.status.name} after {self.n_iter} iterations, value={self.value:.10g}, "
            f"grad_norm={self.grad_norm:.2g}, {work})"
        )

    @property
    def n_iter(self) -> int:
        """Number of iterations done."""
        return max(len(self.history) - 1, 0)

    @property
    def converged(self) -> bool:
        """Whether the tolerances were met."""
        return self.status is Status.CONVERGED

    @property
    def message(self) -> str:
        """The status as a sentence."""
        if self.converged and self.reason:
            return f"converged: {REASONS.get(self.reason, self.reason)}"
        return self.status.value

    def __getstate__(self):
        return {**self.__dict__, "point": None, "state": None}


def joined(first: Result, second: Result) -> Result:
    """Return the second of two runs, begun where the first ended, with the history, the notes and the work of both."""
    last, before = first.history[-1], first.counts
    later = (
        replace(
            record,
            iteration=record.iteration + last.iteration,
            n_value=record.n_value + before.n_value,
            n_grad=record.n_grad + before.n_grad,
            n_mv=record.n_mv + before.n_mv,
            n_passes=record.n_passes + before.n_passes,
            seconds=record.seconds + last.seconds,
        )
        for record in second.history[1:]
    )
    history = History([*first.history, *later], {**first.history.notes, **second.history.notes})
    return replace(second, history=history, counts=before + second.counts)
