"""The layers of the source tree: who may include whom, and what stays where.

Always holds: arrows point one way (lib/README.md draws them); system calls stand in one file; the
library uses C headers only, no C++ runtime.
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAY_USE = {
    "base": set(),
    "os": {"base"},
    "pool": {"base"},
    "chunk": {"base", "os", "pool"},
    "heap": {"base", "os", "pool", "chunk"},
    "hardened": {"base", "os", "pool", "chunk", "heap"},
    "inspect": {"base", "os", "pool", "chunk", "heap"},
    "api": {"base", "os", "pool", "chunk", "heap", "hardened", "inspect"},
    "interpose": {"base", "os", "api"},
}
C_HEADERS = re.compile(r"^[a-z0-9_/]+\.h$")


def sources():
    for folder in ("lib", "interpose"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in {".h", ".cc", ".def"}:
                layer = "interpose" if folder == "interpose" else path.relative_to(ROOT / "lib").parts[0]
                yield path, layer, path.read_text()


def test_includes_point_one_way():
    wrong = []
    for path, layer, text in sources():
        for included in re.findall(r'#include "([^"]+)"', text):
            other = included.split("/")[0] if "/" in included else layer
            if included == "poolalloc_pool.h":
                other = "pool"
            if other != layer and other not in MAY_USE[layer]:
                wrong.append(f"{path.relative_to(ROOT)} includes {included}")
    assert not wrong


def test_system_headers_are_c():
    wrong = [
        f"{path.relative_to(ROOT)} includes <{name}>"
        for path, _, text in sources()
        for name in re.findall(r"#include <([^>]+)>", text)
        if not C_HEADERS.match(name)
    ]
    assert not wrong


def test_system_calls_stand_in_the_os_layer():
    call = re.compile(r"\b(mmap|munmap|madvise|mremap|mprotect|futex|syscall|system_call|kernel_call|kernel_call_as_is)\s*\(")
    users = {path.name for path, _, text in sources() if call.search(re.sub(r"//.*", "", text))}
    assert users == {"os_linux.cc", "access_fault_linux.cc", "chaos_linux.cc", "clock_linux.cc", "copy_linux.cc", "file_linux.cc", "place_linux.cc", "proc_linux.cc", "scan_linux.cc",
                     "system_call.h", "tested_pages_linux.cc"}


def test_pools_know_neither_atomics_nor_system_calls():
    for path, layer, text in sources():
        if layer == "pool":
            assert "Atomic<" not in text, path
            assert not re.search(r"\bos_", text), path


def test_every_file_says_what_it_is():
    wrong = [str(path.relative_to(ROOT)) for path, _, text in sources() if not text.startswith(("//", "/*"))]
    assert not wrong


def test_files_have_one_job():
    long_files = [f"{path.relative_to(ROOT)}: {len(text.splitlines())}" for path, _, text in sources()
                  if len(text.splitlines()) > 450]
    assert not long_files
