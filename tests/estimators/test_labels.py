"""Classes and codes equal NumPy's unique for any kind of labels."""

import numpy as np
import pytest

from sosolve import LogisticRegression
from sosolve.estimators.labels import COUNTED, MANY, classes_and_codes

RNG = np.random.default_rng(0)
MANY_FLOATS = RNG.integers(-3, 4, MANY)


@pytest.mark.parametrize(
    "y",
    [
        np.array([0, 1, 1, 0]),
        np.array([3, 7, 3]),
        np.array([5, 5]),
        np.array([-1, 1, 1]),
        np.array([0, 2, 4, 2]),
        np.array([0, 1, 2, 1], dtype=np.int8),
        np.array([250, 255, 251], dtype=np.uint8),
        np.array([0, 2**63], dtype=np.uint64),
        np.array([2**63, 2**63 + 1, 2**63], dtype=np.uint64),
        np.array([-(2**62), 2**62]),
        np.array([0, COUNTED + 5, 3]),
        np.array([True, False, True]),
        np.array([False, False]),
        np.array(["b", "a", "b"]),
        np.array([1.0, 2.0, 1.0]),
        MANY_FLOATS.astype(float),
        MANY_FLOATS.astype(np.float32),
        RNG.integers(0, 2, MANY),
    ],
    ids=lambda y: f"{y.dtype}-{len(y)}-{y[0]}",
)
def test_equals_unique(y):
    classes, codes = classes_and_codes(y)
    expected, inverse = np.unique(y, return_inverse=True)
    assert classes.dtype == y.dtype
    np.testing.assert_array_equal(classes, expected)
    np.testing.assert_array_equal(codes, inverse)


def test_codes_are_not_copied():
    y = RNG.integers(0, 2, 100).astype(np.intp)
    assert classes_and_codes(y)[1] is y
    y = np.arange(100) % 3
    assert classes_and_codes(y)[1] is y


@pytest.mark.parametrize("y", [RNG.random(MANY), RNG.random(5)])
def test_continuous_numbers_are_refused(y):
    with pytest.raises(ValueError, match="Unknown label type"):
        classes_and_codes(y)


@pytest.mark.parametrize("y", [[0, 1, 1, 0], [3, 7, 3], [5, 5], [-1, 1, 1], [0, 40, 4], [2**40, 2**40 + 1]])
def test_equals_unique_in_other_libraries(y):
    """Whole numbers close together are counted, others sorted."""
    xs = pytest.importorskip("array_api_strict", reason="array-api-strict comes with the extra test")
    classes, codes = classes_and_codes(xs.asarray(y))
    expected, inverse = np.unique(y, return_inverse=True)
    assert classes.dtype == xs.asarray(y).dtype
    np.testing.assert_array_equal(np.asarray(classes), expected)
    np.testing.assert_array_equal(np.asarray(codes), inverse)


@pytest.mark.parametrize("kind", ["array", "list"])
def test_labels_that_are_missing(kind):
    """pandas' NA compares as neither true nor false."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    y = [0, 1, pandas.NA, 1]
    with pytest.raises(ValueError, match=r"label NA in 1 rows \(the first is row 2\); expected .* drop those rows"):
        LogisticRegression().fit(np.eye(4), np.array(y, dtype=object) if kind == "array" else y)


@pytest.mark.parametrize("name", ["C", "tol"])
def test_whole_numbers_beyond_double_precision(name):
    """No OverflowError from inside."""
    with pytest.raises(ValueError, match=rf"'{name}' parameter .* 1e308. Got a whole number of 1329 bits .* Choose"):
        LogisticRegression(**{name: 10**400}).fit(np.eye(4), [0, 1, 0, 1])
