"""How much slower the automatic choice is than the best of our own solvers, over 60 shapes.

    python tests/benchmarks/regret.py [--part 1/3] [--seconds 0.25] [--write]

Regret is the time of solver="auto" over that of the fastest solver by name, at the same tolerance; the goal is 1.3 at
most. All run once; those within three times the fastest run again, in turn, until each has had its seconds. The whole
takes about three minutes. What is measured is kept in `build/benchmarks/regret.json`; --write makes
doc/benchmarks/regret.md of all of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from peers import quiet

from sosolve import LogisticRegression

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "benchmarks" / "regret.json"
SOLVERS = ("auto", "newton-cholesky", "newton-cg", "trust-region", "lbfgs")
MOST_ENTRIES = 4_000_000
#: Runs of one solver at most, and most parameters of a dense Hessian.
MOST_RUNS, MOST_DENSE = 12, 800


def shapes() -> list[tuple[int, int, int, bool]]:
    """Return (n, d, K, sparse) of the 60 shapes."""
    dense = [
        (n, d, K, False)
        for n in (60, 200, 600, 2_000, 6_000, 20_000, 60_000, 200_000)
        for d in (4, 15, 50, 150, 500, 1_500)
        for K in (2, 5)
        if n * d * (K if K > 2 else 1) <= MOST_ENTRIES
    ]
    sparse = [(n, d, K, True) for n in (2_000, 20_000) for d in (1_000, 20_000) for K in (2, 5)]
    keep = np.linspace(0, len(dense) - 1, 60 - len(sparse)).astype(int)
    return [dense[k] for k in keep] + sparse


def make(n: int, d: int, K: int, sparse: bool):
    """Return (X, y) of one shape."""
    rng = np.random.default_rng(n + d)
    if sparse:
        X = sp.random_array((n, d), density=min(1.0, 30.0 / d), rng=rng, format="csr")
    else:
        X = rng.standard_normal((n, d)) @ (np.eye(d) + 0.5 * rng.standard_normal((d, d)) / np.sqrt(d))
    z = np.asarray(X @ rng.standard_normal((d, K)) * (3.0 / np.sqrt(d if not sparse else 30)))
    y = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    y[:K] = np.arange(K)
    return (sp.csr_matrix(X) if sparse else X), y


def measure(shape: tuple[int, int, int, bool], seconds: float) -> dict[str, list]:
    """Return {solver: [least seconds, name of what ran]}; interleaved runs within about `seconds` each."""
    X, y = make(*shape)
    with quiet():
        LogisticRegression(tol=1e-4).fit(X, y)  # what is compiled is compiled here
    found: dict[str, list] = {}
    spent = dict.fromkeys(SOLVERS, 0.0)
    for again in range(MOST_RUNS):
        for name in SOLVERS:
            p = (shape[2] if shape[2] > 2 else 1) * (shape[1] + 1)
            slow = again and (name not in found or found[name][0] > 3.0 * min(f[0] for f in found.values()))
            if slow or spent[name] > seconds or (name == "newton-cholesky" and p > MOST_DENSE):
                continue
            time.sleep(0.005)
            clock = time.perf_counter()
            with quiet():
                model = LogisticRegression(solver=name, tol=1e-4, max_iter=500).fit(X, y)
            took = time.perf_counter() - clock
            spent[name] += took
            if name not in found or took < found[name][0]:
                found[name] = [took, model.solver_.name]
    return found


def write(kept: dict) -> None:
    """Write the table."""
    lines = [
        "# Regret of the automatic choice",
        "",
        f"{kept['machine']}. Least of interleaved runs, milliseconds, tol=1e-4; regret: auto over the best by name.",
        "",
        "| rows | columns | classes | storage | " + " | ".join(SOLVERS) + " | auto ran | regret |",
        "|" + "---|" * (6 + len(SOLVERS)),
    ]
    regrets = []
    for key, found in kept["shapes"].items():
        n, d, K, sparse = json.loads(key)
        best = min(found[name][0] for name in SOLVERS[1:] if name in found)
        regrets.append(found["auto"][0] / best)
        cells = [f"{1e3 * found[name][0]:.2f}" if name in found else "" for name in SOLVERS]
        storage = "CSR" if sparse else "dense"
        tail = f"{found['auto'][1]} | {regrets[-1]:.2f} |"
        lines.append(f"| {n} | {d} | {K} | {storage} | " + " | ".join(cells) + f" | {tail}")
    over = sum(r > 1.3 for r in regrets)
    lines += ["", f"{len(regrets)} shapes: regret {np.median(regrets):.2f} in the median, {max(regrets):.2f} at most, "]
    lines[-1] += f"above 1.3 on {over}."
    (ROOT / "doc" / "benchmarks" / "regret.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines[5:]))


def main() -> None:
    """Measure a part of the shapes, keep the times, and print (and write) the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="1/1", help="k/m: the k-th of m parts")
    parser.add_argument("--seconds", type=float, default=0.25, help="for each solver on each shape")
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/regret.md")
    options = parser.parse_args()
    part, of = map(int, options.part.split("/"))
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {"shapes": {}}
    kept["machine"] = describe()
    for shape in shapes()[part - 1 :: of]:
        found = measure(shape, options.seconds)
        kept["shapes"][json.dumps(shape)] = found
        best = min(found[name][0] for name in SOLVERS[1:] if name in found)
        print(
            shape,
            f"regret {found['auto'][0] / best:.2f}",
            {k: round(1e3 * v[0], 2) for k, v in found.items()},
            flush=True,
        )
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(kept))
    if options.write:
        write(kept)


if __name__ == "__main__":
    main()
