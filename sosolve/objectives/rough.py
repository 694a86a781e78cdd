"""Rough inverses of a generalised linear model's curvature, as preconditioners: Kronecker products.

With the rows' curvature H_i of shape (K, K) replaced by its weighted sum S = sum_i H_i, the curvature of K outputs
over d features is S (x) G + I (x) R, with G the second moments of the columns and R the ridge. S = Q diag(l) Q' makes
it K problems of one output. For softmax this is K-FAC (Martens and Grosse, 2015, section 3) of one layer. The null
direction of over-parameterised softmax (the same change of all classes) is an eigenvector of S: it stays in place,
whereas a diagonal that differs between classes would mix it into every search direction.
"""

from __future__ import annotations

from collections.abc import Callable

from array_api_compat import array_namespace, device

from ..protocols import Array

#: Eigenvalues below this fraction of the largest are zero: rounding of the null direction.
NULL = 1e-12


class Kronecker:
    """v -> (S (x) G + I (x) R)^+ v on flat parameters, for G = T^-T T^-1 and R = T^-T diag(ridge) T^-1.

    Parameters
    ----------
    S : Array of shape (K, K)
        Positive semidefinite.
    T : Array of shape (m, m), or (m,) for a diagonal
        Basis of the m features (and the intercept, last) in which G is the identity.
    ridge : Array of shape (m,)
        Diagonal of R in that basis.
    split, join : callable
        Between flat parameters and (K, m).
    """

    def __init__(
        self,
        S: Array,
        T: Array,
        ridge: Array,
        split: Callable[[Array], Array],
        join: Callable[[Array], Array],
    ):
        xp = array_namespace(S)
        values, self._Q = xp.linalg.eigh(S)
        values = xp.where(values > NULL * xp.max(values), values, xp.zeros_like(values))
        total = values[:, None] + ridge[None, :]
        known = total > 0.0
        self._inverse = xp.where(known, 1.0 / xp.where(known, total, xp.ones_like(total)), xp.zeros_like(total))
        self._T, self._split, self._join = T, split, join
        #: The same of one output as flat vectors: a product costs no copies then, which would cost a pass over X.
        self._flat = (join(T[None, :]), join(self._inverse)) if T.ndim == 1 and S.shape[0] == 1 else None

    def __call__(self, v: Array) -> Array:
        """Return the product, shape (p,)."""
        if self._flat is not None:
            T, inverse = self._flat
            return v * T * inverse * T
        xp = array_namespace(v)
        T, Q = self._T, self._Q
        V = xp.matrix_transpose(Q) @ self._split(v)
        V = V @ T if T.ndim == 2 else V * T
        V = Q @ (V * self._inverse)
        return self._join(V @ xp.matrix_transpose(T) if T.ndim == 2 else V * T)


def from_gram(G: Array, ridge: Array) -> tuple[Array, Array]:
    """Return (T, diagonal of R in its basis) for a dense G, shape (m, m), and a ridge of shape (m,).

    G = L L' and L^-1 diag(ridge) L^-T = V diag(delta) V' give T = L^-T V.
    """
    xp = array_namespace(G)
    m = G.shape[0]
    # 1e-3 of the diagonal: directions that a sample of the rows misses are not blown up by more than that.
    diagonal = xp.linalg.diagonal(G)
    floor = xp.where(diagonal > 0.0, diagonal, xp.ones_like(diagonal))
    L = xp.linalg.cholesky(G + 1e-3 * floor[:, None] * xp.eye(m, dtype=G.dtype, device=device(G)))
    inverse = xp.linalg.inv(L)
    delta, V = xp.linalg.eigh((inverse * ridge[None, :]) @ xp.matrix_transpose(inverse))
    return xp.matrix_transpose(inverse) @ V, xp.where(delta > 0.0, delta, xp.zeros_like(delta))


def from_variance(variance: Array, ridge: Array) -> tuple[Array, Array]:
    """Return (T, diagonal of R in its basis) for a diagonal G; columns without variance count their ridge alone."""
    xp = array_namespace(variance)
    unit = xp.where(variance > 0.0, variance, xp.where(ridge > 0.0, ridge, xp.ones_like(ridge)))
    return 1.0 / xp.sqrt(unit), ridge / unit
