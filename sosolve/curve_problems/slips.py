"""The commonest slips in a function that is to be fitted, and what to do about them."""

from __future__ import annotations

from types import TracebackType

#: Whose frames are our own.
PACKAGE = __name__.partition(".")[0]

#: A remedy by words of the exception that a model raises.
REMEDIES = {
    "read-only": "x is handed over read-only, so that no model changes the data of the caller: let the model begin "
    "with x = x.copy(), or write its result to another array",
    "converted to Python scalars": "x holds all points at once: write numpy.exp(x) in place of math.exp(x)",
    "truth value of an array": "x holds all points at once: write numpy.where(x < a, ..., ...) in place of if and else",
    "positional argument": "the model is called as f(x, *p0): give one starting value for each parameter after x",
}
#: Words that a call inside the model may cause too: they count where the exception comes from the package's own call.
OF_THE_CALL = {"positional argument"}


def add_remedy(error: BaseException) -> None:
    """Add a note to an exception of a user's function that says what to do, where that is known.

    Parameters
    ----------
    error : BaseException
        On its way to the user; its type and message stay.
    """
    for words, remedy in REMEDIES.items():
        if words in str(error) and (words not in OF_THE_CALL or _is_ours(error.__traceback__)):
            error.add_note(remedy)


def _is_ours(traceback: TracebackType | None) -> bool:
    """Return whether the innermost frame of a traceback is of this package: there the arguments were not taken."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback is None or traceback.tb_frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE
