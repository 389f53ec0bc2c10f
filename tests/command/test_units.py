"""The parts of the command's Python package, each by itself.

Always holds: nothing is run but Python.
"""
import pathlib
import struct
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from poolalloc_cli import amounts, compare, places, programs, stats_file  # noqa: E402


@pytest.mark.parametrize("count, text", [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"),
                                         (5 << 40, "5.0 TiB"), (5 << 50, "5120.0 TiB"), ((1 << 64) - 1, "unlimited")])
def test_sizes(count, text):
    assert amounts.size_text(count) == text


@pytest.mark.parametrize("seconds, text", [(0.00123, "1.23 ms"), (0.5, "500 ms"), (1.234, "1.23 s"), (99.5, "99.50 s"), (1234, "1234 s")])
def test_times(seconds, text):
    assert amounts.time_text(seconds) == text


def test_tables_align_figures_to_the_right():
    assert amounts.table_lines(["a", "what"], [["1", "x"], ["1000", "yy"]]) == ["   a  what", "   1  x", "1000  yy"]


@pytest.mark.parametrize("line, program", [
    ("/bin/sh", "/bin/sh"), ("/usr/bin/perl -w -T", "/usr/bin/perl"), ("/usr/bin/env python3", "python3"),
    ("/usr/bin/env -S python3 -u", "python3"), ("/usr/bin/env -S A=1 B='x y' prog -z", "prog"), ("/usr/bin/env -i X=1 prog", "prog"),
    ("/usr/bin/env -u HOME prog", "prog"), ("/usr/bin/env -S -u HOME -C /tmp prog", "prog"), ("env -Sprog", "prog")])
def test_interpreters(line, program):
    assert programs.interpreter_command(line) == program


@pytest.mark.parametrize("line", ["", "/usr/bin/env", "/usr/bin/env -S A=1"])
def test_scripts_without_an_interpreter(line):
    with pytest.raises(places.Failed):
        programs.interpreter_command(line)


def figures(process, parent, program, started, resident):
    return stats_file.LAYOUT.pack(stats_file.MAGIC, stats_file.LAYOUT.size, 1, process, parent, program.encode(), started, started + 5,
                                  *range(4), resident, *range(7))


def test_files_of_figures(tmp_path):
    (tmp_path / "10.1").write_bytes(figures(10, 1, "sh", 100, 1000) + b"\0" * 256)
    (tmp_path / "11.1").write_bytes(figures(11, 10, "small", 101, 10))
    (tmp_path / "12.1").write_bytes(figures(12, 10, "large", 102, 5000))
    (tmp_path / "12.2").write_bytes(figures(12, 10, "larger", 103, 9000))
    (tmp_path / "13.1").write_bytes(figures(13, 12, "child", 104, 1))
    (tmp_path / "14.1").write_bytes(b"\0" * 500)  # not written yet
    (tmp_path / "15.1").write_bytes(b"x")
    found = stats_file.read_folder(tmp_path)
    assert [each.program for each in found] == ["sh", "small", "large", "larger", "child"]
    assert found[0].peak_resident == 1000 and found[0].ended == 1

    def shape(node):
        return node.figures.program, [shape(child) for child in node.children]
    (root,) = stats_file.tree(found, 10)
    # What another program became by exec stands below it.
    assert shape(root) == ("sh", [("large", [("larger", [("child", [])])]), ("small", [])])
    assert root.largest() == 9000


def test_the_layout_is_that_of_the_library():
    text = (ROOT / "lib/api/stats_file.h").read_text()
    body = text[text.index("struct StatsFile {"):text.index("};")]
    size = 0
    for line in body.splitlines()[1:]:
        words = line.split("//")[0].replace(",", " ").replace(";", " ").split()
        if words[:1] == ["char"]:
            size += int(words[1].split("[")[1].rstrip("]"))
        elif words:
            size += {"uint32_t": 4, "uint64_t": 8}[words[0]] * (len(words) - 1)
    assert size == stats_file.LAYOUT.size == struct.calcsize(stats_file.LAYOUT.format)


def samples(ours, memory):
    return {"glibc": [(1.0, 1.0, 100, 0)] * 3, "poolalloc": [(ours, ours, memory, 0)] * 3}


@pytest.mark.parametrize("time, memory, begin", [
    (1.0, 100, "advice: no difference that counts"), (0.8, 100, "advice: use it: 20 % less processor time"),
    (0.8, 80, "advice: use it: 20 % less processor time and 20 % less memory"), (1.2, 110, "advice: do not use it here"),
    (0.8, 150, "advice: 20 % less processor time and 50 % more memory: it depends")])
def test_advice(time, memory, begin):
    assert compare.advice(samples(time, memory)).startswith(begin)
