"""What all tests share.

Always holds: tests marked `slow` run only with --slow; the library under test is POOLALLOC_LIB, by
default the release build; programs start with every signal at its default, whatever the shell ignores.
"""
import os
import pathlib
import signal

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("POOLALLOC_LIB", str(ROOT / "build/release/libpoolalloc.so"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long; only with --slow")
    # A shell's background job ignores SIGINT and SIGQUIT, and so would every program that the tests start.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
