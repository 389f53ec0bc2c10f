"""The hard protocols, each as a model whose every history is searched (machine.h): lists.cc, batches.cc, mail.cc.

Always holds: a model is correct, and violates a law when one of its steps is left out, weakened or out of order; what
its functions do with shared memory in the code is what mirrored.txt says.
"""
import os
import pathlib
import subprocess

import mirrored
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("POOLALLOC_TEST_BUILD", ROOT / "build/test")) / "tests"
MODELS = ["lists", "batches", "mail"]


def search(model, *arguments, timeout=300):
    result = subprocess.run([BUILD / f"model-{model}", *arguments], capture_output=True, text=True, timeout=timeout)
    return result.returncode, result.stdout


def mutants(model):
    return search(model, "--mutants")[1].split()[1:]


@pytest.mark.parametrize("model", MODELS)
def test_all_laws_hold(model):
    status, out = search(model)
    assert status == 0, out


@pytest.mark.parametrize("model", MODELS)
def test_without_any_of_its_steps_a_law_is_violated(model):
    names = mutants(model)
    assert len(names) > 5
    for name in names:
        status, out = search(model, name)
        assert status == 1 and "violated" in out, f"{name}: {out}"


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_laws_hold_in_longer_histories(model):
    status, out = search(model, "correct", "deep", timeout=1800)
    assert status == 0, out


def test_code_is_what_the_models_mirror():
    assert mirrored.mirrored() == (pathlib.Path(__file__).parent / "mirrored.txt").read_text(), mirrored.__doc__
