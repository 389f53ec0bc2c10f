// Pool chains: as the functions of poolalloc.h, and as an object of poolalloc.hpp.
//
// Always holds: the blocks of a chain are disjoint, in its buffers, and have their bytes; its figures are what the walk
// over its buffers says. A chain belongs to its lane. Who may use it: the table of operations (interpreter.cc).
#include <stdarg.h>

#include <new>

#include "world.h"

namespace fuzz {
namespace {

// Whether the chain has buffers that the bytes are in.
bool is_in(const poolalloc_pool* first, const char* p, size_t size) {
  for (const poolalloc_pool* each = first; each != nullptr; each = each->next) {
    const char* start = static_cast<const char*>(each->p);
    if (start != nullptr && p >= start && p + size <= start + each->size) return true;
  }
  return false;
}

void chain_check_block(const ChainBlock& block) {
  expect(pattern_holds(block.p, block.size, block.stamp), "a block of a chain has lost its bytes", block.p, block.size);
}

void chain_note(Chain& chain, void* p, size_t size, size_t alignment) {
  ChainBlock block{static_cast<char*>(p), size != 0 ? size : 1, mixed(reinterpret_cast<uintptr_t>(p) + size), 0};
  expect(reinterpret_cast<uintptr_t>(p) % alignment == 0, "a block of a chain is misaligned", p, size);
  expect(is_in(chain.get(), block.p, block.size), "a block of a chain is not in its buffers", p, size);
  for (unsigned i = 0; i < chain.count; i++) {
    const ChainBlock& other = chain.blocks[i];
    expect(block.p + block.size <= other.p || other.p + other.size <= block.p, "blocks of a chain overlap", p, size);
  }
  pattern_fill(block.p, block.size, block.stamp);
  chain.blocks[chain.count++] = block;
}

size_t natural_alignment(size_t size) {
  size_t alignment = 1;
  while (alignment < 16 && alignment * 2 <= size) alignment *= 2;
  return alignment;
}

void chain_begin(Lane& lane, unsigned index, const Step& step) {
  Chain& chain = lane.chains[index];
  chain.is_there = true;
  chain.has_mark = false;
  chain.count = 0;
  chain.is_object = index == kChains - 1;
  const size_t capacity = step.other % 3 == 0 ? 0 : plain_size(step.amount) % 100000;
  if (chain.is_object) {
    new (chain.object) poolalloc::pool(capacity);
    return;
  }
  chain.pool = api::pool_init(capacity);
  if (chain.pool.p == nullptr && capacity != 0)
    expect(world.may_refuse || lane.pushed->depth != 0, "a chain's first buffer was refused");
}

// A chain's buffers come from malloc, so from a heap that the thread has pushed, which may go before the chain does.
bool may_grow(const Lane& lane) { return lane.pushed->depth == 0; }

char* print(poolalloc_pool* pool, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  char* text = api::pool_vprintf(pool, format, arguments);
  va_end(arguments);
  return text;
}

// A block of the chain in one of the ways there are; its size and alignment come back.
void* chain_take(Chain& chain, const Step& step, unsigned i, size_t* size, size_t* alignment) {
  static const char text[] = "what a chain has copied";
  poolalloc_pool* pool = chain.get();
  *alignment = natural_alignment(*size);
  switch ((step.how + i) % 7) {
    case 0:
      *alignment = alignment_of(step) % (1 << 20);
      if (*alignment == 0) *alignment = 64;
      return api::pool_alloc_aligned(pool, *size, *alignment);
    case 1: {
      void* p = api::pool_alloc_zeroed(pool, *size);
      if (p != nullptr) zeros_check(p, *size, "pool_alloc_zeroed is not zero");
      return p;
    }
    case 2: {
      char* copy = api::pool_strdup(pool, text + *size % 8);
      if (copy != nullptr) expect(strcmp(copy, text + *size % 8) == 0, "pool_strdup has copied something else");
      *size = strlen(text + *size % 8) + 1;
      *alignment = 1;
      return copy;
    }
    case 3: {
      calls[api::pool_printf.index].fetch_add(1, std::memory_order_relaxed);
      char* copy = i % 2 == 0 ? poolalloc_pool_printf(pool, "%s %u", text, step.amount)
                              : print(pool, "%s %u", text, step.amount);
      char wanted[64];
      *size = size_t(snprintf(wanted, sizeof wanted, "%s %u", text, step.amount)) + 1;
      if (copy != nullptr) expect(strcmp(copy, wanted) == 0, "pool_printf has written something else");
      *alignment = 1;
      return copy;
    }
    case 4:
      return api::pool_realloc(pool, nullptr, 77, *size);
    case 5:
      if (chain.is_object) {
        try {
          return reinterpret_cast<poolalloc::pool*>(chain.object)->allocate(*size, *alignment);
        } catch (const std::bad_alloc&) {
          return nullptr;
        }
      }
      [[fallthrough]];
    default:
      return api::pool_alloc(pool, *size);
  }
}

void chain_failures(Chain& chain, const Step& step) {
  poolalloc_pool* pool = chain.get();
  const poolalloc_pool_stats before = api::pool_stats_get(pool);
  errno = kErrno;
  expect(api::pool_alloc(pool, impossible_size(step.amount)) == nullptr && errno == ENOMEM,
         "pool_alloc of what cannot be");
  errno = kErrno;
  expect(api::pool_alloc_aligned(pool, 10, 24) == nullptr && errno == EINVAL, "pool_alloc_aligned with no alignment");
  if (chain.count != 0) {
    const ChainBlock& block = chain.blocks[chain.count - 1];
    errno = kErrno;
    expect(api::pool_realloc(pool, block.p, block.size, impossible_size(step.amount)) == nullptr && errno == ENOMEM,
           "pool_realloc to what cannot be");
    chain_check_block(block);
  }
  const poolalloc_pool_stats after = api::pool_stats_get(pool);
  expect(after.used_bytes == before.used_bytes && after.taken_bytes == before.taken_bytes,
         "a request that cannot be met has changed the chain");
}

}  // namespace

void do_chain_allocate(Lane& lane, const Step& step) {
  if (!may_grow(lane)) return;
  const unsigned index = step.other % kChains;
  Chain& chain = lane.chains[index];
  if (!chain.is_there) chain_begin(lane, index, step);
  for (unsigned i = 0; i < step.count() && chain.count < kChainBlocks; i++) {
    size_t size = affordable(size_of(step, i) % (4 << 20)), alignment;
    errno = kErrno;
    void* p = chain_take(chain, step, i, &size, &alignment);
    if (p == nullptr) {
      const bool has_limit = api::pool_stats_get(chain.get()).limit_bytes != 0;
      expect(has_limit || world.may_refuse, "a block of a chain was refused", nullptr, size);
      expect(errno == ENOMEM, "a block of a chain was refused without ENOMEM");
      continue;
    }
    // Where a first buffer is refused, a smaller one may do.
    expect(errno == kErrno || world.may_refuse, "a chain's request that was met has changed errno");
    chain_note(chain, p, size, alignment);
  }
  if (step.how % 16 == 15) chain_failures(chain, step);
}

void do_chain_resize(Lane& lane, const Step& step) {
  Chain& chain = lane.chains[step.other % kChains];
  if (!may_grow(lane) || !chain.is_there || chain.count == 0) return;
  // What is older than a mark keeps its size until the chain has gone back to there.
  const unsigned from = chain.has_mark ? chain.marked_count : 0;
  if (chain.count == from) return;
  const unsigned at = step.how % 2 == 0 ? chain.count - 1 : from + step.how / 2 % (chain.count - from);
  const ChainBlock old = chain.blocks[at];
  const size_t size = affordable(plain_size(step.amount) % (4 << 20));
  errno = kErrno;
  char* p = static_cast<char*>(api::pool_realloc(chain.get(), old.p, old.size, size));
  if (p == nullptr) {
    chain_check_block(old);
    const bool has_limit = api::pool_stats_get(chain.get()).limit_bytes != 0;
    return expect((has_limit || world.may_refuse) && errno == ENOMEM, "a chain's block cannot grow", old.p, size);
  }
  if (size < old.size && p != old.p) violated("a chain's block has moved to become smaller", p, size);
  expect(pattern_begins(p, old.size, size < old.size ? size : old.size, old.stamp),
         "a chain's block has lost its bytes when its size was changed", p, size);
  chain.blocks[at] = chain.blocks[--chain.count];
  chain_note(chain, p, size, p != old.p ? natural_alignment(size) : 1);
}

void do_chain_rewind(Lane& lane, const Step& step) {
  Chain& chain = lane.chains[step.other % kChains];
  if (!chain.is_there) return;
  if (step.how % 3 == 0) {
    const size_t limit = step.how % 2 == 0 ? plain_size(step.amount) * 8 : 0;
    api::pool_limit(chain.get(), limit);
    expect(api::pool_stats_get(chain.get()).limit_bytes == limit, "a chain's limit is not what was set");
  } else if (!chain.has_mark) {
    chain.mark = api::pool_mark_get(chain.get());
    chain.marked_count = chain.count;
    chain.has_mark = true;
  } else {
    for (unsigned i = 0; i < chain.count; i++) chain_check_block(chain.blocks[i]);
    api::pool_rewind(chain.get(), chain.mark);
    chain.count = chain.marked_count;
    chain.has_mark = false;
    chains_check(lane);
  }
}

void do_chain_end(Lane& lane, const Step& step) {
  Chain& chain = lane.chains[step.other % kChains];
  if (!chain.is_there) return;
  chains_check(lane);
  poolalloc::pool* object = chain.is_object ? reinterpret_cast<poolalloc::pool*>(chain.object) : nullptr;
  const unsigned how = step.how % 4;
  if (how == 0 && object != nullptr) object->~pool();
  if (how == 1 || how == 2) object != nullptr ? object->reset() : api::pool_reset(chain.get());
  if (how == 3 || (how == 0 && object == nullptr)) object != nullptr ? object->release() : api::pool_free(chain.get());
  chain.count = 0;
  chain.has_mark = false;
  if (how == 0) chain.is_there = false;
  if (how == 0) return;
  expect(api::pool_stats_get(chain.get()).used_bytes == 0, "an empty chain has bytes in use");
}

void chains_check(Lane& lane) {
  for (Chain& chain : lane.chains) {
    if (!chain.is_there) continue;
    size_t bytes = 0, used = 0;
    for (unsigned i = 0; i < chain.count; i++) {
      chain_check_block(chain.blocks[i]);
      bytes += chain.blocks[i].size;
    }
    const poolalloc_pool_stats stats = api::pool_stats_get(chain.get());
    for (const poolalloc_pool* each = chain.get(); each != nullptr; each = each->next) used += each->size;
    expect(stats.used_bytes >= bytes && stats.used_bytes == used, "a chain's used bytes are wrong", nullptr,
           stats.used_bytes);
    expect(stats.taken_bytes >= used, "a chain has taken less than it uses", nullptr, stats.taken_bytes);
  }
}

void chains_end(Lane& lane) {
  for (unsigned i = 0; i < kChains; i++) do_chain_end(lane, Step{0, 0, 0, uint8_t(i), 0});
}

}  // namespace fuzz
