// Rear climate zone: its own blower and blend, fed by the front unit's cold air.

#include "rear.h"

enum input { REAR, SETPOINT, CABIN };
enum output { BLOWER, BLEND };
enum dtc { REAR_DEVIATION };

#define INTEGRAL 0.002  // blend per K and second
#define NEAR 4.0        // K: the integrator works only this near to the set temperature

static struct integrator trim;
static double blower;

static struct deviation rear_deviation = {
    .threshold = 4.0, .progress = 0.2, .window = 15.0, .reference = UNKNOWN, .shrinking = true};
static struct monitor deviation_monitor = {
    .dtc = REAR_DEVIATION, .fail_after = 60.0, .pass_after = 10.0};

EXPORT("init") void init(void) {
    trim.authority = trim_authority;
    io_write(BLOWER, 0.0);
    io_write(BLEND, 0.0);
}

EXPORT("step") void step(double dt) {
    double rear = io_read(REAR), setpoint = io_read(SETPOINT), cabin = io_read(CABIN);
    double error = setpoint - rear;
    if (magnitude(error) < NEAR) integrate(&trim, INTEGRAL * error, dt);

    blower = slew(blower, lookup3(&rear_blower_map, rear, setpoint, cabin), 0.2, dt);
    double blend = lookup3(&rear_blend_map, rear, setpoint, cabin) + trim.value;
    io_write(BLOWER, blower);
    io_write(BLEND, limit(blend, 0.0, 1.0));
    monitor_step(&deviation_monitor, deviation_stays(&rear_deviation, rear - setpoint, dt), dt);
    io_kick();
}
