// A machine with a weak memory, and the search through everything that a few threads can do on it.
//
// Memory is as C++ has it: each word has a history of stores; a thread may read any of them that it does not know to
// be outdated. What it knows is its view, for each word the oldest store that it may still read. A release store
// carries the thread's view along, an acquire load takes that over; a read-modify-write sees the last store and passes
// on what that one carried; fences are as in C++. Three things are as processors have them: a thread's stores to one
// word carry what the earlier of them carried; two neighbouring words can be read at one instant (load_pair); and a
// barrier makes everything seen by everybody: the kernel's, which runs in every thread, and a pause so long that all
// stores have arrived. Loads happen in the order in which they are written; no store is early.
//
// A model is a struct without pointers or padding: plain fields, one function for each thread, and what must hold.
// A thread's function goes on where it stopped last: STEP ends a step. Between two steps of a thread the others may
// come. What is plain may be used within one step of a thread only, or under a lock of the model's.
//
// Always holds: states that differ in nothing that can matter are visited once; the search ends when all have been, or
// when something is violated.
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <unordered_set>
#include <vector>

namespace model {

// The model says before, how many words and threads there are.
constexpr unsigned kDepth = 32;  // stores of a word that may still be read

enum class Order : uint8_t { relaxed, acquire, release };
using enum Order;

struct View {
  uint8_t at[kWords];
  void join(const View& other) {
    for (unsigned w = 0; w < kWords; w++)
      if (other.at[w] > at[w]) at[w] = other.at[w];
  }
  bool is_within(const View& other) const {
    for (unsigned w = 0; w < kWords; w++)
      if (at[w] > other.at[w]) return false;
    return true;
  }
};

// `carried` is what whoever acquires the store knows from then on.
struct Store {
  int8_t value;
  uint8_t author;
  View carried;
};

struct Thread {
  uint16_t line;  // where it goes on
  View seen;      // what it knows
  View loaded;    // what an acquire fence would add
  View fenced;    // what it knew at the last release fence
};
constexpr uint16_t kEnded = UINT16_MAX;

struct Memory {
  uint8_t count[kWords];  // stores of each word
  Store stores[kWords][kDepth];
  Thread threads[kThreads];
  View fences;  // what the last fence of all knew
};

template <typename Model>
class Search {
 public:
  // --- For the model: what the thread that runs may do -------------------------------------------------

  int8_t load(unsigned word, Order order = relaxed) {
    unsigned candidates[kDepth], count = 0;
    for (unsigned i = me().seen.at[word]; i < now_.memory.count[word]; i++)
      if (!is_covered(word, i)) candidates[count++] = i;
    const unsigned i = candidates[choose(count)];
    const Store& store = now_.memory.stores[word][i];
    me().seen.at[word] = uint8_t(i);
    take_over(store, order);
    return store.value;
  }
  void store(unsigned word, int value, Order order = relaxed) { append(word, value, order, false); }
  // Both say what was there.
  int8_t exchange(unsigned word, int value, Order order) {
    int8_t before = last(word).value;
    take_over(last(word), order);
    append(word, value, order, true);
    return before;
  }
  int8_t add(unsigned word, int by, Order order) { return exchange(word, last(word).value + by, order); }
  // Whether both words are zero at one instant. Acquire.
  bool load_pair_is_zero(unsigned a, unsigned b) {
    Thread& t = me();
    unsigned i = t.seen.at[a] + choose(now_.memory.count[a] - t.seen.at[a]);
    unsigned j = t.seen.at[b] + choose(now_.memory.count[b] - t.seen.at[b]);
    const Store &first = now_.memory.stores[a][i], &second = now_.memory.stores[b][j];
    if (first.carried.at[b] > j || second.carried.at[a] > i) return impossible(), false;
    t.seen.at[a] = uint8_t(i);
    t.seen.at[b] = uint8_t(j);
    take_over(first, acquire);
    take_over(second, acquire);
    return first.value == 0 && second.value == 0;
  }
  void fence_seq_cst() {
    Thread& t = me();
    t.seen.join(t.loaded);
    t.seen.join(now_.memory.fences);
    now_.memory.fences = t.fenced = t.seen;
  }
  // Everything that was stored is seen by everybody.
  void barrier() {
    for (unsigned w = 0; w < kWords; w++)
      for (Thread& t : now_.memory.threads) t.seen.at[w] = uint8_t(now_.memory.count[w] - 1);
  }
  // Whether no store of the word is under way to this thread.
  bool sees_last(unsigned word) { return me().seen.at[word] == now_.memory.count[word] - 1; }

  // os/lock.h
  bool lock_try_acquire(unsigned word) {
    if (load(word) != 0 || last(word).value != 0) return false;
    exchange(word, 1, acquire);
    return true;
  }
  // A step that waits until it can be done.
  void lock_acquire(unsigned word) {
    if (last(word).value != 0) return impossible();
    exchange(word, 1, acquire);
  }
  void lock_release(unsigned word) { exchange(word, 0, release); }

  // Any number below `bound`; each is tried.
  unsigned choose(unsigned bound) {
    if (bound <= 1) return 0;
    if (choice_ == choices_.size()) choices_.push_back({0, bound});
    return choices_[choice_++].taken;
  }
  // This step cannot be done now, or not so.
  void impossible() { impossible_ = true; }
  void require(bool holds, const char* law) {
    if (!holds && !impossible_ && violated_ == nullptr) violated_ = law;
  }
  // When all threads have ended.
  int8_t value(unsigned word) { return last(word).value; }

  uint16_t line() { return me().line; }
  void stop_at(unsigned line) { me().line = uint16_t(line); }

  // --- For the test ------------------------------------------------------------------------------------

  // The law that was violated; nullptr: none. Prints how.
  const char* run(const Model& start) {
    memset(static_cast<void*>(&now_), 0, sizeof now_);
    now_.model = start;
    for (uint8_t& count : now_.memory.count) count = 1;
    for (auto& word : now_.memory.stores) word[0].author = kThreads;
    for (unsigned t = 0; t < kThreads; t++)
      if (!start.has_thread(t)) now_.memory.threads[t].line = kEnded;
    std::vector<Frame> path;
    path.push_back(Frame{now_, 0, {}, 0, false});
    visited_.insert(hash(now_));
    while (!path.empty() && violated_ == nullptr) {
      Frame& top = path.back();
      if (top.thread == kThreads) {
        if (!top.has_next && !all_ended(top.state)) violated_ = "somebody waits for ever";
        path.pop_back();
        continue;
      }
      if (!step(top)) continue;
      normalize(now_.memory);
      bool is_new = violated_ == nullptr && visited_.insert(hash(now_)).second;
      if (is_new && all_ended(now_)) now_.model.end(*this);
      if (is_new || violated_ != nullptr) path.push_back(Frame{now_, 0, {}, 0, false});
    }
    if (violated_ != nullptr) print(path);
    return violated_;
  }
  size_t states() const { return visited_.size(); }

 private:
  struct State {
    Memory memory;
    Model model;
  };
  struct Choice {
    unsigned taken, bound;
  };
  struct Frame {
    State state;
    unsigned thread;  // whose steps are tried
    std::vector<Choice> choices;
    unsigned line;
    bool has_next;
  };

  Thread& me() { return now_.memory.threads[current_]; }
  Store& last(unsigned word) { return now_.memory.stores[word][now_.memory.count[word] - 1]; }

  // Whether the thread can read the same from an older store, which tells it no more: then whatever can follow from
  // this one follows from that one, too.
  bool is_covered(unsigned word, unsigned i) {
    const Store* stores = now_.memory.stores[word];
    for (unsigned j = me().seen.at[word]; j < i; j++)
      if (stores[j].value == stores[i].value && stores[j].carried.is_within(stores[i].carried)) return true;
    return false;
  }
  void take_over(const Store& store, Order order) { (order == acquire ? me().seen : me().loaded).join(store.carried); }
  void append(unsigned word, int value, Order order, bool passes_on) {
    Thread& t = me();
    Store next{int8_t(value), uint8_t(current_), order == release ? t.seen : t.fenced};
    if (passes_on || last(word).author == current_) next.carried.join(last(word).carried);
    if (now_.memory.count[word] == kDepth) return require(false, "the machine has too few stores for a word");
    t.seen.at[word] = next.carried.at[word] = now_.memory.count[word]++;
    last(word) = next;
  }

  // The next thing that the frame's thread can do, or, if there is none, on to the next thread; whether it was done.
  bool step(Frame& frame) {
    now_ = frame.state;
    current_ = frame.thread;
    choices_ = frame.choices;
    choice_ = 0;
    impossible_ = false;
    bool has_ended = me().line == kEnded;
    frame.line = me().line;
    if (!has_ended) now_.model.step(*this, current_);
    bool is_done = !has_ended && !impossible_;
    if (!is_done) violated_ = nullptr;
    frame.has_next = frame.has_next || is_done;
    while (!choices_.empty() && choices_.back().taken + 1 == choices_.back().bound) choices_.pop_back();
    if (choices_.empty()) {
      frame.thread++;
    } else {
      choices_.back().taken++;
    }
    frame.choices = choices_;
    return is_done;
  }

  static bool all_ended(const State& state) {
    for (const Thread& t : state.memory.threads)
      if (t.line != kEnded) return false;
    return true;
  }

  // Forgets what nobody can read any more.
  static void normalize(Memory& m) {
    for (unsigned w = 0; w < kWords; w++) {
      uint8_t least = uint8_t(m.count[w] - 1);
      for (const Thread& t : m.threads)
        if (t.line != kEnded && t.seen.at[w] < least) least = t.seen.at[w];
      if (least == 0) continue;
      m.count[w] = uint8_t(m.count[w] - least);
      memmove(m.stores[w], m.stores[w] + least, m.count[w] * sizeof(Store));
      memset(static_cast<void*>(m.stores[w] + m.count[w]), 0, least * sizeof(Store));
      auto shift = [&](View& view) { view.at[w] = uint8_t(view.at[w] > least ? view.at[w] - least : 0); };
      for (auto& word : m.stores)
        for (Store& store : word) shift(store.carried);
      for (Thread& t : m.threads) shift(t.seen), shift(t.loaded), shift(t.fenced);
      shift(m.fences);
    }
    for (Thread& t : m.threads)
      if (t.line == kEnded) t.seen = t.loaded = t.fenced = View{};
  }

  static uint64_t hash(const State& state) {
    uint64_t sum = 0xcbf29ce484222325u;
    auto add = [&](const void* from, size_t size) {
      const char* p = static_cast<const char*>(from);
      for (uint64_t word = 0; size > 0; p += 8, size = size > 8 ? size - 8 : 0) {
        memcpy(&word, p, size < 8 ? size : 8);
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
      }
    };
    const Memory& m = state.memory;
    add(m.count, sizeof m.count);
    for (unsigned w = 0; w < kWords; w++) add(m.stores[w], m.count[w] * sizeof(Store));
    add(m.threads, sizeof m.threads);
    add(&m.fences, sizeof m.fences);
    add(&state.model, sizeof state.model);
    return sum;
  }

  void print(const std::vector<Frame>& path) {
    printf("violated: %s\n", violated_);
    for (const Frame& frame : path) {
      // The thread whose step leads on; its choices may have moved on already.
      if (&frame == &path.back()) break;
      unsigned thread = frame.choices.empty() ? frame.thread - 1 : frame.thread;
      printf("  thread %u line %u\n", thread, unsigned(frame.state.memory.threads[thread].line));
    }
  }

  State now_;
  unsigned current_ = 0;
  std::vector<Choice> choices_;
  size_t choice_ = 0;
  bool impossible_ = false;
  const char* violated_ = nullptr;
  std::unordered_set<uint64_t> visited_;
};

}  // namespace model

// Inside a thread's function, whose search is `m`.
#define THREAD_BEGINS \
  switch (m.line()) { \
    case 0:
#define STEP           \
  m.stop_at(__LINE__); \
  return;              \
  case __LINE__:
#define THREAD_ENDS         \
  m.stop_at(model::kEnded); \
  }
