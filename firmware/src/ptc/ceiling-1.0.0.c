// Ceiling of version 1.0.0: a share of the power, whatever the day; the element gets nowhere near
// its limit, and on a frosty day the cabin nowhere near its set temperature.

#include "ptc.h"

double ceiling(double element) {
    (void)element;
    return 1500.0;
}
