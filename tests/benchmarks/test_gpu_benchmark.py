"""The benchmark of the device runs from end to end, on the fake one."""

import sys

import fake_cupy
import host_cuda
import pytest


@pytest.mark.skipif(bool(host_cuda.reason_not_to_run()), reason=host_cuda.reason_not_to_run() or "can run")
def test_every_table_is_made(monkeypatch, capsys):
    """All kernels, all fits and the agreement with the processor; what takes part is named, what fails too."""
    with fake_cupy.installed():
        monkeypatch.setattr(sys, "argv", ["gpu.py", "--rows", "3000", "--columns", "6", "--seconds", "1e9"])
        import gpu

        monkeypatch.setattr(gpu, "cupy", fake_cupy.MODULES["cupy"])
        monkeypatch.setattr(gpu, "transfers", lambda clock: [])
        monkeypatch.setattr(gpu, "AGREEMENT_ROWS", 500)
        gpu.main()
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith("| ") and " x " in line]
    assert len(rows) == 6
    assert all(line.count("|") == 7 for line in rows[:3])
    gaps = [float(cell.split("gap")[1]) for line in rows[3:] for cell in line.split("|")[2:5] if "gap" in cell]
    assert len(gaps) >= 6
    assert max(gaps) < 1e-6
    worst = next(line for line in lines if line.startswith("Largest"))
    assert all(float(part.split(": ")[-1].rstrip(".")) < 1e-9 for part in worst.split(": ", 1)[1].split("; "))
