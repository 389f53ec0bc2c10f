"""Where things are, messages, packages that are needed, and a description of this machine.

Always holds: what is wrong is said in one line that begins with `bench: `; packages are installed by
scripts/common.sh and by nothing else.
"""
import datetime
import os
import pathlib
import platform
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests/bench"
# Variables that change how an allocator behaves; their values belong to the figures.
TELLING = ("POOLALLOC_", "MALLOC_", "MIMALLOC_", "TCMALLOC_", "GLIBC_TUNABLES", "TBB_MALLOC_")


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def fail(text, status=2):
    """Ends with a message; status 2 is for wrong input, 1 for what failed in spite of right input."""
    say(text)
    raise SystemExit(status)


def common(function, *arguments):
    """Calls a function of scripts/common.sh; whether it succeeded. It says itself what went wrong."""
    script = f'. "$1" && shift && {function} "$@"'
    return subprocess.run(["bash", "-c", script, "bench", ROOT / "scripts/common.sh", *arguments]).returncode == 0


def install(packages, purpose):
    if not common("install_packages", *packages):
        fail(f"{purpose} needs {' '.join(packages)}", 1)


def has_module(name):
    import importlib.util
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def need_module(name, package, purpose):
    """Installs the package of a Python module unless the module is there."""
    if not has_module(name):
        install([package], purpose)
        import importlib
        importlib.invalidate_caches()


def package_list(path):
    """The packages that a list names, one a line, # to the end of the line for remarks."""
    names = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [name for name in names if name]


def field(path, name):
    """The first value of a field in a file of /proc, "name : value"."""
    try:
        for line in pathlib.Path(path).read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    except OSError:
        pass
    return ""


def available_mebibytes():
    value = field("/proc/meminfo", "MemAvailable").split()
    return int(value[0]) // 1024 if value else 4096


def warn_if_busy():
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        say(f"this machine is busy (load {load:.1f}): expect wide spreads")


def describe():
    """What a reader of the figures should know about this machine."""
    try:
        distribution = platform.freedesktop_os_release().get("PRETTY_NAME", "")
        huge_pages = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
        huge = huge_pages.read_text().strip() if huge_pages.exists() else ""
    except OSError:
        distribution, huge = "", ""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "processor": field("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": os.cpu_count(),
        "memory_mib": int((field("/proc/meminfo", "MemTotal") or "0").split()[0]) // 1024,
        "kernel": platform.release(),
        "distribution": distribution,
        "libc": " ".join(platform.libc_ver()),
        "transparent_huge_pages": huge,
        "load": list(os.getloadavg()),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(TELLING)},
    }


def one_line(machine):
    return (f"{machine['processor']}, {machine['processors']} processors, {machine['memory_mib'] / 1024:.0f} GiB, "
            f"Linux {machine['kernel']}, {machine['distribution']}, {machine['libc']}")
