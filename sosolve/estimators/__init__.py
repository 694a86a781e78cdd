"""scikit-learn estimators."""

from .curve import NonlinearLeastSquares
from .logistic import LogisticRegression
from .logistic_cv import LogisticRegressionCV
from .optimality import Optimality
from .softmax import SoftmaxRegression

__all__ = ["LogisticRegression", "LogisticRegressionCV", "NonlinearLeastSquares", "Optimality", "SoftmaxRegression"]
