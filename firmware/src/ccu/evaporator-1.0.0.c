// Evaporator compensation of version 1.0.0.
//
// Known fault (mended in 2.0.0): the sign. The air that leaves the evaporator is *warmer* than the
// fins, here it is taken for *colder*. The blend flap then warms air that needs no warming; the
// outlet becomes some 9 K too warm, the cabin settles several kelvin above its set temperature on a hot
// day, and the integrator, which works near the set temperature only, never gets to mend it.

#include "ccu.h"

#define BYPASSED 0.2  // share of the distance between intake and fins that the air keeps

double air_behind_evaporator(double fins, double intake) {
    return fins - BYPASSED * (intake - fins);
}
