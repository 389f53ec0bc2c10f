"""The fixtures of tests/programs, for programs whose packages are large.

What always holds: all tests here are slow ones.
"""
import importlib.util
import pathlib


HERE = pathlib.Path(__file__).resolve().parent
spec = importlib.util.spec_from_file_location("programs_conftest", HERE.parent / "programs/conftest.py")
shared = importlib.util.module_from_spec(spec)
spec.loader.exec_module(shared)

library, short_dir, programs = shared.library, shared.short_dir, shared.programs
nothing_left_running, wait_until_fixture = shared.nothing_left_running, shared.wait_until_fixture


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            assert item.get_closest_marker("slow"), f"{item.nodeid} is not marked slow"
