/* Clocks and jitter.  Everything that depends on time or chance takes it as an argument; only the
 * adapters and programs call these. */
#ifndef DW_BASE_CLOCK_H
#define DW_BASE_CLOCK_H

#include <stdint.h>

/* Unix time in milliseconds: for values that are stored or compared with an app's. */
int64_t dw_clock_wall_ms(void);

/* Monotonic time in milliseconds / microseconds, for deadlines: the same in all processes until the machine is
 * started again. */
int64_t dw_clock_mono_ms(void);
int64_t dw_clock_mono_us(void);

/* Uniform random number in [0, below); 0 when `below` is 0.  Not for secrets. */
uint64_t dw_clock_jitter(uint64_t below);

/* Sleeps that many microseconds (at least), continuing after signals. */
void dw_clock_sleep_us(int64_t us);

#endif
