"""Docstrings of solvers that name every setting: those of the classes above come first, described in one place."""

from __future__ import annotations

import re
from inspect import cleandoc

HEADING = re.compile(r"^(\w[\w ]*)\n-{3,}\n", re.MULTILINE)
#: The first line of a parameter: names before a colon, not indented.
ENTRY = re.compile(r"^(?=\S)", re.MULTILINE)


def with_settings_above(text: str, above: str) -> str:
    """Return a class docstring in numpydoc's form with the parameters of another one before its own.

    Parameters
    ----------
    text : str
        Of the class; a parameter that it describes itself is left as it is.
    above : str
        Of the class that it is derived from.
    """
    text, own, rest = _around_parameters(cleandoc(text))
    known = {name for entry in own for name in _names(entry)}
    inherited = [entry for entry in _around_parameters(cleandoc(above))[1] if not known.intersection(_names(entry))]
    entries = "\n".join([*inherited, *own])
    section = f"Parameters\n----------\n{entries}" if entries else ""
    return "\n\n".join(part for part in (text, section, rest) if part) + "\n"


def _around_parameters(text: str) -> tuple[str, list[str], str]:
    """Return the text before the parameters, the entries of these, and the sections after them."""
    headings = list(HEADING.finditer(text))
    ends = [*(heading.start() for heading in headings[1:]), len(text)]
    for heading, end in zip(headings, ends, strict=False):
        if heading[1] == "Parameters":
            body = text[heading.end() : end].strip()
            entries = [entry.strip() for entry in ENTRY.split(body) if entry.strip()]
            return text[: heading.start()].strip(), entries, text[end:].strip()
    first = headings[0].start() if headings else len(text)
    return text[:first].strip(), [], text[first:].strip()


def _names(entry: str) -> list[str]:
    """Return the names that an entry describes."""
    return [name.strip(" *") for name in entry.partition(":")[0].split(",")]
