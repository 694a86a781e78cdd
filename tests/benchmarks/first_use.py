"""What the first fit of a process costs: with nothing compiled yet, with the kernels on disk, and once warm.

    python tests/benchmarks/first_use.py [--cases "small;dense"] [--write]

Each number comes from a fresh process; "cold" ones have an empty cache folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "small": "X, y = rng.standard_normal((569, 30)), rng.integers(0, 2, 569)",
    "dense": "X, y = rng.standard_normal((40_000, 20)), rng.integers(0, 2, 40_000)",
    "dense, large": "X, y = rng.standard_normal((120_000, 20)), rng.integers(0, 2, 120_000)",
    "dense, float32": "X, y = rng.standard_normal((120_000, 20)).astype('f4'), rng.integers(0, 2, 120_000)",
    "softmax": "X, y = rng.standard_normal((40_000, 20)), rng.integers(0, 4, 40_000)",
    "CSR": "X, y = sp.random_array((60_000, 500), density=0.02, rng=rng, format='csr'), rng.integers(0, 2, 60_000)",
}
SCRIPT = """
import json, time
import numpy as np, scipy.sparse as sp
clock = time.perf_counter()
from sosolve import LogisticRegression
imported = time.perf_counter() - clock
rng = np.random.default_rng(0)
{make}
found = []
for _ in range(4):
    clock = time.perf_counter()
    LogisticRegression().fit(X, y)
    found.append(time.perf_counter() - clock)
print(json.dumps([imported, found[0], min(found[1:])]))
"""


def run(name: str, folder: str) -> list[float]:
    """Return seconds of import, first fit and warm fit in a fresh process with that cache folder."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    env = {**os.environ, "SOSOLVE_CACHE_DIR": folder, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT.format(make=CASES[name])],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(CASES), help="names, separated by semicolons")
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/first_use.md")
    options = parser.parse_args()
    text = ["# First use", "", f"{describe()}. Seconds; each first fit in a fresh process.", ""]
    text += ["| case | import | first fit, nothing compiled | first fit, kernels on disk | warm fit |"]
    text += ["|---|---|---|---|---|"]
    for name in options.cases.split(";"):
        with tempfile.TemporaryDirectory() as folder:
            cold, cached = run(name, folder), run(name, folder)
        text.append(f"| {name} | {cached[0]:.2f} | {cold[1]:.2f} | {cached[1]:.2f} | {cached[2]:.4f} |")
        print(text[-1], flush=True)
    if options.write:
        (ROOT / "doc" / "benchmarks" / "first_use.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
