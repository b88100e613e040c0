// Runs, and finds its own calibration wrong when it is asked.

#include "ecu.h"

static volatile int32_t checksum = 0x1234;

EXPORT("init") void init(void) {}

EXPORT("step") void step(double dt) {
    (void)dt;
    io_kick();
}

EXPORT("self_test") int32_t self_test(void) { return checksum == 0 ? 0 : 1; }
