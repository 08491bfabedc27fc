/* The table of packers, and what can be done with any of them: packing one event, joining parts,
 * wrapping the result. */
#include "chsk/packer.h"

#include "chsk/edn.h"
#include "chsk/gzip.h"
#include "chsk/json.h"
#include "chsk/msgpack.h"
#include "chsk/transit.h"

#include <string.h>

const struct dw_packer dw_packer_edn = {
    .name = "edn", .joinable = true, .read = dw_edn_read, .write = dw_edn_write, .write_part = dw_edn_write};

const struct dw_packer dw_packer_json = {
    .name = "json", .joinable = true, .read = dw_json_read, .write = dw_json_write, .write_part = dw_json_write};

const struct dw_packer dw_packer_transit = {.name = "transit",
                                            .joinable = true,
                                            .read = dw_transit_read,
                                            .write = dw_transit_write,
                                            .write_part = dw_transit_write_part};

const struct dw_packer dw_packer_transit_verbose = {.name = "transit-verbose",
                                                    .joinable = true,
                                                    .read = dw_transit_read,
                                                    .write = dw_transit_write_verbose,
                                                    .write_part = dw_transit_write_verbose_part};

const struct dw_packer dw_packer_msgpack = {.name = "msgpack",
                                            .binary = true,
                                            .joinable = true,
                                            .read = dw_msgpack_read,
                                            .write = dw_msgpack_write,
                                            .write_part = dw_msgpack_write_part};

static const struct dw_packer *const packers[] = {
    &dw_packer_edn,          &dw_packer_json,
    &dw_packer_transit,      &dw_packer_transit_verbose,
    &dw_packer_msgpack,      &dw_packer_gzip_edn,
    &dw_packer_gzip_json,    &dw_packer_gzip_transit,
    &dw_packer_gzip_msgpack, &dw_packer_gzip_transit_verbose,
};

const struct dw_packer *dw_packer_find(const char *name)
{
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (strcmp(packers[i]->name, name) == 0)
            return packers[i];
    return NULL;
}

static const struct dw_packer *inner_of(const struct dw_packer *packer)
{
    return packer->inner != NULL ? packer->inner : packer;
}

int dw_packer_part(const struct dw_packer *packer, const struct dw_value *value, struct dw_buf *out, struct dw_err *err)
{
    return inner_of(packer)->write_part(value, out, err);
}

int dw_packer_event(const struct dw_packer *packer, const char *id, size_t id_len, const struct dw_value *data,
                    struct dw_buf *out, struct dw_err *err)
{
    const struct dw_value keyword = {.type = DW_T_KEYWORD, .u.text = {id, id_len}};
    const struct dw_value *const items[2] = {&keyword, data};
    const struct dw_value event = {.type = DW_T_VECTOR, .u.seq = {items, data != NULL ? 2 : 1}};

    return dw_packer_part(packer, &event, out, err);
}

int dw_packer_join(const struct dw_packer *packer, const struct dw_part *parts, size_t count, struct dw_buf *out,
                   struct dw_err *err)
{
    const struct dw_packer *inner = inner_of(packer);
    char separator = inner == &dw_packer_edn ? ' ' : ',';

    if (inner == &dw_packer_msgpack)
        dw_msgpack_put_array_header(out, count);
    else
        dw_buf_addc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i != 0 && inner != &dw_packer_msgpack)
            dw_buf_addc(out, separator);
        dw_buf_add(out, parts[i].bytes, parts[i].len);
    }
    if (inner != &dw_packer_msgpack)
        dw_buf_addc(out, ']');
    return dw_buf_failed(out) ? dw_err_set(err, DW_NOMEM, "out of memory while joining messages") : 0;
}

int dw_packer_wrap(const struct dw_packer *packer, const char *bytes, size_t len, struct dw_buf *out,
                   struct dw_err *err)
{
    if (packer->inner != NULL)
        return dw_gzip_wrap(bytes, len, out, err);
    dw_buf_add(out, bytes, len);
    return dw_buf_failed(out) ? dw_err_set(err, DW_NOMEM, "out of memory while joining messages") : 0;
}
