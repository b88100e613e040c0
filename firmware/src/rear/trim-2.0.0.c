// Trim of version 2.0.0: enough authority to settle a full rear bench on the set temperature.

#include "rear.h"

const double trim_authority = 0.25;
