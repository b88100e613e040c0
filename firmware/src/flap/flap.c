// Air distribution: opens the flaps to windscreen, face and feet as far as the climate control unit
// asks for, each by the lever of its motor. Without a request the flaps stay.

#include "flap.h"

enum input { REQUESTS, SUPPLY = REQUESTS + FLAPS, REQUEST_SILENT, TRAVELS };
enum output { LEVERS };
enum dtc { SUPPLY_LOW, NOT_REACHED, REQUEST_LOST = NOT_REACHED + FLAPS };

#define SILENT_AFTER 2.0  // s without CCU_Distribution
#define START_UP 5.0      // s after a start in which others may still be starting
#define SUPPLY_MINIMUM 9.5
#define TOLERANCE 0.05    // of the travel

static double lever[FLAPS];
static double requested[FLAPS];  // %, held while nobody asks
static double running;

static struct monitor supply_monitor = {.dtc = SUPPLY_LOW, .fail_after = 1.0, .pass_after = 1.0};
// Longer than a sweep takes, in which a tester holds the flap, and its way back.
static struct monitor travel_monitors[FLAPS] = {
    {.dtc = NOT_REACHED + DEFROST, .fail_after = 15.0, .pass_after = 2.0},
    {.dtc = NOT_REACHED + FACE, .fail_after = 15.0, .pass_after = 2.0},
    {.dtc = NOT_REACHED + FOOT, .fail_after = 15.0, .pass_after = 2.0},
};
static struct monitor lost_monitor = {.dtc = REQUEST_LOST, .fail_after = 0.5, .pass_after = 0.5};

static void move(int32_t flap, double supply, double dt) {
    double wanted = lookup2(&travel_map, requested[flap], (double)flap);
    double pace = lookup2(&pace_map, magnitude(wanted - lever[flap]), supply);
    lever[flap] = slew(lever[flap], wanted, pace, dt);
    io_write(LEVERS + motor_of(flap), lever[flap]);
}

static void watch(int32_t flap, double supply, double dt) {
    double travel = io_read(TRAVELS + motor_of(flap));
    if (supply < SUPPLY_MINIMUM) {
        monitor_hold(&travel_monitors[flap]);
    } else {
        monitor_step(&travel_monitors[flap], magnitude(travel - lever[flap]) > TOLERANCE, dt);
    }
}

EXPORT("init") void init(void) {}

EXPORT("step") void step(double dt) {
    double supply = io_read(SUPPLY), silent = io_read(REQUEST_SILENT);
    bool asked = silent <= SILENT_AFTER;

    for (int32_t flap = 0; flap < FLAPS; flap++) {
        // The flaps have stayed where the last drive, or the image before this one, left them.
        if (running == 0.0) lever[flap] = io_read(TRAVELS + motor_of(flap));
        if (asked) requested[flap] = limit(io_read(REQUESTS + flap), 0.0, 100.0);
        if (asked) move(flap, supply, dt);
        watch(flap, supply, dt);
    }
    running += dt;
    monitor_step(&supply_monitor, supply < SUPPLY_MINIMUM, dt);
    if (running >= START_UP) monitor_step(&lost_monitor, !asked, dt);
    io_kick();
}
