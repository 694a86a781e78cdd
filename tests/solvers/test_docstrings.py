"""Every setting of a solver is in its docstring, once."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from sosolve.solvers import RESIDUAL_SOLVERS, SOLVERS
from sosolve.solvers.docstrings import with_settings_above


@pytest.mark.parametrize("solver", [*SOLVERS.values(), *RESIDUAL_SOLVERS.values()], ids=lambda cls: cls.__name__)
def test_the_docstring_of_a_solver_names_every_setting(solver):
    """Those that it inherits too."""
    names = re.findall(r"^(\w+(?:, \w+)*) : ", solver.__doc__, re.MULTILINE)
    described = [name for entry in names for name in entry.split(", ")]
    assert sorted(set(described) - {"needs", "name"}) == sorted(field.name for field in fields(solver))
    assert len(set(described)) == len(described)


def test_what_a_class_says_itself_stands():
    """The inherited entries come first, without those that are described anew, and the other sections after them."""
    above = "Old.\n\nParameters\n----------\na : int\n    First.\nb, c : int\n    Old.\n\nRaises\n------\nE\n"
    text = "New.\n\n  Parameters\n  ----------\n  c : int\n      New.\n\n  References\n  ----------\n  R.\n"
    merged = with_settings_above(text, above)
    assert merged == (
        "New.\n\nParameters\n----------\na : int\n    First.\nc : int\n    New.\n\nReferences\n----------\nR.\n"
    )
    assert with_settings_above(merged, above) == merged


def test_docstrings_without_parameters_get_them_before_the_other_sections():
    """Or at the end, where there is no other section; nothing happens where there is nothing to add."""
    above = "Old.\n\nParameters\n----------\na : int\n"
    assert with_settings_above("New.\n\nNotes\n-----\nN.", above) == (
        "New.\n\nParameters\n----------\na : int\n\nNotes\n-----\nN.\n"
    )
    assert with_settings_above("New.", above).endswith("a : int\n")
    assert with_settings_above("New.", "Old.") == "New.\n"
