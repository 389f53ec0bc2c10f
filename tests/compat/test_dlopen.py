"""The library loaded late, with many others, and beside libraries that come and go (COMPAT 41-43).

What always holds: its thread-local storage fits the static block; nothing is lost when a library goes.
"""
import shutil

import pytest

STRICT = {"POOLALLOC_FOREIGN": "abort"}


def test_loaded_by_dlopen(run, build, lib):
    # COMPAT 41: loads, and unloading is a no-op
    run([build("own_library.c"), lib], preload=False, env=STRICT).ok()


@pytest.mark.parametrize("preload", [False, True])
def test_loaded_by_an_interpreter(run, lib, preload):
    # COMPAT 41
    script = f"""
import ctypes, _ctypes
lib = ctypes.CDLL({str(lib)!r})
lib.malloc.restype = ctypes.c_void_p
lib.free.argtypes = [ctypes.c_void_p]
blocks = [lib.malloc(ctypes.c_size_t(n)) for n in range(0, 3000000, 50001)]
assert all(blocks) and len(set(blocks)) == len(blocks)
for block in blocks: lib.free(block)
_ctypes.dlclose(lib._handle)
print(sum(range(100)))
"""
    assert run(["/usr/bin/python3", "-c", script], preload=preload, env=STRICT).ok().out == "4950\n"


@pytest.mark.parametrize("where", ["before", "after"])
def test_beside_many_thread_local_variables(run, build, shared, tmp_path, where):
    # COMPAT 42
    original = shared("ie_tls_lib.c")
    copies = [shutil.copy(original, tmp_path / f"lib{i}.so") for i in range(200)]
    assert run([build("churn.c"), 4, 2000], **{where: copies}).ok().out == "4 threads made 8000 blocks\n"


@pytest.mark.parametrize("times", [1500, pytest.param(10000, marks=pytest.mark.slow)])
def test_libraries_that_come_and_go(run, build, shared, times):
    # COMPAT 43
    run([build("reload.c"), shared("leaver_lib.cc"), times], env=STRICT, timeout=120).ok()


@pytest.mark.parametrize("preload", [True, False])
def test_libraries_bound_deeply(run, build, shared, preload):
    # COMPAT 98: by path, and by the program's run path
    library = shared("deep_lib.c")
    program = build("deep_binding.c", f"-Wl,-rpath,{library.parent}")
    for name in (library, library.name):
        run([program, name], preload=preload, env=STRICT).ok()
