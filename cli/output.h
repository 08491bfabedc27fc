/* Standard output, and what is written there: text for people, JSON for programs.
 *
 * What clients sent is never written raw: a terminal obeys control characters. */
#ifndef DW_CLI_OUTPUT_H
#define DW_CLI_OUTPUT_H

#include "base/buf.h"
#include "cli/cli.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Writes all of it, and empties `buf`.  Returns DW_EXIT_OK, also where the reader has gone (it has seen what
 * it wanted), or says what is wrong. */
int dw_output(struct dw_cli *cli, struct dw_buf *buf);

/* `text`, with control characters and what is no UTF-8 as \xNN; NULL: "-". */
void dw_output_plain(struct dw_buf *buf, const char *text, size_t len);
/* A moment as 2026-11-24T21:57:47.123Z; 0: "-". */
void dw_output_time(struct dw_buf *buf, int64_t ms);

/* A JSON string; NULL: null. */
void dw_output_string(struct dw_buf *buf, const char *text, size_t len);
void dw_output_cstring(struct dw_buf *buf, const char *text);
/* Data in `format`: JSON as it is, on one line, other formats as a string; NULL: null. */
void dw_output_data(struct dw_buf *buf, const char *data, size_t len, const char *format);

#endif
