/* The writers' common machinery; see writer.h. */
#include "chsk/writer.h"

#include "chsk/num.h"

#include <math.h>
#include <stdlib.h>

void dw_writer_init(struct dw_writer *writer, struct dw_buf *out, struct dw_err *err)
{
    writer->out = out;
    writer->err = err;
    writer->code = 0;
    writer->open = writer->room;
    writer->depth = 0;
    writer->cap = DW_WRITER_ROOM;
}

int dw_writer_fini(struct dw_writer *writer)
{
    if (writer->open != writer->room)
        free(writer->open);
    if (writer->code == 0 && dw_buf_failed(writer->out))
        writer->code = DW_NOMEM;
    if (writer->code == DW_NOMEM)
        return dw_err_set(writer->err, DW_NOMEM, "out of memory while writing a message");
    return writer->code;
}

void dw_writer_refuse(struct dw_writer *writer, const char *what)
{
    if (writer->code == 0)
        writer->code = dw_err_set(writer->err, DW_INVALID, "%s", what);
}

void dw_writer_push(struct dw_writer *writer, const struct dw_value *value, uint8_t state)
{
    if (writer->depth == writer->cap) {
        struct dw_open *old = writer->open == writer->room ? NULL : writer->open;
        struct dw_open *grown = realloc(old, 2 * writer->cap * sizeof *grown);

        if (grown == NULL) {
            writer->code = writer->code != 0 ? writer->code : DW_NOMEM;
            return;
        }
        if (old == NULL)
            memcpy(grown, writer->room, sizeof writer->room);
        writer->open = grown;
        writer->cap *= 2;
    }
    writer->open[writer->depth++] = (struct dw_open){.value = value, .state = state};
}

void dw_put_int(struct dw_buf *out, int64_t value)
{
    char text[DW_NUM_MAX];
    size_t len = dw_num_print_int(value, text);

    dw_put(out, text, len);
}

void dw_put_real(struct dw_buf *out, const struct dw_value *value)
{
    char text[DW_NUM_MAX];
    size_t len;

    if (value->type == DW_T_FLOAT)
        len = dw_num_print_float(value->u.real, text);
    else
        len = dw_num_print_double(value->u.real, text);
    dw_put(out, text, len);
}

void dw_put_integer(struct dw_buf *out, const struct dw_value *value)
{
    if (value->type == DW_T_BIGINT)
        dw_put_text(out, value);
    else
        dw_put_int(out, value->u.integer);
}

bool dw_put_odd_real(struct dw_buf *out, double value, const char *const odd[3])
{
    const char *text;

    if (isfinite(value))
        return false;
    text = odd[isnan(value) ? 0 : value > 0 ? 1 : 2];
    dw_put(out, text, strlen(text));
    return true;
}

void dw_put_element(struct dw_buf *out, const struct dw_value *array, size_t i, const char *const odd[3])
{
    char text[DW_NUM_MAX];
    double value;

    if (array->u.array.kind == 5) {
        dw_put_int(out, ((const int32_t *)array->u.array.elements)[i]);
        return;
    }
    if (array->u.array.kind == 6)
        value = (double)((const float *)array->u.array.elements)[i];
    else
        value = ((const double *)array->u.array.elements)[i];
    if (dw_put_odd_real(out, value, odd))
        return;
    if (array->u.array.kind == 6)
        dw_put(out, text, dw_num_print_float(value, text));
    else
        dw_put(out, text, dw_num_print_double(value, text));
}
