// How much memory days take (measure.h).
//
// Who may use it: through measure.h.
#include "measure.h"

#include "own.h"

namespace {

Measured measured[kDaysMost];

// What is asked for, by how long a day is: in a short one chance weighs more, and memory that is given back only when
// it has not been needed for a while has no time for that.
struct Bar {
  double seconds_per_day;  // or more
  double spread_most;
  double back_least;
};
constexpr Bar kBars[] = {{150, 0.03, 0.5}, {60, 0.05, 0.5}, {10, 0.10, 0.5}, {0, INFINITY, -INFINITY}};
// What may stay when all has been freed: half of what there was, and what an allocator keeps anyway; of a short day
// nearly all, because what goes back by itself takes seconds to do so. After a trim: a tenth.
constexpr double kLeftMost = 0.5, kLeftSoon = 0.95, kLeftAnyway = 16.0 * kMiB, kTrimmedMost = 0.1,
                 kTrimmedAnyway = 8.0 * kMiB;

const Bar& bar() {
  const Bar* each = kBars;
  while (service.calendar.seconds_per_day < each->seconds_per_day) each++;
  return *each;
}

}  // namespace

const Measured& measured_on(unsigned day) { return measured[day]; }

void measure(unsigned number, unsigned half_hour) {
  Measured& day = measured[number];
  const int64_t resident = resident_bytes();
  const Account* sum = accounts_sum();
  if (half_hour == kLastBurst + 1) {
    day.burst_live = sum->all.bytes;
    day.burst_resident = resident;
  }
  if (!is_measured(half_hour)) return;
  day.count++;
  if (is_poolalloc()) {
    static Figures figures;
    figures_read(&figures);
    day.free += (double(figures.free) - day.free) / day.count;
    day.kept += (double(figures.kept) - day.kept) / day.count;
  }
  day.live += (double(sum->all.bytes) - day.live) / day.count;
  day.resident += (double(resident) - day.resident) / day.count;
  day.ratio += (double(resident) / double(sum->all.bytes) - day.ratio) / day.count;
}

double went_back(const Measured& day) {
  return (double(day.burst_resident) - day.resident) / (double(day.burst_live) - day.live);
}

bool memory_is_good(const AtEnd& at_end) {
  const unsigned days = service.calendar.days, from = days / 2;
  const Bar& asked = bar();
  bool is_good = true;
  double least = INFINITY, most = 0, back = 0;
  for (unsigned day = from; day < days; day++) {
    least = fmin(least, measured[day].ratio);
    most = fmax(most, measured[day].ratio);
    back += went_back(measured[day]) / (days - from);
  }
  auto demand = [&](bool is_met, const char* otherwise) {
    if (!is_met) say("soak: %s", otherwise);
    is_good = is_good && is_met;
  };
  const double spread = most / least - 1;
  demand(spread <= asked.spread_most, "NOT FLAT: the same evening takes more memory, or less, from day to day");
  demand(back >= asked.back_least, "NOT GIVEN BACK: too much of what the last burst of a day took");
  const double evening = measured[days - 1].resident;
  const bool is_judged = asked.spread_most < INFINITY;
  const double left_most = is_judged ? evening * kLeftMost + kLeftAnyway : evening * kLeftSoon;
  demand(double(at_end.resident) < left_most, "NOT GIVEN BACK: too much when all was freed");
  demand(double(at_end.resident_trimmed) < evening * kTrimmedMost + kTrimmedAnyway,
         "NOT GIVEN BACK: too much when all was freed, by malloc_trim");
  say("memory: %s: over the last %u of %u days resident / live %.4f to %.4f, apart by %.2f %%; of bursts %.0f %% went "
      "back",
      is_good ? "good" : "NOT GOOD", days - from, days, least, most, spread * 100, back * 100);
  if (is_judged)
    say("in days of %.0f s: apart by at most %.0f %%, and at least %.0f %%", service.calendar.seconds_per_day,
        asked.spread_most * 100, asked.back_least * 100);
  else
    say("days of %.1f s are too short to judge these", service.calendar.seconds_per_day);
  return is_good;
}
