"""Settings that must be made before anything imports SciPy."""

import os

# scikit-learn's array-API checks run only where SciPy was imported with this set.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
