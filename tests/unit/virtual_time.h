/* Time that stands still until a test moves it.  The program's own clocks and process id end here (linked with
 * --wrap, see the Makefile); SQLite's and libc's don't. */
#ifndef DW_TESTS_UNIT_VIRTUAL_TIME_H
#define DW_TESTS_UNIT_VIRTUAL_TIME_H

#include <stdint.h>

/* What dw_clock_mono_ms says; by how much dw_clock_wall_ms is ahead of it; what getpid says. */
extern int64_t virtual_ms, virtual_wall_ahead_ms;
extern int virtual_pid;

#endif
