// Electric (PTC) heater: on a cold day it warms the air to what a warm heater core would give, so
// that the climate control unit finds the heat that it counts on.

#include "ptc.h"

enum input { AIR, ELEMENT, AMBIENT, HEATING_REQUEST, HIGH_VOLTAGE };
enum output { POWER };
enum dtc { OVER_TEMPERATURE, VOLTAGE_OUT_OF_RANGE };

#define INTEGRAL 4.0           // W per K and second
#define SLEW 1500.0            // W per second: the high-voltage battery is not shocked
#define MAXIMUM_POWER 6000.0   // W
#define WARM_DAY 16.0          // degC outside from which on nothing is heated
#define ELEMENT_MAXIMUM 170.0  // degC
#define SWITCHED_OFF 60.0      // V below which the high-voltage circuit is off, which is no fault
#define MINIMUM_VOLTAGE 250.0
#define MAXIMUM_VOLTAGE 450.0
#define AVAILABLE 1000.0       // V above which the signal says that it is not available

static struct integrator trim = {.authority = 6000.0};
static double power;

static struct monitor temperature_monitor = {
    .dtc = OVER_TEMPERATURE, .fail_after = 2.0, .pass_after = 5.0};
static struct monitor voltage_monitor = {
    .dtc = VOLTAGE_OUT_OF_RANGE, .fail_after = 1.0, .pass_after = 5.0};

static bool in_range(double voltage) {
    return voltage > MINIMUM_VOLTAGE && voltage < MAXIMUM_VOLTAGE;
}

static double wanted_power(double air, double ambient, double voltage, double most, double dt) {
    double deviation = lookup2(&target_map, ambient, air) - air;
    double demand = lookup3(&power_map, deviation, ambient, voltage) + trim.value;
    bool saturated = (demand >= most && deviation > 0.0) || (demand <= 0.0 && deviation < 0.0);
    if (!saturated) integrate(&trim, INTEGRAL * deviation, dt);
    return limit(demand, 0.0, most);
}

static void watch(double element, double voltage, double dt) {
    monitor_step(&temperature_monitor, element > ELEMENT_MAXIMUM, dt);
    if (voltage < SWITCHED_OFF || voltage > AVAILABLE) {
        monitor_hold(&voltage_monitor);
    } else {
        monitor_step(&voltage_monitor, !in_range(voltage), dt);
    }
}

EXPORT("init") void init(void) { io_write(POWER, 0.0); }

static bool plausible(double temperature) { return temperature > -60.0 && temperature < 300.0; }

// Its sensors: a wire that is broken or shorted reads far from anything that an element can have.
EXPORT("self_test") int32_t self_test(void) {
    return plausible(io_read(AIR)) && plausible(io_read(ELEMENT)) ? 0 : 1;
}

EXPORT("step") void step(double dt) {
    double air = io_read(AIR), element = io_read(ELEMENT), ambient = io_read(AMBIENT);
    double voltage = io_read(HIGH_VOLTAGE);
    bool heats = io_read(HEATING_REQUEST) > 0.5 && in_range(voltage) && ambient < WARM_DAY &&
                 element < ELEMENT_MAXIMUM;

    double wanted = 0.0;
    if (heats) {
        wanted = wanted_power(air, ambient, voltage, limit(ceiling(element), 0.0, MAXIMUM_POWER), dt);
    } else {
        trim.value = 0.0;
    }
    power = slew(power, wanted, SLEW, dt);
    if (element >= ELEMENT_MAXIMUM) power = 0.0;

    io_write(POWER, power);
    watch(element, voltage, dt);
    io_kick();
}
