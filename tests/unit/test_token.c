/* Signed tokens: what is written is read back, and nothing else is. */
#include "chsk/packer.h"
#include "chsk/token.h"

#include "tests/unit/failing.h"
#include "tests/unit/tap.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1795571863000)
#define HEADER "{\"alg\":\"HS256\",\"typ\":\"JWT\"}"
#define PAYLOAD "{\"sub\":\"alice\",\"exp\":1795575463}"

static const char key_a[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static const char key_b[] = "another-key-of-thirty-two-bytes!";

static struct dw_arena *arena;

static int set_up(void **unused)
{
    (void)unused;
    arena = dw_arena_new(0);
    return arena != NULL ? 0 : -1;
}

static int tear_down(void **unused)
{
    (void)unused;
    dw_arena_free(arena);
    return 0;
}

static struct dw_token_keys keys_of(const char *text)
{
    struct dw_token_keys keys;

    assert_int_equal(dw_token_keys_read(text, strlen(text), &keys, NULL), DW_OK);
    return keys;
}

static int read_text(const struct dw_token_keys *keys, const char *text, struct dw_token *token, struct dw_err *err)
{
    dw_arena_reset(arena);
    return dw_token_read(keys, text, strlen(text), NOW, arena, token, err);
}

/* It is refused with this code and sentence, and nothing of it is told. */
static void assert_refused(const struct dw_token_keys *keys, const char *text, int code, const char *sentence)
{
    static const struct dw_token nobody;
    struct dw_token token;
    struct dw_err err = {.code = 0};
    int rc = read_text(keys, text, &token, &err);

    if (rc != code || strstr(err.text, sentence) == NULL)
        fail_msg("%.80s: %d, \"%s\" in place of %d, \"%s\"", text, rc, err.text, code, sentence);
    assert_memory_equal(&token, &nobody, sizeof token);
}

/* ---- tokens that other programs might make ---- */

static void put_part(char *out, size_t size, const void *bytes, size_t len)
{
    size_t at = strlen(out);

    (void)sodium_bin2base64(out + at, size - at, bytes, len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

static void sign(char *text, size_t size, const char *key)
{
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state;

    crypto_auth_hmacsha256_init(&state, (const unsigned char *)key, strlen(key));
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, strlen(text));
    crypto_auth_hmacsha256_final(&state, mac);
    strcat(text, ".");
    put_part(text, size, mac, sizeof mac);
}

/* A token of any header and payload, truly signed with `key`; the caller's until the next call. */
static const char *forge(const char *header, const char *payload, const char *key)
{
    static char text[16384];

    text[0] = '\0';
    put_part(text, sizeof text, header, strlen(header));
    strcat(text, ".");
    put_part(text, sizeof text, payload, strlen(payload));
    sign(text, sizeof text, key);
    return text;
}

/* RFC 7515, appendix A.1: header with a line break, binary key.  Its claims are not ours, its signature is right. */
static void the_signature_is_that_of_the_rfc(void **unused)
{
    static const char key[] = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    static const char text[] =
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9."
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    struct dw_token_keys keys = {.count = 1};

    (void)unused;
    assert_int_equal(sodium_base642bin(keys.list[0].bytes, sizeof keys.list[0].bytes, key, strlen(key), NULL,
                                       &keys.list[0].len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    assert_refused(&keys, text, DW_INVALID, "no claim sub");
    keys.list[0].bytes[63] ^= 1;
    assert_refused(&keys, text, DW_INVALID, "signature is of another key");
}

static void what_is_written_is_read_back(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    struct dw_token token = {
        .uid = "al\"ice \xc3\xbc", .csrf = "c+/", .expires_at = NOW + 1999, .not_before = NOW - 5000};
    struct dw_token again;
    const struct dw_value *data;
    struct dw_buf text = DW_BUF_INIT;
    struct dw_err err = {.code = 0};

    (void)unused;
    assert_int_equal(dw_packer_json.read("{\"n\":[1,null,\"x\"]}", 18, NULL, arena, &token.data, NULL, NULL), DW_OK);
    assert_int_equal(dw_token_write(&keys, &token, &text, &err), DW_OK);
    assert_int_equal(dw_token_read(&keys, text.data, text.len, NOW, arena, &again, &err), DW_OK);
    assert_string_equal(again.uid, token.uid);
    assert_string_equal(again.csrf, token.csrf);
    assert_int_equal(again.expires_at, NOW + 1000); /* whole seconds */
    assert_int_equal(again.not_before, NOW - 5000);
    assert_int_equal(dw_packer_json.read("{\"n\":[1,null,\"x\"]}", 18, NULL, arena, &data, NULL, NULL), DW_OK);
    assert_true(dw_equal(again.data, data));
    dw_buf_fini(&text);
}

static void what_may_be_missing_is_missing(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    struct dw_token token;
    const char *const headers[] = {HEADER, "{\"alg\":\"HS256\"}",
                                   "{ \"typ\" : \"jwt\",\r\n \"alg\":\"HS256\",\"kid\":\"1\"}"};

    (void)unused;
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        assert_int_equal(read_text(&keys, forge(headers[i], PAYLOAD, key_a), &token, NULL), DW_OK);
        assert_string_equal(token.uid, "alice");
        assert_int_equal(token.expires_at, INT64_C(1795575463000));
        assert_true(token.csrf == NULL && token.data == NULL && token.not_before == 0);
    }
}

static void other_claims_and_fractions_of_a_second_are_fine(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    struct dw_token token;

    (void)unused;
    assert_int_equal(read_text(&keys,
                               forge(HEADER,
                                     "{\"iss\":\"shop\",\"iat\":1,\"jti\":\"x\",\"sub\":\"bob\",\"data\":null,"
                                     "\"aud\":[\"shop\",\"dumbwaiter\"],\"nbf\":1e9,\"exp\":1795575463.5}",
                                     key_a),
                               &token, NULL),
                     DW_OK);
    assert_string_equal(token.uid, "bob");
    assert_int_equal(token.expires_at, INT64_C(1795575463500));
    assert_int_equal(token.data->type, DW_T_NIL);
    assert_int_equal(read_text(&keys, forge(HEADER, "{\"sub\":\"b\",\"exp\":1795575463,\"aud\":\"dumbwaiter\"}", key_a),
                               &token, NULL),
                     DW_OK);
}

/* ---- what is refused, though a key has signed it ---- */

#define CLAIMS(more) "{\"sub\":\"alice\",\"exp\":1795575463" more "}"

static const struct {
    const char *header, *payload, *sentence;
} signed_attacks[] = {
    {"{\"alg\":\"none\"}", PAYLOAD, "alg"},
    {"{\"alg\":\"hs256\"}", PAYLOAD, "alg"},
    {"{\"alg\":\"HS512\"}", PAYLOAD, "alg"},
    {"{\"alg\":\"RS256\",\"jwk\":{\"kty\":\"oct\"}}", PAYLOAD, "alg"},
    {"{\"alg\":[\"HS256\"]}", PAYLOAD, "alg"},
    {"{\"alg\":\"HS256\\u0000\"}", PAYLOAD, "alg"},
    {"{}", PAYLOAD, "alg"},
    {"{\"alg\":\"none\",\"alg\":\"HS256\"}", PAYLOAD, "duplicate"},
    {"{\"alg\":\"HS256\",\"\\u0061lg\":\"none\"}", PAYLOAD, "duplicate"},
    {"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}", PAYLOAD, "crit"},
    {"{\"alg\":\"HS256\",\"crit\":[]}", PAYLOAD, "crit"},
    {"{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", PAYLOAD, "typ"},
    {"{\"alg\":\"HS256\",\"typ\":null}", PAYLOAD, "typ"},
    {"[\"HS256\"]", PAYLOAD, "header is no JSON object"},
    {"", PAYLOAD, "header can't be read"},
    {"{\"alg\":\"HS256\"} ", PAYLOAD "{}", "payload can't be read"},
    {HEADER, "", "payload can't be read"},
    {HEADER, "[]", "payload is no JSON object"},
    {HEADER, "null", "payload is no JSON object"},
    {HEADER, "{\"sub\":\"ali\xff\",\"exp\":1795575463}", "payload can't be read"},
    {HEADER, CLAIMS(",\"sub\":\"bob\""), "duplicate"},
    {HEADER, CLAIMS(",\"exp\":1995575463"), "duplicate"},
    {HEADER, CLAIMS(",\"data\":{\"a\":1,\"a\":2}"), "duplicate"},
    {HEADER, "{\"exp\":1795575463}", "no claim sub"},
    {HEADER, "{\"sub\":\"\",\"exp\":1795575463}", "claim sub"},
    {HEADER, "{\"sub\":7,\"exp\":1795575463}", "claim sub"},
    {HEADER, "{\"sub\":null,\"exp\":1795575463}", "claim sub"},
    {HEADER, "{\"sub\":\"alice\\u0000x\",\"exp\":1795575463}", "claim sub"},
    {HEADER, "{\"sub\":\"alice\"}", "no claim exp"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":null}", "claim exp is no number"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":\"1795575463\"}", "claim exp is no number"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":1795575463000}", "claim exp is no Unix time in seconds"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":-1}", "claim exp is no Unix time in seconds"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":1e300}", "claim exp is no Unix time in seconds"},
    {HEADER, "{\"sub\":\"alice\",\"exp\":99999999999999999999999999}", "claim exp is no number"},
    {HEADER, CLAIMS(",\"nbf\":\"now\""), "claim nbf"},
    {HEADER, CLAIMS(",\"csrf\":\"\""), "claim csrf"},
    {HEADER, CLAIMS(",\"csrf\":1"), "claim csrf"},
    {HEADER, CLAIMS(",\"aud\":\"shop\""), "claim aud"},
    {HEADER, CLAIMS(",\"aud\":[]"), "claim aud"},
    {HEADER, CLAIMS(",\"aud\":{\"dumbwaiter\":1}"), "claim aud"},
};

static void what_a_key_has_signed_must_still_be_a_token_of_ours(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);

    (void)unused;
    for (size_t i = 0; i < sizeof signed_attacks / sizeof signed_attacks[0]; i++)
        assert_refused(&keys, forge(signed_attacks[i].header, signed_attacks[i].payload, key_a), DW_INVALID,
                       signed_attacks[i].sentence);
}

static void its_time_counts_to_the_millisecond(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    const char *text = forge(HEADER, "{\"sub\":\"a\",\"nbf\":1000,\"exp\":2000}", key_a);
    struct dw_token token;
    struct dw_err err = {.code = 0};

    (void)unused;
    assert_int_equal(dw_token_read(&keys, text, strlen(text), 999999, arena, &token, &err), DW_DENIED);
    assert_string_equal(err.text, "it is not valid before 1 s from now");
    assert_int_equal(dw_token_read(&keys, text, strlen(text), 1000000, arena, &token, &err), DW_OK);
    assert_int_equal(dw_token_read(&keys, text, strlen(text), 1999999, arena, &token, &err), DW_OK);
    assert_int_equal(dw_token_read(&keys, text, strlen(text), 2000000, arena, &token, &err), DW_DENIED);
    assert_int_equal(dw_token_read(&keys, text, strlen(text), 2005000, arena, &token, &err), DW_DENIED);
    assert_string_equal(err.text, "it expired 5 s ago");
    assert_true(token.uid == NULL);
}

/* ---- what no key has signed ---- */

#define P_HEADER "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
#define P_NONE "eyJhbGciOiJub25lIn0"
#define P_PAYLOAD "eyJzdWIiOiJhbGljZSIsImV4cCI6MTc5NTU3NTQ2M30"
#define P_MAC "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

static void what_nobody_has_signed_is_refused(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    const struct {
        const char *text, *sentence;
    } attacks[] = {
        {"", "three parts"},
        {".", "three parts"},
        {"..", "signature"},
        {"alice", "three parts"},
        {P_HEADER "." P_PAYLOAD, "three parts"},
        {P_HEADER "." P_PAYLOAD ".", "signature is none of HS256"},
        {P_NONE "." P_PAYLOAD ".", "signature is none of HS256"},
        {P_NONE "." P_PAYLOAD "." P_MAC, "another key"},
        {P_HEADER "." P_PAYLOAD "." P_MAC, "another key"},
        {P_HEADER "." P_PAYLOAD "." P_MAC ".", "signature is none of HS256"},
        {P_HEADER "." P_PAYLOAD "." P_MAC "=", "signature is none of HS256"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof attacks / sizeof attacks[0]; i++)
        assert_refused(&keys, attacks[i].text, DW_INVALID, attacks[i].sentence);
    assert_refused(&keys, forge(HEADER, PAYLOAD, key_b), DW_INVALID, "another key");
    assert_refused(&keys, forge(HEADER, PAYLOAD, ""), DW_INVALID, "another key");
}

static void no_part_of_a_token_is_one(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    const char *text = forge(HEADER, PAYLOAD, key_a);
    size_t len = strlen(text);
    struct dw_token token;

    (void)unused;
    assert_int_equal(dw_token_read(&keys, text, len, NOW, arena, &token, NULL), DW_OK);
    for (size_t i = 0; i < len; i++) {
        assert_int_equal(dw_token_read(&keys, text, i, NOW, arena, &token, NULL), DW_INVALID);
        assert_int_equal(dw_token_read(&keys, text + i + 1, len - i - 1, NOW, arena, &token, NULL), DW_INVALID);
    }
}

/* The bits that base64url leaves over in the last character included. */
static void no_bit_of_a_token_may_change(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    char text[512];
    size_t len;
    struct dw_token token;

    (void)unused;
    (void)snprintf(text, sizeof text, "%s", forge(HEADER, PAYLOAD, key_a));
    len = strlen(text);
    for (size_t i = 0; i < 8 * len; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        assert_int_equal(dw_token_read(&keys, text, len, NOW, arena, &token, NULL), DW_INVALID);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    assert_int_equal(dw_token_read(&keys, text, len, NOW, arena, &token, NULL), DW_OK);
}

/* A signature over text that several readers might decode in several ways. */
static void base64url_has_one_form(void **unused)
{
    static const char *const parts[] = {
        P_PAYLOAD "=",
        "eyJzdWIiOiJhbGljZSIsImV4cCI6MTc5NTU3NTQ2M31", /* unused bits that are not zero */
        "eyJzdWIiOiJhbGljZSIsImV4cCI6MTc5NTU3NTQ2M30\n",
        "eyJzdWIiOiI/Pz8+PiIsImV4cCI6MTc5NTU3NTQ2M30", /* base64 */
        P_PAYLOAD "A",
        "",
    };
    const struct dw_token_keys keys = keys_of(key_a);
    char text[512];

    (void)unused;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        (void)snprintf(text, sizeof text, "%s.%s", P_HEADER, parts[i]);
        sign(text, sizeof text, key_a);
        assert_refused(&keys, text, DW_INVALID, "payload");
        (void)snprintf(text, sizeof text, "%s.%s", parts[i], P_PAYLOAD);
        sign(text, sizeof text, key_a);
        assert_refused(&keys, text, DW_INVALID, "header");
    }
}

static void a_huge_token_is_not_even_looked_at(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    char payload[8192];

    (void)unused;
    (void)snprintf(payload, sizeof payload, "%-8000s", PAYLOAD);
    assert_refused(&keys, forge(HEADER, payload, key_a), DW_INVALID, "longer than 4096 bytes");
}

static void no_token_is_written_that_would_be_too_long_to_be_read(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    struct dw_token token = {.uid = "alice", .expires_at = NOW + 60000}, again;
    char csrf[4096];
    struct dw_buf text = DW_BUF_INIT;
    size_t longest = 0;
    int rc = DW_OK;

    (void)unused;
    token.csrf = csrf;
    for (int len = 2900; rc == DW_OK; len++) {
        (void)snprintf(csrf, sizeof csrf, "%0*d", len, 1);
        dw_buf_reset(&text);
        rc = dw_token_write(&keys, &token, &text, NULL);
        if (rc == DW_OK) {
            assert_int_equal(dw_token_read(&keys, text.data, text.len, NOW, arena, &again, NULL), DW_OK);
            longest = text.len;
        }
    }
    assert_int_equal(rc, DW_LIMIT);
    assert_in_range(longest, DW_TOKEN_MAX - 2, DW_TOKEN_MAX);
    dw_buf_fini(&text);
}

static void only_text_can_be_written(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    const struct dw_token bad[] = {{.uid = "", .expires_at = NOW},
                                   {.uid = "\xff", .expires_at = NOW},
                                   {.uid = "a", .csrf = "", .expires_at = NOW}};
    struct dw_buf text = DW_BUF_INIT;

    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(dw_token_write(&keys, &bad[i], &text, NULL), DW_INVALID);
    assert_int_equal(text.len, 0);
}

/* ---- keys ---- */

static void any_of_two_keys_may_have_signed_and_the_first_signs(void **unused)
{
    const struct dw_token_keys both = keys_of("\n  another-key-of-thirty-two-bytes!\r\n\n0123456789abcdef0123456789abcd"
                                              "ef0123456789abcdef0123456789abcdef");
    const struct dw_token_keys only_b = keys_of(key_b);
    const struct dw_token token = {.uid = "carol", .expires_at = NOW + 60000};
    struct dw_token again;
    struct dw_buf text = DW_BUF_INIT;

    (void)unused;
    assert_int_equal(both.count, 2);
    assert_int_equal(read_text(&both, forge(HEADER, PAYLOAD, key_a), &again, NULL), DW_OK);
    assert_int_equal(read_text(&both, forge(HEADER, PAYLOAD, key_b), &again, NULL), DW_OK);
    assert_int_equal(dw_token_write(&both, &token, &text, NULL), DW_OK);
    assert_int_equal(read_text(&only_b, text.data, &again, NULL), DW_OK);
    assert_refused(&only_b, forge(HEADER, PAYLOAD, key_a), DW_INVALID, "another key");
    dw_buf_fini(&text);
}

static void a_key_file_without_good_keys_is_refused(void **unused)
{
    static const struct {
        const char *text, *sentence;
    } files[] = {
        {"", "no key"},
        {" \r\n\n", "no key"},
        {"0123456789abcdef0123456789abcde\n", "a key has 31 bytes; it must have 32 to 256"},
        {"another-key-of-thirty-two-bytes!\nshort\n", "a key has 5 bytes"},
        {"another key of thirty two bytes!\n", "printable"},
        {"another-key-of-thirty-two-bytes\xc3\xa4\n", "printable"},
        {"another-key-of-thirty-two-bytes!\nanother-key-of-thirty-two-bytes?\nanother-key-of-thirty-two-bytes.\n",
         "more than 2 keys"},
    };
    static const struct dw_token_keys empty;
    struct dw_token_keys keys;
    struct dw_err err;
    char long_key[DW_TOKEN_KEY_MAX + 1];

    (void)unused;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        err.text[0] = '\0';
        assert_int_equal(dw_token_keys_read(files[i].text, strlen(files[i].text), &keys, &err), DW_CONF);
        if (strstr(err.text, files[i].sentence) == NULL)
            fail_msg("\"%s\" in place of \"%s\"", err.text, files[i].sentence);
        assert_null(strstr(err.text, "another"));
        assert_memory_equal(&keys, &empty, sizeof keys);
    }
    memset(long_key, 'k', sizeof long_key);
    assert_int_equal(dw_token_keys_read(long_key, DW_TOKEN_KEY_MAX, &keys, NULL), DW_OK);
    assert_int_equal(dw_token_keys_read(long_key, DW_TOKEN_KEY_MAX + 1, &keys, NULL), DW_CONF);
}

static void without_keys_nothing_is_signed(void **unused)
{
    const struct dw_token_keys none = {.count = 0};

    (void)unused;
    assert_refused(&none, forge(HEADER, PAYLOAD, ""), DW_INVALID, "another key");
}

/* ---- memory ---- */

/* Writes and reads a token with data; DW_NOMEM is all that may go wrong. */
static int round_trip(const struct dw_token_keys *keys, const struct dw_token *token)
{
    struct dw_arena *own = dw_arena_new(0);
    struct dw_buf text = DW_BUF_INIT;
    struct dw_token again;
    const char *other;
    int rc = own != NULL ? dw_token_write(keys, token, &text, NULL) : DW_NOMEM;

    if (rc == DW_OK)
        rc = dw_token_read(keys, text.data, text.len, NOW, own, &again, NULL);
    if (rc == DW_OK) {
        other = forge("{\"alg\":\"HS256\"}", PAYLOAD, key_a);
        rc = dw_token_read(keys, other, strlen(other), NOW, own, &again, NULL);
    }
    dw_buf_fini(&text);
    dw_arena_free(own);
    return rc;
}

static void a_failing_allocation_is_no_verdict(void **unused)
{
    const struct dw_token_keys keys = keys_of(key_a);
    struct dw_token token = {.uid = "alice", .csrf = "c", .expires_at = NOW + 60000};
    static char json[2000];
    long nth = 0;
    int rc;

    (void)unused;
    memset(json, '[', 50); /* deeper than readers and writers have room for at first */
    memset(json + 50, ']', 50);
    assert_int_equal(dw_packer_json.read(json, 100, NULL, arena, &token.data, NULL, NULL), DW_OK);
    do {
        calls = 0;
        failing_call = nth;
        rc = round_trip(&keys, &token);
        failing_call = -1;
        assert_true(rc == DW_OK || rc == DW_NOMEM);
        nth++;
    } while (rc != DW_OK);
    print_message("# %ld allocations were made to fail\n", nth - 1);
    assert_true(nth > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_signature_is_that_of_the_rfc),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_may_be_missing_is_missing),
        cmocka_unit_test(other_claims_and_fractions_of_a_second_are_fine),
        cmocka_unit_test(what_a_key_has_signed_must_still_be_a_token_of_ours),
        cmocka_unit_test(its_time_counts_to_the_millisecond),
        cmocka_unit_test(what_nobody_has_signed_is_refused),
        cmocka_unit_test(no_part_of_a_token_is_one),
        cmocka_unit_test(no_bit_of_a_token_may_change),
        cmocka_unit_test(base64url_has_one_form),
        cmocka_unit_test(a_huge_token_is_not_even_looked_at),
        cmocka_unit_test(no_token_is_written_that_would_be_too_long_to_be_read),
        cmocka_unit_test(only_text_can_be_written),
        cmocka_unit_test(any_of_two_keys_may_have_signed_and_the_first_signs),
        cmocka_unit_test(a_key_file_without_good_keys_is_refused),
        cmocka_unit_test(without_keys_nothing_is_signed),
        cmocka_unit_test(a_failing_allocation_is_no_verdict),
    };

    return cmocka_run_group_tests_name("token", tests, set_up, tear_down);
}
