"""A callback for estimators of scikit-learn that does nothing: tests write over what they look at."""


class QuietCallback:
    """Has every method that scikit-learn calls."""

    def setup(self, estimator, context):
        """Prepare nothing."""

    def teardown(self, estimator, context):
        """Undo nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Let it begin."""

    def on_fit_task_end(self, estimator, context):
        """Let it go on."""
