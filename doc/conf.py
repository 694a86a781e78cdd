"""Sphinx: `python -m sphinx -W doc doc/_build`."""

import os
import re
import warnings

os.environ.setdefault("MPLBACKEND", "agg")
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

import sosolve  # noqa: E402  (the backend is chosen first)

project = "sosolve"
author = "the sosolve developers"
copyright = "2026, the sosolve developers"
version = release = sosolve.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "templates", "**/*.ipynb", "gallery/*.py"]
templates_path = ["templates"]
# A single backtick is code, in docstrings as in the pages.
default_role = "literal"
# Docstrings inherited from scikit-learn refer to labels of its own pages.
suppress_warnings = ["ref.ref"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"(quick_start|plot_\w+)\.py$",
    "ignore_pattern": r"__init__\.py",
    "download_all_examples": False,
    "show_signature": False,
    "show_memory": False,
    "write_computation_times": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sosolve {version}"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}


def escape_marks(app, what, name, obj, options, lines):
    """Let |z| in a docstring mean an absolute value and f(x, *p) a call, not markup of reStructuredText."""
    for k, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [re.sub(r"\||(?<=[ (,])\*(?=\w+[),])", r"\\\g<0>", part) for part in parts[::2]]
        lines[k] = "`".join(parts)


def setup(app):
    """Connect the hook."""
    app.connect("autodoc-process-docstring", escape_marks)
