"""The libraries that are compared: glibc, this project's, Debian's packages of others, and any given by path.

Always holds: every library is a path or name that LD_PRELOAD can hold, glibc's too, so that a program which
is linked with an allocator of its own (as Debian's redis-server is) is served by the one it is measured with.
"""
import dataclasses
import os
import pathlib
import re
import subprocess

from .machine import ROOT, fail, install

OURS = "poolalloc"
GLIBC = "glibc"


@dataclasses.dataclass
class Allocator:
    name: str
    library: str
    version: str = ""

    @property
    def is_ours(self):
        """poolalloc, and builds of it under names such as poolalloc-old, are nobody's peer."""
        return self.name.startswith(OURS)


# name: its packages (a newer release's name first), and the library's file name.
PEERS = {
    "mimalloc": (["libmimalloc2.0"], r"libmimalloc\.so\.\d+"),
    "jemalloc": (["libjemalloc2"], r"libjemalloc\.so\.\d+"),
    "tcmalloc": (["libtcmalloc-minimal4t64", "libtcmalloc-minimal4"], r"libtcmalloc_minimal\.so\.\d+"),
    "tbbmalloc": (["libtbbmalloc2"], r"libtbbmalloc_proxy\.so\.\d+"),
}


def output_of(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except FileNotFoundError:
        return ""


def install_peers():
    packages = []
    for alternatives, _ in PEERS.values():
        known = [package for package in alternatives if output_of("apt-cache", "show", package)]
        packages.append((known or alternatives)[-1 if not known else 0])
    install(packages, "--install-peers")


def package_version(library):
    """The package that brought a library, with its version, or nothing."""
    package = output_of("dpkg", "-S", os.path.realpath(library)).partition(":")[0]
    return output_of("dpkg-query", "-W", "-f", "${Package} ${Version}", package) if package else ""


def is_64_bit(path):
    with open(path, "rb") as file:
        return file.read(5) == b"\x7fELF\x02"


def installed_peers():
    """Every peer that the loader finds, by name."""
    listed = output_of("/sbin/ldconfig", "-p")
    found = {}
    for name, (_, pattern) in PEERS.items():
        paths = re.findall(rf"^\s*{pattern} .*=> (\S+)$", listed, re.MULTILINE)
        path = next((path for path in paths if is_64_bit(path)), None)
        if path:
            found[name] = Allocator(name, path, package_version(path))
    return found


def given(arguments):
    """Allocators given as NAME=LIBRARY.so."""
    found = {}
    for argument in arguments:
        name, _, path = argument.partition("=")
        if not re.fullmatch(r"[A-Za-z0-9_.+-]+", name) or not pathlib.Path(path).is_file():
            fail(f"{argument}: expected NAME=LIBRARY.so with a library that exists")
        if name in found:
            fail(f"{name} is given twice")
        path = os.path.abspath(path)
        if re.search(r"[\s:]", path):
            fail(f"{path}: a path with spaces or colons cannot be preloaded")
        found[name] = Allocator(name, path, package_version(path))
    return found


def choose_peers(choice):
    if choice == "none":
        return {}
    installed = installed_peers()
    if choice == "auto":
        return installed
    names = list(filter(None, choice.split(",")))
    for name in names:
        if name not in PEERS:
            fail(f"--peers: {name} is none of {', '.join(PEERS)}; name others as NAME=LIBRARY.so")
        if name not in installed:
            fail(f"--peers: {name} is not installed (scripts/bench --install-peers)")
    return {name: installed[name] for name in names}


def our_library():
    path = os.environ.get("POOLALLOC_LIB")
    if path:
        if not pathlib.Path(path).is_file():
            fail(f"POOLALLOC_LIB: {path}: no such library")
        return os.path.abspath(path)
    result = subprocess.run([ROOT / "scripts/poolalloc", "path"], stdout=subprocess.PIPE, text=True)
    if result.returncode != 0:
        fail("the library could not be built", 1)
    return result.stdout.strip()


def chosen(peers, arguments, base):
    """All allocators of this call by name: glibc, ours, peers, those given (which replace others of their name)."""
    extra = given(arguments)
    others = {**choose_peers(peers), **extra}
    found = {GLIBC: Allocator(GLIBC, "libc.so.6", " ".join(os.confstr("CS_GNU_LIBC_VERSION").split()[1:]))}
    found[OURS] = extra[OURS] if OURS in extra else None
    found.update(others)
    if base not in found:
        fail(f"--base: {base} is none of {', '.join(found)}")
    if found[OURS] is None:
        found[OURS] = Allocator(OURS, our_library())
    return found
