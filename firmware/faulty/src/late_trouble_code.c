// Runs and passes every test; twenty seconds after its start its first monitor fails for good.

#include "ecu.h"

#define GOOD_FOR 20.0  // s

static double running;

EXPORT("init") void init(void) {}

EXPORT("step") void step(double dt) {
    running += dt;
    io_report_dtc(0, running > GOOD_FOR);
    io_kick();
}
