"""What is installed: the lock fits pyproject.toml on every platform, names no host, and an
environment knows whether it equals it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from spar_kit.cli import doctor
from spar_kit.core import environment as module
from spar_kit.core.environment import (
    environment,
    installed_versions,
    lock_differences,
    lock_hash,
    read_lock,
)

ROOT = Path(__file__).resolve().parent.parent
LOCK = (ROOT / "requirements/lock.txt").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLATFORMS = [
    (python, system, machine)
    for python in ("3.11", "3.12")
    for system, machine in (("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64"))
]
BLOCKS = re.findall(
    r"^(\S+)==([^\s;\\]+)(?: ; ([^\\\n]+?))? \\\n((?:    --hash=\S+(?: \\)?\n)+)",
    LOCK,
    re.MULTILINE,
)


def pinned(python, system, machine):
    """Name and version of every line that holds there."""
    there = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "platform_system": system,
        "platform_machine": machine,
        "sys_platform": system.lower(),
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    lines = [
        (name, pin)
        for name, pin, marker, _ in BLOCKS
        if not marker or Marker(marker).evaluate(there)
    ]
    assert len(dict(lines)) == len(lines), "a package is pinned twice"
    return dict(lines), there


def test_every_line_of_the_lock_is_a_version_with_hashes():
    rest = LOCK
    for name, pin, marker, hashes in BLOCKS:
        rest = rest.replace(f"{name}=={pin}{f' ; {marker}' if marker else ''} \\\n{hashes}", "", 1)
        assert re.fullmatch(r"(    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+", hashes), name
    assert len(BLOCKS) > 150 and all(line.startswith("#") for line in rest.splitlines()), rest[:300]
    assert not re.search(r"://|--index|--find-links|/work|/home|/tmp|/opt", LOCK), (
        "the lock names a host or a path"
    )


def test_the_lock_holds_nothing_of_cuda_and_no_torch():
    """Torch's file depends on the machine; what it needs in Python does not."""
    names = {name for name, *_ in BLOCKS}
    assert not [name for name in names if re.match(r"nvidia|cuda|triton|torch", name)]
    assert {"filelock", "sympy", "networkx", "jinja2", "fsspec", "typing-extensions"} <= names


@pytest.mark.parametrize(("python", "system", "machine"), PLATFORMS)
def test_the_lock_fits_pyproject(python, system, machine):
    """Fails where pyproject.toml was changed and `make lock` was not run."""
    pins, there = pinned(python, system, machine)
    wanted = [
        *PROJECT["dependencies"],
        *(
            line
            for extra in ("train", "serve", "scannetpp", "dev")
            for line in PROJECT["optional-dependencies"][extra]
        ),
    ]
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if (
            name in ("torch", "spar-kit")
            or requirement.marker
            and not requirement.marker.evaluate(there)
        ):
            continue
        assert requirement.specifier.contains(pins[name]), f"{requirement} is not {pins[name]}"


def test_every_dependency_has_a_lowest_version():
    """`make test-minimum` tries it; without one the resolver takes a version of ten years ago, or
    none that is meant."""
    every = [
        *PROJECT["dependencies"],
        *(line for lines in PROJECT["optional-dependencies"].values() for line in lines),
    ]
    assert not [
        line for line in every if not re.search(r">=|==", line) and not line.startswith("spar_kit[")
    ]


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_setup_installs_again_where_the_lock_or_the_choice_changes(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MAKE") and name not in ("VENV", "LOCK", "TORCH", "PYTHON")
    }
    for name in (".ci", "requirements", ".venv"):
        (tmp_path / name).mkdir()
    (tmp_path / ".ci/setup").write_text('#!/bin/sh\necho "$@" >> told\n')
    (tmp_path / ".ci/setup").chmod(0o755)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "requirements/lock.txt").touch()

    def told(*words):
        (tmp_path / "told").write_text("")
        done = subprocess.run(
            ["make", "setup", *words],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return [
            line
            for line in (tmp_path / "told").read_text().splitlines()
            if line.startswith("packages")
        ]

    assert told() == ["packages .venv requirements/lock.txt"] and told() == []
    (tmp_path / "requirements/lock.txt").write_text("renewed")
    assert told() == ["packages .venv requirements/lock.txt"] and told() == []
    assert told("LOCK=") == ["packages .venv "]
    (tmp_path / "requirements/lock.txt").write_text("renewed again")
    # the choice is kept without being named again
    assert told() == [] and told("LOCK=") == []
    assert (
        told("LOCK=requirements/lock.txt") == ["packages .venv requirements/lock.txt"]
        and told() == []
    )


def test_an_environment_equals_its_lock_until_another_version_is_installed(tmp_path, monkeypatch):
    copy = tmp_path / "copy.txt"
    monkeypatch.setattr(module, "installed_lock", lambda: copy)
    monkeypatch.setattr(doctor, "installed_lock", lambda: copy)
    assert lock_hash() == "" and "not installed from a lock" in doctor.lock().found
    copy.write_text(
        f"numpy=={version('numpy')} \\\n    --hash=sha256:00\nno-such-package==1 ; sys_platform =="
        " 'nowhere'\n"
    )
    assert (
        lock_hash() == hashlib.sha256(copy.read_bytes()).hexdigest()
        and lock_hash()[:12] in doctor.lock().found
    )
    copy.write_text("numpy==0.0.1 \\\n    --hash=sha256:00\nno-such-package==1\n")
    assert lock_hash() == "" and lock_differences(read_lock(copy.read_text())) == [
        f"numpy {version('numpy')} instead of 0.0.1",
        "no-such-package is missing instead of 1",
    ]
    assert doctor.lock().found.startswith("left: numpy") and str(copy) in doctor.lock().fix
    for content in (b"\xff\xfe not a lock", b"", b"# nothing pinned\n"):
        copy.write_bytes(content)
        assert lock_hash() == "" and "not installed from a lock" in doctor.lock().found


def test_the_environment_is_plain_and_costs_no_import():
    code = (
        "import sys\nfrom spar_kit.core.environment import environment\nenvironment()\nprint([name"
        " for name in ('torch', 'numpy', 'pandas', 'open3d') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        ).stdout
        == "[]\n"
    )
    here = environment()
    assert here["packages"]["numpy"] == version("numpy") and set(here) == {
        "python",
        "platform",
        "machine",
        "processor",
        "packages",
        "lock",
    }
    assert installed_versions(["numpy", "no-such-package"]) == {"numpy": version("numpy")}
