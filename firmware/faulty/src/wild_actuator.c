// Throws its first output from one end far beyond the other, as with a wrong sign in a controller.

#include "ecu.h"

static double command = 1e6;

EXPORT("init") void init(void) { io_write(0, 0.0); }

EXPORT("step") void step(double dt) {
    (void)dt;
    command = -command;
    io_write(0, command);
    io_kick();
}
