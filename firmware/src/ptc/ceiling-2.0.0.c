// Ceiling of version 2.0.0: the whole power, taken back as the element nears its limit.

#include "ptc.h"

#define WHOLE 6000.0       // W
#define HOT 140.0          // degC from which on it is taken back
#define NOTHING_AT 165.0   // degC

double ceiling(double element) {
    return WHOLE * limit((NOTHING_AT - element) / (NOTHING_AT - HOT), 0.0, 1.0);
}
