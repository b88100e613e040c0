// Fallback of version 2.0.0: the last level stays for ten seconds, then a level that keeps the
// windows clear without emptying the battery.

#include "blower.h"

#define HOLD 10.0        // s
#define LIMP_LEVEL 30.0  // %

double level_without_request(double last_level, double silent) {
    return silent < HOLD ? last_level : LIMP_LEVEL;
}
