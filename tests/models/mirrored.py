#!/usr/bin/env python3
"""Prints what the models' functions do with shared memory: of each function that a model mirrors the lines with atomics,
barriers, locks and the lists that the owner uses without a lock.

mirrored.txt holds the same. When the two differ, the code has changed under the models: see whether they still say
what it does, change them if not, and then write mirrored.txt anew: tests/models/mirrored.py > tests/models/mirrored.txt
"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
FUNCTIONS = {
    "lib/os/lock.h": ["lock_try_acquire", "lock_release"],
    "lib/pool/block_pool.h": ["list_count_add", "list_pop", "list_push", "list_count_down"],
    "lib/heap/fast.h": ["heap_malloc", "heap_free"],
    "lib/heap/heap.cc": ["seized_return", "seized_return_slow", "pool_activate", "pool_deactivate", "pool_park", "pool_unpark",
                         "active_put_away", "evicted_release", "list_refill", "heap_pop_refilled", "heap_pool_settle", "heap_pool_trap",
                         "heap_pool_vacate", "heap_pool_evict"],
    "lib/heap/malloc.cc": ["alloc_refilled", "heap_alloc"],
    "lib/heap/evict.h": ["batches_leave", "batches_enter", "BatchesHeld", "~BatchesHeld"],
    "lib/heap/evict.cc": ["is_bare", "heap_seize", "seized_take", "evict_end", "heap_look", "batches_take_back",
                          "heap_evict"],
    "lib/heap/mail.h": ["mailbox_put"],
    "lib/heap/remote.cc": ["mailbox_push", "outbox_add", "outbox_take", "outbox_send",
                           "batch_put_out", "batch_send", "mailbox_look", "message_splice", "batches_take_out", "remote_take",
                           "batch_push", "batch_add", "remote_free", "batch_end", "heap_free_elsewhere", "heap_collect", "heap_drain_orphan"],
    "lib/heap/reap.cc": ["heap_pool_live", "reap_some", "heap_reap"],
    "lib/heap/thread.cc": ["heap_detach", "heap_take", "heap_create", "heap_attach"],
}
ACCESS = re.compile(r"_relaxed|_acquire|_release|_seq_cst|barrier|__atomic|LockGuard|BatchesHeld|\blist(\.|->)|\blist_\w+\("
                    r"|parked_list|seized|is_bare|pool->state|\w+_look\(|heap_pool_|heap_(collect|drain_orphan|pop_refilled)\("
                    r"|mailbox_(put|add|push)|remote_(take|flush)|batch(es)?_(send|enter|leave|end|push)|outbox|orphan_push|active_put_away")
# Policy and figures, which no model has.
APART = re.compile(r"chaos_|PA_ASSERT|registry\.owned|mail_patience|mail_count\.store|purge_thread_look")


def body(text, name):
    """The function's text, from its name on."""
    found = re.search(rf"^[^\n/;=]*(?<![\w~.>]){re.escape(name)}\([^;{{]*\{{", text, re.MULTILINE)
    assert found, f"there is no function {name} any more: the models mirror it"
    depth, end = 1, found.end()
    while depth > 0:
        depth += {"{": 1, "}": -1}.get(text[end], 0)
        end += 1
    return text[found.start():end]


def mirrored():
    lines = []
    for path, names in FUNCTIONS.items():
        text = (ROOT / path).read_text()
        for name in names:
            lines.append(f"{path} {name}")
            for line in body(text, name).split("{", 1)[1].splitlines():
                code = line.split("//")[0].strip()
                if ACCESS.search(code) and not APART.search(code):
                    lines.append(f"    {code}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(mirrored(), end="")
