/* The table of packers, and what can be done with any of them: packing one event, joining parts. */
#include "chsk/packer.h"

#include "chsk/edn.h"
#include "chsk/json.h"

#include <string.h>

const struct dw_packer dw_packer_edn = {
    .name = "edn", .joinable = true, .read = dw_edn_read, .write = dw_edn_write, .write_part = dw_edn_write};

const struct dw_packer dw_packer_json = {
    .name = "json", .joinable = true, .read = dw_json_read, .write = dw_json_write, .write_part = dw_json_write};

static const struct dw_packer *const packers[] = {&dw_packer_edn, &dw_packer_json};

const struct dw_packer *dw_packer_find(const char *name)
{
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (strcmp(packers[i]->name, name) == 0)
            return packers[i];
    return NULL;
}

int dw_packer_event(const struct dw_packer *packer, const char *id, size_t id_len, const struct dw_value *data,
                    struct dw_buf *out, struct dw_err *err)
{
    const struct dw_value keyword = {.type = DW_T_KEYWORD, .u.text = {id, id_len}};
    const struct dw_value *const items[2] = {&keyword, data};
    const struct dw_value event = {.type = DW_T_VECTOR, .u.seq = {items, data != NULL ? 2 : 1}};

    return packer->write_part(&event, out, err);
}

int dw_packer_join(const struct dw_packer *packer, const struct dw_part *parts, size_t count, struct dw_buf *out,
                   struct dw_err *err)
{
    bool space = packer == &dw_packer_edn;

    dw_buf_addc(out, '[');
    for (size_t i = 0; i < count; i++) {
        if (i != 0)
            dw_buf_addc(out, space ? ' ' : ',');
        dw_buf_add(out, parts[i].bytes, parts[i].len);
    }
    dw_buf_addc(out, ']');
    return dw_buf_failed(out) ? dw_err_set(err, DW_NOMEM, "out of memory while joining messages") : 0;
}
