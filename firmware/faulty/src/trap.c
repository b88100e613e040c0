// An assertion that does not hold, in the third step.

#include "ecu.h"

static int32_t steps;

EXPORT("init") void init(void) {}

EXPORT("step") void step(double dt) {
    (void)dt;
    if (++steps > 2) __builtin_trap();
    io_kick();
}
