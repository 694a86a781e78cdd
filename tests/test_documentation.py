"""What the documentation shows runs, and what the docstrings say has the right form."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import sosolve

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("doc/*.md"), *ROOT.glob("doc/benchmarks/*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: numpydoc's checks. What is written must be right; PR01 and RT01 are left out, because a function that its first line
#: explains may do without sections, and PR03 and PR07, because like parameters may share a line,
#: and RT02, because a single result may have a name.
CHECKS = re.compile(r"GL(0[1235679]|10)|SS0[13456]|PR(0[2569]|10)|RT05|SA0[234]")
LIST_OF_PARAMETERS = re.compile(r"^ *Parameters\n *-{3,}", re.MULTILINE)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Return the line before and the text of the blocks of a page in one language."""
    text = page.read_text(encoding="utf-8")
    found = [match for match in FENCE.finditer(text) if match[1] == language]
    return [(text.count("\n", 0, match.start()) + 1, match[2]) for match in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_code_of_a_page_runs(page, monkeypatch, tmp_path):
    """Run the python blocks of a page one after the other in one namespace."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": page.stem}
    for line, code in blocks(page, "python"):
        exec(compile("\n" * line + code, str(page), "exec"), namespace)  # noqa: S102
    if "ConvergenceDisplay" in namespace:
        from matplotlib import pyplot

        pyplot.close("all")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_links_of_a_page_lead_somewhere(page):
    """Find the file behind each relative link; the gallery is made with the pages."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not re.match(r"https?:|gallery/", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_the_readme_has_two_commands_of_one_line():
    """The first sets up and runs the main job, the second the tests; there is no third."""
    commands = [code.strip() for _, code in blocks(ROOT / "README.md", "bash")]
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert commands[0].endswith("examples/quick_start.py")
    assert commands[1].endswith("python -m pytest -n 2 --dist worksteal")


def documented_objects():
    """Yield the name of each public class, method and function of the package with a docstring."""
    for info in pkgutil.walk_packages(sosolve.__path__, "sosolve."):
        if info.name.rpartition(".")[2].startswith(("_", "cupy")):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name.startswith("sosolve"):
                raise
            continue  # an extra that is not installed
        for name, found in vars(module).items():
            if name.startswith("_") or getattr(found, "__module__", None) != info.name or not found.__doc__:
                continue
            if inspect.isfunction(found):
                yield f"{info.name}.{name}"
            elif inspect.isclass(found):
                yield f"{info.name}.{name}"
                for attribute, member in vars(found).items():
                    is_public = not attribute.startswith("_") and getattr(member, "__doc__", None)
                    if is_public and isinstance(member, property | classmethod | type(documented_objects)):
                        yield f"{info.name}.{name}.{attribute}"


def test_docstrings_have_the_form_of_numpydoc():
    """Hold every public docstring against `CHECKS`; a list of parameters must have all of them."""
    validate = pytest.importorskip("numpydoc.validate", reason="numpydoc comes with the extra lint").validate
    faults = [
        f"{name}: {code} {message}"
        for name in documented_objects()
        for found in [validate(name)]
        for code, message in found["errors"]
        if CHECKS.fullmatch(code) or (code == "PR01" and LIST_OF_PARAMETERS.search(found["docstring"]))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("package", ["", ".curves", ".curves.library", ".objectives", ".scipy_api", ".solvers"])
def test_the_reference_names_all_that_is_public(package):
    """Find every public class and function on the page, under the name by which users import it."""
    module = importlib.import_module(f"sosolve{package}")
    names = [name for name in module.__all__ if callable(getattr(module, name))]
    page = (ROOT / "doc" / "reference.md").read_text(encoding="utf-8")
    listed = {line.strip() for line in page.splitlines()}
    prefix = package.removeprefix(".") + "." if package else ""
    missing = [name for name in names if not {name, prefix + name, f"scipy_api.{name}"} & listed]
    assert names
    assert not missing


def test_the_page_on_curves_lists_the_library():
    """A row for each model, with its formula and its meaning."""
    from sosolve.curves import library

    page = (ROOT / "doc" / "curve_fitting.md").read_text(encoding="utf-8").splitlines()
    forms = [library.model(name) for name in library.names()]
    assert not {f"| `{form.name}` | `{form.text}` | {form.meaning} |" for form in forms} - set(page)
