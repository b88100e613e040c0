// What every application here stands on: the ECU's inputs and outputs, lookup tables, a PI
// controller and a monitor that debounces. No C library, no heap, no floating-point function that
// is not a single instruction.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define IMPORT(name) __attribute__((import_module("io"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

// Input of a channel in its unit; the channels of each ECU are listed in its source.
IMPORT("read") double io_read(int32_t channel);
IMPORT("write") void io_write(int32_t channel, double value);
// A monitor's test result; the index counts the ECU's DTCs.
IMPORT("report_dtc") void io_report_dtc(int32_t index, int32_t failed);
// The watchdog wants one every step.
IMPORT("kick") void io_kick(void);

static inline double limit(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;
}

static inline double magnitude(double value) { return __builtin_fabs(value); }

// --- Lookup tables: equidistant axes, 16-bit values, linear in between ----------------------

struct axis {
    double start;
    double step;
    int32_t count;
};

struct place {
    int32_t index;    // lower neighbour
    double fraction;  // 0 at it, 1 at the next
};

// Where a value lies on an axis; beyond the ends the end value holds.
static inline struct place locate(const struct axis *axis, double value) {
    double position = limit((value - axis->start) / axis->step, 0.0, (double)(axis->count - 1));
    int32_t index = (int32_t)position;
    if (index > axis->count - 2) index = axis->count - 2;
    return (struct place){index, position - (double)index};
}

static inline double between(double a, double b, double fraction) { return a + (b - a) * fraction; }

// A map of two inputs, [x][y].
struct map2 {
    struct axis x, y;
    double unit;  // of one count
    const int16_t *values;
};

static inline double row2(const struct map2 *map, int32_t x, struct place y) {
    const int16_t *row = map->values + x * map->y.count + y.index;
    return between(row[0], row[1], y.fraction);
}

static inline double lookup2(const struct map2 *map, double x_value, double y_value) {
    struct place x = locate(&map->x, x_value), y = locate(&map->y, y_value);
    return map->unit * between(row2(map, x.index, y), row2(map, x.index + 1, y), x.fraction);
}

// A map of three inputs, [x][y][z].
struct map3 {
    struct axis x, y, z;
    double unit;
    const int16_t *values;
};

static inline double plane3(const struct map3 *map, int32_t x, struct place y, struct place z) {
    const int16_t *row = map->values + (x * map->y.count + y.index) * map->z.count + z.index;
    const int16_t *next = row + map->z.count;
    return between(between(row[0], row[1], z.fraction), between(next[0], next[1], z.fraction),
                   y.fraction);
}

static inline double lookup3(const struct map3 *map, double x_value, double y_value,
                             double z_value) {
    struct place x = locate(&map->x, x_value), y = locate(&map->y, y_value),
                 z = locate(&map->z, z_value);
    return map->unit *
           between(plane3(map, x.index, y, z), plane3(map, x.index + 1, y, z), x.fraction);
}

// --- Control --------------------------------------------------------------------------------

// Integral part with a hard authority: what it may add or take away at most.
struct integrator {
    double value;
    double authority;
};

static inline double integrate(struct integrator *integrator, double rate, double dt) {
    integrator->value = limit(integrator->value + rate * dt, -integrator->authority,
                              integrator->authority);
    return integrator->value;
}

static inline double slew(double from, double to, double rate, double dt) {
    return limit(to, from - rate * dt, from + rate * dt);
}

// --- Monitors -------------------------------------------------------------------------------

// Debounces a symptom by time. It reports nothing until one side has lasted long enough: a monitor
// that has not completed must not say "passed".
struct monitor {
    int32_t dtc;
    double fail_after;  // s of symptom
    double pass_after;  // s without
    double failing;
    double passing;
};

static inline void monitor_step(struct monitor *monitor, bool symptom, double dt) {
    monitor->failing = symptom ? monitor->failing + dt : 0.0;
    monitor->passing = symptom ? 0.0 : monitor->passing + dt;
    if (monitor->failing >= monitor->fail_after) {
        monitor->failing = monitor->fail_after;
        io_report_dtc(monitor->dtc, 1);
    } else if (monitor->passing >= monitor->pass_after) {
        monitor->passing = monitor->pass_after;
        io_report_dtc(monitor->dtc, 0);
    }
}

// While its enable conditions do not hold, a monitor starts anew.
static inline void monitor_hold(struct monitor *monitor) {
    monitor->failing = 0.0;
    monitor->passing = 0.0;
}

// A deviation that stays: beyond the threshold and not shrinking. A cabin that is being cooled down
// is far off its set value and yet in order.
// The first window after a start has nothing to compare with and counts as shrinking.
#define UNKNOWN 1e9
struct deviation {
    double threshold;  // K
    double progress;   // K that it must shrink by in every window
    double window;     // s
    double reference;  // deviation at the start of the window
    double elapsed;    // s since then
    bool shrinking;
};

static inline void deviation_hold(struct deviation *deviation) {
    deviation->reference = UNKNOWN;
    deviation->elapsed = 0.0;
    deviation->shrinking = true;
}

static inline bool deviation_stays(struct deviation *deviation, double value, double dt) {
    double size = magnitude(value);
    deviation->elapsed += dt;
    if (deviation->elapsed >= deviation->window) {
        deviation->shrinking = size < deviation->reference - deviation->progress;
        deviation->reference = size;
        deviation->elapsed = 0.0;
    }
    return size > deviation->threshold && !deviation->shrinking;
}
