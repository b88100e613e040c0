// Motors of version 2.0.0: in the order of the connector, as in the drawing.

#include "flap.h"

int32_t motor_of(int32_t flap) { return flap; }
