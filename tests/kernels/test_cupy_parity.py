"""What the package and the fake take for granted is there in the real CuPy, which can be imported without a device."""

import ast
import importlib
import importlib.util
import inspect
from functools import lru_cache
from pathlib import Path

import fake_cupy
import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [*sorted((ROOT / "sosolve").rglob("*.py")), *sorted((ROOT / "tests" / "benchmarks").glob("gpu*.py"))]
#: Methods of arrays that the package calls with keywords, and these.
METHODS = {
    "get": ("stream", "order", "out", "blocking"),
    "set": ("arr", "stream"),
    "astype": ("dtype", "order", "copy"),
    "max": ("axis", "out", "keepdims"),
    "sum": ("axis", "dtype", "out", "keepdims"),
}

#: Libraries of `cupy.cuda` that are loaded when they are asked for, and may not be there.
LAZY = {"cublas", "cusolver", "cusparse"}

real = pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")


def chain(node) -> list[str]:
    """Return the names of a dotted expression, [] where it is something else."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [*reversed([*names, node.id])] if isinstance(node, ast.Name) else []


@lru_cache(maxsize=1)
def used() -> dict[str, set[str]]:
    """Return the dotted names of CuPy that the package and the benchmark use, with the keywords they pass."""
    found: dict[str, set[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("cupy", "cupyx"):
                for alias in node.names:
                    found.setdefault(f"{node.module}.{alias.name}", set())
            names = chain(node)
            if len(names) > 1 and names[0] in ("cupy", "cupyx"):
                found.setdefault(".".join(names), set())
            if isinstance(node, ast.Call) and chain(node.func)[:1] in (["cupy"], ["cupyx"]):
                found.setdefault(".".join(chain(node.func)), set()).update(k.arg for k in node.keywords if k.arg)
    return found


def resolved(name: str):
    """Return what a dotted name stands for, modules that must be imported among it."""
    parts = name.split(".")
    value = importlib.import_module(parts[0])
    for k, part in enumerate(parts[1:], 2):
        if not hasattr(value, part):
            importlib.import_module(".".join(parts[:k]))
        value = getattr(value, part)
    return value


def accepts(function, keyword: str) -> bool:
    """Return whether a function takes a keyword, by its signature or the first line of its documentation."""
    try:
        return keyword in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return keyword in (function.__doc__ or keyword).split("\n\n")[0]


def test_the_fake_has_what_is_used():
    """Each name that the package and the benchmark use."""
    assert len(used()) > 40
    with fake_cupy.installed():
        for name in sorted(used()):
            resolved(name)
    assert not hasattr(fake_cupy.MODULES["cupy"], "concat")


@real
def test_cupy_has_what_is_used():
    """Each name, and each keyword passed to it; libraries of CUDA that are not installed are left out."""
    for name, keywords in sorted(used().items()):
        try:
            value = resolved(name)
        except ImportError as error:
            if "lib" not in str(error):
                raise
            continue
        if callable(value) and not isinstance(value, type):
            assert all(accepts(value, keyword) for keyword in keywords), (name, keywords)


@real
def test_cupy_has_what_the_fake_has():
    """No function, method or attribute of the fake is one of its own; and no module of the fake is its own."""
    import cupy

    for name, module in fake_cupy.MODULES.items():
        try:
            theirs = importlib.import_module(name) if name not in ("cupy.cublas", "cupyx.scipy.linalg") else None
        except ImportError as error:
            if "lib" not in str(error):
                raise
            continue
        functions = [n for n, value in vars(module).items() if not isinstance(value, type) and callable(value)]
        wanted = [n for n in functions if theirs is not None and not n.startswith("_") and n not in LAZY]
        assert [n for n in wanted if not hasattr(theirs, n)] == [], name
    for fake, theirs in ((fake_cupy.ndarray, cupy.ndarray), (fake_cupy._Stream, cupy.cuda.Stream)):
        assert [n for n in vars(fake) if not n.startswith("_") and not hasattr(theirs, n)] == []
    for method, keywords in METHODS.items():
        assert all(accepts(getattr(cupy.ndarray, method), keyword) for keyword in keywords), method
