"""Atomic operations do what their names say (lib/base/atomic.h): compiled for a processor that has an instruction for
each order, where the one at hand would hide it.

Always holds: every operation that the header has is looked at.
"""
import pathlib
import platform
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = ROOT / "lib/base/atomic.h"
NAME = re.compile(r"\b((load|store|exchange|cas_weak|cas|add|sub|or|and)_(relaxed|acquire|release|acq_rel|seq_cst))\(")
CALLS = {"load": "return a.NAME();", "store": "a.NAME(v); return 0;", "cas": "Word e = v; return a.NAME(e, v + 1);",
         "cas_weak": "Word e = v; return a.NAME(e, v + 1);"}
# What g++ calls its functions for operations that read and write, and the instructions of the others.
ORDERS = {"relaxed": "relax", "acquire": "acq", "release": "rel", "acq_rel": "acq_rel", "seq_cst": "acq_rel"}
INSTRUCTIONS = {"load_relaxed": "ldr", "load_acquire": "ldap?r", "load_seq_cst": "ldar", "store_relaxed": "str",
                "store_release": "stlr"}


def operations():
    """The names, the kinds and the orders of all that the header has."""
    return sorted({match.groups() for match in NAME.finditer(HEADER.read_text())})


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """code[name]: the instructions of a function that is that operation, and nothing besides."""
    lines = ['#include "base/atomic.h"', "using Word = unsigned long; using namespace poolalloc; using A = Atomic<Word>;"]
    for name, kind, _ in operations():
        call = CALLS.get(kind, "return a.NAME(v);").replace("NAME", name)
        lines.append(f'extern "C" Word does_{name}(A& a, Word v) {{ {call} }}')
    source = tmp_path_factory.mktemp("orders") / "orders.cc"
    source.write_text("\n".join(lines) + "\n")
    command = ["aarch64-linux-gnu-g++", "-std=c++20", "-O2", "-moutline-atomics", "-S", f"-I{ROOT / 'lib'}", source, "-o", "-"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^does_(\w+):\n(.*?)^\s+\.size", text, re.MULTILINE | re.DOTALL))


def test_the_header_has_operations_of_every_order():
    assert len(operations()) > 15
    assert {order for _, _, order in operations()} == set(ORDERS)


@pytest.mark.parametrize("name, kind, order", operations(), ids=lambda word: word)
def test_an_operation_has_the_order_in_its_name(code, name, kind, order):
    if name in INSTRUCTIONS:
        assert re.search(rf"^\s+{INSTRUCTIONS[name]}\t[wx]\d+, \[x0\]", code[name], re.MULTILINE), code[name]
    else:
        assert re.findall(r"__aarch64_[a-z]+8_([a-z_]+)", code[name]) == [ORDERS[order]], code[name]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere a weaker fence is the same instruction")
def test_the_fence_is_a_full_one(tmp_path):
    # Here it is the only order that a store and a later load do not have by themselves.
    source = tmp_path / "fence.cc"
    source.write_text('#include "base/atomic.h"\nextern "C" void does_fence() { poolalloc::fence_seq_cst(); }\n')
    text = subprocess.run(["g++", "-std=c++20", "-O2", "-S", f"-I{ROOT / 'lib'}", source, "-o", "-"], capture_output=True,
                          text=True, check=True).stdout
    assert re.search(r"^\s+(mfence|lock\b)", text, re.MULTILINE), text
