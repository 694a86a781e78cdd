"""What many fits leave behind: arrays with one row per fit, a status each, and words for all of them."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np

from .formula import Formula


class FitStatus(enum.IntEnum):
    """How one fit ended: positive where it converged; `sentence` says why and what to do about it."""

    GTOL = 1, "converged: the largest cosine between the residual and a column of the Jacobian is within gtol"
    FTOL = 2, "converged: the actual and the predicted relative reduction of the sum of squares are within ftol"
    XTOL = 3, "converged: the step relative to the parameters is within xtol"
    EXACT = 4, "converged: the curve passes through the data to the last digit"
    MAX_ITER = (
        0,
        "reached max_iter before a tolerance was met; the best point is kept: increase max_iter, or start closer",
    )
    STALLED = -1, "stalled: no step reduces the sum of squares, yet no tolerance is met; look at the scale of the data"
    TOO_FEW_POINTS = -2, "has fewer points than parameters: fit a model with fewer, or leave this curve out"
    NONFINITE_DATA = (
        -3,
        "has points that are not finite, or squares: give them the weight 0, or leave this curve out",
    )
    NONFINITE_START = -4, "the model or its derivatives are not finite at the start: choose another p0"
    NOT_FITTED = -5, "was not reached"

    def __new__(cls, value: int, sentence: str):
        member = int.__new__(cls, value)
        member._value_, member.sentence = value, sentence
        return member


@dataclass(frozen=True)
class OneFit:
    """One of many fits.

    Attributes
    ----------
    params, stderr : dict of str to float
    covariance : ndarray of shape (p, p) or None
    rss, r_squared : float
    status : FitStatus
    n_iter, n_evaluations, n_points : int
    on_bound : tuple of str
        Parameters that lie on a bound.
    """

    params: dict[str, float]
    stderr: dict[str, float]
    covariance: np.ndarray | None
    rss: float
    r_squared: float
    status: FitStatus
    n_iter: int
    n_evaluations: int
    n_points: int
    on_bound: tuple[str, ...]

    @property
    def converged(self) -> bool:
        """Whether a tolerance was met."""
        return self.status > 0

    @property
    def message(self) -> str:
        """The status as a sentence."""
        return self.status.sentence


@dataclass(frozen=True, repr=False)
class CurvesResult:
    """The outcome of `fit_curves` for m fits of p parameters.

    Attributes
    ----------
    params : ndarray of shape (m, p)
        NaN where there is no usable point: too few points, data or a start that are not finite. Where `max_iter`
        ended the fit they are the best point found.
    stderr : ndarray of shape (m, p)
        Standard errors, square roots of the diagonal of the covariance.
    covariance : ndarray of shape (m, p, p) or None
        rss / (n - p) (J'J)^-1, or (J'J)^-1 with `absolute_sigma`; NaN in rows and columns of parameters on a bound or
        not determined by the data, and where the fit did not come to rest or n = p.
    rss : ndarray of shape (m,)
        Weighted sum of squared residuals.
    r_squared : ndarray of shape (m,)
        1 - rss / weighted sum of squares about the weighted mean; NaN for constant y.
    status : ndarray of shape (m,), int8
        Values of `FitStatus`.
    n_iter, n_evaluations : ndarray of shape (m,), int32
        Steps tried, and passes over the points (residual and Jacobian at once).
    n_points : ndarray of shape (m,), int32
        Points whose weight is not 0; 0 where the data are not finite.
    on_bound : ndarray of shape (m, p), bool
    names : tuple of str
    model : Formula or callable
    device : str
        Where the fits ran: "cpu", "cuda:0".
    """

    params: np.ndarray
    stderr: np.ndarray
    covariance: np.ndarray | None
    rss: np.ndarray
    r_squared: np.ndarray
    status: np.ndarray
    n_iter: np.ndarray
    n_evaluations: np.ndarray
    n_points: np.ndarray
    on_bound: np.ndarray
    names: tuple[str, ...]
    model: Formula | Callable = field(compare=False)
    device: str = field(default="cpu", compare=False)

    @property
    def converged(self) -> np.ndarray:
        """Whether each fit met a tolerance, shape (m,)."""
        return self.status > 0

    @property
    def undetermined(self) -> np.ndarray:
        """Parameters, shape (m, p), that a converged fit's data do not determine: alone or in a combination."""
        rests = (self.converged & (self.n_points > len(self.names)))[:, None]
        return rests & ~self.on_bound & np.isnan(self.stderr)

    def __len__(self) -> int:
        return len(self.status)

    def __getitem__(self, index) -> OneFit | CurvesResult:
        """Return one fit for an integer, some fits for a slice, a mask or a list of integers."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("names", "model", "device")}
        chosen = {name: None if array is None else array[index] for name, array in arrays.items()}
        if chosen["status"].ndim:
            return replace(self, **chosen)
        for name in ("params", "stderr"):
            chosen[name] = dict(zip(self.names, chosen[name].tolist(), strict=True))
        for name in ("rss", "r_squared", "n_iter", "n_evaluations", "n_points"):
            chosen[name] = chosen[name].item()
        chosen["status"] = FitStatus(int(chosen["status"]))
        chosen["on_bound"] = tuple(np.array(self.names)[chosen["on_bound"]].tolist())
        return OneFit(**chosen)

    def __repr__(self) -> str:
        count = int(self.converged.sum())
        return f"CurvesResult({len(self)} fits of {', '.join(self.names)}; {count} converged)"

    def predict(self, x) -> np.ndarray:
        """Return the fitted curves at new points, shape (m, n); NaN for fits without parameters.

        Parameters
        ----------
        x : array-like of shape (n,) or (n, d), shared by all fits, or (m, n) or (m, n, d)

        Raises
        ------
        TypeError
            When x does not hold real numbers.
        ValueError
            When its shape is another.
        """
        from .batch import predict

        return predict(self, x)

    def to_pandas(self):
        """Return a DataFrame, one row per fit: parameters, `<name>_stderr`, rss, r_squared, converged, status, n_iter.

        Raises
        ------
        ImportError
            When pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError(
                "received a call of to_pandas without pandas; expected it to be installed: run pip install pandas, or "
                "use the arrays params, stderr and so on"
            ) from error
        columns = dict(zip(self.names, self.params.T, strict=True))
        columns |= {f"{name}_stderr": column for name, column in zip(self.names, self.stderr.T, strict=True)}
        columns |= {"rss": self.rss, "r_squared": self.r_squared, "converged": self.converged}
        words = {member.value: member.name for member in FitStatus}
        columns |= {"status": [words[code] for code in self.status.tolist()], "n_iter": self.n_iter}
        return pandas.DataFrame(columns)

    def summary(self) -> str:
        """Return in words how many fits converged, and why the others did not."""
        lines = [f"{int(self.converged.sum())} of {len(self)} fits converged."]
        for member in FitStatus:
            count = int((self.status == member).sum())
            if count and member <= 0:
                lines.append(f"{count}: {member.sentence} (the first is fit {int(np.argmax(self.status == member))}).")
        for what, mask in (("on a bound", self.on_bound), ("not determined by the data", self.undetermined)):
            counts = [f"{name} in {int(n)}" for name, n in zip(self.names, mask.sum(axis=0), strict=True) if n]
            if counts:
                lines.append(f"Parameters {what}: {', '.join(counts)} fits; their standard errors are NaN.")
        return "\n".join(lines)
