"""Fitted classifiers outside this process: skops, ONNX, and as scikit-learn's class."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sosolve import BFGS, LogisticRegression, LogisticRegressionCV, NewtonCG, SoftmaxRegression, TrustRegion
from sosolve.export import CLASSIFIERS, as_sklearn, register_onnx, trusted_types

X, Y = load_iris(return_X_y=True)
XB, YB = load_breast_cancer(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
CV = dict(Cs=[0.1, 1.0], cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False)
CASES = {
    "binary": (LogisticRegression(), XB, YB),
    "multiclass": (LogisticRegression(solver="newton-cg"), X, Y),
    "strings": (LogisticRegression(), X, NAMES[Y]),
    "softmax": (SoftmaxRegression(solver=TrustRegion(radius0=2.0)), X, Y),
    "softmax of two": (SoftmaxRegression(), XB, YB),
    "reference": (SoftmaxRegression(reference_class=1), X, Y),
    "pipeline": (make_pipeline(StandardScaler(), LogisticRegression(solver=NewtonCG())), XB, YB),
    "no intercept": (LogisticRegression(fit_intercept=False), X, Y),
    "cross-validated": (LogisticRegressionCV(**CV), X, NAMES[Y]),
    "cross-validated, binary": (LogisticRegressionCV(**CV), XB, YB),
    "L1": (LogisticRegression(l1_ratio=1.0), XB, YB),
}
ALL = pytest.mark.parametrize("name", sorted(CASES))


def fitted(name, dtype=np.float64):
    """Return the estimator of a case, fitted, and its data."""
    estimator, data, y = CASES[name]
    return estimator.fit(data.astype(dtype), y), data.astype(dtype), y


# ---------------------------------------------------------------------- skops


@ALL
def test_skops(name):
    """Everything comes back: coefficients, settings, status, history; nothing but the listed types is asked for."""
    io = pytest.importorskip("skops.io", reason="skops is not installed")
    clf, data, _ = fitted(name)
    stored = io.dumps(clf)
    assert set(io.get_untrusted_types(data=stored)) <= set(trusted_types())
    back = io.loads(stored, trusted=trusted_types())
    np.testing.assert_array_equal(back.predict_proba(data), clf.predict_proba(data))
    ours, theirs = (back[-1], clf[-1]) if name == "pipeline" else (back, clf)
    assert ours.solver_ == theirs.solver_
    assert ours.result_.status is theirs.result_.status
    assert ours.history_.notes == theirs.history_.notes
    for field in ("iteration", "value", "accepted", "inner_stop", "n_passes", "seconds"):
        assert ours.history_.column(field) == theirs.history_.column(field)
        assert [type(v) for v in ours.history_.column(field)] == [type(v) for v in theirs.history_.column(field)]
    assert len(stored) < 120_000


def test_skops_in_another_process(tmp_path):
    """A file that a fresh interpreter reads without pickle."""
    io = pytest.importorskip("skops.io", reason="skops is not installed")
    clf = LogisticRegression(solver=BFGS(), max_iter=500).fit(X, Y)
    io.dump(clf, tmp_path / "clf.skops")
    code = (
        "import sys, skops.io; from sosolve.export import trusted_types; "
        "print(skops.io.load(sys.argv[1], trusted=trusted_types()).predict([[5, 3, 1, 0.2]])[0])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "clf.skops")], capture_output=True, text=True
    )
    assert done.stdout.strip() == "0", done.stderr


def test_skops_refuses_what_is_not_listed():
    """Without the list nothing of ours is built."""
    io = pytest.importorskip("skops.io", reason="skops is not installed")
    with pytest.raises(io.exceptions.UntrustedTypesFoundException, match="sosolve"):
        io.loads(io.dumps(LogisticRegression().fit(X, Y)))


# ---------------------------------------------------------------------- ONNX


def run(model, data):
    """Return the labels and probabilities of a model in onnxruntime."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: data})


@ALL
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx(name, dtype):
    """Labels and probabilities of onnxruntime are those of the classifier."""
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    register_onnx()
    clf, data, _ = fitted(name, dtype)
    last = clf[-1] if name == "pipeline" else clf
    model = skl2onnx.to_onnx(clf, data[:1], options={id(last): {"zipmap": False}})
    labels, P = run(model, data)
    np.testing.assert_allclose(P, clf.predict_proba(data), atol=1e-5 if dtype is np.float32 else 1e-6)
    assert (labels == clf.predict(data)).mean() > 0.995  # float32 may turn a tie
    assert P.shape == (len(data), len(clf.classes_))


def test_onnx_options():
    """Options reach skl2onnx's converter by type and by name, in a pipeline too."""
    skl2onnx = pytest.importorskip("skl2onnx", reason="skl2onnx is not installed")
    register_onnx()
    register_onnx()
    clf = LogisticRegression().fit(X, NAMES[Y])
    data = X.astype(np.float32)
    _, maps = run(skl2onnx.to_onnx(clf, data[:1]), data)
    assert maps[0].keys() == set(NAMES)
    _, scores = run(
        skl2onnx.to_onnx(clf, data[:1], options={LogisticRegression: {"raw_scores": True, "zipmap": False}}), data
    )
    np.testing.assert_allclose(scores, clf.decision_function(X), rtol=1e-3, atol=1e-4)
    codes, _ = run(skl2onnx.to_onnx(clf, data[:1], options={id(clf): {"nocl": True, "zipmap": False}}), data)
    np.testing.assert_array_equal(NAMES[codes], clf.predict(X))
    pipe = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
    _, P = run(skl2onnx.to_onnx(pipe, data[:1], options={"logisticregression__zipmap": False}), data)
    np.testing.assert_allclose(P, pipe.predict_proba(X), atol=1e-5)


def test_onnx_without_skl2onnx(monkeypatch):
    """What is missing, and the command that installs it."""
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"needs skl2onnx, which is not installed: pip install 'sosolve\[onnx\]'"):
        register_onnx()


# ---------------------------------------------------------------------- scikit-learn's class


@ALL
def test_as_sklearn(name):
    """The same probabilities, labels and classes; sparse coefficients too."""
    clf, data, y = fitted(name)
    if name == "pipeline":
        clf, data = clf[-1], clf[0].transform(data)
    theirs = as_sklearn(clf)
    np.testing.assert_allclose(theirs.predict_proba(data), clf.predict_proba(data), atol=1e-12)
    np.testing.assert_array_equal(theirs.predict(data), clf.predict(data))
    assert theirs.score(data, y) == np.mean(clf.predict(data) == y)
    assert not np.shares_memory(theirs.coef_, clf.coef_)
    assert sp.issparse(clf.sparsify().coef_)
    np.testing.assert_array_equal(as_sklearn(clf).coef_, theirs.coef_)


def test_as_sklearn_not_fitted():
    """Said for every classifier."""
    for Classifier in CLASSIFIERS:
        with pytest.raises(NotFittedError):
            as_sklearn(Classifier())
    with pytest.raises(TypeError, match=r"type int; expected one of LogisticRegression.*the last step"):
        as_sklearn(3)
