// Evaporator compensation of version 2.0.0: the air keeps a share of its distance to the fins.

#include "ccu.h"

#define BYPASSED 0.2

double air_behind_evaporator(double fins, double intake) {
    return fins + BYPASSED * (intake - fins);
}
