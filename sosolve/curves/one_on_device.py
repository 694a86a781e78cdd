"""One curve through very many points on an NVIDIA device: `fit_curves` with a single row."""

from __future__ import annotations

from typing import Any

#: Points from which device="auto" leaves the processor for a single curve where there is a device; an estimate: there a
#: fit takes about a second.
AUTO_SINGLE = 1_000_000


def goes_there(device: str | None, is_formula: bool, n: int, there: bool = False) -> bool:
    """Return whether a single fit of n points runs on a device; see `batch_cuda.wanted`."""
    if device is None and not there:
        return False
    from .batch_cuda import wanted

    return wanted(device, there, is_formula, n, AUTO_SINGLE)


def fit_one(formula: Any, x: Any, y: Any, **options: Any) -> Any:
    """Return the `CurvesResult` of one curve, computed on the device.

    Parameters
    ----------
    formula : Formula or CurveForm
    x : array of shape (n,) or (n, d)
    y : array of shape (n,)
        Of NumPy or CuPy.
    **options
        Of `fit_curves`.
    """
    from .batch import fit_curves

    if "sigma" in options and options["sigma"] is not None and options["sigma"].ndim:
        options["sigma"] = options["sigma"][None, :]
    return fit_curves(formula, x, y[None, :], device="cuda", **options)
