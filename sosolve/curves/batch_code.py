"""The two compiled passes of a model over the points of one fit, made from its source text.

Both have the arguments (x, y, s, n, c, params, steps, out): addresses of the fit's n points, of the square roots s of
their weights and of the parameters; c is a factor on s. With e_i = c s_i:

- `fused` returns sum_i r_i^2, r_i = e_i (f(x_i; p) - y_i), and writes the packed lower half of J'J, then J'r, where
  J_ik = e_i df(x_i; p)/dp_k: one loop, every sum in a local variable, no memory but the points.
- `rows` writes the n rows (J_i1 .. J_ip, r_i).

For a Python callable the derivatives are its own `jac`, or the differences
(f(p + u_k) - f(p - d_k)) / (u_k + d_k) with the steps (u_1, d_1, u_2, d_2, ..) that the solver chooses.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from .formula import Formula

_lock = threading.Lock()


@dataclass(frozen=True)
class Passes:
    """The compiled passes of a model.

    Attributes
    ----------
    names : tuple of str
        The parameters, p of them.
    n_predictors : int
    fused, rows : int
        Addresses of code.
    differences : bool
        Whether derivatives are differences, whose steps the solver must choose.
    keep : tuple
        What owns the code.
    """

    names: tuple[str, ...]
    n_predictors: int
    fused: int
    rows: int
    differences: bool
    keep: tuple


@lru_cache(maxsize=128)
def passes_of_formula(formula: Formula) -> Passes:
    """Return the passes of a formula; the machine code is kept on disk by `sosolve.kernels.cache`."""
    head, *body = row_lines(formula.source("numba"))
    return _compile(head, body, formula.parameters, len(formula.predictors), {}, cached=True)


@lru_cache(maxsize=32)
def passes_of_callable(function: Callable, jac: Callable | None, d: int) -> Passes:
    """Return the passes of a scalar function f(x0, .., p0, ..) of d predictors that Numba can compile.

    Compiled anew in every process: what a function calls may change without a trace in its own code. `jac` has the
    same arguments and returns a tuple of p derivatives.

    Raises
    ------
    TypeError
        When Numba cannot compile one of them, or it does not return real numbers.
    ValueError
        When the function's arguments do not have names, or there are too few.
    """
    names = _argument_names(function, d)
    p = len(names)
    space = {"model": _compile_user(function, "the model", d + p, 1)}
    given = [f"x{j}" for j in range(d)] + [f"p{k}" for k in range(p)]
    body = [f"f = float(model({', '.join(given)}))"]
    if jac is not None:
        space["jac"] = _compile_user(jac, "jac", d + p, p)
        body += [f"{', '.join(f'J{k}' for k in range(p))} = jac({', '.join(given)})"]
    else:
        for k in range(p):
            up, down = ([*given[: d + k], f"p{k} {sign}{k}", *given[d + k + 1 :]] for sign in ("+ up", "- down"))
            body += [f"J{k} = (model({', '.join(up)}) - model({', '.join(down)})) / (up{k} + down{k})"]
    return _compile("", body, names, d, space, cached=False)


def row_lines(source: str) -> list[str]:
    """Return the import line of a row's source and the lines of its body, with locals in place of J[k] and return."""
    head, body = source.split("def row(", 1)
    lines = [line.strip() for line in body.splitlines()[1:] if line.strip()]
    lines = [re.sub(r"^J\[(\d+)\] =", r"J\1 =", line) for line in lines]
    return [head.strip(), *(re.sub(r"^return ", "f = ", line) for line in lines)]


def _write(head: str, body: list[str], p: int, d: int, safe: bool) -> str:
    """Return the source of both passes."""
    pairs = [(i, j) for i in range(p) for j in range(i + 1)]
    opening = [
        *(f"p{k} = params[{k}]" for k in range(p)),
        *(f"up{k}, down{k} = steps[{2 * k}], steps[{2 * k + 1}]" for k in range(p) if safe),
    ]
    point = [*(f"x{j} = x[{f'{d}*i + {j}' if d > 1 else 'i'}]" for j in range(d)), *body]
    point += ["e = c*s[i]", "r = e*(f - y[i])", *(f"J{k} = e*J{k}" for k in range(p))]
    sums = ["total", *(f"a{i}_{j}" for i, j in pairs), *(f"g{k}" for k in range(p))]
    add = ["total += r*r", *(f"a{i}_{j} += J{i}*J{j}" for i, j in pairs), *(f"g{k} += J{k}*r" for k in range(p))]
    store = [f"out[{at}] = {name}" for at, name in enumerate(sums[1:])]
    fused = [*(f"{name} = 0.0" for name in sums), *_loop(point + add, safe), *store, "return total"]
    width = p + 1
    put = [*(f"out[{width}*i + {k}] = J{k}" for k in range(p)), f"out[{width}*i + {p}] = r"]
    rows = [*_loop(point + put, safe), "return 0.0"]
    return "\n".join(
        [
            head,
            *_function("fused", p * (p + 3) // 2, opening + fused, p, d),
            *_function("rows", f"n*{width}", opening + rows, p, d),
        ]
    )


def _loop(lines: list[str], safe: bool) -> list[str]:
    """Return the loop over the points; `safe` turns an exception of the user's function into NaN."""
    loop = ["for i in range(n):", *(f"    {line}" for line in lines)]
    return ["try:", *(f"    {line}" for line in loop), "except Exception:", "    return nan"] if safe else loop


def _function(name: str, size, lines: list[str], p: int, d: int) -> list[str]:
    shapes = {"x": f"n*{d}", "y": "n", "s": "n", "params": p, "steps": 2 * p, "out": size}
    views = [f"{array} = carray({array}_, ({shape},))" for array, shape in shapes.items()]
    return [f"def {name}(x_, y_, s_, n, c, params_, steps_, out_):", *(f"    {line}" for line in views + lines), ""]


def _compile(head: str, body: list[str], names, d: int, space: dict, cached: bool) -> Passes:
    """Return the passes compiled from the lines of one row.

    The code's name on disk holds a hash of the text and of this machinery's sources, so that it is found by any process
    and never by a changed one.
    """
    from numba import carray

    from ..kernels.cache import jit
    from . import batch_kernels

    safe = bool(space)
    text = _write("", body, len(names), d, safe)
    stamp = hashlib.sha256(f"{batch_kernels.stamp()} {text}".encode()).hexdigest()[:24]
    space = {**space, **_functions(head), "carray": carray, "nan": float("nan"), "__name__": batch_kernels.__name__}
    exec(compile(text, f"sosolve_model_{stamp}.py", "exec"), space)  # noqa: S102 our own text, no word of the user's
    found = []
    with _lock:
        for name in ("fused", "rows"):
            py_func = space[name]
            py_func.__qualname__ = py_func.__name__ = f"{name}_{stamp}"
            dispatcher = jit(cached=cached)(py_func)
            dispatcher.compile(batch_kernels.PASS)
            compiled = dispatcher.overloads[batch_kernels.PASS.args]
            address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_cfunc_wrapper_name)
            found.append((address, dispatcher))
    (fused, first), (rows, second) = found
    return Passes(tuple(names), d, fused, rows, safe and "jac" not in space, (first, second, space))


def _functions(head: str) -> dict:
    """Return the functions that a line `from math import ..` brings in, with our own exponential."""
    import math

    from .batch_kernels import fast_exp

    wanted = head.removeprefix("from math import").replace(" ", "").split(",") if head else []
    return {name: fast_exp if name == "exp" else getattr(math, name) for name in wanted}


def _argument_names(function: Callable, d: int) -> tuple[str, ...]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = inspect.signature(getattr(function, "py_func", function)).parameters.values()
    names = tuple(argument.name for argument in arguments if argument.kind in kinds)
    if len(names) <= d or len(names) < len(arguments):
        raise ValueError(
            f"received a model with the arguments ({', '.join(map(str, arguments))}); expected {d} of one point "
            "followed by the parameters, each by its name: write for instance def f(x, a, b): return a*exp(-b*x)"
        )
    return names[d:]


def _compile_user(function: Callable, what: str, n_arguments: int, n_results: int):
    """Return a user's scalar function compiled by Numba, division by zero giving inf or NaN instead of an error."""
    import numba
    from numba.core.errors import NumbaError

    expected = "one real number" if n_results == 1 else f"a tuple of {n_results} real numbers"
    reason = ""
    try:
        dispatcher = numba.njit(nogil=True, error_model="numpy")(getattr(function, "py_func", function))
        dispatcher.compile((numba.float64,) * n_arguments)
        found = dispatcher.nopython_signatures[0].return_type
    except (NumbaError, NotImplementedError, TypeError, AttributeError) as error:
        reason = _short(error)
    else:
        kinds = tuple(found) if isinstance(found, numba.types.BaseTuple) and n_results > 1 else (found,)
        real = (numba.types.Integer, numba.types.Float, numba.types.Boolean)
        if len(kinds) != n_results or not all(isinstance(kind, real) for kind in kinds):
            reason = f"it returns {found}"
    if not reason:
        return dispatcher
    raise TypeError(
        f"received {what} {getattr(function, '__name__', function)!r}, which cannot be compiled: {reason}; expected a "
        f"function of {n_arguments} numbers that returns {expected} and that Numba compiles (numbers, math, NumPy on "
        "numbers): write it so, use a formula such as 'a*exp(-b*x)', or fit one curve at a time with curve_fit"
    )


def _short(error: Exception) -> str:
    """Return the gist of Numba's message: the line that names the cause."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip(" -\t") for line in str(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Failed in", "During:", "File ", "There are"))]
    telling = [
        line for line in lines if re.search(r"(?i)untyped|unknown|unsupported|no implementation|cannot|use of", line)
    ]
    return (telling or lines or [type(error).__name__])[0].rstrip(".")[:200]
