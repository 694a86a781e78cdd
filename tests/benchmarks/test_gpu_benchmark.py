"""The benchmark of the device runs from end to end, on the fake one; a part that fails does not end it."""

import sys

import fake_cupy
import host_cuda
import pytest

ARGUMENTS = ["gpu.py", "--rows", "1000", "--columns", "6", "--seconds", "1e9"]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Return the benchmark with the fake CuPy, small and without what needs bandwidth."""
    monkeypatch.setattr(sys, "argv", [*ARGUMENTS, "--write"])
    with fake_cupy.installed() as cupy:
        import gpu
        import gpu_clock
        import gpu_peers

        for module in (gpu, gpu_clock, gpu_peers):
            monkeypatch.setattr(module, "cupy", cupy)
        monkeypatch.setattr(gpu, "PAGE", tmp_path / "gpu.md")
        monkeypatch.setattr(gpu, "AGREEMENT_ROWS", 300)
        monkeypatch.setattr(gpu, "BATCHES", (300,))
        monkeypatch.setattr(gpu, "POINTS", 3000)
        yield gpu


@pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")
def test_every_table_is_made(gpu, monkeypatch, capsys):
    """All kernels, all fits and the agreement with the processor; what fails is told in its place."""

    def broken(clock):
        raise RuntimeError("planted | fault")

    parts = [part for part in gpu.PARTS if part[0] not in ("Transfers", "Several classes")]
    monkeypatch.setattr(gpu, "PARTS", [("Broken", "", broken), *parts])
    monkeypatch.setattr(gpu.Clock, "least", staticmethod(lambda call, rounds=7: call() is None or 1e-3))
    assert gpu.main() == 1
    assert gpu.PAGE.read_text().count("\n## ") == len(parts) + 1
    lines = capsys.readouterr().out.splitlines()
    assert "failed: RuntimeError: planted / fault" in lines
    rows = [line for line in lines if line.startswith("| ") and " x " in line]
    assert len(rows) == 8 + 5
    assert all(line.count("|") == 7 for line in rows[:4])
    gaps = [float(cell.split("gap")[1]) for line in rows[4:] for cell in line.split("|")[2:5] if "gap" in cell]
    assert len(gaps) >= 6
    assert max(gaps) < 1e-6
    curves = next(line for line in lines if line.startswith("| 300 |"))
    assert curves.count("/ s") == 4
    assert float(curves.split("|")[-2].split(" standard")[0]) < 1e-6
    assert any(line.startswith("One curve through 3000 points") for line in lines)
    worst = next(line for line in lines if line.startswith("Largest"))
    gaps = {
        part.split(": ")[0]: float(part.split(": ")[-1].rstrip(".")) for part in worst.split(": ", 1)[1].split("; ")
    }
    assert all(gap < (1e-6 if "parameters" in name else 1e-9) for name, gap in gaps.items())


def test_nothing_is_written_without_cupy(monkeypatch):
    """One sentence that says what to install, and an exit status that is not 0."""
    import gpu

    monkeypatch.setattr(sys, "argv", [*ARGUMENTS, "--write"])
    with fake_cupy.missing(), pytest.raises(SystemExit) as caught:
        gpu.main()
    assert "needs CuPy" in caught.value.code
    assert "nothing is written" in caught.value.code
