"""What the project's scripts install, and what they do where they cannot.

Always holds: nothing is installed; apt-get is a script of the test's that leaves a mark and fails.
"""
import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def without_apt(tmp_path):
    """An environment in which nothing can be installed, and a mark that shows who tried."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in "apt-get", "sudo":
        (folder / name).write_text(f"#!/bin/sh\necho \"$*\" >> {tmp_path}/tried\nexit 1\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def test_bench_lists_its_programs_without_installing_anything(tmp_path, without_apt):
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rich', 'matplotlib'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Finder())\n")
    result = subprocess.run([ROOT / "scripts/bench", "--list"], env={**without_apt, "PYTHONPATH": str(tmp_path)},
                            capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "trees" in result.stdout and "redis" in result.stdout
    assert not (tmp_path / "tried").exists()


@pytest.fixture
def project(tmp_path):
    """Two folders of tests, of which one needs a package that nobody has."""
    root = tmp_path / "project"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/packages.sh", root / "scripts")
    for name, packages in ("plain", ""), ("needy", "no-such-package-1  # remark\nbash\nno-such-package-2\n"):
        (root / "tests" / name).mkdir(parents=True)
        (root / "tests" / name / "packages.txt").write_text(packages)
        (root / "tests" / name / f"test_{name}.py").write_text(f"def test_{name}():\n    pass\n")
    shutil.copy(ROOT / "tests/conftest.py", root / "tests")
    return root


def test_packages_are_those_of_the_selected_tests(tmp_path, project, without_apt):
    def run(*options):
        return subprocess.run(["/usr/bin/python3", "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", project / "tests", *options],
                              env=without_apt, capture_output=True, text=True, cwd=project)
    result = run("-k", "plain")
    assert result.returncode == 0 and "1 passed" in result.stdout
    assert not (tmp_path / "tried").exists()
    result = run()
    assert result.returncode == 0 and "1 passed, 1 skipped" in result.stdout
    assert "needs the packages no-such-package-1 no-such-package-2" in result.stdout
    assert "no-such-package-1" in (tmp_path / "tried").read_text()
    result = run("--demand-packages")
    assert result.returncode not in (0, 1) and "needs the packages no-such-package-1" in result.stderr


def test_continuous_integration_demands_all():
    assert "--demand-packages" in (ROOT / ".ci/run").read_text()
