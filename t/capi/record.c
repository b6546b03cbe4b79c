/* Reading records: bytes that are none are an error, never a crash. */
#include "harness.h"

static void garbage(void)
{
    pagi_sse_record r;
    pagi_sse_header h;
    pagi_sse_bytes v;
    unsigned seed = 12345;
    for (int round = 0; round < 20000; round++) {
        /* On the heap, exactly: a sanitizer sees a byte too many. */
        size_t len = seed % 64;
        char *bytes = malloc(len ? len : 1);
        for (size_t i = 0; i < len; i++) {
            seed = seed * 1103515245 + 12345;
            bytes[i] = (char)(seed >> 16 & (round % 2 ? 0xFF : 0x1F));
        }
        seed = seed * 1103515245 + 12345;
        if (len > 4 && round % 3) /* a length that is right, and a known kind */
            memcpy(bytes, &(uint32_t){(uint32_t)len - 4}, 4), bytes[4] = (char)(1 + seed % 23);
        size_t at = 0;
        int32_t code = pagi_sse_record_read(bytes, len, &at, &r, sizeof r);
        OK(code == R(BAD_ARGUMENT) || code == 0 || code == 1);
        OK(code == 1 ? at >= 4 && at <= len : at == 0);
        int32_t found = pagi_sse_record_header((pagi_sse_bytes){bytes, len}, S("x"), &v);
        OK(found == R(BAD_ARGUMENT) || found == 0 || found == 1);
        for (size_t i = 0; pagi_sse_record_header_at((pagi_sse_bytes){bytes, len}, i, &h) == 1; i++)
            OK(i < 64);
        free(bytes);
    }
}

static pagi_sse_parser parser;
static char buf[256];

static void arguments(void)
{
    pagi_sse_record r;
    pagi_sse_bytes v;
    IS(pagi_sse_parser_open(NULL, &parser), 0);
    pagi_sse_parser_push(parser, S("data: a\n\ndata: b\n\n"));
    size_t used = 0, at = 0;
    IS(pagi_sse_parser_next(parser, buf, sizeof buf, &used), 2);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    size_t second = at;
    OK(second > 4);
    BYTES(r.data.data, r.data.len, "a");
    IS(r.text.len, 0);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    IS(at, used);
    BYTES(r.data.data, r.data.len, "b");
    memset(&r, 0x5A, sizeof r);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 0);
    IS(at, used);
    IS(r.kind, 0x5A5A5A5A);
#define REFUSED(buf, used, from, out, size, code)                                                                     \
    (at = (from), IS(pagi_sse_record_read((buf), (used), &at, (out), (size)), R(code)), IS(at, (from)))
    REFUSED(buf, used, used + 1, &r, sizeof r, BAD_ARGUMENT);
    REFUSED(buf, used, SIZE_MAX, &r, sizeof r, BAD_ARGUMENT);
    REFUSED(buf, SIZE_MAX, 0, &r, sizeof r, BAD_ARGUMENT);
    REFUSED(buf, used - 1, second, &r, sizeof r, BAD_ARGUMENT);
    REFUSED(buf, 3, 0, &r, sizeof r, BAD_ARGUMENT);
    REFUSED(NULL, used, 0, &r, sizeof r, NULL_POINTER);
    REFUSED(buf, used, 0, NULL, sizeof r, NULL_POINTER);
    REFUSED(buf, used, 0, &r, 0, NULL_POINTER);
    REFUSED(buf, used, 0, &r, SIZE_MAX, BAD_ARGUMENT);
    IS(pagi_sse_record_read(buf, used, NULL, &r, sizeof r), R(NULL_POINTER));
    IS(pagi_sse_record_read(NULL, 0, &at, &r, sizeof r), 0);
    IS(r.kind, 0x5A5A5A5A);
    IS(pagi_sse_record_header((pagi_sse_bytes){NULL, 3}, S("a"), &v), R(NULL_POINTER));
    IS(pagi_sse_record_header((pagi_sse_bytes){NULL, 0}, S("a"), &v), 0);
    IS(pagi_sse_record_header((pagi_sse_bytes){NULL, 0}, NULL, 0, &v), R(NULL_POINTER));
    IS(pagi_sse_record_header((pagi_sse_bytes){NULL, 0}, S("a"), NULL), R(NULL_POINTER));
    IS(pagi_sse_record_header_at((pagi_sse_bytes){NULL, 0}, 0, NULL), R(NULL_POINTER));
    /* A program with an older, smaller struct. */
    memset(&r, 0x5A, sizeof r);
    IS(pagi_sse_record_read(buf, used, &at, &r, 16), 1);
    IS(at, second);
    IS(r.kind, PAGI_SSE_KIND_EVENT);
    IS(r.sse, 0x5A);
    IS(pagi_sse_parser_free(parser), 0);
}

static char *put(char *at, const void *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static char *str(char *at, const char *text)
{
    uint32_t len = (uint32_t)strlen(text);
    return put(put(at, &len, sizeof len), text, len);
}

/* As a later version of the library may have it. */
static void later(void)
{
    pagi_sse_record r;
    pagi_sse_bytes v = {NULL, 0};
    pagi_sse_header h;
    const char *strings[] = {"/", "GET", "1.1", "/", "q", "::1"};
    uint64_t conn = 7;
    uint16_t port = 80;
    char fields[64], *at = buf + 4, *end = str(str(fields, "a"), "1");
    *end = 0;
    *at++ = PAGI_SSE_KIND_REQUEST;
    at = put(put(at, &conn, 8), "\1\0", 2);
    for (int i = 0; i < 6; i++)
        at = str(at, strings[i]);
    at = put(str(put(at, &port, 2), "::2"), &port, 2);
    uint32_t len = (uint32_t)(end - fields);
    at = put(put(at, &len, 4), fields, len);
    at = str(str(at, "https"), "more"); /* fields of which we do not know */
    len = (uint32_t)(at - buf - 4);
    memcpy(buf, &len, 4);
    size_t from = 0;
    IS(pagi_sse_record_read(buf, (size_t)(at - buf), &from, &r, sizeof r), 1);
    IS(from, at - buf);
    BYTES(r.method.data, r.method.len, "GET");
    BYTES(r.server.data, r.server.len, "::2");
    IS(pagi_sse_record_header(r.headers, S("A"), &v), 1);
    BYTES(v.data, v.len, "1");
    IS(pagi_sse_record_header_at(r.headers, 1, &h), 0);
}

static const test tests[] = {
    {"invented bytes are an error or a record, within bounds", garbage},
    {"arguments and struct sizes", arguments},
    {"fields that a later version puts behind a request's are skipped", later},
};
RUN(tests)
