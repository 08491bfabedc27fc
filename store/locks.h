/* Advisory byte locks on `<state folder>/lock`: who is alive, and who keeps house.
 *
 *   byte 0          the housekeeper
 *   byte 64 + n     worker n
 *
 * Open-file-description locks: they belong to one open file, not to the process, so two stores of a
 * process exclude each other too, and the kernel frees them however the process ends. */
#ifndef DW_STORE_LOCKS_H
#define DW_STORE_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#define DW_LOCK_HOUSEKEEPER 0
#define DW_LOCK_WORKER 64

/* `fd` is the lock file, open for writing; closing it frees its locks.
 * Takes the byte if nobody else has it. */
bool dw_locks_try(int fd, int64_t byte);
void dw_locks_drop(int fd, int64_t byte);
/* True when another open file holds the byte. */
bool dw_locks_held(int fd, int64_t byte);

#endif
