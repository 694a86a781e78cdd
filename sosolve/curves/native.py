"""The pass of a formula over its points as machine code."""

from __future__ import annotations

import math
import re

from .batch_code import row_lines
from .formula import Formula
from .machine_code import translated

#: exp(x) as `batch_kernels.fast_exp` has it: 2^k exp(r) by Taylor's series, 0 below -707, inf above 709.78.
EXP = """
def fast_exp(x: float) -> float:
    z = x if x == x else 0.0
    z = min(max(z, -707.0), 709.782712893384)
    k = floor(z * 1.4426950408889634 + 0.5)
    r = (z - k * 0.693145751953125) - k * 1.42860682030941723e-06
    e = 1.0 / 6227020800.0
{}    e = 2.0 * e * power_of_two(k - 1.0)
    e = 0.0 if x < -707.0 else e
    e = inf if x > 709.782712893384 else e
    return e if x == x else x
""".format("".join(f"    e = e * r + 1.0 / {math.factorial(k)}.0\n" for k in range(12, -1, -1)))


def pass_text(formula: Formula) -> str:
    """Return the pass of a formula in LLVM's language, see `pass_source`."""
    return translated(pass_source(formula), {"inf": math.inf}, summed=("rows",))


def pass_source(formula: Formula) -> str:
    """Return `rows(x, y, s, n, c, theta, sums)` of a formula in the language of `machine_code`.

    x has the shape (d, n). With e_i = c s_i, r_i = e_i (f(x_i) - y_i) and J_ik = e_i df(x_i)/dtheta_k it writes the
    packed lower half of [J r]'[J r].
    """
    _, *body = row_lines(formula.source("numba"))
    body = [re.sub(r"\bexp\(", "fast_exp(", line) for line in body]
    d, p = len(formula.predictors), formula.size
    columns = [*(f"J{k}" for k in range(p)), "r"]
    pairs = [(j, k) for j in range(p + 1) for k in range(j + 1)]
    point = [
        *(f"x{j} = x[{f'{j} * n + ' if j else ''}i]" for j in range(d)),
        *body,
        "e = c * s[i]",
        "r = e * (f - y[i])",
        *(f"J{k} = e * J{k}" for k in range(p)),
        *(f"a{j}_{k} += {columns[j]} * {columns[k]}" for j, k in pairs),
    ]
    lines = [
        *(f"p{k} = theta[{k}]" for k in range(p)),
        *(f"a{j}_{k} = 0.0" for j, k in pairs),
        "for i in range(n):",
        *(f"    {line}" for line in point),
        *(f"sums[{at}] = a{j}_{k}" for at, (j, k) in enumerate(pairs)),
    ]
    head = "def rows(x: Array, y: Array, s: Array, n: int, c: float, theta: Array, sums: Array) -> None:"
    return "\n".join([EXP, head, *(f"    {line}" for line in lines)])
