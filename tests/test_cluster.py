"""A sweep on a Dask cluster of real processes, with paths relative to where it is started; and the
ways in which a cluster is not there."""

import os
import socket
import subprocess
import sys
import time

import nbformat
import pytest

from spar_kit.cli.main import main
from spar_kit.runs import sweep as module

pytest.importorskip("distributed", reason="the extra `cluster` is not installed")

PLAN = """
name: toy
steps:
  make: {notebook: make.ipynb}
  learn: {notebook: learn.ipynb, needs: {data: make}, grid: {rate: [0.1, 0.2]}}
"""


def notebook(path, parameters, cell):
    cells = [
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(cell),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "WAIT_FOR_WORKERS", 4.0)
    (tmp_path / "text.txt").write_text("hi")
    notebook(
        tmp_path / "make.ipynb",
        "source: str = 'text.txt'\nout: str = ''",
        "import os\nos.makedirs(out)\nopen(out + '/data.txt', 'w').write(open(source).read())",
    )
    notebook(
        tmp_path / "learn.ipynb",
        "data: str = ''\nrate: float = 0.0\nseconds: int = 0\nout: str = ''",
        "import time\nprint(open(data + '/data.txt').read(), flush=True)\ntime.sleep(seconds)",
    )
    (tmp_path / "toy.yaml").write_text(PLAN)
    return tmp_path


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler, and a function that starts a worker in another folder; all ended
    at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []

    def start(*words):
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", *words, "--no-dashboard"],
                cwd=elsewhere,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        return processes[-1]

    start("distributed.cli.dask_scheduler", "--port", str(port))
    address = f"tcp://127.0.0.1:{port}"
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield (
        address,
        lambda: start("distributed.cli.dask_worker", address, "--nthreads", "2", "--no-nanny"),
        processes,
    )
    for process in processes:
        process.kill()


def spar(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said = capsys.readouterr()
    assert said.err.count("\n") <= 1, said.err
    return left.value.code, said.out, said.err


def test_a_cluster_runs_relative_paths(folder, cluster, capsys):
    address, worker, _ = cluster
    worker()
    code, out, err = spar(capsys, "sweep", "toy.yaml", "--cluster", address)
    assert code == 0 and out.count("  done  ") == 3, (out, err)
    assert spar(capsys, "sweep", "toy.yaml")[1].count("cached") == 3, (
        "a run is the same wherever it was made"
    )
    assert not any("elsewhere" in str(path) for path in folder.rglob("run.json"))


def test_a_cluster_that_is_not_there(folder, cluster, capsys):
    address, worker, processes = cluster
    code, _, err = spar(capsys, "sweep", "toy.yaml", "--cluster", address)
    assert code == 1 and f"start one with: dask worker {address}" in err
    code, _, err = spar(capsys, "sweep", "toy.yaml", "--cluster", "nonsense")
    assert code == 2 and "no address of a Dask scheduler" in err


@pytest.mark.parametrize(
    ("goes", "says"),
    [(0, "is gone; what its workers have finished is kept"), (1, "has had no worker for 4 s")],
)
def test_a_cluster_that_goes_in_the_middle(folder, cluster, capsys, goes, says):
    address, worker, processes = cluster
    worker()
    code = (
        "import time; from pathlib import Path\nwhile not"
        " list(Path('runs').glob('learn-*/progress.txt')): time.sleep(.2)\ntime.sleep(2)\nimport"
        f" os; os.kill({processes[goes].pid}, 9)"
    )
    subprocess.Popen([sys.executable, "-c", code])
    code, out, err = spar(
        capsys, "sweep", "toy.yaml", "--set", "learn.seconds=60", "--cluster", address
    )
    assert code == 1 and says in err, (out, err)
