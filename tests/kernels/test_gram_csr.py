"""The Gram matrix of sparse columns: added up row by row, the same as by products of sparse matrices."""

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve.kernels import numba_cpu, reference


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", ["positive", "negative", "mixed"])
def test_compiled_equals_the_reference(dtype, sign):
    """Weights of either sign, empty rows, unsorted indices."""
    rng = np.random.default_rng(0)
    X = sp.random(203, 17, density=0.2, random_state=1, format="csr", dtype=dtype)
    X = X[:, rng.permutation(17)]  # leaves the indices unsorted
    h = {"positive": 1.0, "negative": -1.0, "mixed": np.sign(rng.standard_normal(203))}[sign] * rng.random(203)
    mean, scale = rng.random(17), rng.uniform(0.5, 2.0, 17)
    for found, expected in zip(numba_cpu.gram(X, h, mean, scale), reference.gram(X, h, mean, scale), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array])
def test_some_columns_of_a_sparse_matrix(index, make):
    """Empty rows, no column at all, several chunks; the kind of matrix is kept."""
    X = make(sp.random(3000, 400, density=0.2, random_state=1, format="csr", dtype=np.float32))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    X.data[X.indptr[7] : X.indptr[8]] = 0.0
    for columns in (np.arange(3, 390, 7), np.array([399]), np.arange(0)):
        found = numba_cpu.csr_columns(X, columns)
        assert type(found) is type(X)
        assert found.dtype == X.dtype
        np.testing.assert_array_equal(found.toarray(), X[:, columns].toarray())
        assert found.nnz == X[:, columns].nnz
