"""`poolalloc check PROGRAM`: whether the library serves a program, without running it.

Three things are told apart: whether it is served when the library is preloaded, whether it is served as it is linked, and
what of it stays outside: heaps that a run-time system has of its own, another allocator's own functions.

Always holds: the program is not run; its dynamic loader is asked what would be bound to what.
"""
import dataclasses
import os
import pathlib
import re
import stat
import subprocess

from .elf import Elf, is_elf
from .places import Failed, library
from .programs import find_program, interpreter_command, script_interpreter, shim_target

NAMES = ["malloc", "calloc", "realloc", "free", "posix_memalign", "aligned_alloc", "memalign", "_Znwm", "_Znam", "_ZdlPv",
         "_ZdaPv"]
SANITIZERS = {"asan": "AddressSanitizer", "tsan": "ThreadSanitizer", "msan": "MemorySanitizer", "hwasan": "HWAddressSanitizer",
              "lsan": "LeakSanitizer"}
# What marks a run-time system with a heap of its own: a name, what is its own, what can be done.
RUNTIMES = {
    "go": ("Go", "the Go heap", ""),
    "java": ("a Java virtual machine", "the Java heap", "its size is set by -Xmx"),
    "node": ("Node.js", "the JavaScript heap of V8", "its size is set by --max-old-space-size"),
}


@dataclasses.dataclass
class Verdict:
    """yes, partly or no, why, and what else there is to know, a line each."""
    word: str
    reason: str
    notes: list

    def lines(self):
        return [f"{self.word}: {self.reason}", *("  " + note for note in self.notes)]

    @property
    def status(self):
        return {"yes": 0, "no": 1, "partly": 2}[self.word]


def no(reason, *notes):
    return Verdict("no", reason, list(notes))


# --- What the loader would bind ---------------------------------------------------------------------------------

def bindings(path, preload):
    """(user, function, provider) of every allocation function that the program and its libraries call; None: the loader
    cannot start it. The loader says so, and stops before the program runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    for name in ("LD_LIBRARY_PATH",):
        if name in os.environ:
            environment[name] = os.environ[name]
    environment |= {"LD_TRACE_LOADED_OBJECTS": "1", "LD_WARN": "1", "LD_BIND_NOW": "1", "LD_DEBUG": "bindings"}
    if preload:
        environment["LD_PRELOAD"] = preload
    result = subprocess.run([path], env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode != 0:
        return None, []
    pattern = re.compile(r"binding file (.*) \[\d+\] to (.*) \[\d+\]: normal symbol `(\w+)'")
    found = sorted({(user, name, provider) for user, provider, name in pattern.findall(result.stderr + result.stdout)
                    if name in NAMES})
    loaded = re.findall(r"^\s+\S+ => (/\S+)", result.stdout + result.stderr, re.M)
    return found, loaded


def is_ours(path):
    return "libpoolalloc" in pathlib.Path(path).name


def others_of(found):
    """Those whose provider is another allocator. A program that takes malloc's address provides it to others without
    defining it; then it is what the program itself gets."""
    return [(user, name, provider) for user, name, provider in found
            if not is_ours(provider) and is_elf(provider) and Elf(provider).symbols.get(name)]


# --- What the file says -----------------------------------------------------------------------------------------

def sanitizer_of(elf):
    for name, title in SANITIZERS.items():
        if any(re.search(rf"lib(clang_rt\.)?{name}", needed) for needed in elf.needed) or f"__{name}_init" in elf.symbols:
            return title
    return None


def runtime_of(elf, path):
    if ".go.buildinfo" in elf.sections or ".note.go.buildid" in elf.sections:
        return "go"
    if any(needed.startswith(("libjli.so", "libjvm.so")) for needed in elf.needed):
        return "java"
    if any(name.startswith("_ZN2v8") for name in elf.symbols) or any(n.startswith("libnode.so") for n in elf.needed):
        return "node"
    return None


def notes_of(elf, loaded, found):
    """What stays outside, and what to do, for a program that is served."""
    notes = []
    others = [path for path in loaded if re.search(r"lib(jemalloc|tcmalloc\w*|mimalloc|tbbmalloc|hoard)\b", path)]
    users = [elf, *(Elf(path) for path in loaded if is_elf(path) and path not in others)]
    direct = sorted({name for user in users for name, defined in user.symbols.items()
                     if not defined and re.fullmatch(r"(je_)?mallctl\w*|MallocExtension_\w+|mi_\w+", name)})
    if direct:
        name = pathlib.Path(others[0]).name if others else "its allocator"
        notes.append(f"outside: it talks to {name} itself ({', '.join(direct[:3])}): figures and commands that come by "
                     f"these, as redis's INFO memory and MEMORY PURGE, are that allocator's, which has no blocks then")
    elif others:
        notes.append(f"its own {pathlib.Path(others[0]).name} is loaded, and serves nothing")
    if any(needed.startswith("libpython") for needed in elf.needed) or "Py_BytesMain" in elf.symbols:
        notes.append("outside: objects of up to 512 bytes, which Python cuts out of blocks of its own; to do: set "
                     "PYTHONMALLOC=malloc, which is faster under this library")
    return notes


def linked_statically(elf):
    return elf.contains(b"libpoolalloc 0\0") or elf.contains(b"poolalloc: ")


def has_more_rights(path):
    """Whether the loader ignores LD_PRELOAD, because the program has more rights than its caller."""
    if os.stat(path).st_mode & (stat.S_ISUID | stat.S_ISGID):
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


def check_elf(path):
    elf = Elf(path)
    if elf.bits != 64:
        return no(f"{path} is a {elf.bits}-bit program; the library is for 64 bits",
                  "to do: use the 64-bit build of the program, if there is one")
    own = Elf(library())
    if elf.machine != own.machine:
        return no(f"{path} is for another processor ({elf.machine})")
    sanitizer = sanitizer_of(elf)
    if sanitizer:
        return no(f"{path} is built with {sanitizer}, which has an allocator of its own and needs it",
                  "to do: run it without the library, or build it without -fsanitize")
    runtime = RUNTIMES.get(runtime_of(elf, path))
    if elf.interpreter is None:
        if linked_statically(elf):
            return Verdict("yes", f"as linked: {path} has libpoolalloc.a in it", [])
        what = f"written in {runtime[0]} and " if runtime else ""
        return no(f"{path} is {what}statically linked: nothing can be preloaded",
                  "to do: link it with libpoolalloc.a" if not runtime else f"{runtime[1]} is its own in any case")
    linked, _ = bindings(path, None)
    as_linked = linked and not others_of(linked) and any(is_ours(provider) for _, _, provider in linked)
    needs = any("libpoolalloc" in needed for needed in elf.needed)
    if has_more_rights(path):
        if as_linked:
            return Verdict("yes", f"as linked: every allocation function that {path} calls is libpoolalloc's", [])
        return no(f"{path} runs with more rights than its caller (setuid, setgid or capabilities); LD_PRELOAD is ignored "
                  "then", "to do: link it with -lpoolalloc")
    if linked is None:
        return no(f"the loader {elf.interpreter} cannot start {path}", "to do: ldd says which library is missing")
    found, loaded = bindings(path, library())
    if found is None:
        return no(f"the loader {elf.interpreter} cannot start {path} with the library preloaded")
    if not found:
        return no(f"{path} calls no allocation function")
    others = others_of(found)
    if others:
        return no(f"{path} and its libraries have an allocator of their own besides:",
                  *(f"{', '.join(sorted({name for _, name, by in others if by == provider}))} of "
                    f"{', '.join(sorted({user for user, _, by in others if by == provider}))} served by {provider}"
                    for provider in sorted({by for _, _, by in others})),
                  "to do: build it without that allocator")
    if as_linked:
        linked_note = ["as linked: it is served as it is"]
    elif needs:
        linked_note = ["as linked: no, though it asks for the library: another one comes before it. To do: put -lpoolalloc "
                       "first, or preload it"]
    else:
        linked_note = ["as linked: no; it is served when the library is preloaded, as `poolalloc run` does"]
    notes = linked_note + notes_of(elf, loaded, found)
    if runtime:
        title, heap, to_do = runtime
        return Verdict("partly", f"what the native code of {path} allocates is libpoolalloc's when it is preloaded",
                       [*notes, f"outside: {heap}, which {title} takes from the kernel itself" +
                        (f"; {to_do}" if to_do else "")])
    return Verdict("yes", f"every allocation function that {path} and its libraries call is libpoolalloc's", notes)


def check_program(name, above=()):
    """The verdict on a program, and lines about what stands before it: scripts, and what they are run by."""
    path = find_program(name)
    if path in above or len(above) > 8:
        raise Failed(f"{name}: a script that runs itself", 1)
    shim = shim_target(path)
    if shim:
        tool, target = shim
        if target is None:
            return no(f"{path} stands for another program, and {tool}, which has put it there, names none"), []
        verdict, before = check_program(target, (*above, path))
        return verdict, [f"{path} stands for {target} ({tool})", *before]
    line = script_interpreter(path)
    if line is not None:
        interpreter = interpreter_command(line)
        verdict, before = check_program(interpreter, (*above, path))
        return verdict, [f"{path} is a script for {interpreter}", *before]
    if not is_elf(path):
        return no(f"{path} is neither an ELF program nor a script"), []
    return check_elf(path), []
