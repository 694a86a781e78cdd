"""SciPy's `curve_fit`, `least_squares` and `minimize`: the same signatures and results, this package's solvers.

Nothing falls through to SciPy's own optimisers; what differs on purpose is listed in each docstring.
"""

from .failures import FitError
from .fitting import curve_fit
from .residuals import least_squares
from .scalar import minimize

__all__ = ["FitError", "curve_fit", "least_squares", "minimize"]
