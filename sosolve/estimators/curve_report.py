"""The report of a fitted curve, as text and as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

from .curve_summary import FittedCurve

#: Correlations below this size are left out.
SHOWN_CORRELATION = 0.1
MAX_CORRELATIONS = 10


class CurveReport:
    """What a fit found, for people: `print(report)` shows text, a notebook shows HTML.

    Parameters
    ----------
    curves : sequence of FittedCurve
        One an output.
    solver : str
        What ran.
    """

    def __init__(self, curves: Sequence[FittedCurve], solver: str):
        self.curves, self.solver = list(curves), solver

    def __str__(self) -> str:
        parts = []
        for k, curve in enumerate(self.curves):
            title = [f"Output {k}"] if len(self.curves) > 1 else []
            parts.append("\n".join(title + self._lines(curve)))
        return "\n\n".join(parts)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            (f"<h4>Output {k}</h4>" if len(self.curves) > 1 else "") + self._html(curve)
            for k, curve in enumerate(self.curves)
        )

    def _lines(self, curve: FittedCurve) -> list[str]:
        lines = [f"Model    {curve.model.text}"]
        lines += [f"{name:<8} {value}" for name, value in self._facts(curve)]
        header = ("parameter", "value", "std. error", "relative", "start", "")
        rows = [header, *_parameter_rows(curve)]
        width = [max(len(row[k]) for row in rows) for k in range(len(header))]
        lines.append("")
        for row in rows:
            cells = [row[0].ljust(width[0]), *(row[k].rjust(width[k]) for k in range(1, 5)), row[5]]
            lines.append("  ".join(cells).rstrip())
        related = _correlations(curve)
        if related:
            lines += ["", f"Correlations of size {SHOWN_CORRELATION:g} and more"]
            lines += [f"  {a}, {b}: {value:+.3f}" for a, b, value in related]
        lines += ["", *(f"- {said}" for said in curve.diagnosis())]
        return lines

    def _html(self, curve: FittedCurve) -> str:
        def row(cells: Sequence[str], tag: str = "td") -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        facts = "".join(row(pair) for pair in [("Model", curve.model.text), *self._facts(curve)])
        header = row(("parameter", "value", "std. error", "relative", "start", ""), "th")
        parameters = "".join(row(cells) for cells in _parameter_rows(curve))
        related = "".join(row((f"{a}, {b}", f"{value:+.3f}")) for a, b, value in _correlations(curve))
        said = "".join(f"<li>{html.escape(text)}</li>" for text in curve.diagnosis())
        return (
            f"<table>{facts}</table><table><thead>{header}</thead><tbody>{parameters}</tbody></table>"
            + (f"<table><caption>Correlations</caption>{related}</table>" if related else "")
            + f"<ul>{said}</ul>"
        )

    def _facts(self, curve: FittedCurve) -> list[tuple[str, str]]:
        robust = "" if curve.f_scale is None else f", f_scale {curve.f_scale:.4g}"
        spread = math.sqrt(curve.noise) if curve.noise >= 0.0 else math.nan
        return [
            ("Fit", f"{curve.result.n_iter} iterations of {self.solver}, loss {curve.loss}{robust}"),
            ("Points", f"{curve.n_points:g}, degrees of freedom {curve.dof:g}"),
            ("Noise", f"{spread:.6g}{' (given by sigma)' if curve.absolute_sigma else ''}"),
            ("RSS", f"{curve.rss:.8g}, R^2 {r_squared(curve):.6g}"),
        ]


def r_squared(curve: FittedCurve) -> float:
    """Return 1 - rss / tss, NaN where y does not vary."""
    return 1.0 - curve.rss / curve.tss if curve.tss > 0.0 else math.nan


def _parameter_rows(curve: FittedCurve) -> list[tuple[str, ...]]:
    rows = []
    for j, name in enumerate(curve.names):
        value, error = curve.theta[j], curve.covariance.stderr[j]
        if not curve.free[j]:
            rows.append((name, f"{value:.8g}", "", "", "", "fixed"))
            continue
        relative = f"{100.0 * abs(error / value):.2g} %" if value and math.isfinite(error) else ""
        remark = f"on its {curve.bound[j]} bound" if curve.bound[j] else ""
        if not curve.covariance.identifiable[j]:
            remark = "not identified"
        rows.append((name, f"{value:.8g}", f"{error:.3g}", relative, f"{curve.start[j]:.4g}", remark))
    return rows


def _correlations(curve: FittedCurve) -> list[tuple[str, str, float]]:
    """Return the pairs of parameters with the largest correlations."""
    with np.errstate(all="ignore"):
        matrix = curve.covariance.correlation
    pairs = [
        (curve.names[i], curve.names[j], float(matrix[i, j]))
        for i in range(len(matrix))
        for j in range(i)
        if abs(matrix[i, j]) >= SHOWN_CORRELATION
    ]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))[:MAX_CORRELATIONS]
