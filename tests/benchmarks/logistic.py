"""Time to a given relative gap: sosolve beside its peers, on twelve shapes and some hard ones.

    python tests/benchmarks/logistic.py [--cases "tall;mid"] [--size 1.0] [--repeats 3] [--quick] [--write]

Every solver climbs a ladder of its own tolerances; a run counts for a gap when the objective, recomputed here in
double precision, is within it. The runs of the solvers are interleaved, a median is taken of each, and only ratios
within one run are read. What a call measures is kept in `build/benchmarks/logistic.json`, case by case, so that a
long run may be split with --cases ("hard" stands for the hard ones); --write makes the tables and the picture of all
that is kept there, in doc/benchmarks. --quick takes a twentieth of the rows and one run each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).parent))
from machine import describe
from peers import absent, adapters, quiet, sosolve
from profile_plot import draw_profile
from shapes import EXTRA, SHAPES

ALL = {**SHAPES, **EXTRA}
#: Rows, columns and classes of the fit whose memory is measured as the system sees it.
LARGE = (200_000, 500, 100)
GAPS = (1e-3, 1e-5, 1e-7, 1e-9)
#: The gap of the targets.
TARGETED = 1e-7
#: Seconds after which a solver climbs no further on its ladder of tolerances, unless --patience says otherwise.
PATIENCE = 20.0
#: Runs of one solver at most, seconds that short ones add up to, and a pause in which others' threads go to sleep.
MOST_RUNS, SHORT, PAUSE = 15, 0.3, 0.03
#: Where the time goes, and what was tried, in the cases that miss their target; written where they do.
WHY = {
    "thin": "Of 57 ms on a machine with nothing else to do, 43 are the three passes (11 to 14 ms each, 10 at full "
    "bandwidth), 8 the three Gram matrices of the sample, 5 the drawing of the sample, 3 its moments, 2 the labels; no "
    "other pass over X is left, NaN and inf are found by the first of the three. A row of 15 entries leaves vector "
    "units half empty: tiles of eight columns, four rows at a time and a transposed copy of each block were all slower "
    "(1.3 to 2 times). Beside other work on the machine a pass takes up to 42 ms.",
    "square, correlated": "The time is that of 280 products, most with the two fifths of the rows that hold the "
    "curvature: 160 passes, of which 20 confirm the last point. Tried: forcing terms from 0.1 to 0.5, a factor of the "
    "whole Hessian (a matrix of two fifths of X), low-rank preconditioners and deflation; the figures are among the "
    "decisions.",
}
ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "benchmarks" / "logistic.json"


def objective(X, y, coef: np.ndarray, intercept: np.ndarray, C: float) -> float:
    """Return C sum loss + |W|^2 / 2 in float64."""
    coef, total = np.asarray(coef, dtype=np.float64), 0.0
    rows = 20_000 if coef.shape[0] == 1 else 5_000
    for start in range(0, X.shape[0], rows):
        block = X[start : start + rows]
        z = np.asarray((block if sp.issparse(block) else block.astype(np.float64)) @ coef.T) + intercept
        part = y[start : start + rows]
        if z.shape[1] == 1:
            total += np.sum(np.logaddexp(0.0, np.where(part == 1, -z[:, 0], z[:, 0])))
        else:
            top = z.max(axis=1)
            logs = np.log(np.exp(z - top[:, None]).sum(axis=1)) + top
            total += np.sum(logs - z[np.arange(len(part)), part])
    return C * float(total) + 0.5 * float(np.sum(coef**2))


def bandwidth() -> float:
    """Return bytes per second of reading a large array (NumPy's matrix-vector product)."""
    A, v = np.ones((200_000, 100)), np.ones(100)
    times = []
    for _ in range(7):
        clock = time.perf_counter()
        A @ v
        times.append(time.perf_counter() - clock)
    return A.nbytes / min(times)


def stored(X) -> int:
    """Return the bytes of X."""
    return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes


def climb(found: dict, X, y, C: float, best: float, repeats: int, patience: float) -> dict:
    """Return {solver: {gap: [median seconds, passes, gap reached, tolerance]}}, loosest tolerance for each gap.

    The solvers climb together, one rung each in turn.
    """
    results: dict[str, dict] = {name: {} for name in found}
    spent = dict.fromkeys(found, 0.0)
    for rung in range(max(len(adapter.tols) for adapter in found.values())):
        active = {
            name: adapter
            for name, adapter in found.items()
            if rung < len(adapter.tols) and len(results[name]) < len(GAPS) and spent[name] < patience
        }
        times: dict[str, list[float]] = {name: [] for name in active}
        last = {}
        for again in range(MOST_RUNS):
            for name, adapter in active.items():
                if (again >= repeats and again * times[name][0] > SHORT) or (times[name] and spent[name] > patience):
                    continue
                time.sleep(PAUSE)
                clock = time.perf_counter()
                with quiet():
                    last[name] = adapter.fit(X, y, C, adapter.tols[rung])
                times[name].append(time.perf_counter() - clock)
                spent[name] += times[name][-1]
        for name, adapter in active.items():
            coef, intercept, passes = last[name]
            gap = objective(X, y, coef, intercept, C) / best - 1.0
            for target in GAPS:
                if gap <= target and f"{target:g}" not in results[name]:
                    results[name][f"{target:g}"] = [float(np.median(times[name])), passes, gap, adapter.tols[rung]]
    return results


def run_case(name: str, size: float, repeats: int, patience: float) -> dict:
    """Return everything measured on one shape."""
    shape = ALL[name]
    X, y = shape.make(size)
    y = np.unique(y, return_inverse=True)[1]
    K = len(np.unique(y))
    best = np.inf
    for solver in ("newton-cg", "lbfgs"):
        with quiet():
            coef, intercept, _ = sosolve(solver).fit(X, y, shape.C, 1e-6)
        best = min(best, objective(X, y, coef, intercept, shape.C))
    if X.dtype == np.float32:  # coefficients come back in single precision: compare in that precision
        best *= 1.0 + 1e-12
    results = climb(adapters(X, K), X, y, shape.C, best, repeats, patience)
    memory = beyond(X, y, shape.C)
    return {"size": size, "repeats": repeats, "bytes": stored(X), "memory": memory, "results": results}


def beyond(X, y, C: float) -> float:
    """Return what a fit allocates at most, as a fraction of X; what is imported and compiled must be there already."""
    tracemalloc.start()
    with quiet():
        sosolve().fit(X, y, C, 1e-4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / stored(X)


def resident() -> tuple[int, int]:
    """Return the resident bytes of this process and its most so far; Linux alone."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(1024 * int(lines[name].split()[0]) for name in ("VmRSS", "VmHWM"))


def run_large() -> dict[str, float]:
    """Return what one softmax fit of 200 000 x 500 with 100 classes takes: resident memory of the process, seconds."""
    n, d, K = LARGE
    rng = np.random.default_rng(0)
    W, X, y = 2.0 * rng.standard_normal((d, K)) / np.sqrt(d), np.empty((n, d)), np.empty(n, dtype=np.int64)
    for start in range(0, n, 5_000):
        X[start : start + 5_000] = block = rng.standard_normal((5_000, d))
        z = block @ W
        y[start : start + 5_000] = np.argmax(z + rng.gumbel(size=z.shape), axis=1)
    with quiet():
        sosolve().fit(X[:5_000], y[:5_000], 1.0, 1e-1)  # what is imported and compiled is counted before
    Path("/proc/self/clear_refs").write_text("5")  # the most so far begins here
    before = resident()[0]
    clock = time.perf_counter()
    with quiet():
        *_, passes = sosolve().fit(X, y, 1.0, 1e-4)
    return {
        "seconds": time.perf_counter() - clock,
        "passes": passes,
        "x": X.nbytes,
        "before": before,
        "peak": resident()[1],
    }


def report(kept: dict, gap: float, names: dict) -> list[str]:
    """Return the lines of the table at one gap."""
    lines = [
        "| case | sosolve, s | gap reached | passes | effective passes | best peer, s | peer | ratio | target |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ratios, key = [], f"{gap:g}"
    for name, shape in names.items():
        if name not in kept["cases"]:
            continue
        case = kept["cases"][name]
        found = case["results"]
        ours = found["sosolve"].get(key)
        peers = {k: v[key][0] for k, v in found.items() if k != "sosolve" and key in v}
        peer = min(peers, key=peers.__getitem__) if peers else "none arrives"
        ratio = peers[peer] / ours[0] if ours and peers else float("nan")
        ratios.append(ratio)
        effective = ours[0] * kept["bandwidth"] / case["bytes"] if ours else float("nan")
        mine = f"{ours[0]:.4g} | {ours[2]:.1e} | {ours[1]:.0f} | {effective:.0f}" if ours else "not reached | | | "
        theirs = f"{peers[peer]:.4g}" if peers else ""
        lines.append(f"| {name} | {mine} | {theirs} | {peer} | {ratio:.2f} | {shape.target:g} |")
    known = [r for r in ratios if r == r]
    if known:
        lines.append(f"\nGeometric mean of the ratios at a gap of {gap:g}: {np.exp(np.mean(np.log(known))):.2f}")
    return lines


def reasons(kept: dict, gap: float) -> list[str]:
    """Return a paragraph for each case that misses its target at a gap, where its time goes is known."""
    lines, key = [], f"{gap:g}"
    for name, text in WHY.items():
        found = kept["cases"].get(name, {}).get("results", {})
        peers = [v[key][0] for k, v in found.items() if k != "sosolve" and key in v]
        if peers and key in found["sosolve"] and min(peers) < SHAPES[name].target * found["sosolve"][key][0]:
            lines += ["", f"**{name}** misses its target. {text}"]
    return lines


def everybody(kept: dict, gap: float) -> list[str]:
    """Return the lines of the table of all solvers at one gap, seconds."""
    solvers = list(dict.fromkeys(name for case in kept["cases"].values() for name in case["results"]))
    solvers = [name for name in solvers if name != "null model"]
    lines = ["| case | " + " | ".join(solvers) + " |", "|---|" + "---|" * len(solvers)]
    for name, case in kept["cases"].items():
        cells = [case["results"].get(solver, {}).get(f"{gap:g}") for solver in solvers]
        lines.append(f"| {name} | " + " | ".join(f"{c[0]:.4g}" if c else "" for c in cells) + " |")
    return lines


def memory_of(kept: dict) -> list[str]:
    """Return what is said of the memory of fits."""
    text = ["", "## Memory of a fit beyond X, as a fraction of X", "", "| case | peak |", "|---|---|"]
    text += [f"| {name} | {case['memory']:.3f} |" for name, case in kept["cases"].items()]
    text += [
        "",
        "A fit of two classes keeps a byte for each label, one array of n curvatures in single precision (two "
        "from 20 columns on), and from 100 columns on n predictors in double precision for each of two points; "
        "weights and an offset are an array of n each. Softmax keeps one array of n x K probabilities in single "
        "precision, K / (2 d) of a float64 X: with 100 classes and 200 columns that alone is a quarter, and from "
        "five columns to a class on a tenth. It is the floor of a fit whose products with the curvature form no "
        "probabilities again. The gradients of the threads (8 K d numbers where rows are few), the preconditioner"
        " and blocks of rows are the rest. A dual point, for the bound of long fits, takes the place of the "
        "probabilities. A sample of at most 8 % of the rows is copied, and given back before. A matrix of n x n, "
        "of wide data, is n / d of X; three or four are needed.",
    ]
    if "large" in kept:
        large = kept["large"]
        text += [
            "",
            f"{LARGE[0]} x {LARGE[1]}, {LARGE[2]} classes, X of {large['x'] / 2**20:.0f} MiB: the process holds "
            f"{large['before'] / 2**20:.0f} MiB before the fit and {large['peak'] / 2**20:.0f} MiB at most in it, "
            f"{(large['peak'] - large['before']) / large['x']:.2f} of X more ({large['passes']:.0f} passes).",
        ]
    return text


def write(kept: dict) -> str:
    """Write the tables and the picture of all that is kept, and return the text."""
    sizes = sorted({case["size"] for case in kept["cases"].values()})
    missing = f" Not installed: {', '.join(kept['absent'])}." if kept["absent"] else ""
    text = [
        "# Logistic and softmax regression",
        "",
        f"{kept['machine']}; reads {kept['bandwidth'] / 1e9:.0f} GB/s. Rows times "
        f"{', '.join(f'{size:g}' for size in sizes)}; medians of interleaved runs.{missing}",
        "Ratio: best peer / sosolve. Effective passes: seconds times bandwidth over bytes of X. Empty cells of the "
        "last tables: the solver did not get there within the seconds of tries that --patience gives it.",
    ]
    text += ["", "Target: the ratio aimed at to a gap of 1e-07. The data are drawn from fixed seeds, C = 1:", ""]
    text += [
        "| case | rows x columns |",
        "|---|---|",
        *(f"| {name} | {shape.what} |" for name, shape in SHAPES.items()),
    ]
    for gap in GAPS:
        text += ["", f"## Time to a relative gap of {gap:g}", "", *report(kept, gap, SHAPES)]
        text += reasons(kept, gap) if gap == TARGETED else []
    if kept["cases"].keys() & EXTRA.keys():
        text += ["", "## Hard cases, to a relative gap of 1e-07", "", *report(kept, 1e-7, EXTRA)]
    for gap in (1e-3, 1e-7):
        text += ["", f"## Everybody, seconds to a relative gap of {gap:g}", "", *everybody(kept, gap)]
    text += memory_of(kept)
    folder = ROOT / "doc" / "benchmarks"
    if draw_profile(kept, (1e-3, 1e-7), folder / "profile.png"):
        text += [
            "",
            "## Performance profile",
            "",
            "![Share of the cases solved within a factor of the best](profile.png)",
        ]
    (folder / "logistic.md").write_text("\n".join(text) + "\n")
    return "\n".join(text)


def main() -> None:
    """Run the benchmark, keep what it measured, and print (and write) the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=";".join(ALL), help="names, separated by semicolons")
    parser.add_argument("--size", type=float, default=1.0, help="fraction of the rows of each case")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for a solver to climb")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the rows, one run each, nothing kept")
    parser.add_argument("--write", action="store_true", help="write doc/benchmarks/logistic.md from all that is kept")
    parser.add_argument("--memory", action="store_true", help="measure the memory of the cases again, nothing else")
    parser.add_argument("--large", action="store_true", help="measure the memory of 100 classes too: 1.5 GB, a minute")
    options = parser.parse_args()
    if options.quick:
        options.size, options.repeats = min(options.size, 0.05), 1
    kept = json.loads(KEPT.read_text()) if KEPT.exists() and not options.quick else {"cases": {}}
    kept |= {"machine": describe(), "absent": absent(), "bandwidth": max(bandwidth(), kept.get("bandwidth", 0.0))}
    names = [name.strip() for name in options.cases.replace("hard", ";".join(EXTRA)).split(";") if name.strip()]
    if options.memory:
        for name in names:
            X, y = ALL[name].make(1.0)
            with quiet():
                sosolve().fit(X, y, ALL[name].C, 1e-4)
            kept["cases"][name]["memory"] = beyond(X, y, ALL[name].C)
            print(name, round(kept["cases"][name]["memory"], 3), flush=True)
        KEPT.write_text(json.dumps(kept))
        names = []
    for name in names:
        kept["cases"][name] = case = run_case(name, options.size, options.repeats, options.patience)
        print(name, {k: {g: round(t[0], 4) for g, t in v.items()} for k, v in case["results"].items()}, flush=True)
        if not options.quick:
            KEPT.parent.mkdir(parents=True, exist_ok=True)
            KEPT.write_text(json.dumps(kept))
    if options.large:
        kept["large"] = run_large()
        print(kept["large"])
        KEPT.write_text(json.dumps(kept))
    print("\n".join(report(kept, 1e-7, ALL)))
    if options.write:
        print(write(kept))


if __name__ == "__main__":
    main()
