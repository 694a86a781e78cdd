"""Named models of one predictor, each with a meaning, a source and an initial guess; sums and products of them.

Examples
--------
>>> form = model("gaussian") + model("linear")
>>> form.parameters
('height', 'center', 'sigma', 'slope', 'intercept')
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial

import numpy as np

from . import guesses
from .forms import CurveForm
from .formula import Formula

__all__ = ["model", "names", "polynomial", "rational"]

_BATES = "Bates and Watts, Nonlinear Regression Analysis and Its Applications, 1988"
_SEBER = "Seber and Wild, Nonlinear Regression, 1989"


def _form(name: str, text: str, meaning: str, rule, domain: str = "any x", reference: str = _SEBER) -> CurveForm:
    return CurveForm(name, text, meaning, reference, domain, rule)


def _grid(candidates: Callable) -> Callable:
    return partial(guesses.grid, candidates=candidates)


_LORENTZ = "height/(1 + ((x - center)/hwhm)**2)"
_VOIGT = "height*(share/(1 + ((x - center)/hwhm)**2) + (1 - share)*exp(-log(2)*((x - center)/hwhm)**2)) + offset"
_PEAK = "Wertheim et al., Rev. Sci. Instrum. 45, 1974"

_FORMS = (
    _form("linear", "slope*x + intercept", "Straight line", guesses.polynomial),
    _form("exponential_decay", "a*exp(-b*x)", "Decay from a at rate b to 0", _grid(guesses.rates)),
    _form("exponential_decay_offset", "a*exp(-b*x) + c", "Decay by a at rate b to c", _grid(guesses.rates)),
    _form("double_exponential", "a*exp(-b*x) + c*exp(-d*x)", "Two decays, the faster first", _grid(guesses.two_rates)),
    _form("exponential_growth", "a*exp(b*x)", "Growth from a at rate b", _grid(guesses.rates)),
    _form("saturation", "a*(1 - exp(-b*x))", "Rise from 0 to a at rate b", _grid(guesses.rates), reference=_BATES),
    _form(
        "gaussian", "height*exp(-(x - center)**2/(2*sigma**2))", "Gaussian peak", _grid(guesses.peaks), reference=_PEAK
    ),
    _form(
        "gaussian_offset",
        "height*exp(-(x - center)**2/(2*sigma**2)) + offset",
        "Gaussian peak on a constant",
        _grid(guesses.peaks),
        reference=_PEAK,
    ),
    _form("lorentzian", _LORENTZ, "Lorentzian peak; hwhm is half its width", _grid(guesses.peaks), reference=_PEAK),
    _form(
        "lorentzian_offset",
        f"{_LORENTZ} + offset",
        "Lorentzian peak on a constant",
        _grid(guesses.peaks),
        reference=_PEAK,
    ),
    _form(
        "pseudo_voigt",
        _VOIGT,
        "Mixture of a Lorentzian (share) and a Gaussian of one half width hwhm, on a constant",
        _grid(guesses.peak_shapes),
        reference=_PEAK,
    ),
    _form("power_law", "a*x**b", "Power law", _grid(guesses.exponents), "x > 0"),
    _form("power_law_offset", "a*x**b + c", "Power law on a constant", _grid(guesses.exponents), "x > 0"),
    _form(
        "michaelis_menten",
        "vmax*x/(km + x)",
        "Enzyme rate: vmax at saturation, half of it at km",
        _grid(guesses.scales),
        "x >= 0",
        _BATES,
    ),
    _form(
        "hill",
        "a*x**n/(k**n + x**n)",
        "Cooperative saturation: a at the top, half of it at k, steepness n",
        _grid(guesses.scales_and_exponents),
        "x >= 0",
        "Hill, J. Physiol. 40, 1910",
    ),
    _form(
        "logistic4",
        "bottom + (top - bottom)*expit(slope*(x - middle))",
        "Step from bottom to top, half-way at middle; for doses take x = log(dose)",
        guesses.rising_step,
    ),
    _form(
        "logistic5",
        "bottom + (top - bottom)*expit(slope*(x - middle))**asymmetry",
        "Lopsided step from bottom to top",
        _grid(guesses.lopsided_steps),
        reference="Richards, J. Exp. Bot. 10, 1959",
    ),
    _form(
        "gompertz",
        "a*exp(-exp(-k*(x - middle)))",
        "Growth to a, steepest (a k / e) at middle",
        _grid(guesses.steps),
    ),
    _form(
        "weibull",
        "a*(1 - exp(-x**k/b**k))",
        "Rise from 0 to a with scale b and shape k",
        _grid(guesses.scales_and_exponents),
        "x >= 0",
    ),
    _form(
        "sine",
        "amplitude*sin(2*pi*frequency*x + phase) + offset",
        "Sine; frequency in cycles per unit of x, phase in radians",
        guesses.sine,
        reference="Lomb, Astrophys. Space Sci. 39, 1976",
    ),
    _form(
        "damped_sine",
        "amplitude*exp(-decay*x)*sin(2*pi*frequency*x + phase) + offset",
        "Sine under a decaying exponential",
        guesses.damped_sine,
        reference="Lomb, Astrophys. Space Sci. 39, 1976",
    ),
)

_LIBRARY = {form.name: form for form in _FORMS}


def names() -> tuple[str, ...]:
    """Return the names of the library's models."""
    return tuple(_LIBRARY)


def model(name: str) -> CurveForm:
    """Return the model of a name.

    Parameters
    ----------
    name : str
        One of `names()`.

    Raises
    ------
    ValueError
        When there is no such model; the message gives the closest names.
    """
    if name in _LIBRARY:
        return _LIBRARY[name]
    raise _unknown(name)


def _unknown(name: str, more: str = "") -> ValueError:
    """Return the refusal of a name, with the closest ones and more advice."""
    close = get_close_matches(str(name), _LIBRARY, n=3)
    advice = f"did you mean {', '.join(close)}" if close else "choose one, or write a formula"
    return ValueError(
        f"received the model name {name!r}; expected one of {', '.join(_LIBRARY)}; polynomial(degree) and "
        f"rational(p, q) make others: {advice}{more}"
    )


def named(text: str) -> CurveForm | None:
    """Return the model that a text names, None where the text is a formula.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        When it is one word of more than three letters that names no model: a slip of the pen would fit a constant.
    """
    text = text.strip()
    if text not in _LIBRARY and len(text) > 3 and text.isidentifier():
        raise _unknown(text, f"; a constant is 1*{text}")
    return _LIBRARY.get(text)


def form_of(formula: Formula) -> CurveForm | None:
    """Return the model of this library with that formula, None where there is none: it knows a first guess."""
    forms = (form for form in _LIBRARY.values() if form.text == formula.text and formula.predictors == ("x",))
    return next(forms, None)


def polynomial(degree: int) -> CurveForm:
    """Return c0 + c1*x + ... + c_degree*x**degree, degree from 0 to 20.

    Raises
    ------
    ValueError
        When the degree is another.
    """
    _check("degree", degree, 0)
    text = _powers("c", 0, degree)
    return _form(f"polynomial({degree})", text, f"Polynomial of degree {degree}", guesses.polynomial)


def rational(p: int, q: int) -> CurveForm:
    """Return (a0 + ... + ap*x**p)/(1 + b1*x + ... + bq*x**q), p from 0 and q from 1 to 20.

    Raises
    ------
    ValueError
        When a degree is another.
    """
    _check("p", p, 0)
    _check("q", q, 1)
    text = f"({_powers('a', 0, p)})/(1 + {_powers('b', 1, q)})"
    reference = "Sanathanan and Koerner, IEEE Trans. Autom. Control 8, 1963"
    return _form(
        f"rational({p}, {q})", text, f"Ratio of polynomials, {p} over {q}", guesses.rational, "any x", reference
    )


def _check(name: str, degree: int, least: int) -> None:
    if not isinstance(degree, int | np.integer) or isinstance(degree, bool) or not least <= degree <= 20:
        raise ValueError(
            f"received {name}={degree!r}; expected an integer from {least} to 20: higher degrees need another basis, "
            "pass a Python function"
        )


def _powers(letter: str, first: int, last: int) -> str:
    shown = {0: "", 1: "*x"}
    return " + ".join(f"{letter}{k}{shown.get(k, f'*x**{k}')}" for k in range(first, last + 1))
