// Ramp of version 1.0.0: one rate, up and down.

#include "ecomp.h"

double ramp(double speed, double wanted, double dt) { return slew(speed, wanted, 2000.0, dt); }
