// Climate control unit: keeps the cabin at its set temperature with blower, temperature blend and
// recirculation flap, and says where the air is to go. Feed-forward from maps, a PI controller
// around it, three monitors.

#include "ccu.h"

enum input { CABIN, AMBIENT, SETPOINT, EVAPORATOR, BLOWER_LEVEL, SUN, BLOWER_SILENT };
enum output {
    BLOWER_REQUEST,
    BLEND,
    RECIRCULATION,
    DEFROST_REQUEST,
    FACE_REQUEST,
    FOOT_REQUEST
};
enum dtc { CABIN_DEVIATION, BLOWER_NOT_FOLLOWING, BLOWER_LOST };

#define PROPORTIONAL 3.0   // K of outlet per K of cabin
#define CORRECTION 2.0     // K of outlet at most: far from the set temperature the blower decides
#define INTEGRAL 0.03      // K of outlet per K of cabin and second
#define NEAR 1.5           // K: the integrator works only this near to the set temperature
#define SILENT_AFTER 2.0   // s without Blower_Status
#define START_UP 5.0       // s after a start in which others may still be starting

static struct integrator trim = {.authority = 3.0};
static double blower_request;
static double blend;
static double recirculation;
static double running;  // s since the start

static struct deviation cabin_deviation = {
    .threshold = 2.5, .progress = 0.4, .window = 10.0, .reference = UNKNOWN, .shrinking = true};
static struct monitor deviation_monitor = {
    .dtc = CABIN_DEVIATION, .fail_after = 10.0, .pass_after = 10.0};
static struct monitor following_monitor = {
    .dtc = BLOWER_NOT_FOLLOWING, .fail_after = 5.0, .pass_after = 2.0};
static struct monitor lost_monitor = {.dtc = BLOWER_LOST, .fail_after = 0.5, .pass_after = 0.5};

// Cabin air while there is far to go, fresh air otherwise: people have to breathe.
static void choose_air(double deviation) {
    if (deviation > 7.0) recirculation = 1.0;
    if (deviation < 5.0) recirculation = 0.0;
}

// Cool air to the face, warm air to the feet; a little always keeps the windscreen clear.
static void distribute(double outlet) {
    double warm = limit((outlet - 18.0) / 14.0, 0.0, 1.0);
    io_write(DEFROST_REQUEST, between(10.0, 30.0, warm));
    io_write(FACE_REQUEST, between(90.0, 0.0, warm));
    io_write(FOOT_REQUEST, between(5.0, 80.0, warm));
}

static double intake_temperature(double cabin, double ambient) {
    double of_cabin = recirculation > 0.5 ? 0.85 : 0.1;
    return between(ambient, cabin, of_cabin);
}

static double outlet_target(double cabin, double setpoint, double ambient, double sun, double dt) {
    double error = setpoint - cabin;
    // Where the flap is at its end, more of the same would only wind the integrator up.
    bool saturated = (blend <= 0.0 && error < 0.0) || (blend >= 1.0 && error > 0.0);
    if (magnitude(error) < NEAR && !saturated) integrate(&trim, INTEGRAL * error, dt);
    double correction = limit(PROPORTIONAL * error, -CORRECTION, CORRECTION);
    double target = lookup3(&outlet_map, ambient, sun, setpoint);
    return limit(target + correction + trim.value, 3.0, 55.0);
}

// Without air flow no control can bring the cabin nearer.
static void hold_deviation(void) {
    deviation_hold(&cabin_deviation);
    monitor_hold(&deviation_monitor);
}

static void watch(double cabin, double setpoint, double dt) {
    double silent = io_read(BLOWER_SILENT);
    double level = io_read(BLOWER_LEVEL);
    if (running < START_UP) return;

    monitor_step(&lost_monitor, silent > SILENT_AFTER, dt);
    if (silent > SILENT_AFTER) {
        // Without the blower nothing can be said of the other two.
        monitor_hold(&following_monitor);
        hold_deviation();
        return;
    }
    monitor_step(&following_monitor, magnitude(blower_request - level) > 20.0, dt);
    if (level < 10.0) {
        hold_deviation();
    } else {
        bool stays = deviation_stays(&cabin_deviation, cabin - setpoint, dt);
        monitor_step(&deviation_monitor, stays, dt);
    }
}

EXPORT("init") void init(void) {
    io_write(BLOWER_REQUEST, 0.0);
    io_write(BLEND, 0.0);
    io_write(RECIRCULATION, 0.0);
    distribute(0.0);
}

EXPORT("step") void step(double dt) {
    double cabin = io_read(CABIN), ambient = io_read(AMBIENT), setpoint = io_read(SETPOINT);
    double sun = io_read(SUN), fins = io_read(EVAPORATOR);
    running += dt;

    choose_air(cabin - setpoint);
    double outlet = outlet_target(cabin, setpoint, ambient, sun, dt);
    double cold = air_behind_evaporator(fins, intake_temperature(cabin, ambient));
    double load = ambient - setpoint + sun / 50.0;
    double level = lookup2(&blower_map, cabin - setpoint, load);
    blend = lookup2(&blend_map, cold, outlet);
    blower_request = slew(blower_request, level, 25.0, dt);

    io_write(BLOWER_REQUEST, blower_request);
    io_write(BLEND, blend);
    io_write(RECIRCULATION, recirculation);
    distribute(outlet);
    watch(cabin, setpoint, dt);
    io_kick();
}
