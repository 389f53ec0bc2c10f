"""The command `poolalloc`: which library it puts under a program, and what it says of one.

Always holds: the release build is there (./scripts/test makes it), so nothing is built or installed.
"""
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LOADED = ["sh", "-c", "grep -o 'libpoolalloc[-a-z]*[.]so' /proc/self/maps | sort -u"]
KINDS = [([], "libpoolalloc.so"), (["--secure"], "libpoolalloc-secure.so")]


def poolalloc(*words, root=ROOT):
    return subprocess.run([root / "scripts/poolalloc", *words], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("options, library", KINDS)
def test_run_and_path_name_the_library_that_was_asked_for(options, library):
    result = poolalloc("run", *options, *LOADED)
    assert (result.returncode, result.stdout, result.stderr) == (0, library + "\n", "")
    path = poolalloc("path", *options).stdout.strip()
    assert path.endswith("/" + library) and pathlib.Path(path).exists()
    loaded = subprocess.run(LOADED, env={"LD_PRELOAD": path, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert (loaded.stdout, loaded.stderr) == (library + "\n", "")


def test_both_libraries_from_a_folder_whose_name_cannot_be_preloaded(tmp_path):
    root = tmp_path / "a folder: two libraries"
    for name in "scripts", "lib", "interpose":
        shutil.copytree(ROOT / name, root / name)
    shutil.copy(ROOT / "meson.build", root)
    (root / "build/release").mkdir(parents=True)
    for _, library in KINDS:
        shutil.copy(ROOT / "build/release" / library, root / "build/release")
    (root / "build/release.built").touch()
    for options, library in KINDS * 2:
        result = poolalloc("run", *options, *LOADED, root=root)
        assert (result.returncode, result.stdout, result.stderr) == (0, library + "\n", "")


@pytest.mark.parametrize("options, library", KINDS)
def test_check_looks_into_a_process(options, library):
    with subprocess.Popen([ROOT / "scripts/poolalloc", "run", *options, "sh", "-c", "echo started; read line"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "started\n"
        said = poolalloc("check", str(process.pid))
        process.communicate("\n")
    assert said.stdout.startswith(f"yes: libpoolalloc serves process {process.pid} ("), said


@pytest.mark.parametrize("words", [["run"], ["run", "--fast", "true"], ["path", "--fast"], ["check"], ["help", "nothing"]])
def test_wrong_words_give_one_line(words):
    result = poolalloc(*words)
    assert result.returncode != 0 and result.stdout == ""
    assert result.stderr.startswith("poolalloc: ") and result.stderr.count("\n") == 1
