"""One curve fit as a problem: its model, its data, the objectives built from them, and starting values.

The estimator and `scipy_api` share it. It knows no estimator and nothing of scikit-learn.
"""
