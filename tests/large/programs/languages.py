"""Language run-time systems: Java, node, PHP, R, Emacs.

Always holds: each script comes to sums that are known, or that are the same in each run, and prints nothing else.
"""
import re

from harness.job import DATA, digest
from harness.registry import check, program

COLLECTORS = "Serial", "Parallel", "G1", "Shenandoah", "Z"


@program("java", serves={"javac": 1000, "java": 5000})
def java(job):
    """compiles a program and runs it with five collectors: threads, short and long lives, direct buffers, zip, classes"""
    job.run("javac", "-J-Xmx256m", "-d", job.folder, DATA / "Stress.java")
    sums = {}
    for collector in COLLECTORS:
        shown = job.run("java", "-Xmx300m", f"-XX:+Use{collector}GC", "-XX:MaxDirectMemorySize=64m", "-Xlog:gc:gc.log",
                        "-cp", job.folder, "Stress", "8", "12").text
        found = re.fullmatch(r"sum (-?\d+), 96 tasks\n", shown)
        check(found, f"{collector}: {shown[-300:]}")
        count = len(re.findall(r"GC\(\d+\) [PGC]", (job.folder / "gc.log").read_text()))
        check(count > 5, f"{collector} has collected {count} times only")
        sums[collector] = found[1]
    check(len(set(sums.values())) == 1, f"collectors differ: {sums}")
    return sums


@program("node", serves={"node": 3000})
def node(job):
    """starts worker threads again and again, which compress, hash, sort and send each other buffers"""
    shown = job.run("node", "--max-old-space-size=512", DATA / "workers.js", "6", "8").text
    check(re.fullmatch(r"[0-9a-f]{64} from 48 workers\n", shown), shown[-300:])
    return shown


@program("php", serves={"php*": 1000})
def php(job):
    """runs generated files with and without the compiler of opcache, and with PHP's own allocator and malloc"""
    for k in range(60):
        functions = "".join(f"function f{k}_{i}(array $a, int $n): int {{ $s = {i}; foreach ($a as $x) "
                            f"{{ $s = ($s * 31 + $x + $n) % 1000003; }} return $s; }}\n" for i in range(40))
        (job.folder / f"part{k}.php").write_text(f"<?php\n{functions}")
    (job.folder / "main.php").write_text((DATA / "main.php").read_text())
    compiler = ["opcache.enable_cli=1", "opcache.jit_buffer_size=64M", "opcache.jit=tracing"]
    shown = {}
    for name, settings, env in (("interpreter", ["opcache.enable_cli=0"], {}),
                                ("opcache", ["opcache.enable_cli=1", "opcache.jit=0"], {}),
                                ("compiler", compiler, {}),
                                ("malloc", ["opcache.enable_cli=1"], {"USE_ZEND_ALLOC": "0"})):
        settings = ["opcache.file_update_protection=0", "memory_limit=512M", *settings]
        shown[name] = job.run("php", *(word for each in settings for word in ("-d", each)), "main.php", env=env).text
    check(len(set(shown.values())) == 1 and re.fullmatch(r"[0-9a-f]{64} 2400\n", shown["malloc"]), f"{shown}")
    return shown["malloc"]


@program("rscript", serves={"R": 20000})
def rscript(job):
    """fits models, multiplies and inverts matrices, sorts, matches texts, and collects its own garbage"""
    shown = job.run("Rscript", "--vanilla", DATA / "work.R").text
    check("inverse is right" in shown and shown.endswith("done\n"), shown[-300:])
    return shown


@program("emacs", serves={"emacs*": 20000})
def emacs(job):
    """compiles generated Lisp, edits a large buffer by regular expressions, sorts it, and exports an outline"""
    functions = "".join(f'(defun f{i} (a b) "Doc {i}." (let ((x (list a b {i}))) (mapcar (lambda (y) (+ y {i})) x)))\n'
                        for i in range(1500))
    (job.folder / "functions.el").write_text(";;; -*- lexical-binding: t -*-\n" + functions)
    shown = job.run("emacs", "--batch", "--quick", "--load", DATA / "work.el").text
    check("sum 1124250" in shown and "done" in shown, shown[-300:])
    return [shown, digest(job.folder / "outline.html")]
