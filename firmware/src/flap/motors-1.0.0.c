// Motors of version 1.0.0.
//
// Known fault (mended in 2.0.0): the motors of face and feet are taken for each other. What is meant
// for the face goes to the feet; each motor does what it is told, so no monitor sees it.

#include "flap.h"

static const int32_t motors[FLAPS] = {[DEFROST] = 0, [FACE] = 2, [FOOT] = 1};

int32_t motor_of(int32_t flap) { return motors[flap]; }
