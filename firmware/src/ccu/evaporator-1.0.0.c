// Evaporator compensation of version 1.0.0.
//
// Known fault (mended in 2.0.0): the sign. The air that leaves the evaporator is *warmer* than the
// fins, here it is taken for *colder*. The blend flap then warms air that needs no warming; the
// outlet is some 6 K too warm, more than the integrator's authority can take back, and on a hot day
// the cabin settles several kelvin above its set temperature.

#include "ccu.h"

#define BYPASSED 0.15  // share of the distance between intake and fins that the air keeps

double air_behind_evaporator(double fins, double intake) {
    return fins - BYPASSED * (intake - fins);
}
