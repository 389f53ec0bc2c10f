// A model of a heap's batches: their owner, who is at them without a lock, and a thread that seizes and sends them.
//
// Each part mirrors the function of the same name in the library:
//
//   BatchesHeld (lib/heap/evict.h), batches_take_back, heap_seize, seized_take, heap_look, heap_evict
//   (lib/heap/evict.cc) remote_take, remote_free (lib/heap/remote.cc)
//
// mirrored.txt beside it holds these functions' accesses; a test compares them with the code. A barrier is the kernel's
// or, for sweeps, half a second, as in lists.cc.
//
// Laws: never are two at the batches at once; whoever is sees what the one before has done; each block is sent once.
namespace model {
constexpr unsigned kWords = 4, kThreads = 2;
}
#include "models.h"

namespace model {
namespace {

enum Word : unsigned { kBusy, kSeized, kLock, kBatch };

enum Mutant : unsigned {
  correct,
  take_at_once,
  look_then_say,  // the owner looks before it says that it is there
  take_anyway,    // without a look whether the owner is there
  late_leave,     // the owner leaves relaxed
  early_take,     // the look whether the owner is there is relaxed
  back_without_lock,
  go_on,  // the owner does not look
  // The code's acquire, which the laws do not need: the lock has it.
  spare,
  early_look = spare,  // the owner's look is relaxed
  mutants,
};
constexpr const char* kMutants[] = {"correct",    "take_at_once",      "look_then_say", "take_anyway", "late_leave",
                                    "early_take", "back_without_lock", "go_on",         "early_look"};
static_assert(sizeof kMutants / sizeof kMutants[0] == mutants);
unsigned mutant;
bool trims;  // the lock is held between the two steps

struct Batches {
  using M = Search<Batches>;

  uint8_t added, sent, at_them;  // for the laws
  uint8_t works, is_seized, is_back;
  uint8_t looks, half, has_lock, may_take, taken;

  void arrive(M& m) {
    at_them++;
    m.require(at_them == 1, "two are at the batches");
    m.require(m.sees_last(kBatch), "who is at the batches does not see what was done before");
  }
  void leave() { at_them--; }

  void run_owner(M& m) {
    THREAD_BEGINS
    for (; works != 0; works--) {
      for (is_back = 0; !is_back;) {
        if (mutant == look_then_say) {
          STEP is_seized = uint8_t(m.load(kSeized, mutant == early_look ? relaxed : acquire));
        }
        STEP m.store(kBusy, 1);
        if (mutant != look_then_say) {
          STEP is_seized = uint8_t(m.load(kSeized, mutant == early_look ? relaxed : acquire));
        }
        if (!is_seized || mutant == go_on) break;
        STEP m.store(kBusy, 0, release);
        // batches_take_back
        if (mutant == back_without_lock) {
          STEP m.store(kSeized, 0);
        } else {
          STEP m.lock_acquire(kLock);
          STEP m.store(kSeized, 0);
          STEP m.lock_release(kLock);
        }
      }
      STEP arrive(m);
      STEP m.store(kBatch, m.load(kBatch) + 1);
      added++;
      if (m.choose(2) != 0) {
        STEP sent = uint8_t(sent + m.load(kBatch));
        m.store(kBatch, 0);
      }
      STEP leave();
      m.store(kBusy, 0, mutant == late_leave ? relaxed : release);
    }
    THREAD_ENDS
  }

  void run_sweeper(M& m) {
    THREAD_BEGINS
    for (; looks != 0; looks--) {
      STEP has_lock = m.lock_try_acquire(kLock);
      for (half = 0; has_lock && half < 2; half++) {
        if (half != trims) {
          STEP m.store(kSeized, 1);
          continue;
        }
        if (trims && mutant != take_at_once) {
          STEP m.barrier();
        }
        STEP may_take = m.load(kSeized) != 0;
        if (mutant != take_anyway && m.load(kBusy, mutant == early_take ? relaxed : acquire) != 0) may_take = 0;
        if (may_take) {
          STEP arrive(m);
          STEP taken = uint8_t(m.load(kBatch));
          sent = uint8_t(sent + taken);
          m.store(kBatch, 0);
          STEP leave();
        }
      }
      if (has_lock) {
        STEP m.lock_release(kLock);
      }
      if (!trims && mutant != take_at_once) {
        STEP m.barrier();
      }
    }
    THREAD_ENDS
  }

  void step(M& m, unsigned thread) { thread == 0 ? run_owner(m) : run_sweeper(m); }
  bool has_thread(unsigned thread) const { return thread < kThreads; }
  void end(M& m) { m.require(sent + m.value(kBatch) == added, "a block is lost, or sent twice"); }
};

bool holds(bool in_trim, unsigned works, unsigned looks) {
  trims = in_trim;
  Batches start{};
  start.works = uint8_t(works);
  start.looks = uint8_t(looks);
  return search_all(start);
}

}  // namespace
}  // namespace model

int main(int argc, char** argv) {
  using namespace model;
  bool is_deep;
  if (!arguments_read(argc, argv, kMutants, spare, mutant, is_deep)) return 2;
  const unsigned more = 2 * is_deep;
  return holds(false, 3 + more, 3 + more) && holds(true, 3 + more, 3 + more) ? 0 : 1;
}
