"""What the documents say is so: their C and C++ compiles and runs, their links lead somewhere, the table of options is whole.

Always holds: pieces of code are compiled as they stand, inside a function where they are no whole program.
"""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"))]
AROUND = {
    "pool_init": ("", "int main(void) { use(); return 0; }\n", "static void use(void) {\n"),
    "heap_options": ("struct request { int x; };\n", "int main(void) { struct request r = {1}; use(r); return 0; }\n",
                     "static void answer(struct request r) { (void)r; }\nstatic void use(struct request request) {\n"),
    "poolalloc::heap heap": ("#include <vector>\nstruct Request { int x; };\nstatic void answer(const Request& r) { std::vector<int> v(100, r.x); }\n",
                             "int main() { serve({1}); }\n", None),
}


def blocks():
    for document in DOCUMENTS:
        for language, text in re.findall(r"^```(c|c\+\+)\n(.*?)^```", document.read_text(), re.M | re.S):
            for mark in AROUND:
                if mark in text:
                    yield language, mark, text


@pytest.mark.parametrize("standard", ["c11", "c++17"])
@pytest.mark.parametrize("language, mark, text", list(blocks()), ids=[mark for _, mark, _ in blocks()])
def test_code_compiles_and_runs(tmp_path, language, mark, text, standard):
    if language == "c++" and standard == "c11":
        pytest.skip("C++ only")
    before, after, function = AROUND[mark]
    includes = "".join(re.findall(r"^#include.*\n", text, re.M)) or "#include <poolalloc.h>\n"
    body = re.sub(r"^#include.*\n", "", text, flags=re.M)
    source = tmp_path / ("a.c" if standard == "c11" else "a.cc")
    source.write_text(includes + "#include <stddef.h>\n" + before + (function + body + "}\n" if function else body) + after)
    folder = pathlib.Path(os.environ["POOLALLOC_LIB"]).parent
    compiler = "cc" if standard == "c11" else "c++"
    subprocess.run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wno-unused-but-set-variable", "-Wno-unused-variable", "-Werror",
                    f"-I{ROOT}/lib/api", f"-I{ROOT}/lib/pool", source, "-o", tmp_path / "a", f"-L{folder}", f"-Wl,-rpath,{folder}",
                    "-lpoolalloc"], check=True)
    subprocess.run([tmp_path / "a"], check=True, timeout=60)


def test_there_is_code_to_compile():
    assert {mark for _, mark, _ in blocks()} == set(AROUND)


def anchors(document):
    """The anchors of a document's headings, as most readers of Markdown make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_links_lead_somewhere(document):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert not broken


def test_the_options_in_the_readme_are_those_of_the_library():
    names = re.findall(r"^OPTION\((\w+),", (ROOT / "lib/api/options.def").read_text(), re.M)
    assert re.findall(r"^\| `POOLALLOC_(\w+)` \|", (ROOT / "README.md").read_text(), re.M) == [name.upper() for name in names]


def test_the_first_screen_says_it_all():
    first = (ROOT / "README.md").read_text().split("\n## ")[0]
    assert len(first.splitlines()) <= 50
    for needed in "poolalloc run", "poolalloc check", "poolalloc compare", "does not help", "docs/benchmarks.md", "docs/limits.md", "docs/recipes.md":
        assert needed in first
