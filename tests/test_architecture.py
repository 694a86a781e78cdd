"""Who may import whom: the house keeps its order, and a planted breach is found."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent / "sosolve"

#: Part of the package -> what it must not import.
NEVER = {
    "kernels": r"sosolve\.(?!kernels)|sklearn|dask",
    "protocols.py": r"sosolve|sklearn|dask|numba|cupy|scipy|numpy",
    "history.py": r"sosolve\.(?!protocols)|sklearn|dask|numba|cupy",
    "linalg.py": r"sosolve\.(?!protocols)|sklearn|dask|numba",
    "objectives": r"sosolve\.(?!objectives|kernels|protocols)|sklearn|dask",
    "solvers": r"sosolve\.(?!solvers|protocols|history|linalg)|sklearn|dask|numba|cupy",
    "curves": r"sosolve\.(?!curves|kernels)|sklearn|dask",
    "curve_problems": r"sosolve\.(estimators|scipy_api|kernels|inference|_compat|testing|plotting)|sklearn|dask|numba",
    "inference.py": r"sosolve\.(?!protocols|history|linalg)|sklearn|numba|dask",
    "plotting.py": r"sosolve\.(?!protocols|history)|sklearn|numba|dask",
    "plotting_curves.py": r"sosolve\.(?!protocols|history)|sklearn|numba|dask",
    "testing.py": r"sosolve\.estimators|sklearn|numba|dask",
    "estimators": r"numba|cupy|dask",
    "scipy_api": r"sosolve\.(estimators|_compat|plotting|testing)|sklearn|dask",
}
#: Lines of a module: beyond it there are two ideas in it.
LONGEST = 400
#: Imported only inside functions.
LAZY = r"numba|llvmlite|cupy|dask|sympy|pandas|matplotlib|rich"
#: The files that are imported only when compiled kernels are wanted.
COMPILED = {"kernels/cache.py", "kernels/numba_cpu.py", "kernels/numba_chunks.py", "kernels/numba_losses.py"}
COMPILED |= {"kernels/numba_storage.py", "kernels/parts.py", "curves/batch.py", "curves/batch_kernels.py"}
COMPILED |= {f"kernels/cupy_{part}.py" for part in ("gpu", "launch", "products", "stream")}
COMPILED |= {"kernels/numba_coordinates.py"}


def imports_of(source: str, path: Path):
    """Yield (module, line, at top level) for each import of a source file inside the package."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            stem = [ROOT.name, *path.with_suffix("").parts][: -node.level] if node.level else []
            base = ".".join(stem + ([node.module] if node.module else []))
            modules = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            yield module, node.lineno, id(node) in top


def breaches(source: str, path: Path) -> list[str]:
    """Return the breaches of one file."""
    part = path.parts[0]
    found = []
    for module, line, at_top in imports_of(source, path):
        if part in NEVER and re.match(rf"({NEVER[part]})(\.|$|\w)", module):
            found.append(f"{path}:{line} imports {module}")
        if at_top and path.as_posix() not in COMPILED and re.match(rf"({LAZY})(\.|$)", module):
            found.append(f"{path}:{line} imports {module} at import time")
        if module.rsplit(".", 1)[-1].startswith("_") and module.startswith("sosolve") and "._" in module:
            name = module.rsplit(".", 1)[-1]
            if name not in ("_compat", "_version", "__version__"):
                found.append(f"{path}:{line} imports the underscore name {module}")
    return found


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_keep_the_order(path):
    """No file imports what its part of the house must not know."""
    assert breaches(path.read_text(), path.relative_to(ROOT)) == []


def test_no_module_grows_beyond_one_idea():
    """Split a module before it is longer."""
    lengths = {path.relative_to(ROOT).as_posix(): path.read_text().count("\n") for path in ROOT.rglob("*.py")}
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("scipy_api/scalar.py", "from ..estimators.base import LinearClassifier"),
        ("solvers/newton.py", "from ..objectives import L2"),
        ("solvers/newton.py", "import numba"),
        ("solvers/newton.py", "def f():\n    from ..kernels.pool import run"),
        ("objectives/losses.py", "from ..solvers.base import Solver"),
        ("objectives/losses.py", "from sosolve.estimators import LogisticRegression"),
        ("kernels/reference.py", "from ..linalg import dot"),
        ("kernels/reference.py", "from sklearn.utils import check_array"),
        ("protocols.py", "from .history import Record"),
        ("estimators/base.py", "import numba"),
        ("curve_problems/start.py", "from ..estimators.curve import NonlinearLeastSquares"),
        ("curve_problems/start.py", "from sklearn.utils import check_array"),
        ("plotting.py", "import matplotlib.pyplot as plt"),
        ("estimators/base.py", "from ..solvers.base import _Run"),
    ],
)
def test_planted_breach_is_found(path, source):
    """The test above can fail."""
    assert breaches(source, Path(path)) != []


def test_only_compat_imports_private_names_of_sklearn():
    """scikit-learn's private names come in through one file."""
    found = [
        f"{path.name}: {module}"
        for path in ROOT.rglob("*.py")
        if path.name != "_compat.py"
        for module, _, _ in imports_of(path.read_text(), path.relative_to(ROOT))
        if module.startswith("sklearn") and re.search(r"\._", module)
    ]
    assert found == []


def test_import_is_light():
    """`import sosolve` brings in no heavy package that scikit-learn does not bring in itself."""
    code = (
        "import sys, sklearn.linear_model, sklearn.callback; before = set(sys.modules); import sosolve; "
        "print([m for m in 'numba cupy dask sympy pandas matplotlib rich'.split() if m in sys.modules.keys() - before])"
    )
    out = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
