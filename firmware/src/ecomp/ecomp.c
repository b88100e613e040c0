// Electric compressor: keeps the evaporator cold and free of ice while cooling is asked for.

#include "ecomp.h"

enum input { EVAPORATOR, AMBIENT, COOLING_REQUEST, HIGH_VOLTAGE };
enum output { SPEED };
enum dtc { EVAPORATOR_DEVIATION, OVER_TEMPERATURE };

#define TARGET 3.5            // degC at the fins
#define INTEGRAL 25.0         // rpm per K and second
#define MINIMUM_SPEED 800.0   // rpm below which the compressor is not lubricated
#define MAXIMUM_SPEED 8000.0  // rpm
#define MINIMUM_VOLTAGE 250.0
#define DISCHARGE_LAG 20.0     // s
#define DISCHARGE_MAXIMUM 125.0

static struct integrator trim = {.authority = 3500.0};
static double speed;
static double discharge = 20.0;  // estimated, degC

static struct deviation fins_deviation = {
    .threshold = 7.0, .progress = 0.2, .window = 10.0, .reference = UNKNOWN, .shrinking = true};
static struct monitor deviation_monitor = {
    .dtc = EVAPORATOR_DEVIATION, .fail_after = 60.0, .pass_after = 10.0};
static struct monitor temperature_monitor = {
    .dtc = OVER_TEMPERATURE, .fail_after = 2.0, .pass_after = 5.0};

static double wanted_speed(double deviation, double ambient, double voltage, double dt) {
    double feed_forward = lookup3(&speed_map, deviation, ambient, voltage);
    double demand = feed_forward + trim.value;
    bool saturated = (demand >= MAXIMUM_SPEED && deviation > 0.0) ||
                     (demand <= 0.0 && deviation < 0.0);
    if (!saturated) integrate(&trim, INTEGRAL * deviation, dt);
    demand = limit(demand, 0.0, MAXIMUM_SPEED);
    return demand < MINIMUM_SPEED ? 0.0 : demand;
}

static void watch(bool cooling, double deviation, double dt) {
    if (cooling) {
        monitor_step(&deviation_monitor, deviation_stays(&fins_deviation, deviation, dt), dt);
    } else {
        deviation_hold(&fins_deviation);
        monitor_hold(&deviation_monitor);
    }
    monitor_step(&temperature_monitor, discharge > DISCHARGE_MAXIMUM, dt);
}

EXPORT("init") void init(void) { io_write(SPEED, 0.0); }

EXPORT("step") void step(double dt) {
    double ambient = io_read(AMBIENT), voltage = io_read(HIGH_VOLTAGE);
    double deviation = io_read(EVAPORATOR) - TARGET;
    bool cooling = io_read(COOLING_REQUEST) > 0.5 && voltage > MINIMUM_VOLTAGE;

    double wanted = 0.0;
    if (cooling) {
        wanted = wanted_speed(deviation, ambient, voltage, dt);
    } else {
        trim.value = 0.0;
    }
    speed = ramp(speed, wanted, dt);
    double settled = lookup2(&discharge_map, speed, ambient);
    discharge += (settled - discharge) * limit(dt / DISCHARGE_LAG, 0.0, 1.0);

    io_write(SPEED, speed);
    watch(cooling, deviation, dt);
    io_kick();
}
