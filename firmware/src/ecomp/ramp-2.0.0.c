// Ramp of version 2.0.0: slow through the resonance below 1500 rpm on the way up, quick to stop.

#include "ecomp.h"

#define RESONANCE 1500.0  // rpm

double ramp(double speed, double wanted, double dt) {
    if (wanted < speed) return slew(speed, wanted, 4000.0, dt);
    return slew(speed, wanted, speed < RESONANCE ? 800.0 : 2000.0, dt);
}
