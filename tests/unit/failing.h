/* Makes chosen allocations fail.  The program's malloc and its kin end here (linked with --wrap, see the
 * Makefile). */
#ifndef DW_TESTS_UNIT_FAILING_H
#define DW_TESTS_UNIT_FAILING_H

/* Allocations so far; the one that finds `calls` at `failing_call` fails, -1: none does. */
extern long failing_call, calls;

#endif
