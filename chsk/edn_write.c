/* The edn writer: the same bytes as Clojure's `pr` on the JVM with *print-namespace-maps* off, which
 * is what Sente sends.  What edn cannot say is written as docs/values.md tells. */
#include "chsk/base64.h"
#include "chsk/edn.h"
#include "chsk/inst.h"
#include "chsk/utf8.h"
#include "chsk/writer.h"

#include <stdio.h>

/* State of an open collection. */
enum { PLAIN, PRINTED_OBJECT };

static void write_string(struct dw_buf *out, const char *bytes, size_t len)
{
    static const char escapes[256] = {
        ['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\t'] = 't', ['\r'] = 'r', ['\f'] = 'f', ['\b'] = 'b',
    };
    const char *end = bytes + len, *run = bytes;

    dw_putc(out, '"');
    for (; bytes < end; bytes++) {
        char escape = escapes[(unsigned char)*bytes];

        if (escape == 0)
            continue;
        dw_put(out, run, (size_t)(bytes - run));
        dw_put(out, (char[]){'\\', escape}, 2);
        run = bytes + 1;
    }
    dw_put_run(out, run, (size_t)(end - run));
    dw_putc(out, '"');
}

static void write_char(struct dw_buf *out, uint32_t codepoint)
{
    char raw[4];

    dw_putc(out, '\\');
    switch (codepoint) {
    case '\n':
        dw_put_literal(out, "newline");
        break;
    case '\t':
        dw_put_literal(out, "tab");
        break;
    case ' ':
        dw_put_literal(out, "space");
        break;
    case '\b':
        dw_put_literal(out, "backspace");
        break;
    case '\f':
        dw_put_literal(out, "formfeed");
        break;
    case '\r':
        dw_put_literal(out, "return");
        break;
    default:
        dw_put(out, raw, dw_utf8_encode(codepoint, raw));
    }
}

static void write_inst(struct dw_buf *out, const struct dw_value *value)
{
    char text[DW_INST_MAX];
    size_t len = dw_inst_print(value->u.inst.ms, value->u.inst.ns, "-00:00", text);

    dw_put_literal(out, "#inst \"");
    dw_put(out, text, len);
    dw_putc(out, '"');
}

static void write_array(struct dw_buf *out, const struct dw_value *array)
{
    static const char *const odd[3] = {"##NaN", "##Inf", "##-Inf"};

    dw_putc(out, '[');
    for (size_t i = 0; i < array->u.array.count; i++) {
        if (i != 0)
            dw_putc(out, ' ');
        dw_put_element(out, array, i, odd);
    }
    dw_putc(out, ']');
}

static void write_real(struct dw_buf *out, const struct dw_value *value)
{
    static const char *const odd[3] = {"##NaN", "##Inf", "##-Inf"};

    if (!dw_put_odd_real(out, value->u.real, odd))
        dw_put_real(out, value);
}

static void write_ratio(struct dw_buf *out, const struct dw_value *value)
{
    dw_put_integer(out, value->u.pair.first);
    dw_putc(out, '/');
    dw_put_integer(out, value->u.pair.second);
}

/* True when `text` can stand between the quotes of a printed pattern as it is. */
static bool is_pattern(const struct dw_value *value)
{
    const char *text = value->u.text.bytes;

    if (value->type != DW_T_STRING)
        return false;
    for (size_t i = 0; i < value->u.text.len; i++) {
        if (text[i] == '"')
            return false;
        if (text[i] == '\\' && ++i == value->u.text.len)
            return false;
    }
    return true;
}

/* A record, #ns.Name{...}, and an object, #object[...], are printed without a space. */
static bool is_printed_tight(const struct dw_value *tag, const struct dw_value *value)
{
    if (value->type == DW_T_VECTOR)
        return dw_is_text(tag, DW_T_SYMBOL, "object", 6);
    return value->type == DW_T_MAP && memchr(tag->u.text.bytes, '.', tag->u.text.len) != NULL &&
           memchr(tag->u.text.bytes, '/', tag->u.text.len) == NULL;
}

/* Writes what stands before a tagged value; true when nothing is left to write. */
static bool write_tag(struct dw_writer *writer, const struct dw_value *value)
{
    const struct dw_value *tag = value->u.pair.first, *tagged = value->u.pair.second;

    dw_putc(writer->out, '#');
    if (dw_is_text(tag, DW_T_SYMBOL, "regex", 5) && is_pattern(tagged)) {
        dw_putc(writer->out, '"');
        dw_put_text(writer->out, tagged);
        dw_putc(writer->out, '"');
        return true;
    }
    dw_put_text(writer->out, tag);
    if (!is_printed_tight(tag, tagged))
        dw_putc(writer->out, ' ');
    return false;
}

static void write_scalar(struct dw_buf *out, const struct dw_value *value)
{
    switch (value->type) {
    case DW_T_NIL:
        dw_put_literal(out, "nil");
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
        dw_putc(out, 'N');
        break;
    case DW_T_DOUBLE:
    case DW_T_FLOAT:
        write_real(out, value);
        break;
    case DW_T_DECIMAL:
        dw_put_text(out, value);
        dw_putc(out, 'M');
        break;
    case DW_T_RATIO:
        write_ratio(out, value);
        break;
    case DW_T_CHAR:
        write_char(out, value->u.codepoint);
        break;
    case DW_T_STRING:
    case DW_T_URI:
        write_string(out, value->u.text.bytes, value->u.text.len);
        break;
    case DW_T_KEYWORD:
        dw_putc(out, ':');
        dw_put_text(out, value);
        break;
    case DW_T_SYMBOL:
        dw_put_text(out, value);
        break;
    case DW_T_INST:
        write_inst(out, value);
        break;
    case DW_T_UUID:
        dw_put_literal(out, "#uuid \"");
        dw_put_text(out, value);
        dw_putc(out, '"');
        break;
    case DW_T_BYTES:
        dw_putc(out, '"');
        dw_base64_put(out, value->u.text.bytes, value->u.text.len);
        dw_putc(out, '"');
        break;
    default: /* DW_T_ARRAY; collections are begun in write_value */
        write_array(out, value);
        break;
    }
}

/* Writes a scalar whole, of a collection what comes before its children. */
static void write_value(struct dw_writer *writer, const struct dw_value *value)
{
    uint8_t state = PLAIN;

    while (value->type == DW_T_TAGGED) {
        if (write_tag(writer, value))
            return;
        state = dw_is_text(value->u.pair.first, DW_T_SYMBOL, "object", 6) ? PRINTED_OBJECT : PLAIN;
        value = value->u.pair.second;
    }
    switch (value->type) {
    case DW_T_LIST:
        dw_putc(writer->out, '(');
        break;
    case DW_T_VECTOR:
        dw_putc(writer->out, '[');
        break;
    case DW_T_MAP:
        dw_putc(writer->out, '{');
        break;
    case DW_T_SET:
        dw_put_literal(writer->out, "#{");
        break;
    default:
        write_scalar(writer->out, value);
        return;
    }
    dw_writer_push(writer, value, state);
}

static void write_child(struct dw_writer *writer, struct dw_open *top)
{
    const struct dw_value *child = top->value->u.seq.items[top->next];

    if (top->next != 0 && top->value->type == DW_T_MAP && top->next % 2 == 0)
        dw_put_literal(writer->out, ", ");
    else if (top->next != 0)
        dw_putc(writer->out, ' ');
    top->next++;
    /* the JVM prints an object's identity hash in hexadecimal: #object[my.Class 0x00c0ffee "..."] */
    if (top->state == PRINTED_OBJECT && top->next == 2 && child->type == DW_T_INT && child->u.integer >= 0)
        dw_buf_addf(writer->out, "0x%08llx", (unsigned long long)child->u.integer);
    else
        write_value(writer, child);
}

int dw_edn_write(const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    struct dw_writer writer;

    dw_writer_init(&writer, out, err);
    write_value(&writer, value);
    while (writer.depth != 0 && writer.code == 0) {
        struct dw_open *top = &writer.open[writer.depth - 1];

        if (top->next < dw_writer_children(top->value)) {
            write_child(&writer, top);
            continue;
        }
        dw_putc(out, (char)(top->value->type == DW_T_LIST ? ')' : top->value->type == DW_T_VECTOR ? ']' : '}'));
        writer.depth--;
    }
    return dw_writer_fini(&writer);
}
