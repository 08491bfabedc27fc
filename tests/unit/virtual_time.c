/* Clocks that a test moves; see virtual_time.h. */
#include "tests/unit/virtual_time.h"

#include <sys/types.h>

int64_t virtual_ms, virtual_wall_ahead_ms;
int virtual_pid;

int64_t __wrap_dw_clock_wall_ms(void);
int64_t __wrap_dw_clock_mono_ms(void);
int64_t __wrap_dw_clock_mono_us(void);
pid_t __wrap_getpid(void);

int64_t __wrap_dw_clock_wall_ms(void)
{
    return virtual_ms + virtual_wall_ahead_ms;
}

int64_t __wrap_dw_clock_mono_ms(void)
{
    return virtual_ms;
}

int64_t __wrap_dw_clock_mono_us(void)
{
    return virtual_ms * 1000;
}

pid_t __wrap_getpid(void)
{
    return virtual_pid;
}
