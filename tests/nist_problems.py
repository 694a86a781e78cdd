"""The NIST StRD problems of nonlinear regression, read from the plain data files under `data/nist`.

https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml. A file holds the model as a formula in b1, b2, ... and x (x1
and x2 for Nelson, whose response is log(y)), a table of starts, certified values and standard errors, the certified
sums, and the observations, response first.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent / "data" / "nist"
NAMES = sorted(path.stem for path in FOLDER.glob("*.dat"))
FUNCTIONS = {"exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "arctan": np.arctan, "pi": np.pi}


class Problem(NamedTuple):
    """One problem with its certified answers; `starts` has shape (2, p)."""

    name: str
    formula: str
    starts: np.ndarray
    certified: np.ndarray
    stderr: np.ndarray
    residual_sum_of_squares: float
    residual_standard_deviation: float
    x: np.ndarray
    y: np.ndarray

    def residual(self, theta):
        """Return model minus response, shape (m,); theta may be complex."""
        columns = {"x": self.x[:, 0]} if self.x.shape[1] == 1 else {"x1": self.x[:, 0], "x2": self.x[:, 1]}
        parameters = {f"b{j}": value for j, value in enumerate(theta, 1)}
        return eval(compiled(self.formula), {**FUNCTIONS, **columns, **parameters}) - self.y  # noqa: S307


@functools.cache
def compiled(formula):
    """Return the formula as a code object; the files are our own."""
    return compile(formula, "<formula>", "eval")


@functools.cache
def load(name):
    """Return the problem of that name."""
    head, body = (FOLDER / f"{name}.dat").read_text().split("\ndata\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    table = np.array(
        [line.split()[1:] for line in head.splitlines() if line.startswith("b") and ": " not in line], float
    )
    data = np.array([line.split() for line in body.splitlines() if line.strip()], dtype=float)
    y = np.log(data[:, 0]) if fields["response"] == "log(y)" else data[:, 0]
    assert len(data) == int(fields["observations"])
    return Problem(
        name,
        fields["model"],
        table[:, :2].T.copy(),
        table[:, 2],
        table[:, 3],
        float(fields["residual sum of squares"]),
        float(fields["residual standard deviation"]),
        data[:, 1:],
        y,
    )
