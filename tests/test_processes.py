"""No process outlives the one that started it, and none holds its pipe, however that one ends:
tried with real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from spar_kit.core.processes import Stopped, stopped_by_signals

POOL = """
import time
from spar_kit.core.processes import worker_pool
if __name__ == "__main__":
    with worker_pool(2) as pool:
        pids = [pool.submit({job}).result() for _ in range(1)]
        print("ready", flush=True)
        {then}
"""
SWEEP = """
name: toy
steps:
  sleeps: {notebook: sleeps.ipynb}
"""


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may end between two looks
        return False


def gone(pids, seconds=30.0):
    """Whether all these processes end within the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(map(is_alive, pids)):
            return True
        time.sleep(0.1)
    return False


def start(folder, command):
    """A process whose output is read to its end, as `| tee` does."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("work", ["idle", "busy"])
def test_workers_end_with_their_parent(tmp_path, number, work):
    then = "time.sleep(120)" if work == "idle" else "list(pool.map(time.sleep, [120, 120]))"
    (tmp_path / "pool.py").write_text(POOL.format(job="abs, -3", then=then))
    process = start(tmp_path, [sys.executable, "pool.py"])
    assert process.stdout.readline() == "ready\n"
    time.sleep(1.0)
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(children) >= 2
    os.kill(process.pid, number)
    assert gone([process.pid, *children]), f"{number.name}: workers are left"
    process.communicate(timeout=10)  # nobody holds the pipe


def test_workers_of_generate_end_with_it(tmp_path):
    """The command itself, killed in the middle of its work."""
    code = "from spar_kit.cli.main import main; main()"
    process = start(
        tmp_path,
        [
            sys.executable,
            "-c",
            code,
            "generate",
            "synthetic",
            "--scenes",
            "8",
            "--workers",
            "2",
            "--out",
            "out",
        ],
    )
    until = time.monotonic() + 120
    # two workers and multiprocessing's tracker
    while (
        time.monotonic() < until and len(psutil.Process(process.pid).children(recursive=True)) < 3
    ):
        time.sleep(0.2)
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    assert gone([process.pid, *children])
    process.communicate(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_kernels_of_a_sweep_end_with_it(tmp_path, number):
    cells = [
        nbformat.v4.new_code_cell("out: str = ''", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "import subprocess\nfrom pathlib import Path\nchild = subprocess.Popen(['sleep',"
            " '300'])\nPath('child').write_text(str(child.pid))\nchild.wait()"
        ),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "sleeps.ipynb")
    (tmp_path / "toy.yaml").write_text(SWEEP)
    process = start(
        tmp_path,
        [sys.executable, "-c", "from spar_kit.cli.main import main; main()", "sweep", "toy.yaml"],
    )
    until = time.monotonic() + 120
    while time.monotonic() < until and not (
        (tmp_path / "child").is_file() and (tmp_path / "child").read_text()
    ):
        time.sleep(0.2)
    time.sleep(0.5)
    family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    assert int((tmp_path / "child").read_text()) in family and len(family) >= 2
    os.kill(process.pid, number)
    assert gone([process.pid, *family]), f"{number.name}: a kernel or what it started is left"
    said, _ = process.communicate(timeout=10)
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number and "rerun the same command to resume" in said
    assert not list(Path(tmp_path, "runs").glob("*/run.json"))


def test_an_ignored_signal_stays_ignored_and_the_second_one_ends_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopped_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        with pytest.raises(Stopped) as stopped, stopped_by_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        assert stopped.value.code == 143 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)
