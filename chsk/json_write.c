/* The JSON writer.  JSON says less than the value tree: docs/values.md has the table of what becomes
 * of keywords, sets, instants and the rest, and this file follows it. */
#include "chsk/base64.h"
#include "chsk/edn.h"
#include "chsk/inst.h"
#include "chsk/json.h"
#include "chsk/num.h"
#include "chsk/utf8.h"
#include "chsk/writer.h"

#include <math.h>

static const char *const odd_reals[3] = {"null", "null", "null"};

static void write_char(struct dw_buf *out, uint32_t codepoint)
{
    char raw[4];

    dw_json_put_string(out, raw, dw_utf8_encode(codepoint, raw), false);
}

static void write_inst(struct dw_buf *out, const struct dw_value *value)
{
    char text[DW_INST_MAX];

    dw_json_put_string(out, text, dw_inst_print(value->u.inst.ms, value->u.inst.ns, "Z", text), false);
}

/* A decimal is a number where its text is one in JSON's grammar ("1." and "01" are not), and within the
 * range of a double, as JSON's readers take it for one. */
static void write_decimal(struct dw_buf *out, const struct dw_value *value)
{
    const char *text = value->u.text.bytes;
    size_t len = value->u.text.len, whole = 0, sign = len != 0 && text[0] == '-' ? 1 : 0;
    const char *dot = memchr(text, '.', len);
    bool number = dw_num_is_real(text, len);

    while (sign + whole < len && text[sign + whole] >= '0' && text[sign + whole] <= '9')
        whole++;
    if (whole > 1 && text[sign] == '0')
        number = false;
    if (dot != NULL && (dot + 1 == text + len || dot[1] < '0' || dot[1] > '9'))
        number = false;
    if (len != 0 && text[0] == '+')
        number = false;
    if (number && isfinite(dw_num_real(text, len)))
        dw_put_text(out, value);
    else
        dw_json_put_string(out, text, len, false);
}

static void write_array(struct dw_buf *out, const struct dw_value *array)
{
    dw_putc(out, '[');
    for (size_t i = 0; i < array->u.array.count; i++) {
        if (i != 0)
            dw_putc(out, ',');
        dw_put_element(out, array, i, odd_reals);
    }
    dw_putc(out, ']');
}

static void write_scalar(struct dw_buf *out, const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_NIL:
        dw_put_literal(out, "null");
        break;
    case DW_T_BOOL:
        if (value->u.boolean)
            dw_put_literal(out, "true");
        else
            dw_put_literal(out, "false");
        break;
    case DW_T_INT:
        dw_put_int(out, value->u.integer);
        break;
    case DW_T_BIGINT:
        dw_put_text(out, value);
        break;
    case DW_T_DOUBLE:
    case DW_T_FLOAT:
        if (!dw_put_odd_real(out, value->u.real, odd_reals))
            dw_put_real(out, value);
        break;
    case DW_T_DECIMAL:
        write_decimal(out, value);
        break;
    case DW_T_RATIO:
        dw_putc(out, '"');
        dw_put_integer(out, value->u.pair.first);
        dw_putc(out, '/');
        dw_put_integer(out, value->u.pair.second);
        dw_putc(out, '"');
        break;
    case DW_T_CHAR:
        write_char(out, value->u.codepoint);
        break;
    case DW_T_INST:
        write_inst(out, value);
        break;
    case DW_T_BYTES:
        dw_putc(out, '"');
        dw_base64_put(out, value->u.text.bytes, value->u.text.len);
        dw_putc(out, '"');
        break;
    case DW_T_ARRAY:
        write_array(out, value);
        break;
    default: /* STRING KEYWORD SYMBOL UUID URI */
        dw_json_put_string(out, value->u.text.bytes, value->u.text.len, false);
        break;
    }
}

/* Text is a key as it is, whatever it is the text of; any other key becomes its edn text. */
static void write_key(struct dw_writer *writer, const struct dw_value *key)
{
    struct dw_buf text = DW_BUF_INIT;
    int code;

    switch (key->type) {
    case DW_T_STRING:
    case DW_T_KEYWORD:
    case DW_T_SYMBOL:
    case DW_T_UUID:
    case DW_T_URI:
        dw_json_put_string(writer->out, key->u.text.bytes, key->u.text.len, false);
        break;
    default:
        code = dw_edn_write(key, &text, writer->err);
        if (code == 0)
            dw_json_put_string(writer->out, dw_buf_str(&text), text.len, false);
        else
            writer->code = code;
        dw_buf_fini(&text);
        break;
    }
    dw_putc(writer->out, ':');
}

/* Writes a scalar whole, of a collection what comes before its children. */
static void write_value(struct dw_writer *writer, const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_LIST:
    case DW_T_VECTOR:
    case DW_T_SET:
        dw_putc(writer->out, '[');
        dw_writer_push(writer, value, 0);
        break;
    case DW_T_MAP:
        dw_putc(writer->out, '{');
        dw_writer_push(writer, value, 0);
        break;
    case DW_T_TAGGED:
        dw_put_literal(writer->out, "{\"tag\":");
        dw_json_put_string(writer->out, value->u.pair.first->u.text.bytes, value->u.pair.first->u.text.len, false);
        dw_put_literal(writer->out, ",\"value\":");
        dw_writer_push(writer, value, 0);
        break;
    default:
        write_scalar(writer->out, value);
        break;
    }
}

/* True while `top` has another child; writes the child's beginning. */
static bool write_child(struct dw_writer *writer, struct dw_open *top)
{
    const struct dw_value *value = top->value;

    if (value->type == DW_T_TAGGED) {
        if (top->next++ != 0)
            return false;
        write_value(writer, value->u.pair.second);
        return true;
    }
    if (top->next == value->u.seq.count)
        return false;
    if (top->next != 0)
        dw_putc(writer->out, ',');
    if (value->type == DW_T_MAP) {
        write_key(writer, value->u.seq.items[2 * top->next]);
        value = value->u.seq.items[2 * top->next + 1];
    } else {
        value = value->u.seq.items[top->next];
    }
    top->next++;
    write_value(writer, value);
    return true;
}

int dw_json_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    struct dw_writer writer;

    dw_writer_init(&writer, out, err);
    write_value(&writer, value);
    while (writer.depth != 0 && writer.code == 0) {
        struct dw_open *top = &writer.open[writer.depth - 1];

        if (write_child(&writer, top))
            continue;
        dw_putc(out, top->value->type == DW_T_MAP || top->value->type == DW_T_TAGGED ? '}' : ']');
        writer.depth--;
    }
    return dw_writer_fini(&writer);
}
