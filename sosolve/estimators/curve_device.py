"""`device=` of `NonlinearLeastSquares`: the fit of a formula on an NVIDIA device, its errors on the processor."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..curve_problems.model import ExactModel
from ..curve_problems.problem import CurveProblem
from ..curves import Formula
from ..curves.one_on_device import fit_one, goes_there
from ..history import History, Record, Result, Status
from ..linalg import max_abs
from .curve_search import Found

#: Statuses of `FitStatus` and the tests that ended the fit.
REASONS = {1: "gtol", 2: "ftol", 3: "xtol", 4: "ftol"}


def runs_there(estimator: Any, problem: CurveProblem) -> bool:
    """Return whether a fit runs on a device.

    Raises
    ------
    ImportError, RuntimeError
        If a device is asked for and none can be used.
    ValueError
        If it is, and the fit is none that runs there.
    """
    name = estimator.device
    if name in (None, "cpu"):
        return False
    formula = isinstance(problem.model, ExactModel) and isinstance(problem.model.formula, Formula)
    obstacles = {
        "a model that is no formula": not formula,
        f"loss={problem.loss!r}": problem.loss != "linear",
        "fixed parameters": not problem.free.all(),
        f"solver={estimator.solver!r}": estimator.solver not in ("lm", "auto"),
        f"tol={estimator.tol!r}": estimator.tol is not None,
    }
    found = [what for what, there in obstacles.items() if there]
    if name == "cuda" and found:
        raise ValueError(
            f"received device='cuda' with {', '.join(found)}; expected a formula with loss='linear', all parameters "
            "free, solver='lm' and its own tolerances, which is what runs there: change that, or use device='cpu'"
        )
    return not found and goes_there(name, True, len(problem.y))


def search_there(problem: CurveProblem, theta: np.ndarray, max_iter: int | None) -> tuple[Found, str]:
    """Return the minimiser from a start, and the name of the device.

    The device adds up J'J and J'r and iterates; residuals and Jacobian at the end, for the errors, are one evaluation
    on the processor.
    """
    model: Any = problem.model
    plain = problem.precision is None and problem.frequency is None and problem.unit == 1.0
    box = problem.box()
    options = {} if max_iter is None else {"max_iter": max(int(max_iter), 1)}
    fitted = fit_one(
        model.formula,
        model.select(problem.X),
        problem.y,
        p0=theta,
        sigma=None if plain else 1.0 / problem.root,
        bounds=None if box[0] is None else box,
        **options,
    )
    fit, end = fitted[0], fitted.params[0]
    end = end if np.isfinite(end).all() else theta
    point = problem.objective().at(problem.pack(end))
    records = [Record(0, np.nan, np.nan), Record(fit.n_iter, point.value, max_abs(point.grad))]
    notes = {"device": f"{fit.n_iter} iterations on {fitted.device}, residuals and errors on the processor"}
    status = Status.CONVERGED if fit.converged else {0: Status.MAX_ITER, -1: Status.STALLED}.get(fit.status)
    result = Result(
        theta=end,
        value=point.value,
        grad_norm=max_abs(point.grad),
        status=Status.NONFINITE if status is None else status,
        history=History(records, notes),
        reason=REASONS.get(int(fit.status), ""),
    )
    return Found(problem, end, result, point.raw_residual, point.raw_jac, point.jac_error), fitted.device
