"""The arguments and the calls with which every backend is held against the reference."""

import numpy as np
import scipy.sparse as sp

N, D, K = 1203, 17, 4


def storages():
    """Return X in every storage a kernel must take."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D))
    S = sp.random(N, D, density=0.2, random_state=0, format="csr")
    S64 = S.copy()
    S64.indices, S64.indptr = S64.indices.astype(np.int64), S64.indptr.astype(np.int64)
    gaps = S.tolil()
    gaps[5:40] = 0.0
    read_only = X.copy()
    read_only.flags.writeable = False
    return {
        "C": X,
        "F": np.asfortranarray(X),
        "float32": X.astype(np.float32),
        "float32 F": np.asfortranarray(X.astype(np.float32)),
        "strided": np.repeat(X, 2, axis=1)[:, ::2],
        "reversed": X[::-1],
        "read-only": read_only,
        "csr": S,
        "csr int64": S64,
        "csr float32": S.astype(np.float32),
        "csr empty rows": gaps.tocsr(),
        "csr array": sp.csr_array(S),
        "one row": X[:1],
    }


STORAGES = storages()


def vectors(n):
    """Return arguments of the kernels for n rows."""
    rng = np.random.default_rng(1)
    return {
        "w": rng.standard_normal(D),
        "W": rng.standard_normal((K, D)),
        "B": rng.standard_normal(K),
        "y": (y := rng.integers(0, 2, n).astype(float)),
        "classes": (classes := rng.integers(0, K, n).astype(float)),
        "s": rng.random(n) / n,
        "h": rng.random(n),
        "r": rng.standard_normal(n),
        "R": rng.standard_normal((n, K)),
        "P": rng.dirichlet(np.ones(K + 1), n)[:, :K],
        "mean": rng.standard_normal(D),
        "scale": rng.random(D) + 0.5,
        "codes": np.where(y > 0, K, classes),  # with the reference class
    }


def same(found, expected, rtol=1e-12):
    """Assert that two results (arrays, numbers or tuples of them) agree relative to their largest entry."""
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == np.float64
        assert np.abs(a - b).max(initial=0.0) <= rtol * max(np.abs(b).max(initial=0.0), 1e-300)


CALLS = {
    "linear": lambda k, X, v: k.linear(X, v["w"], 0.3),
    "linear K": lambda k, X, v: k.linear(X, v["W"], v["B"]),
    "transposed": lambda k, X, v: k.transposed(X, v["r"]),
    "transposed K": lambda k, X, v: k.transposed(X, v["R"]),
    "normal_mv": lambda k, X, v: k.normal_mv(X, v["h"], v["w"], 0.3),
    "softmax_normal_mv": lambda k, X, v: k.softmax_normal_mv(X, v["P"], v["s"], v["W"], v["B"]),
    "logistic_linear": lambda k, X, v: k.logistic_linear(X, v["y"], v["s"], v["w"], 0.3),
    "logistic_linear, one weight": lambda k, X, v: k.logistic_linear(X, v["y"], v["s"][:1], v["w"], 0.3),
    "squared_linear": lambda k, X, v: k.squared_linear(X, v["y"], v["s"], v["w"], 0.3),
    "softmax_linear": lambda k, X, v: k.softmax_linear(X, v["classes"], v["s"], v["W"], v["B"], False),
    "softmax_linear, reference": lambda k, X, v: k.softmax_linear(X, v["codes"], v["s"][:1], v["W"], v["B"], True),
    "gram": lambda k, X, v: k.gram(X, v["h"], v["mean"], v["scale"]),
    "gram, negative": lambda k, X, v: k.gram(X, -v["h"], v["mean"], v["scale"]),
    "gram, both signs": lambda k, X, v: k.gram(X, v["r"], v["mean"], v["scale"]),
    "gram, blocks": lambda k, X, v: k.gram(X, v["h"], v["mean"], v["scale"], [(0, 1), (X.shape[0] // 2, X.shape[0])]),
    "diagonal": lambda k, X, v: k.diagonal(X, v["h"][:, None], v["mean"], v["scale"]),
    "diagonal K": lambda k, X, v: k.diagonal(X, v["R"] ** 2, v["mean"], v["scale"]),
}
