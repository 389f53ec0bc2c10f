"""What all tests share.

Always holds: tests marked `slow` run only with --slow; the library under test is POOLALLOC_LIB, by
default the release build; programs start with every signal at its default, whatever the shell ignores; the packages that
the folders of the selected tests name are there, or these tests are skipped.
"""
import collections
import os
import pathlib
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
os.environ.setdefault("POOLALLOC_LIB", str(ROOT / "build/release/libpoolalloc.so"))


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")
    parser.addoption("--demand-packages", action="store_true", help="fail where a package cannot be installed")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes long; only with --slow")
    # A shell's background job ignores SIGINT and SIGQUIT, and so would every program that the tests start.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def packages_of(folder):
    """The packages that a folder's tests need, for as long as they are the same."""
    listed = folder / "packages.txt"
    names = (line.partition("#")[0].strip() for line in listed.read_text().splitlines()) if listed.exists() else ()
    return [name for name in names if name]


def missing_packages(names):
    """Those that are not there, and cannot be installed."""
    def absent():
        shown = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Status}\n", *names], capture_output=True, text=True)
        present = {line.split()[0] for line in shown.stdout.splitlines() if line.endswith(" ok installed")}
        return [name for name in names if name not in present]
    if not absent():
        return []
    script = f'. "{ROOT}/scripts/packages.sh" && install_packages {" ".join(names)}'
    subprocess.run(["bash", "-c", script])
    return absent()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    if config.getoption("collectonly"):
        return
    folders = collections.defaultdict(list)
    for item in items:
        folders[item.path.parent].append(item)
    for folder, its in folders.items():
        missing = missing_packages(packages_of(folder))
        if not missing:
            continue
        reason = f"needs the package{'s' if len(missing) > 1 else ''} {' '.join(missing)}"
        if config.getoption("--demand-packages"):
            raise pytest.UsageError(f"{folder.name} {reason}")
        for item in its:
            item.add_marker(pytest.mark.skip(reason=reason))
