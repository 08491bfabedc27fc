/* FastCGI records; see record.h. */
#include "fcgi/record.h"

#include <stdbool.h>
#include <string.h>

enum { BEGIN_REQUEST = 1, ABORT_REQUEST = 2, END_REQUEST = 3, PARAMS = 4, STDIN = 5, STDOUT = 6 };

#define HEADER 8
#define CONTENT_MAX 65528 /* the largest multiple of 8 that the length field can say */

enum dw_record_state dw_record_look(const unsigned char *bytes, size_t len, size_t room)
{
    size_t at = 0, content;
    bool begun = false, params_done = false;

    while (len - at >= HEADER) {
        const unsigned char *header = bytes + at;

        content = (size_t)header[4] << 8 | header[5];
        if (header[0] != 1 || header[1] == 0)
            return DW_RECORD_BROKEN;
        /* Management records (request id 0) and an abort want an answer of their own. */
        if ((header[2] | header[3]) == 0 || header[1] == ABORT_REQUEST)
            return DW_RECORD_READY;
        if (header[1] == BEGIN_REQUEST)
            begun = true;
        else if (!begun)
            return DW_RECORD_BROKEN;
        else if (header[1] == PARAMS && content == 0)
            params_done = true;
        else if (header[1] == STDIN && content == 0)
            return DW_RECORD_READY;
        if (len - at - HEADER < content + header[6])
            break;
        at += HEADER + content + header[6];
    }
    return params_done && len == room ? DW_RECORD_READY : DW_RECORD_MORE;
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
