"""What fixed fits cost in passes, products and memory: 10 % above what was counted here fails."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve import LogisticRegression


def dense(n, d, K=1):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.3 * rng.standard_normal((d, d)) / np.sqrt(d))
    z = X @ (2.0 * rng.standard_normal((d, max(K, 2))) / np.sqrt(d))
    return X, np.argmax(z + rng.gumbel(size=z.shape), axis=1)


def one_hot(n, d, groups):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, d // groups, (n, groups)) + d // groups * np.arange(groups)
    X = sp.csr_matrix((np.ones(n * groups), codes.ravel(), np.arange(0, n * groups + 1, groups)), shape=(n, d))
    return X, (np.asarray(X @ rng.standard_normal(d)) + rng.logistic(size=n) > 0).astype(int)


#: name -> (data, passes, products, peak of traced memory as a fraction of X)
BUDGETS = {
    "tall": (dense(80_000, 40), 6, 0, 0.093),
    "small": (dense(500, 20), 11, 0, 3.7),
    "wide": (dense(150, 2_000), 17, 0, 0.49),
    "softmax": (dense(60_000, 40, 5), 22, 19, 0.097),
    "one-hot": (one_hot(60_000, 1_000, 10), 24, 18, 0.31),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_budget(name):
    (X, y), passes, products, memory = BUDGETS[name]
    size = X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    LogisticRegression(max_iter=1000).fit(X, y)  # what is compiled or imported is not counted below
    tracemalloc.start()
    model = LogisticRegression(max_iter=1000).fit(X, y)
    peak = tracemalloc.get_traced_memory()[1] / size
    tracemalloc.stop()
    counts = model.result_.counts
    assert counts.n_passes <= 1.1 * passes
    assert counts.n_mv <= 1.1 * products
    assert peak <= 1.1 * memory
