"""Real programs that allocate much: what each stands for, its command line, and the input it gets.

Always holds: inputs are made up in the folder of this call; a program prints the same whenever it succeeds,
uses no network, and runs about a second; one that is not installed is named and left out.
"""
import dataclasses
import shutil
import typing

from . import inputs
from .machine import SOURCES, say
from .programs import Program

SCRIPTS = SOURCES / "scripts"
PYTHON = {"PYTHONMALLOC": "malloc", "PYTHONHASHSEED": "0"}
PYTHON_ARENAS = {"PYTHONMALLOC": "pymalloc", "PYTHONHASHSEED": "0"}


class Files:
    """Inputs in a folder, written once each; part is the share of the usual size."""

    def __init__(self, folder, part):
        self.folder = folder
        self.part = part

    def size(self, count):
        return max(1, int(count * self.part))

    def written(self, name, make, count):
        path = self.folder / name
        if not path.exists():
            path.write_text(make(self.size(count)))
        return str(path)


@dataclasses.dataclass
class Real:
    name: str
    stands_for: str
    executable: str
    command: typing.Callable  # Files -> the words behind the executable
    environment: dict = dataclasses.field(default_factory=dict)
    stdin: typing.Optional[typing.Callable] = None
    quick: bool = False
    more: tuple = ()  # further executables
    is_asked_for: bool = False  # runs only where --only names it


REAL = [
    Real("g++", "compiling C++ with GCC", "g++", lambda files: [
        "-std=c++17", "-O2", "-c", "-o", files.folder / "gcc.o", files.written("gcc.cc", inputs.cpp_source, 2)]),
    Real("clang++", "compiling C++ with LLVM", "clang++", lambda files: [
        "-std=c++17", "-O2", "-c", "-o", files.folder / "clang.o", files.written("clang.cc", inputs.cpp_source, 2)]),
    Real("python-json", "services in Python, PYTHONMALLOC=malloc: JSON read, regrouped, written", "/usr/bin/python3", lambda files: [
        SCRIPTS / "json_objects.py", files.written("records.json", inputs.json_text, 30000)], PYTHON, quick=True),
    Real("python-ast", "tools in Python, PYTHONMALLOC=malloc: syntax trees, dicts and sets of tuples", "/usr/bin/python3", lambda files: [
        SCRIPTS / "syntax_trees.py", files.written("source.py", inputs.python_source, 1200)], PYTHON),
    Real("python-json-arenas", "python-json as Python comes: small objects in arenas of its own", "/usr/bin/python3", lambda files: [
        SCRIPTS / "json_objects.py", files.written("records.json", inputs.json_text, 30000)], PYTHON_ARENAS, is_asked_for=True),
    Real("python-ast-arenas", "python-ast as Python comes: small objects in arenas of its own", "/usr/bin/python3", lambda files: [
        SCRIPTS / "syntax_trees.py", files.written("source.py", inputs.python_source, 1200)], PYTHON_ARENAS, is_asked_for=True),
    Real("perl", "text processing in Perl: hashes of hashes, split, sort, join", "perl", lambda files: [
        SCRIPTS / "words.pl", files.written("lines", inputs.lines_text, 90000)], {"PERL_HASH_SEED": "0"}, quick=True),
    Real("ruby", "scripts in Ruby: objects, arrays and strings under a collector", "ruby", lambda files: [
        SCRIPTS / "objects.rb", files.written("lines", inputs.lines_text, 90000)]),
    Real("lua", "embedded scripts in Lua: tables and strings", "lua5.4", lambda files: [
        SCRIPTS / "tables.lua", files.size(50000)]),
    Real("z3", "solvers: many small problems asked of Z3", "z3", lambda files: [
        files.written("problems-z3.smt2", inputs.verifier_text, 250)]),
    Real("cvc5", "solvers: many small problems asked of cvc5", "cvc5", lambda files: [
        "--incremental", files.written("problems-cvc5.smt2", inputs.verifier_text, 35)]),
    Real("sqlite", "databases in memory: inserts, indexes, joins, groups", "sqlite3", lambda files: [":memory:"],
         stdin=lambda files: files.written("statements.sql", inputs.sql_text, 110000), quick=True),
    Real("xmllint", "documents: a large XML file as a tree, searched", "xmllint", lambda files: [
        "--xpath", "count(//book[price>50]/tag)", files.written("books.xml", inputs.xml_text, 150000)]),
    Real("jq", "JSON on the command line: grouped and rebuilt", "jq", lambda files: [
        "-c", "-f", SCRIPTS / "group.jq", files.written("records.json", inputs.json_text, 30000)], quick=True),
    Real("gawk", "reports: associative arrays of strings in awk", "gawk", lambda files: [
        "-f", SCRIPTS / "groups.awk", files.written("lines", inputs.lines_text, 90000)]),
    Real("redis", "data servers: Redis loaded with strings, hashes, lists and sorted sets", "sh", lambda files: [
        SCRIPTS / "load_redis.sh", files.written("commands", inputs.redis_commands, 400000), files.folder],
         more=("redis-server", "redis-cli")),
]


def real_names(quick):
    return [real.name for real in REAL if (real.quick or not quick) and not real.is_asked_for]


def real_programs(names, folder, part):
    """The programs of these names that are installed."""
    files = Files(folder, part)
    for real in REAL:
        if real.name not in names:
            continue
        missing = [name for name in (real.executable, *real.more) if shutil.which(name) is None]
        if missing:
            say(f"{real.name}: {' and '.join(missing)} not installed, left out (scripts/bench --install-programs)")
            continue
        command = [real.executable, *map(str, real.command(files))]
        stdin = real.stdin(files) if real.stdin else None
        environment = {"LC_ALL": "C", **real.environment}
        yield Program(real.name, real.stands_for, command, "real", environment, stdin, same_output=True)
