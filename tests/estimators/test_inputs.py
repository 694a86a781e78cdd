"""What people hand to fit and predict: frames, memory layouts, sparse formats, labels of every kind."""

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris

from sosolve import LogisticRegression, SoftmaxRegression
from sosolve.estimators.inputs import checked_data

X, Y = load_iris(return_X_y=True)
COLUMNS = ["a", "b", "c", "d"]
NAMES = np.array(["setosa", "versicolor", "virginica"])
ESTIMATORS = [LogisticRegression(tol=1e-8), SoftmaxRegression(tol=1e-8)]
REFERENCE = LogisticRegression(tol=1e-8).fit(X, Y)


def assert_same(clf, data=X, labels=Y):
    """Fail unless the fit has found the coefficients of the plain arrays and predicts from data of its own kind."""
    np.testing.assert_allclose(clf.coef_, REFERENCE.coef_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(clf.predict_proba(data), REFERENCE.predict_proba(X), atol=1e-7)
    of_class = dict(zip(Y, labels, strict=True))
    assert clf.predict(data).tolist() == [of_class[k] for k in REFERENCE.predict(X)]


# ---------------------------------------------------------------------- frames


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames(estimator, library):
    """Names are remembered; another order, a missing column and an unnamed array are told."""
    frames = pytest.importorskip(library, reason=f"{library} is not installed")
    frame = frames.DataFrame(dict(zip(COLUMNS, X.T, strict=True)))
    weights = frames.Series(np.ones(150))
    clf = estimator.fit(frame, frames.Series(Y), sample_weight=weights)
    assert clf.feature_names_in_.tolist() == COLUMNS
    assert_same(clf, frame)
    with pytest.raises(ValueError, match=r"feature names should match(.|\n)*same order"):
        clf.predict(frame[COLUMNS[::-1]])
    with pytest.raises(ValueError, match="feature names should match"):
        clf.predict_proba(frame[COLUMNS[:3]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        clf.predict(X)


def test_frames_of_mixed_types():
    """Integers, booleans, float32 and nullable columns beside each other become float64."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    columns = {
        "whole": rng.integers(0, 9, 200),
        "flag": rng.random(200) > 0.5,
        "single": rng.random(200).astype(np.float32),
        "nullable": pandas.array(rng.integers(0, 5, 200), dtype="Int64"),
        "maybe": pandas.array(rng.random(200) > 0.5, dtype="boolean"),
    }
    frame = pandas.DataFrame(columns)
    y = (frame["whole"].to_numpy() + rng.integers(0, 6, 200) > 6).astype(int)
    plain = np.column_stack([np.asarray(c, dtype=float) for c in columns.values()])
    clf = LogisticRegression(tol=1e-8).fit(frame, y)
    assert clf.coef_.dtype == np.float64
    np.testing.assert_allclose(clf.coef_, LogisticRegression(tol=1e-8).fit(plain, y).coef_, rtol=1e-6)
    frame.loc[3, "nullable"] = pandas.NA
    with pytest.raises(ValueError, match="contains NaN"):
        LogisticRegression().fit(frame, y)


def test_sparse_frames():
    """pandas' sparse columns are read without a dense copy of the frame."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame.sparse.from_spmatrix(sp.csr_matrix(X), columns=COLUMNS)
    assert_same(LogisticRegression(tol=1e-8).fit(frame, Y), frame)


# ---------------------------------------------------------------------- labels


def labels():
    """Yield (name, labels, dtype kind of the classes)."""
    yield "strings", NAMES[Y], "U"
    yield "objects", NAMES[Y].astype(object), "O"
    yield "lists", NAMES[Y].tolist(), "U"
    yield "floats", Y.astype(float), "f"
    yield "unsigned", Y.astype(np.uint8), "u"
    yield "column", Y.astype(np.int16), "i"
    yield "negative", np.array([-7, 0, 2**60])[Y], "i"


@pytest.mark.parametrize(("labels", "kind"), [pytest.param(y, k, id=name) for name, y, k in labels()])
def test_labels(labels, kind):
    """Any labels in, labels of the same kind out."""
    clf = LogisticRegression(tol=1e-8).fit(X, labels)
    assert clf.classes_.dtype.kind == kind
    assert clf.predict(X).dtype.kind == kind
    assert_same(clf, X, labels)


def test_labels_of_frames():
    """Categorical and string columns, with categories that do not occur."""
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    categories = pandas.Categorical(NAMES[Y], categories=["virginica", "unseen", "setosa", "versicolor"])
    for y in (pandas.Series(categories), pandas.Series(NAMES[Y], dtype="string"), pandas.Series(NAMES[Y])):
        clf = LogisticRegression(tol=1e-8).fit(X, y)
        assert clf.classes_.tolist() == NAMES.tolist()
        assert_same(clf, X, NAMES[Y])
    nullable = pandas.Series(pandas.array(Y, dtype="Int64"))
    assert_same(LogisticRegression(tol=1e-8).fit(X, nullable))


def test_boolean_labels():
    """classes_ are False and True, and so are the predictions."""
    for y in (Y == 2, (Y == 2).tolist()):
        clf = LogisticRegression().fit(X, y)
        assert clf.classes_.tolist() == [False, True]
        assert set(clf.predict(X).tolist()) == {False, True}


def test_labels_that_scikit_learn_refuses():
    """Bytes, and booleans as objects: the same refusals."""
    with pytest.raises(TypeError, match="bytes"):
        LogisticRegression().fit(X, NAMES[Y].astype("S"))
    with pytest.raises(ValueError, match="Unknown label type"):
        LogisticRegression().fit(X, (Y == 2).astype(object))


# ---------------------------------------------------------------------- memory


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, bool, np.float16, np.longdouble, ">f8", "<f4"])
def test_types_of_numbers(dtype):
    """Whatever is no float32 or float64 becomes float64; float32 stays."""
    data = np.round(X).astype(dtype)
    expected = LogisticRegression(tol=1e-8).fit(data.astype(float), Y)
    clf = LogisticRegression(tol=1e-8).fit(data, Y)
    assert clf.coef_.dtype == (np.float32 if np.dtype(dtype) == np.float32 else np.float64)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(clf.predict(data), expected.predict(data.astype(float)))


def test_fortran_order_is_not_copied(monkeypatch):
    """The model holds the caller's own memory, in either order, in float32 and as a read-only map."""
    from sosolve.estimators import problem

    seen = []

    def spied(original):
        return lambda X, *rest: (seen.append(X), original(X, *rest))[1]

    for kind in (problem.CopiedModel, problem.LinearModel):
        monkeypatch.setattr(kind, "standardised", spied(kind.standardised))
    for data in (X, np.asfortranarray(X), X.astype(np.float32), np.asfortranarray(X.astype(np.float32))):
        LogisticRegression().fit(data, Y)
        assert np.shares_memory(seen.pop(), data)
    S = sp.csr_matrix(X)
    LogisticRegression().fit(S, Y)
    assert np.shares_memory(seen.pop().data, S.data)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("large", [False, True])
def test_read_only_memory_maps(tmp_path, order, large):
    """Read-only maps of either order and read-only weights, for array code and for compiled kernels."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((30_000, 20)) if large else X
    y = (data[:, 0] > 0.1).astype(int) if large else Y
    data = data + 0.1 * rng.standard_normal(data.shape)
    np.save(tmp_path / "X.npy", np.asarray(data, order=order))
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    weights = np.ones(len(y))
    weights.flags.writeable = False
    clf = LogisticRegression().fit(mapped, y, weights)
    np.testing.assert_allclose(clf.coef_, LogisticRegression().fit(data, y).coef_, rtol=1e-4, atol=1e-5)
    assert clf.score(mapped, y) > 0.9


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
@pytest.mark.parametrize("wrap", [np.asarray, list, sp.csr_array, sp.csc_matrix, np.asfortranarray])
def test_one_row(method, wrap):
    """A single row gives what it gives among the others."""
    for y in (Y, Y == 1):
        clf = LogisticRegression().fit(X, y)
        alone = getattr(clf, method)(wrap(X[77:78]))
        np.testing.assert_allclose(alone, getattr(clf, method)(X)[77:78], rtol=1e-12)


# ---------------------------------------------------------------------- sparse


@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize(
    ("form", "index", "dtype"),
    [
        *product(("csr", "csc", "coo"), (np.int32, np.int64), (np.float64, np.float32, np.int64)),
        *product(("lil", "dok", "dia", "bsr"), (np.int32,), (np.float64, np.float32)),
    ],
)
@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix:scipy.sparse.SparseEfficiencyWarning")
def test_sparse(kind, form, index, dtype):
    """Every format as matrix and as array, with indices of 32 and 64 bits, in fit and in predict; never changed."""
    S = getattr(sp, f"{form}_{kind}")(X.astype(dtype))
    if form in ("csr", "csc"):
        S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    elif form == "coo":
        S.coords = tuple(c.astype(index) for c in S.coords)
    before = S.copy()
    clf = LogisticRegression(tol=1e-8).fit(S, Y)
    expected = LogisticRegression(tol=1e-8).fit(X.astype(dtype), Y)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(clf.predict_proba(S), expected.predict_proba(X.astype(dtype)), atol=1e-5)
    assert (before != S).nnz == 0
    if form == "csr":
        assert S.indices.dtype == index


def test_sparse_with_duplicates_and_unsorted_indices():
    """Duplicate entries are summed in a copy: the caller's object stays as it is, with its explicit zeros."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 8, 360)
    values = rng.standard_normal(360)
    values[::17] = 0.0
    S = sp.csr_matrix((values, columns, np.arange(0, 361, 6)), shape=(60, 8))
    assert not S.has_canonical_format
    y = rng.integers(0, 2, 60)
    kept = (S.indices.copy(), S.data.copy())
    clf = LogisticRegression(tol=1e-8).fit(S, y)
    expected = LogisticRegression(tol=1e-8).fit(S.toarray(), y)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(clf.decision_function(S), expected.decision_function(S.toarray()), atol=1e-6)
    np.testing.assert_array_equal(S.indices, kept[0])
    np.testing.assert_array_equal(S.data, kept[1])


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_large_sparse(index):
    """Compiled kernels read either type of index, and empty rows and columns."""
    rng = np.random.default_rng(0)
    S = sp.random(60_000, 100, density=0.1, random_state=1, format="csr")
    S = sp.vstack([S, sp.csr_matrix((5, 100))], format="csr")
    S = sp.hstack([S, sp.csr_matrix((60_005, 3))], format="csr")
    S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    y = (np.asarray(S @ rng.standard_normal(103)) * 3 + rng.logistic(size=60_005) > 0).astype(int)
    clf = LogisticRegression(tol=1e-6).fit(S, y)
    expected = LogisticRegression(tol=1e-6).fit(S.toarray(), y)
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-3, atol=1e-4)
    assert not clf.coef_[0, 100:].any()


def test_sparsify_and_densify():
    """Sparse coefficients predict the same, from dense and sparse rows; float32 too."""
    data, y = load_breast_cancer(return_X_y=True)
    for dtype in (np.float64, np.float32):
        clf = LogisticRegression().fit(data.astype(dtype), y)
        expected = clf.predict_proba(data.astype(dtype))
        assert sp.issparse(clf.sparsify().coef_)
        for rows in (data.astype(dtype), sp.csr_array(data.astype(dtype))):
            np.testing.assert_allclose(clf.predict_proba(rows), expected, rtol=1e-4, atol=1e-6)
        assert isinstance(clf.densify().coef_, np.ndarray)
        np.testing.assert_array_equal(clf.predict_proba(data.astype(dtype)), expected)


# ---------------------------------------------------------------------- weights


@pytest.mark.parametrize("kind", ["list", "series", "ints", "scalar", "strided"])
def test_kinds_of_weights(kind):
    """Lists, Series with an index of their own, integers, one number and strided arrays."""
    w = np.random.default_rng(0).integers(1, 4, 150)
    if kind == "scalar":
        clf = LogisticRegression(tol=1e-8, C=2.0).fit(X, Y, 0.5)
        np.testing.assert_allclose(clf.coef_, REFERENCE.coef_, rtol=1e-6, atol=1e-8)
        return
    if kind == "series":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        given = pandas.Series(w, index=np.arange(150)[::-1])
    else:
        given = {"list": w.tolist(), "ints": w, "strided": np.repeat(w.astype(float), 2)[::2]}[kind]
    clf = LogisticRegression(tol=1e-8).fit(X, Y, sample_weight=given)
    expected = LogisticRegression(tol=1e-8).fit(np.repeat(X, w, axis=0), np.repeat(Y, w))
    np.testing.assert_allclose(clf.coef_, expected.coef_, rtol=1e-6, atol=1e-8)


def test_balanced_counts_the_classes_with_weight():
    """A class whose rows have no weight is as if they were removed, for class_weight="balanced" too."""
    w = (Y != 1).astype(float)
    clf = LogisticRegression(tol=1e-8, class_weight="balanced").fit(X, Y, w)
    kept = SoftmaxRegression(tol=1e-8, class_weight="balanced").fit(X[Y != 1], Y[Y != 1])
    np.testing.assert_allclose(clf.coef_[[0, 2]], kept.coef_, rtol=1e-6)


# ---------------------------------------------------------------------- what is refused, and what must not overflow


def test_masked_arrays_are_refused():
    """What is under a mask is no number; an array without a masked entry is one like any other."""
    assert_same(LogisticRegression(tol=1e-8).fit(np.ma.masked_array(X), np.ma.masked_array(Y)))
    masked = np.ma.masked_array(X, mask=X > 7.0)
    with pytest.raises(ValueError, match=r"received X as a masked array with 12 masked entries; expected none: drop"):
        LogisticRegression().fit(masked, Y)
    with pytest.raises(ValueError, match="received y as a masked array"):
        LogisticRegression().fit(X, np.ma.masked_array(Y, mask=Y == 2))
    with pytest.raises(ValueError, match="received X as a masked array"):
        REFERENCE.predict(masked)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr"])
def test_damaged_index_arrays_are_refused(form):
    """In each format that is converted, and in predictions: SciPy would read and write foreign memory."""
    S = getattr(sp, f"{form}_array")(X)
    (S.coords[1] if form == "coo" else S.indices)[0] = 999
    for call in (lambda: LogisticRegression().fit(S, Y), lambda: REFERENCE.predict_proba(S)):
        with pytest.raises(ValueError, match=r"index arrays are damaged.*expected a valid .* matrix: build it again"):
            call()


@pytest.mark.parametrize("y", [Y.astype(object), np.array(["a", 1, 2.5], dtype=object)[Y], X[:, 0]])
def test_labels_that_are_none_say_what_they_are(y):
    """The message of scikit-learn or NumPy goes on with the types that were found and what to do."""
    with pytest.raises(
        (TypeError, ValueError), match=r"\(Received y of dtype \w+ with labels of the type .*; expected"
    ):
        LogisticRegression().fit(X, y)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("y", [Y, Y == 1], ids=["three", "two"])
def test_scores_beyond_the_range_of_numbers(dtype, y):
    """Rows near the largest number: finite scores of the right sign, probabilities that sum to 1, no warning."""
    clf = LogisticRegression().fit(X.astype(dtype), y)
    far = (X - X.mean(axis=0)).astype(dtype) * (np.finfo(dtype).max / 8)
    for rows in (far, sp.csr_array(far)):
        scores = clf.decision_function(rows)
        assert np.isfinite(scores).all()
        assert np.isfinite(clf.predict_log_proba(rows)).all()
        np.testing.assert_allclose(clf.predict_proba(rows).sum(axis=1), 1.0)
        nearer = (X - X.mean(axis=0)) * 1e20 @ clf.coef_.astype(float).T
        best = nearer[:, 0] > 0 if nearer.shape[1] == 1 else nearer.argmax(axis=1)
        np.testing.assert_array_equal(clf.predict(rows), clf.classes_[best.astype(int)])


@pytest.mark.parametrize("value", [1e120, 1e300])
def test_a_constant_column_of_any_size_changes_nothing(value):
    """It is the intercept once more, and gets a coefficient of zero."""
    clf = LogisticRegression(tol=1e-8).fit(np.column_stack([X, np.full(150, value)]), Y)
    np.testing.assert_allclose(clf.coef_[:, :4], REFERENCE.coef_, rtol=1e-6)
    assert not clf.coef_[:, 4].any()


@pytest.mark.parametrize("factor", [np.nan, 1e10, -1e200])
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5}, {"solver": "lbfgs"}], ids=["auto", "l1", "lbfgs"])
def test_useless_warm_starts(factor, options):
    """Coefficients that are not finite or far out do no harm: the fit begins as if there were none."""
    clf = LogisticRegression(warm_start=True, **options).fit(X, Y)
    expected = clf.coef_
    clf.coef_ = factor * clf.coef_
    np.testing.assert_array_equal(clf.fit(X, Y).coef_, expected)
    assert clf.history_.notes["start"] == "the logarithms of the class frequencies"
    assert clf.fit(X, Y).history_.notes["start"] == "the previous coefficients"


def test_plain_arrays_are_checked_as_scikit_learn_checks_them():
    """No names are left from before, sums that overflow are no infinity, and what is not plain goes to scikit-learn."""
    clf = LogisticRegression()
    clf.feature_names_in_ = np.array(COLUMNS)
    huge = np.full((2, 4), 1e308)
    for data, labels in ((X, Y), (X.astype(np.float32), Y > 0), (huge, np.array([0, 1]))):
        checked = checked_data(clf, data, labels, np, True)
        assert checked[0] is data
        assert checked[1].tolist() == labels.tolist()
        assert clf.n_features_in_ == 4
        assert not hasattr(clf, "feature_names_in_")
    for data, labels in ((X[:0], Y[:0]), (X[:, :0], Y), (X[1:], Y), (np.where(X > 5.0, np.nan, X), Y), (X[0], Y[:4])):
        with pytest.raises(ValueError):
            checked_data(clf, data, labels, np, True)


def test_parameters_that_were_valid_are_not_taken_for_others():
    """1, 1.0 and True are not the same, and a dict is looked at each time."""
    clf = LogisticRegression(max_iter=1000, class_weight={0: 1.0}).fit(X, Y)
    for name, value in (("max_iter", 1000.0), ("fit_intercept", "yes"), ("class_weight", "even"), ("C", -1.0)):
        with pytest.raises(ValueError, match=name):
            clone(clf).set_params(**{"class_weight": None, name: value}).fit(X, Y)
        clone(clf).set_params(class_weight=None).fit(X, Y)
