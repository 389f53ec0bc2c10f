// What can be done with a mailbox whose owner sleeps (remote.h).
//
// Who may use it: through remote.h.
#include "base/probe.h"
#include "heap/mail.h"

namespace poolalloc {
namespace {

// The messages for one pool, made one.
struct Mail {
  BlockPool* pool;  // nullptr: unused
  Block* head;
  Block* last;
  unsigned count;
};
constexpr unsigned kMailTable = 32;  // on a stack that may be small
constexpr int kReapPasses = 8;       // over what is left; the owner may be waiting for its lock

void mail_add(Mail& mail, BlockPool* pool, Block* last) {
  Block* head = message_head(last);
  if (mail.pool == nullptr) mail = Mail{pool, list_end(*pool), last, 0};
  mail.count += message_count(last);
  message_end(last, mail.head);
  mail.head = head;
}

// How many live blocks a pool has at most, for whoever holds the heap's lock; what its owner frees meanwhile
// may still be counted. -1: it is active, or its owner is about to look at it, and still needs it.
int64_t heap_pool_live(const BlockPool& pool) {
  if (pool.state == SliceState::active) return -1;
  // Acquire: paired with list_count_down, so that what is counted as freed is done with.
  int64_t count = __atomic_load_n(&pool.parked_list.count, __ATOMIC_ACQUIRE);
  // The owner is on its way to look at the pool, or about to: heap_pool_trap.
  if (count <= 0) return -1;
  return block_pool_live(pool.state, pool.capacity, count);
}

// What became of messages that were looked at.
struct Reaped {
  uint32_t kept;      // put back
  uint32_t released;  // pools
};

// Handles as many pools as the table can tell apart; returns the messages for others.
Block* reap_some(Heap& heap, Block* message, Reaped& reaped) {
  Mail table[kMailTable] = {};
  Block* others = nullptr;
  messages_each(heap, message, [&](Block* each) {
    BlockPool* pool = pool_of(each);
    Mail& mail = table[pool_hash<0>(pool) % kMailTable];
    if (mail.pool == nullptr || mail.pool == pool) {
      mail_add(mail, pool, each);
    } else {
      message_set_below(each, others);
      others = each;
    }
  });
  for (const Mail& mail : table) {
    if (mail.pool == nullptr) continue;
    // The count of live blocks may be out of date, but never too low, and what is in the mail is live. So if
    // they are equal, the owner has no block of the pool in its hands, and is done with the last it had: that
    // one's count-down did not reach zero, or there would be no answer.
    if (heap_pool_live(*mail.pool) == int64_t(mail.count)) {
      chaos_note(ChaosEvent::pool_vacated);
      heap.taken[mail.pool->size_class] += mail.count;
      heap_pool_vacate(heap, mail.pool);
      reaped.released++;
    } else {
      message_make(mail.head, mail.last, mail.count, nullptr);
      mailbox_put(heap, mail.last, mail.last);
      reaped.kept++;
      chaos_note(ChaosEvent::mail_put_back);
    }
  }
  return others;
}

}  // namespace

void heap_reap(Heap& heap) {
  SignalsBlocked blocked;
  if (!lock_try_acquire(heap.gate->lock)) return;  // by the owner, or by one who is at it
  // Acquire: as in heap_collect.
  Block* message = heap.mailbox.exchange_acquire(nullptr);
  heap.mail_count.store_relaxed(0);
  Reaped reaped{0, 0};
  uint32_t released_before;
  // Where a pass releases nothing, the next ones are not likely to.
  int passes = 0;
  do {
    released_before = reaped.released;
    message = reap_some(heap, message, reaped);
  } while (message != nullptr && ++passes < kReapPasses && reaped.released != released_before);
  for (Block* below; message != nullptr; message = below, reaped.kept++) {
    below = message_below(message);
    mailbox_put(heap, message, message);
  }
  // Twice as many again before the next look, so that looks cost less than sending does; more after one in vain: the
  // sweeps look, too.
  heap.mail_patience.store_relaxed(kMailPatience + (reaped.released != 0 ? 2 : 8) * reaped.kept);
  lock_release(heap.gate->lock);
  if (reaped.released != 0) PA_PROBE2(heap_reap, &heap, reaped.released);
  // As in heap_drain_orphan: its thread may have ended meanwhile, and who found the lock taken has left its
  // message to this thread.
  fence_seq_cst();
  if (PA_UNLIKELY(heap.gate->state.load_relaxed() != HeapState::owned)) heap_drain_orphan(heap);
}

}  // namespace poolalloc
