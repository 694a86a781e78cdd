"""The bulk of a curvature: which rows it takes, what it leaves out, and what a fit saves by it."""

import numpy as np
import pytest
import scipy.sparse as sp

from sosolve import NewtonCG
from sosolve.history import Status
from sosolve.kernels import numba_cpu, reference
from sosolve.objectives import L2, DataTerm, LinearModel, LogisticLoss, SoftmaxLoss, Sum
from sosolve.objectives import bulk as module
from sosolve.solvers import bulk as rule

N, D = 900, 300
SOLVER = NewtonCG(tol=1e-5, dense_size=0)


@pytest.fixture(autouse=True)
def short_rows(monkeypatch):
    """Let rows of 2400 bytes pay as those of large data do."""
    monkeypatch.setattr(module, "JUMP", 0)


def objective(steep=20.0, storage=np.ascontiguousarray, kernels=numba_cpu):
    """Return a penalised objective of which most rows are nearly certain at its minimum."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, D)) @ (np.eye(D) + rng.standard_normal((D, D)) / np.sqrt(D))
    y = (X @ rng.standard_normal(D) * steep / np.sqrt(D) > rng.logistic(size=N)).astype(float)
    weights = np.array([1.0 / N])
    model = LinearModel.standardised(storage(X), weights, 1.0 / N)
    model.kernels = kernels
    return Sum([DataTerm(model, LogisticLoss(), y, weights), L2(model.strengths(1.0 / N))])


@pytest.fixture(scope="module")
def solved():
    """Return the objective and its minimiser, found with all rows."""
    full = objective(kernels=reference)
    found = NewtonCG(tol=1e-7, dense_size=0).minimize(full, np.zeros(full.size))
    assert found.converged
    return full, found


def test_it_takes_the_rows_that_bend_most(solved):
    """The product is that with the other rows at zero, below the whole by at most the share of the trace."""
    full, found = solved
    term = objective().terms[0]
    point = term.at(found.theta)
    h, share = point._rows[2], 1e-3
    bulk = point.curvature.bulk(share)
    rows = bulk._rows
    left_out = np.setdiff1d(np.arange(N), rows)
    assert h[left_out].max() < h[rows].min()
    assert h[left_out].sum() <= share * h.sum() < h[left_out].sum() + h[rows].min()
    v = np.cos(np.arange(full.size))
    kept = h.copy()
    kept[left_out] = 0.0
    expected = term.model.normal_mv("normal_mv", (kept,), v)
    np.testing.assert_allclose(bulk.mv(v), expected, atol=1e-13 * np.abs(expected).max())
    assert v @ bulk.mv(v) <= v @ point.curvature.mv(v)


def test_passes_are_counted_by_the_rows_read(solved):
    term = objective().terms[0]
    bulk = term.at(solved[1].theta).curvature.bulk(1e-3)
    before = term.counts
    for _ in range(20):
        bulk.mv(solved[1].theta)
    spent = term.counts - before
    assert spent.n_mv == 20
    assert spent.n_passes == round(20 * len(bulk._rows) / N)


def test_of_many_rows_the_share_is_estimated(solved, monkeypatch):
    """From every third row here; all that bend as much as the threshold are taken."""
    point = objective().terms[0].at(solved[1].theta)
    h = point._rows[2]
    exact = point.curvature.bulk(1e-3)
    monkeypatch.setattr(module, "SORTED", N // 3)
    rough = point.curvature.bulk(1e-3)
    assert len(rough._rows) == pytest.approx(len(exact._rows), rel=0.2)
    assert np.setdiff1d(np.arange(N), rough._rows).tolist() == np.flatnonzero(h < h[rough._rows].min()).tolist()


@pytest.mark.parametrize("case", ["C order", "flat", "F order", "CSR", "reference", "negative"])
def test_it_is_left_alone_where_it_saves_nothing(case):
    """Rows that all bend, rows that are not in one place, kernels that read all rows, and curvatures below zero."""
    storage = {"F order": np.asfortranarray, "CSR": sp.csr_matrix}.get(case, np.ascontiguousarray)
    term = objective(storage=storage, kernels=reference if case == "reference" else numba_cpu).terms[0]
    h = np.where(np.arange(N) % 3 > 0, 1.0 if case == "flat" else 1e-9, 1.0)
    if case == "negative":
        h[1] = -1e-9
    assert (module.bulk_of(term, h, 1e-3) is None) == (case != "C order")


def test_it_is_left_alone_for_several_outputs():
    """Their curvature is a matrix for each row, though many rows may hardly bend."""
    model = LinearModel(np.zeros((N, D)), 3)
    model.kernels = numba_cpu
    term = DataTerm(model, SoftmaxLoss(3), np.zeros(N), np.array([1.0 / N]))
    h = np.where(np.arange(N) % 3 > 0, 1e-9, 1.0)
    assert module.bulk_of(term, h, 1e-3) is not None
    assert module.bulk_of(term, h[:, None] * np.ones(3), 1e-3) is None


def test_a_fit_reads_fewer_rows_and_ends_where_it_did(solved, monkeypatch):
    """The same minimum for at most four fifths of the passes; the steps take as many products."""
    value, spent = solved[1].value, []
    for many in (10**9, 8):
        monkeypatch.setattr(rule, "MANY", many)
        found = SOLVER.minimize(objective(), np.zeros(D + 1))
        assert found.status is Status.CONVERGED
        assert value <= found.value <= value * (1.0 + 1e-9)
        spent.append(found.counts)
    assert spent[1].n_passes <= 0.8 * spent[0].n_passes
    assert spent[1].n_mv <= 1.1 * spent[0].n_mv


def test_steps_that_are_too_long_bring_all_rows_back(solved, monkeypatch):
    """With most of the curvature left out a step falls short of what it promised, once."""
    monkeypatch.setattr(rule, "LEFT_OUT", 20.0)
    monkeypatch.setattr(module, "WORTH", 1e9)
    found = SOLVER.minimize(objective(), np.zeros(D + 1))
    assert found.converged
    assert found.value <= solved[1].value * (1.0 + 1e-9)
    assert found.state.whole
    short = [r.iteration for r in found.history if r.accepted and r.iteration and r.ratio < rule.FALLS_SHORT]
    assert len(short) == 1
