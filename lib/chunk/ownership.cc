// The tables of open chunks (ownership.h).
//
// Always holds: the further table goes from nullptr to a zeroed one once, and never goes.
// Who may use it: through ownership.h.
#include "chunk/ownership.h"

#include "os/os.h"

namespace poolalloc {

constinit ChunkTags chunk_tags{};
constinit Atomic<FurtherChunkTags*> further_chunk_tags{nullptr};

namespace {

constexpr size_t kFurtherSize = sizeof(FurtherChunkTags);

template <typename Tag>
bool tag_put(Atomic<Tag>& place, Tag tag) {
  return place.load_relaxed() == 0 && place.cas_acquire(0, tag);
}
template <typename Tag>
void tag_remove(Atomic<Tag>& place, Tag tag) {
  if (place.load_relaxed() == tag) place.store_relaxed(0);
}

// The further table, made if there is none; nullptr: no memory.
FurtherChunkTags* further_made() {
  FurtherChunkTags* table = further_chunk_tags.load_acquire();
  if (table != nullptr) return table;
  auto* fresh = static_cast<FurtherChunkTags*>(os_map(kFurtherSize, os_page_size()));
  if (fresh == nullptr) return nullptr;
  // Release: whoever finds the table finds it zero.
  while (!further_chunk_tags.cas_weak_acq_rel(table, fresh)) {
    if (table == nullptr) continue;
    os_discard(fresh, kFurtherSize);  // another thread was faster
    return table;
  }
  return fresh;
}

}  // namespace

bool chunk_is_listed_further(uintptr_t address) {
  uintptr_t number = address >> kChunkShift;
  // Acquire: paired with the release in further_made.
  FurtherChunkTags* table = further_chunk_tags.load_acquire();
  return table != nullptr && number != 0 && table->places[number % FurtherChunkTags::kPlaces].load_relaxed() == number;
}

bool chunk_list(const void* chunk) {
  uint32_t number = uint32_t(address_of(chunk) >> kChunkShift);
  if (tag_put(chunk_tags.places[number % ChunkTags::kPlaces], chunk_last(address_of(chunk)))) return true;
  FurtherChunkTags* table = further_made();
  return table != nullptr && tag_put(table->places[number % FurtherChunkTags::kPlaces], number);
}

void chunk_unlist(const void* chunk) {
  uint32_t number = uint32_t(address_of(chunk) >> kChunkShift);
  tag_remove(chunk_tags.places[number % ChunkTags::kPlaces], chunk_last(address_of(chunk)));
  FurtherChunkTags* table = further_chunk_tags.load_acquire();
  if (table != nullptr) tag_remove(table->places[number % FurtherChunkTags::kPlaces], number);
}

}  // namespace poolalloc
