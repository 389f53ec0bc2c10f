// The profile as a file that pprof reads (pprof.h).
//
// Who may use it: through pprof.h.
#include "inspect/pprof.h"

#include "inspect/profile.h"
#include "os/mapped.h"
#include "os/place.h"

namespace poolalloc {
namespace {

// --- gzip (RFC 1951 and 1952), without compression --------------------------------------------------------------

class Gzip {
 public:
  explicit Gzip(Growing<char>& file) : file_(file) {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t sum = i;
      for (int bit = 0; bit < 8; bit++) sum = (sum >> 1) ^ ((sum & 1) != 0 ? 0xedb88320 : 0);
      sums_[i] = sum;
    }
    constexpr char kHeader[] = {'\x1f', '\x8b', 8, 0, 0, 0, 0, 0, 0, '\xff'};
    file_.add(kHeader, sizeof kHeader);
  }

  void put(const char* data, size_t size) {
    for (size_t i = 0; i < size; i++) sum_ = (sum_ >> 8) ^ sums_[(sum_ ^ uint8_t(data[i])) & 0xff];
    size_ += uint32_t(size);
    while (size != 0) {
      if (left_ == 0) block_begin(false);
      const size_t part = size < left_ ? size : left_;
      file_.add(data, part);
      left_ -= part;
      data += part;
      size -= part;
    }
  }

  void end() {
    block_begin(true);
    block_end();
    put_number(sum_ ^ 0xffffffff, 4);
    put_number(size_, 4);
  }

 private:
  static constexpr size_t kBlockMost = 65535;

  void block_begin(bool is_last) {
    block_end();
    file_.add(char(is_last));
    length_at_ = file_.count;
    put_number(0, 4);
    left_ = is_last ? 0 : kBlockMost;
  }
  // Writes how long the block has become where it begins.
  void block_end() {
    if (length_at_ == 0 || !file_.is_whole) return;
    const size_t length = file_.count - length_at_ - 4;
    for (unsigned i = 0; i < 4; i++) {
      const size_t half = i < 2 ? length : ~length;
      file_.items[length_at_ + i] = char(half >> (i % 2 * 8));
    }
  }
  void put_number(uint32_t number, unsigned bytes) {
    for (; bytes > 0; bytes--, number >>= 8) file_.add(char(number));
  }

  Growing<char>& file_;
  uint32_t sums_[256];
  uint32_t sum_ = 0xffffffff;
  uint32_t size_ = 0;
  size_t left_ = 0;       // of the block
  size_t length_at_ = 0;  // 0: there is no block
};

// --- Protocol buffers ------------------------------------------------------------------------------------------

// A message of some numbers, of up to so many bytes.
template <size_t kMost>
class FieldsOf {
 public:
  void clear() { size_ = 0; }
  void number(unsigned field, uint64_t value) {
    if (value == 0) return;
    varint(field << 3);
    varint(value);
  }
  // A repeated number.
  void one_more(uint64_t value) { varint(value); }
  void message_head(unsigned field, size_t size) {
    varint(field << 3 | 2);
    varint(size);
  }
  template <typename Inner>
  void message(unsigned field, const Inner& inner) {
    message_head(field, inner.size());
    for (size_t i = 0; i < inner.size(); i++) add(inner.bytes()[i]);
  }
  const char* bytes() const { return bytes_; }
  size_t size() const { return size_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) add(char(value | 0x80));
    add(char(value));
  }
  void add(char c) {
    PA_ASSERT(size_ < sizeof bytes_);
    bytes_[size_++] = c;
  }

  char bytes_[kMost];
  size_t size_ = 0;
};
using Fields = FieldsOf<160>;
// Enough for the addresses of a stack.
using LongFields = FieldsOf<900>;

// Fields of profile.proto.
enum : unsigned {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kString = 6,
  kTimeNanos = 9,
  kDurationNanos = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
};

// Part of the program's address space.
struct Code {
  uintptr_t start, end;
  uint64_t id;
};

class Writer {
 public:
  explicit Writer(Growing<char>& file) : gzip_(file) {}

  bool write() {
    string("");
    const Fields space = value_type("space", "bytes");
    value_types();
    mappings();
    locations();
    samples();
    Fields top;
    top.number(kTimeNanos, os_wall_clock_ms() * 1'000'000);
    const uint64_t until = profile.stopped_ms != 0 ? profile.stopped_ms : os_clock_ms();
    top.number(kDurationNanos, (until - profile.started_ms) * 1'000'000);
    top.message(kPeriodType, space);
    top.number(kPeriod, profile.interval);
    top.number(kComment, string(os_program_name()));
    if (profile.left_out != 0) top.number(kComment, string("there was no memory for some of the samples"));
    top.number(kDefaultSampleType, default_type_);
    put(top);
    gzip_.end();
    return codes_.is_whole && places_.is_whole;
  }

 private:
  // The index of a string that is new.
  uint64_t string(const char* text) {
    Fields head;
    const size_t length = strlen(text);
    head.message_head(kString, length);
    put(head);
    gzip_.put(text, length);
    return string_count_++;
  }
  template <typename AnyFields>
  void put(const AnyFields& fields) {
    gzip_.put(fields.bytes(), fields.size());
  }
  template <typename AnyFields>
  void put_message(unsigned field, const AnyFields& inner) {
    Fields head;
    head.message_head(field, inner.size());
    put(head);
    put(inner);
  }

  Fields value_type(const char* type, const char* unit) {
    Fields fields;
    last_type_ = string(type);
    fields.number(1, last_type_);
    fields.number(2, string(unit));
    return fields;
  }
  void value_types() {
    auto add = [&](const char* objects, const char* space) {
      put_message(kSampleType, value_type(objects, "count"));
      put_message(kSampleType, value_type(space, "bytes"));
    };
    add("alloc_objects", "alloc_space");
    add("inuse_objects", "inuse_space");
    default_type_ = last_type_;
    add("peak_objects", "peak_space");
    if (profile.has_lost) add("lost_objects", "lost_space");
  }

  // Mappings that have code.
  void mappings() {
    os_mappings_visit(
        [](void* context, const Mapping& mapping) {
          if (mapping.is_executable) static_cast<Writer*>(context)->mapping(mapping);
          return true;
        },
        this);
  }
  void mapping(const Mapping& mapping) {
    const uint64_t id = codes_.count + 1;
    codes_.add({mapping.start, mapping.end, id});
    Fields fields;
    fields.number(1, id);
    fields.number(2, mapping.start);
    fields.number(3, mapping.end);
    fields.number(4, mapping.offset);
    fields.number(5, string(mapping.name));
    put_message(kMapping, fields);
  }
  uint64_t mapping_of(uintptr_t address) const {
    const size_t started =
        partition_point(codes_.items, codes_.count, [address](const Code& code) { return code.start <= address; });
    return started != 0 && address < codes_.items[started - 1].end ? codes_.items[started - 1].id : 0;
  }

  // A return address may belong to what follows the call. A location is known by its address.
  static uintptr_t call_at(uintptr_t return_address) { return return_address - 1; }
  void locations() {
    for (const ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older)
      places_.add(stack->frames(), stack->frame_count);
    heap_sort(places_.items, places_.count, [](uintptr_t a, uintptr_t b) { return a < b; });
    for (size_t i = 0; i < places_.count; i++) {
      if (i != 0 && places_.items[i] == places_.items[i - 1]) continue;
      const uintptr_t place = call_at(places_.items[i]);
      Fields fields;
      fields.number(1, place);
      fields.number(2, mapping_of(place));
      fields.number(3, place);
      put_message(kLocation, fields);
    }
  }

  void samples() {
    for (const ProfileStack* stack = profile.newest; stack != nullptr; stack = stack->older) {
      if (stack->made.blocks <= 0 && stack->live_samples == 0) continue;
      Fields values;
      ids_.clear();
      sample_.clear();
      for (unsigned i = 0; i < stack->frame_count; i++) ids_.one_more(call_at(stack->frames()[i]));
      const ProfileSum* sums[] = {&stack->made, &stack->live, &stack->peak, &stack->lost};
      for (unsigned i = 0; i < (profile.has_lost ? 4 : 3); i++) {
        values.one_more(uint64_t(sums[i]->blocks + 0.5));
        values.one_more(uint64_t(sums[i]->bytes + 0.5));
      }
      sample_.message(1, ids_);
      sample_.message(2, values);
      put_message(kSample, sample_);
    }
  }

  Gzip gzip_;
  Growing<Code> codes_;
  Growing<uintptr_t> places_;
  LongFields ids_, sample_;
  uint64_t string_count_ = 0, last_type_ = 0, default_type_ = 0;
};

}  // namespace

bool pprof_make(Growing<char>& file) {
  SamplePause pause;
  ProfileHeld held;
  if (!held || profile.interval == 0) return false;
  profile_note_peak();
  // It is large for a stack.
  Mapped<Writer> writer(file);
  return writer && writer->write() && file.is_whole;
}

}  // namespace poolalloc
