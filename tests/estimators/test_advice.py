"""What follows scikit-learn's message about a parameter or the data: what to do, and what was meant."""

import numpy as np
import pytest

from sosolve import LogisticRegression, LogisticRegressionCV, NewtonCG, NonlinearLeastSquares, SoftmaxRegression
from sosolve.curve_problems.slips import REMEDIES, add_remedy

X = np.array([[0.0], [1.0], [2.0], [3.0]])
Y = [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (LogisticRegression(solver="newton_cg"), "Did you mean 'newton-cg'?"),
        (LogisticRegression(solver=NewtonCG), "Did you mean an instance, solver=NewtonCG()?"),
        (LogisticRegression(device="gpu"), "Did you mean 'cuda'?"),
        (LogisticRegression(class_weight="balance"), "or None. Did you mean 'balanced'?"),
        (LogisticRegression(l1_ratio=2), "0 is L2, 1 is L1."),
        (LogisticRegressionCV(scoring="auc"), "Did you mean 'roc_auc'?"),
        (LogisticRegressionCV(cv="loo"), "'alo' for approximate leave-one-out."),
        (SoftmaxRegression(reference_class=9), "the labels in y, [0, 1]: name one"),
        (NonlinearLeastSquares("a*x", loss="l2"), "Did you mean 'linear'?"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_invalid_parameter_says_what_to_do(estimator, words):
    """After what was received and expected."""
    with pytest.raises(ValueError) as caught:
        estimator.fit(X, Y)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (([["a"], ["b"], ["c"], ["d"]], Y), "OneHotEncoder"),
        ((X, [0.0, 1.0, np.nan, 1.0]), "keep = np.isfinite(y)"),
        (([[0.0], [np.inf], [2.0], [3.0]], Y), "a division by zero"),
    ],
)
@pytest.mark.parametrize("estimator", [LogisticRegression(), NonlinearLeastSquares("a*x")])
def test_data_that_cannot_be_used_say_what_to_do(estimator, data, words):
    """The same for both kinds of estimators."""
    with pytest.raises(ValueError) as caught:
        estimator.fit(*data)
    assert words in str(caught.value)


def test_slips_of_a_model_get_one_remedy():
    """By the words of the exception; another one gets none."""
    for words, remedy in REMEDIES.items():
        error = TypeError(f"{words} and more")
        add_remedy(error)
        assert error.__notes__ == [remedy]
    error = TypeError("anything")
    add_remedy(error)
    assert not hasattr(error, "__notes__")
