"""What a fitted linear classifier answers: scores, labels, probabilities, each with or without an offset."""

from __future__ import annotations

import numpy as np
from array_api_compat import array_namespace
from sklearn.utils.validation import check_is_fitted, validate_data

from .._compat import LinearClassifierMixin, check_same_namespace, to_host
from ..protocols import Array
from .device_csr import is_there
from .inputs import check_indices, refuse_masked
from .offsets import ScoredWithOffset, known_offset, with_offset
from .scores import linear_scores, log_softmax, probabilities


class LinearPredictions(ScoredWithOffset, LinearClassifierMixin):
    """The methods of a fitted linear classifier."""

    def decision_function(self, X, offset=None):
        """Return the scores of the samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            Added to the scores, see fit; none where None, also if fit was given one.

        Returns
        -------
        array of shape (n_samples,) or (n_samples, n_classes)
            For two classes the log odds of `classes_[1]`, else one score for each class; in the namespace and on the
            device of X.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not finite or has another number of columns than in fit.
        """
        return self._decision(X, "decision_function", offset)

    def _decision(self, X, method: str, offset) -> Array:
        """Return `decision_function` for the public method of that name."""
        scores = self._scores(X, method, offset)
        if scores.shape[1] == 1:
            return scores[:, 0]
        return scores[:, 1] - scores[:, 0] if self.classes_.shape[0] == 2 else scores

    def predict(self, X, offset=None):
        """Return the class of the largest score for each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.

        Returns
        -------
        array of shape (n_samples,)
            Labels out of `classes_`.

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        if offset is None:
            return super().predict(X)
        scores = self._decision(X, "predict", offset)
        xp = array_namespace(scores)
        best = xp.astype(scores > 0.0, xp.int64) if scores.ndim == 1 else xp.argmax(scores, axis=1)
        labels = self.classes_
        return labels[to_host(best)] if isinstance(labels, np.ndarray) else xp.take(labels, best, axis=0)

    def _scores(self, X, method: str, offset=None) -> Array:
        """Return X coef' + intercept + offset, shape (n, rows of coef_), for the public method of that name."""
        check_is_fitted(self)
        X = X.tocsr().get() if is_there(X) else X
        check_same_namespace(X, self, attribute="coef_", method=method)
        refuse_masked(X, "X", type(self).__name__)
        check_indices(X)
        try:
            with np.errstate(all="ignore"):  # scikit-learn looks for NaN in the sum
                X = validate_data(self, X, accept_sparse="csr", reset=False)
        except ValueError as error:
            if "features, but" not in str(error):
                raise
            raise ValueError(f"{error} Pass the columns that fit was given, in the same order.") from None
        scores = linear_scores(X, self.coef_, self.intercept_)
        return with_offset(scores, known_offset(self, offset), array_namespace(scores), self.classes_.shape[0])

    def predict_proba(self, X, offset=None):
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; rows sum to 1.

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        return probabilities(self._log_proba(X, "predict_proba", offset))

    def predict_log_proba(self, X, offset=None):
        """Return the logarithms of the probabilities: log-softmax of the scores, finite for any finite score.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        offset : array-like of shape (n_samples,) or (n_samples, n_classes), optional
            As for `decision_function`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)

        Raises
        ------
        NotFittedError, ValueError
            As `decision_function`.
        """
        return self._log_proba(X, "predict_log_proba", offset)

    def _log_proba(self, X, method: str, offset) -> Array:
        """Return the logarithms of the probabilities for the public method of that name."""
        return log_softmax(self._scores(X, method, offset))
