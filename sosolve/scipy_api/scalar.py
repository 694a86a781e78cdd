"""`minimize` with SciPy's signature and result."""


def minimize(): ...
