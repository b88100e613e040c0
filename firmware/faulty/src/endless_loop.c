// Waits for something that never comes: the first step does not end, and nobody kicks the watchdog.

#include "ecu.h"

static volatile bool arrived;

EXPORT("init") void init(void) {}

EXPORT("step") void step(double dt) {
    (void)dt;
    while (!arrived) {
    }
    io_kick();
}
