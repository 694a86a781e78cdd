"""Many independent curves fitted in one call: compiled once per formula, on threads, with a status for each fit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from array_api_compat import is_cupy_array

from ..kernels.pool import run
from . import library
from .batch_data import OnHost, arrange, frozen, here, real
from .batch_result import CurvesResult, FitStatus
from .batch_starts import Automatic, box, check_inside, given_start
from .forms import CurveForm
from .formula import Formula, parse

#: A task of the pool has at most so many fits, and about so many points: some milliseconds.
FITS_PER_TASK, POINTS_PER_TASK = 1024, 50_000


def fit_curves(
    model,
    x,
    y,
    *,
    p0=None,
    sigma=None,
    weights=None,
    bounds=None,
    lengths=None,
    absolute_sigma: bool = False,
    max_iter: int = 100,
    ftol: float = 1e-14,
    xtol: float = 1e-10,
    gtol: float = 1e-11,
    second_try: bool = True,
    progress: bool = False,
    covariance: bool = True,
    jac: Callable | None = None,
    device: str | None = None,
) -> CurvesResult:
    """Fit m curves of one model, independently of one another: the weighted least squares of each.

    For each k: min over p of sum_i (f(x_ki; p) - y_ki)^2 / sigma_ki^2, by Levenberg-Marquardt (Moré, 1978, with
    the damping of Nielsen, 1999). A fit that fails says so in its status and disturbs no other one.
    The result does not depend on the number of threads.

    Parameters
    ----------
    model : str, Formula, CurveForm or callable
        A formula such as "a*exp(-b*x) + c", the name of a library model, or a function f(x, a, b, ..) of numbers
        (f(x0, x1, a, b, ..) for two predictors) that Numba compiles, in this call and for this process alone.
    x : array-like of shape (n,) or (n, d), shared by all fits, or (m, n) or (m, n, d)
        Or a list of m arrays of shape (n_k,) or (n_k, d). Where x has the shape of y, each fit has its own.
    y : array-like of shape (m, n), or a list of m arrays of shape (n_k,)
        float64 in C order is used in place.
    p0 : array-like of shape (p,) or (m, p), mapping of names, or None
        None guesses: see `sosolve.curves.batch_starts`.
    sigma, weights : float, array-like of shape (n,) or (m, n), or list of arrays; at most one of them
        Standard deviations, or factors on the squared residuals. A point of weight 0 is left out, whatever it holds.
    bounds : pair of array-likes of shape (), (p,) or (m, p), or mapping of names to pairs
    lengths : array-like of int of shape (m,)
        Only the first so many points of each row of an array y count.
    absolute_sigma : bool, default=False
        Whether sigma has the units of y, or is known up to a factor only, as in SciPy.
    max_iter : int, default=100
        Steps tried in a run.
    ftol, xtol, gtol : float, default=1e-14, 1e-10, 1e-11
        See `FitStatus`; 0 turns a test off.
    second_try : bool, default=True
        Let fits that did not converge go on for some runs, then begin once more with another damping; the best end is
        kept, and `n_iter` counts all steps. False leaves them after one run.
    progress : bool, default=False
        Show a bar on the standard error stream.
    covariance : bool, default=True
        False saves the memory of (m, p, p) numbers; standard errors are there all the same.
    jac : callable, optional
        For a function: jac(x, a, b, ..) returns the tuple of the p derivatives (a number for p = 1). Central
        differences by default.
    device : {"auto", "cpu", "cuda"}, optional
        Where to fit; None is where y is, the processor for NumPy. "cuda" raises where there is no device, "auto" uses
        one where it is likely to pay. For formulas and library models.

    Returns
    -------
    CurvesResult

    Raises
    ------
    TypeError
        When an argument is of the wrong kind, or Numba cannot compile the function.
    ValueError
        When shapes, names, bounds or tolerances are wrong, or no start can be guessed.
    ImportError
        When `progress` is asked for without rich, or a device without CuPy.
    RuntimeError, MemoryError
        When a device is asked for and cannot be used, or has no room.

    References
    ----------
    Moré, J. J. (1978). The Levenberg-Marquardt algorithm: implementation and theory. LNM 630, 105-116. Nielsen, H. B.
    (1999). Damping parameter in Marquardt's method. Report IMM-REP-1999-05, Technical University of Denmark.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 4.0, 20)
    >>> y = np.array([[2.0], [3.0]]) * np.exp(-np.array([[0.5], [1.0]]) * x)
    >>> result = fit_curves("a*exp(-b*x)", x, y, p0={"a": 1.0, "b": 0.7})
    >>> result.params.round(6)
    array([[2. , 0.5],
           [3. , 1. ]])
    >>> print(result.summary())
    2 of 2 fits converged.
    """
    if device == "cpu" or not is_cupy_array(y):
        x, y, sigma, weights, lengths = map(here, (x, y, sigma, weights, lengths))
    points, there = arrange(x, y, sigma, weights, lengths), is_cupy_array(y)
    settings = _settings(max_iter, ftol, xtol, gtol)
    form, formula = _model_of(model, jac, points.d)
    on_device = _on_device(device, there, formula, points)
    target = model if formula is None else formula
    if p0 is None:  # before anything is compiled
        starts = Automatic(formula, form, OnHost(points) if there else points)
    names = formula.parameters if formula is not None else _passes(target, jac, points.d).names
    limits = box(bounds, names, points.m)
    if p0 is not None:
        starts = given_start(here(p0), names, points.m)
        check_inside(starts, *limits, names)
    arrays, where = _empty(points.m, len(names), covariance, on_device), "cpu"
    with _bar(progress, points.m) as advance:
        if on_device:
            from .batch_cuda import Job, fit_on_device

            job = Job(target, points, starts, limits, settings, not absolute_sigma, second_try)
            where = fit_on_device(job, arrays, advance)
        else:
            passes = _passes(target, jac, points.d)
            solve = _solver(passes, settings, points, starts, limits, not absolute_sigma, second_try, arrays)
            _on_threads(solve, points, advance)
    _leave_out_overflows(arrays)
    if not covariance:
        arrays["covariance"] = None
    return CurvesResult(**arrays, names=names, model=target, device=where)


def _leave_out_overflows(arrays: dict[str, np.ndarray]) -> None:
    """Mark the fits whose squares are no finite numbers: what their tests said means nothing."""
    lost = np.isinf(arrays["rss"])
    if lost.any():
        arrays["status"][lost] = FitStatus.NONFINITE_DATA
        for name in ("params", "stderr", "r_squared", "rss"):
            arrays[name][lost] = np.nan
        arrays["covariance"][lost[: len(arrays["covariance"])]] = np.nan


def _on_device(device: str | None, there: bool, formula: Formula | None, points) -> bool:
    """Return whether the fits run on a device; where nothing is said and nothing is there, without a look at CuPy."""
    if device is None and not there:
        return False
    from .batch_cuda import wanted

    return wanted(device, there, formula is not None, points.m * points.n)


def _on_threads(solve: Callable[[int, int], None], points, advance: Callable[[int], None]) -> None:
    """Fit everything on the threads of the pool."""
    size = max(1, min(FITS_PER_TASK, POINTS_PER_TASK // points.n))

    def task(number: int) -> None:
        lo, hi = number * size, min((number + 1) * size, points.m)
        solve(lo, hi)
        advance(hi - lo)

    run(task, -(-points.m // size))


def _model_of(model, jac, d: int) -> tuple[CurveForm | None, Formula | None]:
    """Return (library model, formula) of whatever was given; None where there is none."""
    if isinstance(model, str):
        model = library.named(model) or parse(model, d)
    form = model if isinstance(model, CurveForm) else None
    formula = form.formula if form is not None else model
    if not isinstance(formula, Formula):
        if not callable(model):
            raise TypeError(
                f"received a model of type {type(model).__name__}; expected a formula, the name of a library model, or "
                "a function: pass for instance 'a*exp(-b*x)'"
            )
        return None, None
    if len(formula.predictors) != d:
        raise ValueError(
            f"received x with {d} predictors for a model of {', '.join(formula.predictors)}; expected one column for "
            "each: pass x of shape (n, d)"
        )
    if jac is not None:
        raise ValueError("received jac with a formula; expected None, its derivatives are exact: leave jac out")
    return form, formula


def _passes(target, jac, d: int):
    from .batch_code import passes_of_callable, passes_of_formula

    return passes_of_formula(target) if isinstance(target, Formula) else passes_of_callable(target, jac, d)


def _settings(max_iter, ftol, xtol, gtol):
    if isinstance(max_iter, bool) or not isinstance(max_iter, int | np.integer) or max_iter < 1:
        raise ValueError(f"received max_iter={max_iter!r}; expected a positive integer: choose for instance 100")
    for name, value in (("ftol", ftol), ("xtol", xtol), ("gtol", gtol)):
        if not isinstance(value, int | float | np.number) or not 0.0 <= value < 1.0:
            raise ValueError(f"received {name}={value!r}; expected a number from 0 to 1: choose for instance 1e-12")
    from .batch_fit import Settings

    return Settings(int(max_iter), float(ftol), float(xtol), float(gtol))


def _empty(m: int, p: int, covariance: bool, untouched: bool) -> dict[str, np.ndarray]:
    """Return the arrays of the result: floats NaN (or `untouched` memory), nothing fitted."""
    shapes = {"params": (m, p), "stderr": (m, p), "covariance": (m if covariance else 0, p, p)}
    shapes |= {"rss": (m,), "r_squared": (m,)}
    arrays = {name: np.empty(shape) if untouched else np.full(shape, np.nan) for name, shape in shapes.items()}
    arrays["on_bound"] = np.zeros((m, p), dtype=bool)
    arrays |= {name: np.zeros(m, dtype=np.int32) for name in ("n_points", "n_iter", "n_evaluations")}
    return arrays | {"status": np.full(m, FitStatus.NOT_FITTED, dtype=np.int8)}


def _solver(
    passes, settings, points, starts, limits, scale_by_rss: bool, second_try: bool, arrays
) -> Callable[[int, int], None]:
    """Return the function that fits lo .. hi - 1 and writes to the arrays of the result."""
    from .batch_again import try_again
    from .batch_chunk import Candidates, Data, Out, fit_chunk, room, search_chunk
    from .batch_steps import Model

    lower, upper = limits
    boxed = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
    p = len(passes.names)
    model = Model(passes.fused, passes.rows, p, passes.n_predictors, passes.differences, boxed)
    automatic, tries, weighted = isinstance(starts, Automatic), getattr(starts, "tries", 1), bool(points.weighted)

    def part(array, lo: int, hi: int):
        return array[lo:hi] if len(array) > 1 else array

    nothing = frozen(np.zeros((1, 1)))

    def run_again(settings, data, begin, low, high, out) -> None:
        fit_chunk(model, settings, data, begin, nothing, low, high, scale_by_rss, out, room(model, data, 1))

    def solve(lo: int, hi: int) -> None:
        data = Data(*points.chunk(lo, hi), weighted)
        out = Out(**{name: arrays[name][lo:hi] for name in Out._fields})
        low, high, memory = part(lower, lo, hi), part(upper, lo, hi), room(model, data, tries)
        begin, costs = part(starts, lo, hi) if not automatic else None, np.zeros((1, 1))
        if automatic:
            begin, values = starts.chunk(data.x, data.y, data.at, data.count)
        if automatic and values.shape[1]:
            begin, costs = np.full((hi - lo, p * tries), np.nan), np.full((hi - lo, tries), np.inf)
            given = Candidates(values, starts.linear, starts.nonlinear)
            search_chunk(model, data, given, low, high, begin, costs, out.n_evaluations, memory)
        fit_chunk(model, settings, data, frozen(begin), frozen(costs), low, high, scale_by_rss, out, memory)
        if second_try:
            try_again(run_again, settings, data, begin[:, :: costs.shape[1]], low, high, out)

    return solve


@contextlib.contextmanager
def _bar(wanted: bool, m: int) -> Iterator[Callable[[int], None]]:
    """Yield the function that counts fits done; with a bar where it is wanted."""
    if not wanted:
        yield lambda count: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
    except ImportError as error:
        raise ImportError(
            "received progress=True without rich; expected it to be installed: run pip install rich, or leave progress "
            "out"
        ) from error
    columns = ("fits", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        number = bar.add_task("fits", total=m)
        yield lambda count: bar.advance(number, count)


def predict(result: CurvesResult, x) -> np.ndarray:
    """Return the curves of a result at new points, see `CurvesResult.predict`."""
    from .batch_chunk import predict_chunk
    from .batch_steps import Model

    x, (m, p) = real("x", x), result.params.shape
    formula = result.model if isinstance(result.model, Formula) else None
    d = len(formula.predictors) if formula is not None else _predictors_of(result)
    own = x.ndim == (2 if d == 1 else 3) and len(x) == m
    if (not own and x.shape[1:] not in ((), (d,))) or (x.shape[1:] == () and d > 1):
        raise ValueError(
            f"received x of shape {x.shape} for {m} fits; expected (n,) or (n, {d}), or ({m}, n) or ({m}, n, {d}): "
            "check the order of the axes"
        )
    n = x.shape[1] if own else x.shape[0]
    passes = _passes(result.model, None, d)
    model, out = Model(passes.fused, passes.rows, p, d, False, False), np.empty((m, n))
    flat = frozen(x).reshape(m if own else 1, -1)

    def task(number: int) -> None:
        lo, hi = number * size, min((number + 1) * size, m)
        predict_chunk(model, flat[lo:hi] if own else flat, frozen(result.params[lo:hi]), out[lo:hi])

    size = max(1, min(FITS_PER_TASK, POINTS_PER_TASK // max(n, 1)))
    run(task, -(-m // size))
    return out


def _predictors_of(result: CurvesResult) -> int:
    """Return the number of arguments of a function that are no parameters."""
    import inspect

    return len(inspect.signature(getattr(result.model, "py_func", result.model)).parameters) - len(result.names)
