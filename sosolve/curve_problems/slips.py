"""The commonest slips in a function that is to be fitted, and what to do about them."""

from __future__ import annotations

#: A remedy by words of the exception that a model raises.
REMEDIES = {
    "read-only": "x is handed over read-only, so that no model changes the data of the caller: let the model begin "
    "with x = x.copy(), or write its result to another array",
    "converted to Python scalars": "x holds all points at once: write numpy.exp(x) in place of math.exp(x)",
    "truth value of an array": "x holds all points at once: write numpy.where(x < a, ..., ...) in place of if and else",
    "positional argument": "the model is called as f(x, *p0): give one starting value for each parameter after x",
}


def add_remedy(error: BaseException) -> None:
    """Add a note to an exception of a user's function that says what to do, where that is known.

    Parameters
    ----------
    error : BaseException
        On its way to the user; its type and message stay.
    """
    for words, remedy in REMEDIES.items():
        if words in str(error):
            error.add_note(remedy)
