// Blower module: drives the motor at the level that the climate control unit asks for.

#include "blower.h"

enum input { REQUESTED_LEVEL, SUPPLY, REQUEST_SILENT, SPEED };
enum output { DRIVE };
enum dtc { SUPPLY_LOW, SPEED_NOT_REACHED, CONTROL_LOST };

#define SILENT_AFTER 2.0  // s without CCU_Control
#define START_UP 5.0      // s after a start in which others may still be starting
#define SUPPLY_MINIMUM 9.5

static double drive;
static double last_level;
static double running;
static double steady;  // s since the drive last changed much

static struct monitor supply_monitor = {.dtc = SUPPLY_LOW, .fail_after = 1.0, .pass_after = 1.0};
static struct monitor speed_monitor = {
    .dtc = SPEED_NOT_REACHED, .fail_after = 3.0, .pass_after = 2.0};
static struct monitor lost_monitor = {.dtc = CONTROL_LOST, .fail_after = 0.5, .pass_after = 0.5};

static double level_to_drive(double silent) {
    if (silent > SILENT_AFTER) return level_without_request(last_level, silent);
    last_level = limit(io_read(REQUESTED_LEVEL), 0.0, 100.0);
    return last_level;
}

static void watch(double supply, double silent, double dt) {
    double expected = lookup2(&speed_map, drive, supply);
    monitor_step(&supply_monitor, supply < SUPPLY_MINIMUM, dt);
    if (steady < 4.0 || supply < SUPPLY_MINIMUM) {
        monitor_hold(&speed_monitor);
    } else {
        monitor_step(&speed_monitor, io_read(SPEED) < 0.7 * expected - 100.0, dt);
    }
    if (running >= START_UP) monitor_step(&lost_monitor, silent > SILENT_AFTER, dt);
}

EXPORT("init") void init(void) { io_write(DRIVE, 0.0); }

EXPORT("step") void step(double dt) {
    double supply = io_read(SUPPLY), silent = io_read(REQUEST_SILENT);
    running += dt;

    double wanted = lookup2(&drive_map, level_to_drive(silent), supply);
    double next = slew(drive, wanted, 0.5, dt);  // spares the supply a jump
    steady = magnitude(next - drive) > 0.2 * dt ? 0.0 : steady + dt;
    drive = next;

    io_write(DRIVE, drive);
    watch(supply, silent, dt);
    io_kick();
}
