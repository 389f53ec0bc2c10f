"""Version control, compilers, build tools and the debugger.

What always holds: with the library the compilers write byte-identical objects
and programs, git writes the same objects, and the debugger shows the same.
"""

import re

import pytest

STL_PROGRAM = r'''
#include <algorithm>
#include <deque>
#include <functional>
#include <iostream>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

template <int N> struct fold { static std::string name() { return fold<N - 1>::name() + char('a' + N % 26); } };
template <> struct fold<0> { static std::string name() { return ""; } };
struct base { virtual ~base() = default; virtual long value() const = 0; };
template <class T> struct leaf : base { T t; leaf(T v) : t(v) {} long value() const override { return long(t); } };
struct alignas(128) wide { char bytes[128]; };

int main() {
    std::map<std::string, std::vector<int>> map;
    for (int i = 0; i < 20000; i++) map["key" + std::to_string(i % 3000)].push_back(i);
    std::unordered_map<int, std::list<std::string>> table;
    for (auto &[k, v] : map) table[int(v.size())].push_back(k);
    std::vector<std::unique_ptr<base>> items;
    for (int i = 0; i < 10000; i++)
        if (i & 1) items.push_back(std::make_unique<leaf<int>>(i)); else items.push_back(std::make_unique<leaf<double>>(i / 2.0));
    std::cout << map.size() << ' ' << table.size() << ' '
              << std::accumulate(items.begin(), items.end(), 0L, [](long s, auto &p) { return s + p->value(); }) << '\n';
    std::vector<wide> wides(100);
    std::cout << reinterpret_cast<std::uintptr_t>(wides.data()) % 128 << ' ' << fold<60>::name() << '\n';
    std::mutex lock;
    std::multiset<long> sums;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; t++)
        threads.emplace_back([&, t] {
            std::deque<std::string> q;
            for (int i = 0; i < 20000; i++) { q.push_back(std::string(i % 200, 'x')); if (q.size() > 500) q.pop_front(); }
            long n = t; for (auto &s : q) n += long(s.size());
            std::lock_guard hold(lock); sums.insert(n);
        });
    for (auto &t : threads) t.join();
    std::ostringstream out;
    std::copy(sums.begin(), sums.end(), std::ostream_iterator<long>(out, ","));
    std::cout << out.str() << '\n';
    try { throw std::runtime_error("thrown"); } catch (std::exception &e) { std::cout << e.what() << '\n'; }
    return 7;
}
'''

MAKEFILE = """
OBJECTS = $(patsubst %,part%.o,$(shell seq 1 12))
LINES := $(foreach a,$(shell seq 1 60),$(foreach b,$(shell seq 1 60),$(a)x$(b)))
all: program
	@echo $(words $(LINES)) $(word 777,$(LINES)); ./program
program: main.o $(OBJECTS)
	@$(CC) -o $@ $^
%.o: %.c
	@$(CC) -O1 -c -o $@ $<
"""


def write_parts(directory):
    """A C program in 13 files."""
    for n in range(1, 13):
        (directory / f"part{n}.c").write_text(
            f"#include <stdio.h>\n#include <string.h>\nint part{n}(int x) {{ char b[64]; snprintf(b, 64, \"%d\", x * {n});"
            f" return (int)strlen(b) + x % {n}; }}\n")
    (directory / "main.c").write_text(
        "#include <stdio.h>\n" + "".join(f"int part{n}(int);\n" for n in range(1, 13))
        + "int main(void) { long s = 0; for (int i = 0; i < 1000; i++) s += "
        + " + ".join(f"part{n}(i)" for n in range(1, 13)) + "; printf(\"sum %ld\\n\", s); return 0; }\n")


@pytest.mark.parametrize("compiler, package", [("g++", "g++"), ("clang++", "clang")])
def test_compiler_makes_identical_objects_from_stl_code(programs, compiler, package):  # COMPAT 66
    programs.need(package)
    source = programs.tmp / "stl.cc"
    source.write_text(STL_PROGRAM)
    result = programs.same(
        ["bash", "-c", f"set -e; {compiler} -std=c++17 -O1 -g -Wall -pthread -c {source} -o stl.o;"
                       f"{compiler} -pthread stl.o -o stl; ./stl"], files=["stl.o", "stl"], status=7)
    assert "thrown" in result.out and "\n0 " in result.out


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_compiler_reports_the_same_errors(programs, compiler):  # COMPAT 66
    source = programs.tmp / "bad.c"
    source.write_text("#include <stdio.h>\nstruct s { int a; };\nint f(struct s *p) { return p->b + undeclared; }\n"
                      "int g(void) { return f(3, 4) }\n" + "int x = y;\n" * 30)
    assert "undeclared" in programs.same([compiler, "-Wall", "-c", source], status=1).err


def test_gcc_links_with_lto_the_same(programs):  # COMPAT 66
    result = programs.same(["bash", "-c", "gcc -O2 -flto=2 -frandom-seed=1 *.c -o program && ./program"],
                           setup=write_parts, files=["program"])
    assert "sum " in result.out


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_parallel_make(programs, compiler):  # COMPAT 66
    programs.need(compiler)

    def setup(directory):
        write_parts(directory)
        (directory / "Makefile").write_text(MAKEFILE)
    result = programs.same(["make", "-s", "-j4", f"CC={compiler}"], setup=setup, files=["*.o", "program"])
    assert result.out.startswith("3600 ") and len(result.files) == 14


@pytest.mark.parametrize("generator", ["Ninja", "Unix Makefiles"])
def test_cmake_configures_and_builds(programs, generator):  # COMPAT 66
    programs.need("ninja")

    def setup(directory):
        write_parts(directory)
        (directory / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.20)\nproject(parts C)\nfile(GLOB parts part*.c)\n"
            "add_library(parts STATIC ${parts})\nadd_executable(program main.c)\n"
            "target_link_libraries(program parts)\nenable_testing()\nadd_test(NAME run COMMAND program)\n"
            "foreach(i RANGE 5000)\n  list(APPEND all item${i})\nendforeach()\nlist(LENGTH all n)\n"
            "string(REPLACE item x text \"${all}\")\nstring(SHA1 sum \"${text}\")\nmessage(STATUS \"${n} ${sum}\")\n")
    result = programs.same(
        ["bash", "-c", f"set -e; cmake -G '{generator}' -S . -B b >log; grep -E '^-- [0-9]+ ' log;"
                       "cmake --build b -j2 >log; b/program; cd b; ctest -j2 | grep passed"],
        setup=setup, files=["b/program", "b/**/*.o"])
    assert "sum " in result.out and "100% tests passed" in result.out


GIT_SCRIPT = r"""
set -e
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=c GIT_COMMITTER_EMAIL=c@x GIT_CONFIG_NOSYSTEM=1
git init -q -b main repo; cd repo
git config gc.auto 0; git config gc.autoDetach false
mkdir -p src doc
for i in $(seq 1 60); do
    export GIT_AUTHOR_DATE="@$((1600000000 + i * 60)) +0000" GIT_COMMITTER_DATE="@$((1600000000 + i * 60)) +0000"
    seq $i $((i + 400)) >src/file$((i % 7)); echo "$i line" >>doc/log
    git add -A; git commit -q -m "commit $i"
    [ $((i % 20)) != 0 ] || { git checkout -q -b topic$i HEAD~3; echo $i >topic$i; git add .; git commit -q -m topic;
                              git checkout -q main; git merge -q -m "merge $i" topic$i; git tag -a -m tag v$i; }
done
git log --format='%H %s' --stat | sha256sum; git rev-parse HEAD; git diff HEAD~40 | sha256sum
git blame doc/log | sha256sum; git log -S'17 line' --oneline; git grep -c 40 HEAD~9 -- src; git shortlog -s HEAD
git repack -q -a -d -f --depth=20 --window=20; git gc -q --prune=now; git fsck --full --strict
git count-objects -v | grep -v size-pack
git clone -q --no-local . ../clone 2>&1; git -C ../clone fsck; git -C ../clone rev-parse HEAD; git -C ../clone ls-tree -r HEAD | sha256sum
git bundle create -q ../b.bundle --all; git clone -q ../b.bundle ../second 2>&1; git -C ../second log --oneline | wc -l
git rebase -q --onto HEAD~10 HEAD~3 topic60 || git rebase --abort; git status --short; git stash list; git archive HEAD | sha256sum
"""


def test_git_init_commits_clone_gc_fsck(programs):  # COMPAT 66
    result = programs.same(["bash", "-c", GIT_SCRIPT])
    assert re.search(r"^[0-9a-f]{40}$", result.out, re.M) and "packs: 1" in result.out


DEBUGGED = r"""
#include <stdlib.h>
#include <stdio.h>
struct node { int value; struct node *next; };
static int sum(struct node *list) { int s = 0; for (; list; list = list->next) s += list->value; return s; }
int main(void) {
    struct node *list = NULL;
    for (int i = 0; i < 100; i++) { struct node *n = malloc(sizeof *n); n->value = i; n->next = list; list = n; }
    printf("%d\n", sum(list));
    return 3;
}
"""


def test_gdb_debugs_a_program(programs):  # COMPAT 66
    source = programs.tmp / "debugged.c"
    source.write_text(DEBUGGED)
    program = programs.tmp / "debugged"
    programs.run(["gcc", "-g", "-O0", "-o", program, source], preload=False)

    def clean(text):
        text = re.sub(r"process \d+", "process N", text)
        text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
        return re.sub(r"\[.*libthread_db.*\]\nUsing host .*\n", "", text)
    commands = ["break sum", "run", "bt", "print *list", "print *list->next", "ptype list", "next", "info locals", "finish",
                "python print(sum(i for i in range(10)), gdb.parse_and_eval('list')['value'])",
                "disassemble main", "info line sum", "delete", "call (int)sum(list)", "continue", "print $_exitcode"]
    result = programs.same(["gdb", "-nx", "--batch", "-iex", "set debuginfod enabled off",
                            *[a for c in commands for a in ("-ex", c)], program], clean=clean)
    assert "value = 99" in result.out and "4950" in result.out and "= 3\n" in result.out
