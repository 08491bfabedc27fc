/* Numbers as text: what the edn, JSON and transit packers share.  The process must run with
 * LC_NUMERIC "C" (the default of a program that never calls setlocale for it). */
#ifndef DW_CHSK_NUM_H
#define DW_CHSK_NUM_H

#include "chsk/value.h"

enum { DW_NUM_MAX = 32 }; /* room for any printed int or double, NUL included */

/* Reads decimal digits only.  False when the number does not fit. */
bool dw_num_int64(const char *digits, size_t len, bool negative, int64_t *out);

/* INT, or BIGINT when it does not fit, of decimal digits; `force_big` for edn's N.  NULL when the
 * arena is out of memory. */
const struct dw_value *dw_num_integer(struct dw_arena *arena, const char *digits, size_t len, bool negative,
                                      bool force_big);

/* True for an INT or BIGINT above zero. */
bool dw_num_is_positive(const struct dw_value *integer);
/* RATIO of two integers, the lower one positive; in lowest terms where both fit an int64, and an INT
 * where that leaves nothing below the line.  NULL when an argument is NULL or memory is short. */
const struct dw_value *dw_num_ratio(struct dw_arena *arena, const struct dw_value *above, const struct dw_value *below);

/* The nearest double of [-+]digits[.digits][(e|E)[-+]digits], which the caller has checked to be of
 * that form; infinite when out of range. */
double dw_num_real(const char *text, size_t len);

/* True for text of the form [-+]digits[.digits][(e|E)[-+]digits]; `dot` may end the digits ("1.")
 * as edn allows. */
bool dw_num_is_real(const char *text, size_t len);
/* True for -?digits without superfluous zeros. */
bool dw_num_is_integer(const char *text, size_t len);

size_t dw_num_print_int(int64_t value, char out[DW_NUM_MAX]);
/* As Java prints a finite double or float: shortest digits that read back the same, always with a
 * point, 1.0E10 outside 10^-3 .. 10^7. */
size_t dw_num_print_double(double value, char out[DW_NUM_MAX]);
size_t dw_num_print_float(double value, char out[DW_NUM_MAX]);

#endif
