// The soak program's day: its hours, and how much the service has to do in each.
//
// Always holds: every day is the same, but for random numbers; it has 48 half-hours, whose ticks are the unit of all
// lifetimes. Who may use it: the soak program.
#pragma once

#include <math.h>
#include <stdint.h>

constexpr unsigned kHalfHours = 48;

// Of a service's full load, in per cent, by hour.
constexpr unsigned kLoad[kHalfHours / 2] = {15, 12, 10, 10,  12, 18, 30, 50, 75, 95, 100, 100,
                                            90, 85, 95, 100, 95, 80, 60, 45, 40, 38, 30,  20};

// Ten times as many requests as at full load, and as much memory as everything else takes.
constexpr bool is_burst(unsigned half_hour) { return half_hour == 20 || half_hour == 27 || half_hour == 33; }
constexpr unsigned kLastBurst = 33;

// The calm in which memory is measured.
constexpr bool is_measured(unsigned half_hour) { return half_hour >= 40 && half_hour < 46; }

constexpr unsigned kWorkersMost = 8;
constexpr unsigned workers_of(unsigned half_hour) { return 2 + kLoad[half_hour / 2] * (kWorkersMost - 2) / 100; }

struct Calendar {
  unsigned days;
  double seconds_per_day;
  unsigned ticks_per_half_hour;
  unsigned ticks_per_day() const { return ticks_per_half_hour * kHalfHours; }
  double seconds_per_tick() const { return seconds_per_day / ticks_per_day(); }
  unsigned day_of(uint64_t tick) const { return unsigned(tick / ticks_per_day()); }
  unsigned half_hour_of(uint64_t tick) const { return unsigned(tick % ticks_per_day()) / ticks_per_half_hour; }
  // 0 at midnight, 1 at noon.
  double noon(uint64_t tick) const {
    const double part = double(tick % ticks_per_day()) / ticks_per_day();
    return part < 0.5 ? part * 2 : 2 - part * 2;
  }
};

// As many days as last ten seconds, 4 at the least and 16 at the most.
inline Calendar calendar_of(double minutes) {
  constexpr double kShortestDay = 10, kTick = 0.05;
  const double days = fmin(fmax(floor(minutes * 60 / kShortestDay), 4), 16);
  const double seconds = minutes * 60 / days;
  return {unsigned(days), seconds, unsigned(fmax(floor(seconds / kHalfHours / kTick), 1))};
}
