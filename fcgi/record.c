/* FastCGI records; see record.h. */
#include "fcgi/record.h"

#include <string.h>

enum {
    BEGIN_REQUEST = 1,
    ABORT_REQUEST = 2,
    END_REQUEST = 3,
    PARAMS = 4,
    STDIN = 5,
    STDOUT = 6,
    GET_VALUES = 9,
    UNKNOWN_TYPE = 11
};

#define HEADER ((size_t)8)
#define CONTENT_MAX 65528 /* the largest multiple of 8 that the length field can say */
#define PARAMS_MAX 262144 /* far more than any web server lets a request's headers be */

static size_t content_of(const unsigned char *header)
{
    return (size_t)header[4] << 8 | header[5];
}

/* A header is complete: what does it mean for the request? */
static enum dw_inflow_state take_header(struct dw_inflow *inflow, size_t body_max)
{
    const unsigned char *header = inflow->header;
    size_t content = content_of(header);
    uint16_t id = (uint16_t)(header[2] << 8 | header[3]);

    inflow->keeping = true;
    inflow->left = content + header[6];
    if (header[0] != 1 || header[1] == 0)
        return DW_INFLOW_BROKEN;
    if (header[1] == BEGIN_REQUEST && id != 0 && !inflow->begun) {
        inflow->begun = true;
        inflow->request_id = id;
    } else if (id == 0 || !inflow->begun || id != inflow->request_id) {
        /* Management, or what does not belong to the one request of this connection. */
        return id == 0 ? DW_INFLOW_MORE : DW_INFLOW_BROKEN;
    } else if (header[1] == PARAMS) {
        inflow->params += content;
        inflow->params_skipped |= inflow->params > PARAMS_MAX;
        inflow->keeping = !inflow->params_skipped;
    } else if (header[1] == STDIN) {
        inflow->body += content;
        inflow->keeping = (inflow->body <= body_max || content == 0) && !inflow->params_skipped;
        inflow->body_skipped |= !inflow->keeping;
    }
    return DW_INFLOW_MORE;
}

/* A record is complete. */
static enum dw_inflow_state end_record(const struct dw_inflow *inflow)
{
    const unsigned char *header = inflow->header;
    bool management = (header[2] | header[3]) == 0;

    if (management || header[1] == ABORT_REQUEST || (header[1] == STDIN && content_of(header) == 0))
        return DW_INFLOW_READY;
    return DW_INFLOW_MORE;
}

enum dw_inflow_state dw_inflow_feed(struct dw_inflow *inflow, const unsigned char *bytes, size_t len, size_t body_max)
{
    enum dw_inflow_state state = DW_INFLOW_MORE;
    size_t take;

    while (len > 0 && state == DW_INFLOW_MORE) {
        if (inflow->header_len < HEADER) {
            take = HEADER - inflow->header_len < len ? HEADER - inflow->header_len : len;
            memcpy(inflow->header + inflow->header_len, bytes, take);
            inflow->header_len += take;
            if (inflow->header_len == HEADER) {
                state = take_header(inflow, body_max);
                if (inflow->keeping)
                    dw_buf_add(&inflow->bytes, inflow->header, HEADER);
            }
        } else {
            take = inflow->left < len ? inflow->left : len;
            if (inflow->keeping)
                dw_buf_add(&inflow->bytes, bytes, take);
            inflow->left -= take;
        }
        bytes += take;
        len -= take;
        if (state == DW_INFLOW_MORE && inflow->header_len == HEADER && inflow->left == 0) {
            state = end_record(inflow);
            inflow->header_len = 0;
        }
    }
    return state;
}

/* A length of a name-value pair (section 3.4): one byte, or four with the high bit set. */
static bool take_length(const unsigned char **at, const unsigned char *end, size_t *length)
{
    const unsigned char *p = *at;

    if (p < end && p[0] < 0x80) {
        *length = p[0];
        *at = p + 1;
        return true;
    }
    if (end - p < 4)
        return false;
    *length = (size_t)(p[0] & 0x7f) << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    *at = p + 4;
    return true;
}

const char *dw_inflow_param(const struct dw_inflow *inflow, const char *name, size_t *len)
{
    const unsigned char *at = (const unsigned char *)inflow->bytes.data, *end;
    size_t wanted = strlen(name), name_len, value_len;

    /* BEGIN_REQUEST comes first, the parameters right behind it. */
    if (inflow->bytes.len < 3 * HEADER || at[2 * HEADER + 1] != PARAMS)
        return NULL;
    end = at + inflow->bytes.len;
    at += 2 * HEADER;
    if ((size_t)(end - at) < HEADER + content_of(at) || content_of(at) != inflow->params)
        return NULL;
    end = at + HEADER + content_of(at);
    at += HEADER;
    while (take_length(&at, end, &name_len) && take_length(&at, end, &value_len)) {
        if ((size_t)(end - at) < name_len || (size_t)(end - at) - name_len < value_len)
            return NULL;
        if (name_len == wanted && memcmp(at, name, wanted) == 0) {
            *len = value_len;
            return (const char *)at + name_len;
        }
        at += name_len + value_len;
    }
    return NULL;
}

static void add_header(struct dw_buf *out, int type, uint16_t request_id, size_t content, size_t padding)
{
    const unsigned char header[HEADER] = {1,
                                          (unsigned char)type,
                                          (unsigned char)(request_id >> 8),
                                          (unsigned char)(request_id & 0xff),
                                          (unsigned char)(content >> 8),
                                          (unsigned char)(content & 0xff),
                                          (unsigned char)padding,
                                          0};

    dw_buf_add(out, header, sizeof header);
}

bool dw_record_unknown(const struct dw_inflow *inflow, struct dw_buf *out)
{
    const unsigned char *header = inflow->header;
    const unsigned char content[8] = {header[1]};

    if ((header[2] | header[3]) != 0 || header[1] == GET_VALUES)
        return false;
    add_header(out, UNKNOWN_TYPE, 0, sizeof content, 0);
    dw_buf_add(out, content, sizeof content);
    return true;
}

void dw_record_answer(struct dw_buf *out, uint16_t request_id, const char *head, size_t head_len, const char *body,
                      size_t body_len)
{
    static const char zeros[8];
    size_t total = head_len + body_len, done = 0;

    while (done < total) {
        size_t content = total - done < CONTENT_MAX ? total - done : CONTENT_MAX;
        size_t padding = (8 - content % 8) % 8, from_head = 0;

        add_header(out, STDOUT, request_id, content, padding);
        if (done < head_len) {
            from_head = head_len - done < content ? head_len - done : content;
            dw_buf_add(out, head + done, from_head);
        }
        if (content > from_head)
            dw_buf_add(out, body + (done + from_head - head_len), content - from_head);
        dw_buf_add(out, zeros, padding);
        done += content;
    }
    add_header(out, STDOUT, request_id, 0, 0);
    add_header(out, END_REQUEST, request_id, 8, 0);
    dw_buf_add(out, zeros, 8); /* application status 0, FCGI_REQUEST_COMPLETE, reserved */
}
