/* The target for signed tokens: the input as a token, as a key file, and as what somebody with a key has signed. */
#include "fuzz/fuzz.h"

#include "chsk/token.h"

#include <sodium.h>
#include <string.h>

#define NOW INT64_C(1795571863000)

static const char key_text[] = "the-key-that-all-fuzzed-tokens-have";

static void put(struct dw_buf *out, const void *bytes, size_t len)
{
    size_t room = sodium_base64_ENCODED_LEN(len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);

    FUZZ_CHECK(dw_buf_reserve(out, room));
    (void)sodium_bin2base64(out->data + out->len, room, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    out->len += strlen(out->data + out->len);
}

/* Header and payload are the text before and behind the first line feed. */
static void sign(struct dw_buf *out, const struct dw_token_key *key, const char *bytes, size_t len)
{
    const char *end = len > 0 ? memchr(bytes, '\n', len) : NULL;
    size_t header = end != NULL ? (size_t)(end - bytes) : len;
    size_t payload = end != NULL ? header + 1 : len;
    crypto_auth_hmacsha256_state state;
    unsigned char mac[crypto_auth_hmacsha256_BYTES];

    put(out, bytes, header);
    dw_buf_addc(out, '.');
    put(out, bytes + payload, len - payload);
    crypto_auth_hmacsha256_init(&state, key->bytes, key->len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)out->data, out->len);
    crypto_auth_hmacsha256_final(&state, mac);
    dw_buf_addc(out, '.');
    put(out, mac, sizeof mac);
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What was taken comes back the same, but for parts of seconds. */
static void write_again(const struct dw_token_keys *keys, const struct dw_token *token, struct dw_arena *arena)
{
    struct dw_buf out = DW_BUF_INIT;
    struct dw_token again;
    int code = dw_token_write(keys, token, &out, NULL);

    FUZZ_CHECK(code == DW_OK || code == DW_LIMIT);
    if (code == DW_OK) {
        FUZZ_CHECK(out.len <= DW_TOKEN_MAX);
        code = dw_token_read(keys, out.data, out.len, token->not_before, arena, &again, NULL);
        FUZZ_CHECK(code == DW_OK || (code == DW_DENIED && token->expires_at / 1000 * 1000 <= token->not_before));
    }
    if (code == DW_OK) {
        FUZZ_CHECK(is_same_text(token->uid, again.uid) && is_same_text(token->csrf, again.csrf));
        FUZZ_CHECK(again.expires_at == token->expires_at / 1000 * 1000);
        FUZZ_CHECK((token->data == NULL) == (again.data == NULL));
        FUZZ_CHECK(token->data == NULL || dw_equal(token->data, again.data) ||
                   fuzz_is_lossy(&dw_packer_json, token->data));
    }
    dw_buf_fini(&out);
}

void fuzz_token(const char *bytes, size_t len)
{
    struct dw_arena *arena = fuzz_arena();
    struct dw_token_keys keys, read;
    struct dw_buf text = DW_BUF_INIT;
    struct dw_token token;
    int code;

    FUZZ_CHECK(dw_token_keys_read(key_text, strlen(key_text), &keys, NULL) == DW_OK);
    FUZZ_CHECK(dw_token_read(&keys, bytes, len, NOW, arena, &token, NULL) == DW_INVALID);
    FUZZ_CHECK(token.uid == NULL);
    code = dw_token_keys_read(bytes, len, &read, NULL);
    FUZZ_CHECK(code == DW_OK ? read.count > 0 && read.count <= DW_TOKEN_KEYS && read.list[0].len >= DW_TOKEN_KEY_MIN
                             : code == DW_CONF && read.count == 0);
    sign(&text, &keys.list[0], bytes, len);
    code = dw_token_read(&keys, text.data, text.len, NOW, arena, &token, NULL);
    FUZZ_CHECK(code == DW_OK || code == DW_INVALID || code == DW_DENIED);
    if (code == DW_OK) {
        FUZZ_CHECK(token.uid[0] != '\0' && token.expires_at > NOW && token.not_before <= NOW);
        FUZZ_CHECK(token.csrf == NULL || token.csrf[0] != '\0');
        if (token.data != NULL)
            fuzz_walk(token.data);
        write_again(&keys, &token, arena);
    } else
        FUZZ_CHECK(token.uid == NULL && token.data == NULL);
    dw_buf_fini(&text);
    dw_arena_free(arena);
}
