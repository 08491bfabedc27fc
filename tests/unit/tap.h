/* What every unit test includes: cmocka in the order in which its headers must come. */
#ifndef DW_TESTS_UNIT_TAP_H
#define DW_TESTS_UNIT_TAP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
