// A model of messages to a heap whose thread ends: senders, who look at the mailbox when nobody else will; the owner's
// end; one who adopts the heap and ends, too; and a sweep, which holds the lock for a moment.
//
// Each part mirrors the function of the same name in the library:
//
//   mailbox_put, mailbox_push, mailbox_look, heap_reap, heap_drain_orphan, heap_collect (lib/heap/remote.cc)
//   heap_detach, heap_take, heap_attach (lib/heap/thread.cc), heap_look, evict_end (lib/heap/evict.cc)
//
// mirrored.txt beside it holds these functions' accesses; a test compares them with the code.
//
// Law: when all have come to rest, and the heap has no thread, its mailbox is empty.
namespace model {
constexpr unsigned kWords = 4, kThreads = 3;
}
#include "models.h"

namespace model {
namespace {

enum Word : unsigned { kState, kLock, kMail, kOrphans };
enum HeapState : uint8_t { owned, orphan };
enum Role : uint8_t { nobody, owner, adopter, sender, sweeper };
enum Look : uint8_t { none, reap, drain };

enum Mutant : unsigned {
  correct,
  push_without_fence,
  detach_without_look,  // it does not drain
  detach_late,          // the state is written after the lock's release
  drain_without_fence,
  drain_once,  // no look after the lock's release
  reap_without_look,
  sweep_without_fence,
  sweep_without_look,
  // Fences that the code has, and the law does not need: heap_drain_orphan has one of its own; and who reaps knows from
  // the lock whether the thread had ended before, and is not needed by one that ends later.
  spare,
  detach_without_fence = spare,
  reap_without_fence,
  mutants,
};
constexpr const char* kMutants[] = {
    "correct",           "push_without_fence", "detach_without_look", "detach_late",        "drain_without_fence",
    "drain_once",        "reap_without_look",  "sweep_without_fence", "sweep_without_look", "detach_without_fence",
    "reap_without_fence"};
static_assert(sizeof kMutants / sizeof kMutants[0] == mutants);
unsigned mutant;

struct Local {
  uint8_t role, times;
  uint8_t has_it, look, kept, is_orphan;
};

struct Mail {
  using M = Search<Mail>;
  Local locals[kThreads];

  void mailbox_look(M& m, Local& t) { t.look = m.load(kState) != owned ? drain : reap; }

  void run(M& m, Local& t) {
    THREAD_BEGINS
    for (; t.times != 0; t.times--) {
      t.look = none;
      if (t.role == sender) {
        // mailbox_push
        STEP m.add(kMail, 1, release);
        if (mutant != push_without_fence) {
          STEP m.fence_seq_cst();
        }
        STEP t.is_orphan = m.load(kState) != owned;
        if (t.is_orphan || m.choose(2) != 0) {
          STEP mailbox_look(m, t);
        }
      } else if (t.role == sweeper) {
        STEP t.has_it = m.lock_try_acquire(kLock);
        if (t.has_it) {
          STEP m.lock_release(kLock);
        }
        // evict_end
        if (mutant != sweep_without_fence) {
          STEP m.fence_seq_cst();
        }
        STEP t.has_it = m.load(kMail) != 0;
        if (t.has_it && mutant != sweep_without_look) {
          STEP mailbox_look(m, t);
        }
      } else {
        if (t.role == adopter) {
          // heap_attach; whoever is at the heap keeps it from being adopted.
          STEP t.has_it = uint8_t(m.exchange(kOrphans, 0, acquire));
          if (!t.has_it) m.impossible();
          STEP t.has_it = m.lock_try_acquire(kLock);
          if (!t.has_it) break;
          STEP m.store(kState, owned);
          STEP m.lock_release(kLock);
        }
        // heap_detach
        STEP m.lock_acquire(kLock);
        STEP if (m.load(kMail) != 0) m.exchange(kMail, 0, acquire);
        if (mutant != detach_late) {
          STEP m.store(kState, orphan);
        }
        STEP m.lock_release(kLock);
        if (mutant == detach_late) {
          STEP m.store(kState, orphan);
        }
        if (mutant != detach_without_fence) {
          STEP m.fence_seq_cst();
        }
        t.look = mutant == detach_without_look ? none : drain;
      }
      if (t.look == reap) {
        // heap_reap; any part of the messages may have to be put back.
        STEP t.has_it = m.lock_try_acquire(kLock);
        if (!t.has_it) continue;
        STEP t.kept = uint8_t(m.exchange(kMail, 0, acquire));
        STEP t.kept = uint8_t(m.choose(t.kept + 1u));
        if (t.kept != 0) m.add(kMail, t.kept, release);
        STEP m.lock_release(kLock);
        if (mutant != reap_without_fence) {
          STEP m.fence_seq_cst();
        }
        STEP t.look = m.load(kState) != owned && mutant != reap_without_look ? drain : none;
      }
      while (t.look == drain) {
        // heap_drain_orphan
        STEP t.has_it = m.lock_try_acquire(kLock);
        if (!t.has_it) break;
        STEP t.is_orphan = m.load(kState) != owned;
        if (t.is_orphan && m.load(kMail) != 0) m.exchange(kMail, 0, acquire);
        STEP m.lock_release(kLock);
        if (!t.is_orphan || mutant == drain_once) break;
        if (mutant != drain_without_fence) {
          STEP m.fence_seq_cst();
        }
        STEP if (m.load(kMail) == 0) t.look = none;
      }
      if (t.role == owner || t.role == adopter) {
        STEP m.exchange(kOrphans, 1, release);
      }
    }
    t = Local{};
    THREAD_ENDS
  }

  void step(M& m, unsigned thread) { run(m, locals[thread]); }
  bool has_thread(unsigned thread) const { return locals[thread].role != nobody; }
  void end(M& m) { m.require(m.value(kState) == owned || m.value(kMail) == 0, "a message stays unseen"); }
};

bool holds(Local a, Local b, Local c) { return search_all(Mail{{a, b, c}}); }

}  // namespace
}  // namespace model

int main(int argc, char** argv) {
  using namespace model;
  bool is_deep;
  if (!arguments_read(argc, argv, kMutants, spare, mutant, is_deep)) return 2;
  auto local = [](Role role, unsigned times) { return Local{role, uint8_t(times), 0, 0, 0, 0}; };
  const unsigned more = is_deep;
  const Local ends = local(owner, 1), sends = local(sender, 1), sends_more = local(sender, 1 + more);
  return holds(ends, sends_more, sends) && holds(ends, sends_more, local(adopter, 1)) &&
                 holds(ends, sends_more, local(sweeper, 1))
             ? 0
             : 1;
}
