/* Signed tokens; see token.h.  HMAC, base64url and the comparison that takes the same time for all signatures
 * are libsodium's. */
#include "chsk/token.h"

#include "chsk/json.h"
#include "chsk/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>

#define MAC_LEN crypto_auth_hmacsha256_BYTES
#define MAC_TEXT_LEN 43                   /* 32 bytes in base64url */
#define SECONDS_MAX INT64_C(253402300799) /* the end of the year 9999: more is not in seconds */
#define BASE64URL sodium_base64_VARIANT_URLSAFE_NO_PADDING

/* What every token of ours begins with: {"alg":"HS256","typ":"JWT"} */
static const char our_header[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

static int invalid(struct dw_err *err, const char *what)
{
    return dw_err_set(err, DW_INVALID, "%s", what);
}

static int no_memory(struct dw_err *err)
{
    return dw_err_set(err, DW_NOMEM, "out of memory");
}

/* ---- keys ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static int read_key(const char *line, size_t len, struct dw_token_keys *keys, struct dw_err *err)
{
    struct dw_token_key *key = &keys->list[keys->count];

    if (keys->count == DW_TOKEN_KEYS)
        return dw_err_set(err, DW_CONF, "it has more than %d keys", DW_TOKEN_KEYS);
    if (len < DW_TOKEN_KEY_MIN || len > DW_TOKEN_KEY_MAX)
        return dw_err_set(err, DW_CONF, "a key has %zu bytes; it must have %d to %d", len, DW_TOKEN_KEY_MIN,
                          DW_TOKEN_KEY_MAX);
    for (size_t i = 0; i < len; i++)
        if (line[i] <= ' ' || line[i] > '~')
            return dw_err_set(err, DW_CONF, "a key has a byte that is no printable ASCII, or a space");
    memcpy(key->bytes, line, len);
    key->len = len;
    keys->count++;
    return DW_OK;
}

int dw_token_keys_read(const char *text, size_t len, struct dw_token_keys *keys, struct dw_err *err)
{
    const char *end = text + len;
    int rc = DW_OK;

    memset(keys, 0, sizeof *keys);
    while (text < end && rc == DW_OK) {
        const char *line = text, *stop = memchr(text, '\n', (size_t)(end - text));

        if (stop == NULL)
            stop = end;
        text = stop + 1;
        while (line < stop && is_blank(*line))
            line++;
        while (line < stop && is_blank(stop[-1]))
            stop--;
        if (line < stop)
            rc = read_key(line, (size_t)(stop - line), keys, err);
    }
    if (rc == DW_OK && keys->count == 0)
        rc = dw_err_set(err, DW_CONF, "it has no key");
    if (rc != DW_OK)
        dw_token_keys_wipe(keys);
    return rc;
}

void dw_token_keys_wipe(struct dw_token_keys *keys)
{
    sodium_memzero(keys, sizeof *keys);
}

/* ---- the signature ---- */

static void sign(const struct dw_token_key *key, const char *text, size_t len, unsigned char mac[MAC_LEN])
{
    crypto_auth_hmacsha256_state state;

    /* The return values are constants: there is nothing in them that can fail. */
    (void)crypto_auth_hmacsha256_init(&state, key->bytes, key->len);
    (void)crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, len);
    (void)crypto_auth_hmacsha256_final(&state, mac);
}

static bool is_signed(const struct dw_token_keys *keys, const char *text, size_t len,
                      const unsigned char given[MAC_LEN])
{
    unsigned char mac[MAC_LEN];
    bool equal = false;

    for (size_t i = 0; i < keys->count && !equal; i++) {
        sign(&keys->list[i], text, len, mac);
        equal = sodium_memcmp(mac, given, sizeof mac) == 0;
    }
    sodium_memzero(mac, sizeof mac); /* it would be the signature of a forged token */
    return equal;
}

/* ---- JSON ---- */

/* Reads the base64url of a JSON object. */
static int read_object(const char *text, size_t len, const char *what, struct dw_arena *arena,
                       const struct dw_value **object, struct dw_err *err)
{
    unsigned char json[DW_TOKEN_MAX / 4 * 3];
    struct dw_err why = {.code = 0};
    size_t json_len = 0;
    int rc = DW_INVALID;

    if (sodium_base642bin(json, sizeof json, text, len, NULL, &json_len, NULL, BASE64URL) != 0) {
        dw_err_set(err, rc, "its %s is no base64url without padding", what);
        return rc;
    }
    rc = dw_json_read_unique((const char *)json, json_len, NULL, arena, object, &why);
    if (rc == DW_OK && (*object)->type == DW_T_MAP)
        return DW_OK;
    if (rc == DW_NOMEM)
        no_memory(err);
    else if (rc == DW_OK)
        dw_err_set(err, DW_INVALID, "its %s is no JSON object", what);
    else
        dw_err_set(err, DW_INVALID, "its %s can't be read: %s", what, dw_err_say(&why, rc));
    return rc == DW_NOMEM ? DW_NOMEM : DW_INVALID;
}

static const struct dw_value *member(const struct dw_value *object, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < object->u.seq.count; i++)
        if (dw_is_text(object->u.seq.items[2 * i], DW_T_STRING, name, len))
            return object->u.seq.items[2 * i + 1];
    return NULL;
}

static bool is_string(const struct dw_value *value, const char *text)
{
    return dw_is_text(value, DW_T_STRING, text, strlen(text));
}

static int check_header(const char *text, size_t len, struct dw_arena *arena, struct dw_err *err)
{
    const struct dw_value *header, *alg, *typ;
    int rc;

    if (len == sizeof our_header - 1 && memcmp(text, our_header, len) == 0)
        return DW_OK;
    rc = read_object(text, len, "header", arena, &header, err);
    if (rc != DW_OK)
        return rc;
    alg = member(header, "alg");
    typ = member(header, "typ");
    if (alg == NULL || !is_string(alg, "HS256"))
        return invalid(err, "the alg in its header is not HS256");
    if (typ != NULL && (typ->type != DW_T_STRING || strcasecmp(typ->u.text.bytes, "JWT") != 0))
        return invalid(err, "the typ in its header is not JWT");
    if (member(header, "crit") != NULL)
        return invalid(err, "its header has a crit, and so something that is not understood here");
    return DW_OK;
}

/* ---- claims ---- */

static int text_claim(const struct dw_value *claims, const char *name, const char **text, struct dw_err *err)
{
    const struct dw_value *value = member(claims, name);

    if (value == NULL)
        return DW_OK;
    if (value->type != DW_T_STRING || value->u.text.len == 0 || memchr(value->u.text.bytes, 0, value->u.text.len))
        return dw_err_set(err, DW_INVALID, "its claim %s is no text, or an empty one", name);
    *text = value->u.text.bytes;
    return DW_OK;
}

/* Some libraries write fractions of a second. */
static int time_claim(const struct dw_value *claims, const char *name, int64_t *ms, struct dw_err *err)
{
    const struct dw_value *value = member(claims, name);
    bool is_whole = value != NULL && value->type == DW_T_INT;
    double real;

    if (value == NULL)
        return DW_OK;
    if (!is_whole && value->type != DW_T_DOUBLE)
        return dw_err_set(err, DW_INVALID, "its claim %s is no number", name);
    real = is_whole ? (double)value->u.integer : value->u.real;
    if (!(real >= 0 && real <= (double)SECONDS_MAX)) /* NaN is neither */
        return dw_err_set(err, DW_INVALID, "its claim %s is no Unix time in seconds", name);
    *ms = is_whole ? value->u.integer * 1000 : (int64_t)floor(real * 1000);
    return DW_OK;
}

static int check_audience(const struct dw_value *claims, struct dw_err *err)
{
    const struct dw_value *aud = member(claims, "aud");
    bool ours = aud == NULL || is_string(aud, DW_TOKEN_AUDIENCE);

    if (aud != NULL && aud->type == DW_T_VECTOR)
        for (size_t i = 0; i < aud->u.seq.count && !ours; i++)
            ours = is_string(aud->u.seq.items[i], DW_TOKEN_AUDIENCE);
    return ours ? DW_OK : invalid(err, "its claim aud does not name " DW_TOKEN_AUDIENCE);
}

static int read_claims(const struct dw_value *claims, struct dw_token *token, struct dw_err *err)
{
    int rc = text_claim(claims, "sub", &token->uid, err);

    if (rc == DW_OK && token->uid == NULL)
        rc = invalid(err, "it has no claim sub, the user id");
    if (rc == DW_OK && member(claims, "exp") == NULL)
        rc = invalid(err, "it has no claim exp, when it expires");
    if (rc == DW_OK)
        rc = time_claim(claims, "exp", &token->expires_at, err);
    if (rc == DW_OK)
        rc = time_claim(claims, "nbf", &token->not_before, err);
    if (rc == DW_OK)
        rc = text_claim(claims, "csrf", &token->csrf, err);
    if (rc == DW_OK)
        rc = check_audience(claims, err);
    token->data = member(claims, "data");
    return rc;
}

static int check_time(const struct dw_token *token, int64_t now_ms, struct dw_err *err)
{
    if (now_ms >= token->expires_at)
        return dw_err_set(err, DW_DENIED, "it expired %" PRId64 " s ago", (now_ms - token->expires_at) / 1000);
    if (now_ms < token->not_before)
        return dw_err_set(err, DW_DENIED, "it is not valid before %" PRId64 " s from now",
                          (token->not_before - now_ms + 999) / 1000);
    return DW_OK;
}

static int read_token(const struct dw_token_keys *keys, const char *text, size_t len, int64_t now_ms,
                      struct dw_arena *arena, struct dw_token *token, struct dw_err *err)
{
    const char *first, *second;
    const struct dw_value *claims;
    unsigned char mac[MAC_LEN];
    size_t mac_len = 0;
    int rc;

    if (len > DW_TOKEN_MAX)
        return dw_err_set(err, DW_INVALID, "it is longer than %d bytes", DW_TOKEN_MAX);
    first = memchr(text, '.', len);
    second = first != NULL ? memchr(first + 1, '.', len - (size_t)(first + 1 - text)) : NULL;
    if (second == NULL)
        return invalid(err, "it has no three parts with dots in between");
    if (len - (size_t)(second + 1 - text) != MAC_TEXT_LEN ||
        sodium_base642bin(mac, sizeof mac, second + 1, MAC_TEXT_LEN, NULL, &mac_len, NULL, BASE64URL) != 0)
        return invalid(err, "its signature is none of HS256: 43 characters of base64url");
    if (!is_signed(keys, text, (size_t)(second - text), mac))
        return invalid(err, "its signature is of another key, or it was changed");
    rc = check_header(text, (size_t)(first - text), arena, err);
    if (rc == DW_OK)
        rc = read_object(first + 1, (size_t)(second - first - 1), "payload", arena, &claims, err);
    if (rc == DW_OK)
        rc = read_claims(claims, token, err);
    return rc == DW_OK ? check_time(token, now_ms, err) : rc;
}

int dw_token_read(const struct dw_token_keys *keys, const char *text, size_t len, int64_t now_ms,
                  struct dw_arena *arena, struct dw_token *token, struct dw_err *err)
{
    int rc;

    memset(token, 0, sizeof *token);
    rc = read_token(keys, text, len, now_ms, arena, token, err);
    if (rc != DW_OK)
        memset(token, 0, sizeof *token);
    return rc;
}

/* ---- writing ---- */

static void put_base64(struct dw_buf *out, const void *bytes, size_t len)
{
    size_t room = sodium_base64_ENCODED_LEN(len, BASE64URL);

    if (!dw_buf_reserve(out, room))
        return;
    (void)sodium_bin2base64(out->data + out->len, room, bytes, len, BASE64URL);
    out->len += strlen(out->data + out->len);
}

static void put_text(struct dw_buf *json, const char *name, const char *text)
{
    dw_buf_addf(json, ",\"%s\":", name);
    dw_json_put_string(json, text, strlen(text), false);
}

static int write_payload(const struct dw_token *token, struct dw_buf *json, struct dw_err *err)
{
    int rc = DW_OK;

    dw_buf_addf(json, "{\"exp\":%" PRId64, token->expires_at / 1000);
    if (token->not_before != 0)
        dw_buf_addf(json, ",\"nbf\":%" PRId64, token->not_before / 1000);
    put_text(json, "sub", token->uid);
    if (token->csrf != NULL)
        put_text(json, "csrf", token->csrf);
    if (token->data != NULL) {
        dw_buf_adds(json, ",\"data\":");
        rc = dw_json_write(token->data, json, err);
    }
    dw_buf_addc(json, '}');
    return rc == DW_OK && dw_buf_failed(json) ? no_memory(err) : rc;
}

static bool is_text(const char *text)
{
    return text[0] != '\0' && dw_utf8_valid(text, strlen(text)) == strlen(text);
}

/* Header, payload and signature of a token that is known to be short enough. */
static int put_token(const struct dw_token_key *key, const struct dw_buf *json, struct dw_buf *out, struct dw_err *err)
{
    unsigned char mac[MAC_LEN];
    size_t start = out->len;

    dw_buf_adds(out, our_header);
    dw_buf_addc(out, '.');
    put_base64(out, json->data, json->len);
    if (!dw_buf_failed(out)) {
        sign(key, out->data + start, out->len - start, mac);
        dw_buf_addc(out, '.');
        put_base64(out, mac, sizeof mac);
    }
    return dw_buf_failed(out) ? no_memory(err) : DW_OK;
}

int dw_token_write(const struct dw_token_keys *keys, const struct dw_token *token, struct dw_buf *out,
                   struct dw_err *err)
{
    struct dw_buf json = DW_BUF_INIT;
    size_t size;
    int rc;

    if (!is_text(token->uid) || (token->csrf != NULL && !is_text(token->csrf)))
        return invalid(err, "the user id and the CSRF token must be UTF-8, and not empty");
    rc = write_payload(token, &json, err);
    size = sizeof our_header + (json.len * 4 + 2) / 3 + 1 + MAC_TEXT_LEN;
    if (rc == DW_OK && size > DW_TOKEN_MAX)
        rc = dw_err_set(err, DW_LIMIT, "the token would have %zu bytes, more than the %d that fit: give it less data",
                        size, DW_TOKEN_MAX);
    if (rc == DW_OK)
        rc = put_token(&keys->list[0], &json, out, err);
    dw_buf_fini(&json);
    return rc;
}
