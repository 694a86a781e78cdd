"""Compiled pieces of many fits at once: calls through an address, an exponential that vectorises, small factorisations.

A model's pass over its points is compiled once per formula and known to the rest by the address of its code alone, so
that the solver is compiled once for all formulas. Symmetric p x p matrices are packed by rows of their lower half:
element (i, j), j <= i, is at i (i + 1) / 2 + j.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..kernels import parts
from ..kernels.cache import jit
from ..kernels.numba_losses import EXACT, LOG2_E, exp_rest, power_of_two

EPS = 2.220446049250313e-16

#: The decorator of functions that are only called by compiled ones. Their loops run over a few parameters, where
#: vectorised sums cost compile time and win nothing; loops over points have the flags of `jit`.
part = parts.part(EXACT)


@lru_cache(maxsize=1)
def stamp() -> str:
    """Return a hash of the sources of this machinery, a part of the names under which its code is kept on disk."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("batch*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def whole(py_func):
    """Return a function compiled and kept on disk: its name changes with the sources, those of its callees too."""
    py_func.__qualname__ = f"{py_func.__name__}_{stamp()}"
    return jit(fastmath=EXACT, no_cfunc_wrapper=True)(py_func)


#: x, y, s, n, c, params, steps, out: the arguments of a pass, see `batch_code`.
_POINTER = types.CPointer(types.float64)
PASS = types.float64(_POINTER, _POINTER, _POINTER, types.intp, types.float64, _POINTER, _POINTER, _POINTER)


@intrinsic
def call_pass(typingctx, address, x, y, s, n, c, params, steps, out):
    """Call the pass at an address; all but n (intp) and c (float64) are addresses as integers."""
    integer = types.intp
    signature = types.float64(integer, integer, integer, integer, integer, types.float64, integer, integer, integer)

    def codegen(context, builder, signature, args):
        double = ir.DoubleType()
        pointer, word = double.as_pointer(), context.get_value_type(types.intp)
        kinds = [pointer, pointer, pointer, word, double, pointer, pointer, pointer]
        function = builder.inttoptr(args[0], ir.FunctionType(double, kinds).as_pointer())
        given = [
            builder.inttoptr(arg, kind) if kind is pointer else arg for arg, kind in zip(args[1:], kinds, strict=True)
        ]
        return builder.call(function, given)

    return signature, codegen


@intrinsic
def address(typingctx, array):
    """Return where the data of an array begin, as an integer."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.intp))

    return types.intp(array), codegen


@jit(fastmath=EXACT, cached=False)
def fast_exp(x):
    """Return exp(x) to 1 ulp, 0 below -707, inf above 709.78."""
    z = x if x == x else 0.0
    z = -707.0 if z < -707.0 else z
    z = 709.782712893384 if z > 709.782712893384 else z
    k = np.floor(z * LOG2_E + 0.5)
    # 2^1024 is no float64, 2^1023 times 2 is reached in the product.
    e = (2.0 * exp_rest(z, k)) * power_of_two(np.int64(np.int32(k)) - 1)
    e = 0.0 if x < -707.0 else e
    e = np.inf if x > 709.782712893384 else e
    return e if x == x else x


@part
def put(to, row, source, at):
    """Copy the row `at` of an array to a row of another."""
    for k in range(to.shape[1]):
        to[row, k] = source[at, k]


@part
def fill(to, row, value):
    """Set a row of an array to a number."""
    for k in range(to.shape[1]):
        to[row, k] = value


@part
def cholesky(M, row, p):
    """Factorise the packed matrix in a row of M in place, A = L L', the diagonal of L inverted.

    Returns the least squared pivot, 0 where one is not positive.
    """
    least = np.inf
    for j in range(p):
        at = j * (j + 1) // 2
        pivot = M[row, at + j]
        for k in range(j):
            pivot -= M[row, at + k] * M[row, at + k]
        if not pivot > 0.0:
            return 0.0
        least = min(least, pivot)
        scale = 1.0 / math.sqrt(pivot)
        M[row, at + j] = scale
        for i in range(j + 1, p):
            to = i * (i + 1) // 2
            t = M[row, to + j]
            for k in range(j):
                t -= M[row, to + k] * M[row, at + k]
            M[row, to + j] = t * scale
    return least


@part
def cholesky_solve(M, row, p, v, at):
    """Overwrite the row `at` of v by the solution of A z = v[at], A factorised by `cholesky` in a row of M."""
    for i in range(p):
        t = v[at, i]
        for k in range(i):
            t -= M[row, i * (i + 1) // 2 + k] * v[at, k]
        v[at, i] = t * M[row, i * (i + 1) // 2 + i]
    for i in range(p - 1, -1, -1):
        t = v[at, i]
        for k in range(i + 1, p):
            t -= M[row, k * (k + 1) // 2 + i] * v[at, k]
        v[at, i] = t * M[row, i * (i + 1) // 2 + i]


@part
def reflect(B, rows, j, last):
    """Reflect columns j .. `last` - 1 of B by Householder so that B[j + 1:rows, j] becomes 0.

    Golub and Van Loan, Matrix Computations, 2013, algorithm 5.1.1; the vector is scaled to have a 1 in front.
    """
    top = 0.0
    for i in range(j, rows):
        top = max(top, abs(B[i, j]))
    if not top > 0.0:
        return
    norm2 = 0.0
    for i in range(j, rows):
        norm2 += (B[i, j] / top) ** 2
    alpha = -math.copysign(top * math.sqrt(norm2), B[j, j])
    head = B[j, j] - alpha
    for k in range(j + 1, last):
        dot = B[j, k]
        for i in range(j + 1, rows):
            dot += B[i, j] / head * B[i, k]
        dot *= -head / alpha  # 2 / v'v with v[j] = 1
        B[j, k] -= dot
        for i in range(j + 1, rows):
            B[i, k] -= dot * (B[i, j] / head)
    B[j, j] = alpha
    for i in range(j + 1, rows):
        B[i, j] = 0.0


@part
def pivoted_qr(B, rows, p, order):
    """Reduce the first p columns of B to R with column pivoting; `order` receives the columns, largest first."""
    for k in range(p):
        order[k] = k
    for j in range(min(p, rows)):
        best, most = j, -1.0
        for k in range(j, p):
            norm2 = 0.0
            for i in range(j, rows):
                norm2 += B[i, k] * B[i, k]
            if norm2 > most:
                best, most = k, norm2
        if best != j:
            order[j], order[best] = order[best], order[j]
            for i in range(rows):
                B[i, j], B[i, best] = B[i, best], B[i, j]
        reflect(B, rows, j, p)
