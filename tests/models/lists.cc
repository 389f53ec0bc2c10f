// A model of one size class of a heap: its owner allocates and frees without a lock, while another thread evicts, and a
// third one frees what it was given and reaps.
//
// Each function mirrors the one of the same name in the library:
//
//   owner     list_pop, list_push, list_count_down (lib/pool/block_pool.h), heap_free (lib/heap/fast.h),
//             heap_alloc, list_refill, heap_pop_refilled, heap_pool_trap, heap_pool_settle, seized_return
//             (lib/heap/heap.cc)
//   sweeper   heap_look, heap_evict, heap_seize, seized_take, is_bare (lib/heap/evict.cc), heap_pool_evict
//   sender    mailbox_put (lib/heap/mail.h), heap_reap, reap_some (lib/heap/reap.cc), heap_pool_live, heap_pool_vacate
//
// mirrored.txt beside it holds these functions' accesses; a test compares them with the code. The time between two
// looks of a sweep, and in a trim the kernel's barrier, are a barrier of the machine's: what was stored before is seen.
// What happens with the lock, out of reach of everybody without it, is one step.
//
// Laws: no block is handed out twice; none is lost: in the end each is held, in the mail, or once on a list; a pool
// that is released or evicted has no live block, and no store into it is under way; one that is released is not one
// that its owner is about to look at because it ran empty, or one in which a list ends that list_pop may read.
namespace model {
constexpr unsigned kWords = 19, kThreads = 3;
}
#include "models.h"

namespace model {
namespace {

constexpr unsigned kPools = 2, kBlocksMost = 6;
enum Word : unsigned { kHead, kCount, kLock, kMail, kGiven, kPool, kLink = kPool + 4 * kPools };
static_assert(kLink + kBlocksMost == kWords);
enum PoolState : uint8_t { none, active, partial, parked };
enum Holder : uint8_t { nobody, owner, leaving, sender, mail };
enum Work : uint8_t { stop, allocate, release, give };
constexpr int kOwnerEnds = 64;

enum Mutant : unsigned {
  correct,
  take_at_once,      // no barrier between the two steps
  look_then_count,   // list_pop reads the head before it counts
  bare_by_count,     // is_bare looks at the count alone
  bare_not_at_once,  // is_bare looks at one word after the other
  always_return,     // seized_return does not count
  never_return,      // nor put back
  evicted_is_gone,   // an evicted pool is released at once
  evicted_leads,     // its owner's list still ends in it
  late_pop,          // list_pop stores the head relaxed
  late_count,        // list_count_down is relaxed
  early_count,       // the block is counted down before it is pushed
  reap_without_lock,
  reap_when_fewer,  // live blocks that are not in the mail
  reap_trapped,     // heap_pool_live does not care for the owner's way to the pool
  mail_not_put_back,
  late_message,   // mailbox_put is relaxed
  early_release,  // lock_release is relaxed
  mutants,
};
constexpr const char* kMutants[] = {"correct",           "take_at_once",    "look_then_count", "bare_by_count",
                                    "bare_not_at_once",  "always_return",   "never_return",    "evicted_is_gone",
                                    "evicted_leads",     "late_pop",        "late_count",      "early_count",
                                    "reap_without_lock", "reap_when_fewer", "reap_trapped",    "mail_not_put_back",
                                    "late_message",      "early_release"};
static_assert(sizeof kMutants / sizeof kMutants[0] == mutants);
unsigned mutant;

struct Bounds {
  unsigned blocks, wake_count;  // of a pool
  unsigned works;               // of the owner
  unsigned looks;               // of the sweeper
  bool trims;                   // it holds the lock between the two steps
  bool gives;                   // there is a sender
};
Bounds bounds;

unsigned head_of(unsigned pool, bool is_active) { return is_active ? unsigned(kHead) : kPool + 4 * pool; }
unsigned count_of(unsigned pool, bool is_active) { return head_of(pool, is_active) + 1; }
unsigned state_of(unsigned pool) { return kPool + 4 * pool + 2; }
unsigned list_of(unsigned pool) { return kPool + 4 * pool + 3; }  // 1: the active one is in force
unsigned link_of(unsigned block) { return kLink + block - 1; }
unsigned pool_of(unsigned block) { return (block - 1) / bounds.blocks; }
int bit_of(unsigned block) { return 1 << (block - 1); }
unsigned first_of(unsigned pool) { return 1 + pool * bounds.blocks; }

struct Lists {
  using M = Search<Lists>;

  // Under the lock.
  uint8_t active_pool;  // and one; 0: none
  uint8_t seized;       // the first block of the list
  uint8_t chain;        // a bit for each pool on it
  uint8_t size[kPools];
  uint8_t has_evicted;
  // For the laws.
  uint8_t holder[kBlocksMost + 1];
  uint8_t trapped;  // the pool that the owner is about to look at, and one
  uint8_t end_in;   // the pool in which the active list ends, and one; 0: in none
  // The owner's.
  uint8_t works, work, block, next, is_active, is_spared, has_mail;
  // The sweeper's.
  uint8_t looks, half, has_lock, is_bare;
  // The sender's.
  uint8_t given, reaped, reaping, has_it, ends;

  void lock_release(M& m) {
    if (mutant != early_release) return m.lock_release(kLock);
    m.exchange(kLock, 0, relaxed);
  }

  // --- With the lock -----------------------------------------------------------------------------------

  // Its memory is given back, or another's.
  void memory_goes(M& m, unsigned pool, uint8_t in_mail) {
    for (unsigned b = first_of(pool); b < first_of(pool) + size[pool]; b++) {
      bool is_here = holder[b] == mail && (in_mail & bit_of(b)) != 0;
      m.require(holder[b] == nobody || is_here, "a pool without a live block has one");
      m.require(m.sees_last(link_of(b)), "memory is given back while a store into it is under way");
      m.store(link_of(b), 0);
      holder[b] = nobody;
    }
    size[pool] = 0;
  }
  void pool_release(M& m, unsigned pool, uint8_t in_mail = 0) {
    m.require(trapped != pool + 1, "a pool is released that its owner is about to look at");
    memory_goes(m, pool, in_mail);
    chain &= uint8_t(~(1u << pool));
    m.store(state_of(pool), none);
  }
  void seized_return(M& m) {
    uint8_t list = seized;
    if (list == 0) return;
    seized = 0;
    int missing = size[active_pool - 1] - m.load(kCount);
    unsigned end = kHead;
    for (uint8_t b; (b = uint8_t(m.load(end))) != 0; end = link_of(b), missing--)
      if (missing < -int(kBlocksMost)) return m.require(false, "a list never ends");
    if ((missing > 0 || mutant == always_return) && mutant != never_return) m.store(end, list);
  }
  void active_put_away(M& m) {
    unsigned p = active_pool - 1u;
    seized_return(m);
    int head = m.load(kHead), count = m.load(kCount);
    m.store(head_of(p, false), head);
    m.store(count_of(p, false), count);
    m.store(list_of(p), 0);
    m.store(state_of(p), partial);
    m.store(kHead, 0);
    m.store(kCount, 0);
    active_pool = end_in = 0;
    if (count <= 0) return pool_release(m, p);
    if (head != 0 || size[p] < bounds.blocks) {
      chain |= uint8_t(1u << p);
    } else {
      m.store(state_of(p), parked);
      m.store(count_of(p, false), int(bounds.wake_count));
    }
  }
  int live_of(M& m, unsigned p, int count) {
    return m.load(state_of(p)) == parked ? int(bounds.blocks) - (int(bounds.wake_count) - count) : count;
  }
  void settle(M& m, unsigned p) {
    int state = m.load(state_of(p)), count = m.load(count_of(p, false));
    if (state == active || state == none || count > 0) return;
    int live = live_of(m, p, count);
    if (state == partial || live == 0) return pool_release(m, p);
    m.store(state_of(p), partial);
    m.store(count_of(p, false), live);
    chain |= uint8_t(1u << p);
  }
  void collect(M& m) {
    if (m.load(kMail) == 0) return;
    int blocks = m.exchange(kMail, 0, acquire);
    for (unsigned b = 1; b <= kBlocksMost; b++) {
      if ((blocks & bit_of(b)) == 0) continue;
      m.require(m.sees_last(link_of(b)), "a message is not seen whole");
      unsigned p = pool_of(b);
      bool in_force = m.load(list_of(p)) != 0;
      m.store(link_of(b), m.load(head_of(p, in_force)));
      m.store(head_of(p, in_force), int(b));
      m.store(count_of(p, in_force), m.load(count_of(p, in_force)) - 1);
      holder[b] = nobody;
      if (m.load(count_of(p, in_force)) <= 0) settle(m, p);
    }
  }
  bool bump(M& m) {
    unsigned p = active_pool - 1u, first = first_of(p) + size[p], last = first_of(p) + bounds.blocks - 1;
    if (size[p] == bounds.blocks) return false;
    for (unsigned b = first; b <= last; b++) m.store(link_of(b), b == last ? 0 : int(b + 1));
    m.store(kHead, int(first));
    size[p] = uint8_t(bounds.blocks);
    return true;
  }
  void activate(M& m, unsigned p) {
    chain &= uint8_t(~(1u << p));
    m.store(state_of(p), active);
    m.store(kHead, m.load(head_of(p, false)));
    m.store(kCount, m.load(kCount) + m.load(count_of(p, false)));
    m.store(list_of(p), 1);
    active_pool = end_in = uint8_t(p + 1);
  }
  bool refill(M& m) {
    collect(m);
    seized_return(m);
    if (m.load(kHead) != 0) return true;
    if (active_pool != 0) {
      if (bump(m)) return true;
      active_put_away(m);
    }
    for (unsigned p = 0; has_evicted && p < kPools; p++)
      if ((chain >> p & 1) != 0) settle(m, p);
    has_evicted = 0;
    for (unsigned p = 0; p < kPools; p++) {
      if ((chain >> p & 1) == 0) continue;
      activate(m, p);
      return m.load(kHead) != 0 || bump(m);
    }
    for (unsigned p = 0; p < kPools; p++) {
      if (m.load(state_of(p)) != none) continue;
      m.store(head_of(p, false), 0);
      m.store(count_of(p, false), 0);
      activate(m, p);
      return bump(m);
    }
    return false;
  }
  void heap_pool_evict(M& m) {
    unsigned p = active_pool - 1u;
    active_pool = seized = 0;
    if (mutant != evicted_leads) end_in = 0;
    if (mutant == evicted_is_gone) return pool_release(m, p);
    m.store(list_of(p), 0);
    m.store(head_of(p, false), 0);
    m.store(count_of(p, false), 0);
    memory_goes(m, p, 0);
    m.store(state_of(p), partial);
    chain |= uint8_t(1u << p);
    has_evicted = 1;
  }

  // --- The owner ---------------------------------------------------------------------------------------

  void take(M& m, unsigned b) {
    m.require(holder[b] == nobody, "a block is handed out twice");
    holder[b] = owner;
  }
  void choose_work(M& m) {
    unsigned held[kBlocksMost], count = 0;
    for (unsigned b = 1; b <= kBlocksMost; b++)
      if (holder[b] == owner) held[count++] = b;
    work = uint8_t(m.choose(count == 0 ? 2 : bounds.gives ? 4 : 3));
    block = uint8_t(work == release || work == give ? held[m.choose(count)] : 0);
  }
  void pop_with_lock(M& m) {
    block = uint8_t(refill(m) ? m.load(kHead) : 0);
    if (block == 0) return;
    m.store(kCount, m.load(kCount) + 1);
    m.store(kHead, m.load(link_of(block)), Order::release);
    take(m, block);
  }
  void count_down(M& m) {
    unsigned word = count_of(pool_of(block), is_active);
    int count = m.load(word) - 1;
    m.store(word, count, mutant == late_count ? relaxed : Order::release);
    trapped = uint8_t(count == 0 ? pool_of(block) + 1 : 0);
  }
  void trap(M& m) {
    unsigned p = trapped - 1u;
    trapped = 0;
    int state = m.load(state_of(p));
    if (state != active) {
      settle(m, p);
    } else if (is_active && !is_spared && m.load(kCount) <= 0) {
      active_put_away(m);
    }
    if (has_mail) collect(m);
  }
  void run_owner(M& m) {
    THREAD_BEGINS
    for (; works < bounds.works; works++) {
      STEP choose_work(m);
      if (work == stop) break;
      if (work == allocate) {
        if (mutant == look_then_count) {
          STEP block = uint8_t(m.load(kHead));
        }
        STEP m.store(kCount, m.load(kCount) + 1);
        if (mutant != look_then_count) {
          STEP block = uint8_t(m.load(kHead));
        }
        if (block != 0) {
          STEP next = uint8_t(m.load(link_of(block)));
          STEP m.store(kHead, next, mutant == late_pop ? relaxed : Order::release);
          take(m, block);
          STEP m.store(link_of(block), 0);
        } else {
          // A list's end is read like a block.
          m.require(end_in == 0 || m.value(state_of(end_in - 1u)) != none, "a list ends in a pool that is released");
          STEP m.store(kCount, m.load(kCount) - 1);
          STEP m.lock_acquire(kLock);
          STEP pop_with_lock(m);
          STEP lock_release(m);
        }
      } else if (work == give) {
        STEP holder[block] = sender;
        m.add(kGiven, bit_of(block), Order::release);
      } else {
        STEP is_active = m.load(list_of(pool_of(block))) != 0;
        holder[block] = leaving;
        if (mutant == early_count) {
          STEP count_down(m);
        }
        STEP m.store(link_of(block), m.load(head_of(pool_of(block), is_active)));
        STEP m.store(head_of(pool_of(block), is_active), block);
        if (mutant == early_count) {
          holder[block] = nobody;
        } else {
          STEP count_down(m);
          holder[block] = nobody;
        }
        if (trapped != 0) {
          STEP is_active = m.load(state_of(pool_of(block))) == active;
          is_spared = uint8_t(is_active && m.choose(2) != 0);
          has_mail = m.load(kMail) != 0;
          if (is_spared && !has_mail) {
            trapped = 0;
          } else {
            STEP m.lock_acquire(kLock);
            STEP trap(m);
            STEP lock_release(m);
          }
        }
      }
    }
    STEP m.add(kGiven, kOwnerEnds, Order::release);
    THREAD_ENDS
  }

  // --- Who evicts --------------------------------------------------------------------------------------

  void look_whether_bare(M& m) {
    if (mutant == bare_by_count) {
      is_bare = m.load(kCount, acquire) == 0;
    } else if (mutant == bare_not_at_once) {
      is_bare = uint8_t(is_bare && m.load(kCount, acquire) == 0);
    } else {
      is_bare = m.load_pair_is_zero(kHead, kCount);
    }
  }
  void run_sweeper(M& m) {
    THREAD_BEGINS
    for (; looks < bounds.looks; looks++) {
      STEP has_lock = m.lock_try_acquire(kLock);
      // A sweep takes what the one before it has seized, and seizes; a trim seizes, and takes that.
      for (half = 0; has_lock && half < 2; half++) {
        if (half == bounds.trims) {
          if (seized == 0) continue;
          if (bounds.trims && mutant != take_at_once) {
            STEP m.barrier();
          }
          if (mutant == bare_not_at_once) {
            STEP is_bare = m.load(kHead, acquire) == 0;
          }
          STEP look_whether_bare(m);
          if (is_bare) {
            STEP heap_pool_evict(m);
          }
        } else if (active_pool != 0 && seized == 0) {
          STEP is_bare = m.load(kCount) == 0 && m.load(kHead) != 0;
          if (is_bare) {
            STEP seized = uint8_t(m.exchange(kHead, 0, relaxed));
          }
        }
      }
      if (has_lock) {
        STEP lock_release(m);
      }
      if (!bounds.trims && mutant != take_at_once) {
        STEP m.barrier();
      }
    }
    THREAD_ENDS
  }

  // --- Who frees what it was given, and reaps -------------------------------------------------------------

  void send(M& m) {
    unsigned b = 1;
    while ((given & bit_of(b)) == 0) b++;
    given &= uint8_t(~bit_of(b));
    m.store(link_of(b), 0);  // the message
    holder[b] = mail;
    m.add(kMail, bit_of(b), mutant == late_message ? relaxed : Order::release);
  }
  void reap_pool(M& m, unsigned p) {
    uint8_t here = 0;
    int count = 0;
    for (unsigned b = first_of(p); b < first_of(p) + bounds.blocks; b++) {
      if ((reaped & bit_of(b)) == 0) continue;
      here |= uint8_t(bit_of(b));
      count++;
    }
    if (count == 0) return;
    // heap_pool_live
    int state = m.load(state_of(p)), counted = m.load(count_of(p, false), acquire);
    int live = state == active || (counted <= 0 && mutant != reap_trapped) ? -1 : live_of(m, p, counted);
    if (live == count || (mutant == reap_when_fewer && live == count + 1)) {
      pool_release(m, p, here);
    } else if (mutant != mail_not_put_back) {
      m.add(kMail, here, Order::release);
    }
  }
  void run_sender(M& m) {
    THREAD_BEGINS
    while (ends == 0) {
      STEP given = uint8_t(m.exchange(kGiven, 0, acquire));
      if (given == 0) m.impossible();
      ends = given & kOwnerEnds;
      given &= kOwnerEnds - 1;
      while (given != 0) {
        STEP send(m);
        if (given != 0 || m.choose(2) == 0) continue;
        STEP has_it = mutant == reap_without_lock || m.lock_try_acquire(kLock);
        if (!has_it) continue;
        STEP reaped = uint8_t(m.exchange(kMail, 0, acquire));
        for (reaping = 0; reaping < kPools; reaping++) {
          STEP reap_pool(m, reaping);
        }
        if (mutant != reap_without_lock) {
          STEP lock_release(m);
        }
      }
    }
    THREAD_ENDS
  }

  void step(M& m, unsigned thread) {
    if (thread == 0) return run_owner(m);
    thread == 1 ? run_sweeper(m) : run_sender(m);
  }
  bool has_thread(unsigned thread) const { return thread == 0 || (thread == 1 ? bounds.looks != 0 : bounds.gives); }

  // Everybody has ended: each block once.
  void end(M& m) {
    if (active_pool != 0) seized_return(m);
    for (unsigned b = 1; b <= kBlocksMost; b++)
      m.require((holder[b] == mail) == ((m.value(kMail) & bit_of(b)) != 0), "mail is lost");
    for (unsigned p = 0; p < kPools; p++) {
      int state = m.value(state_of(p));
      if (state == none) continue;
      unsigned live = 0, listed = 0;
      for (unsigned b = first_of(p); b < first_of(p) + size[p]; b++) live += holder[b] != nobody;
      for (int b = m.value(head_of(p, state == active)); b != 0 && listed <= bounds.blocks;
           b = m.value(link_of(unsigned(b)))) {
        m.require(pool_of(unsigned(b)) == p && holder[b] == nobody, "a list has a block that is not free");
        listed++;
      }
      m.require(live + listed == size[p], "a block is lost, or there twice");
      int counted = m.value(count_of(p, state == active));
      m.require(live_of(m, p, counted) == int(live), "the count is wrong");
    }
  }
};

bool holds(const Bounds& wanted) {
  bounds = wanted;
  return search_all(Lists{});
}

}  // namespace
}  // namespace model

int main(int argc, char** argv) {
  using namespace model;
  bool is_deep;
  if (!arguments_read(argc, argv, kMutants, mutants, mutant, is_deep)) return 2;
  const uint8_t more = is_deep;
  //             blocks, wake, works, looks, trims, gives
  return holds({2, 1, 6u + 2 * more, 0, false, true}) && holds({2, 1, 6u + 2 * more, 2u + more, true, false}) &&
                 holds({2, 1, 4u + more, 2, true, true}) && holds({3, 2, 7u + more, 0, false, true}) &&
                 holds({2, 1, 4u + more, 2, false, true}) && holds({2, 1, 6u + more, 3u + more, false, false})
             ? 0
             : 1;
}
