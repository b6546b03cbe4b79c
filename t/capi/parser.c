/* The resumable parser, for clients and for tests of servers. */
#include "harness.h"

static pagi_sse_parser open_default(void)
{
    pagi_sse_parser p = 0;
    IS(pagi_sse_parser_open(NULL, &p), 0);
    return p;
}

static char text[65536];
static size_t text_len;

/* All records that wait, in short form. */
static const char *read_all(pagi_sse_parser p, size_t cap)
{
    char buf[4096];
    pagi_sse_record r;
    int64_t used;
    text_len = 0;
    text[0] = 0;
    while ((used = LEN(pagi_sse_parser_next(p, buf, cap, &len_))) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, (size_t)used, &at, &r, sizeof r) > 0;) {
            IS(r.conn, p);
            if (r.kind == PAGI_SSE_KIND_EVENT)
                text_len += (size_t)sprintf(text + text_len, "%.*s=%.*s#%.*s;", (int)r.event.len, r.event.data,
                                            (int)r.data.len, r.data.data, (int)r.id.len, r.id.data);
            else if (r.kind == PAGI_SSE_KIND_COMMENT)
                text_len += (size_t)sprintf(text + text_len, ":%.*s;", (int)r.text.len, r.text.data);
            else
                text_len += (size_t)sprintf(text + text_len, "!%d;", (int)r.code);
        }
    IS(used, 0);
    return text;
}

#define ALL(p, expected) do { const char *t_ = read_all((p), 4096); BYTES(t_, text_len, (expected)); } while (0)

static const char WIRE[] = "\xEF\xBB\xBF" ": hi\r\nretry: 300\nevent: e\nid: 1\ndata: a\rdata: b\r\n\r\ndata:c\n\nid:2\n\ndata: late";

static void chunks(void)
{
    for (size_t size = 1; size <= sizeof WIRE; size++) {
        pagi_sse_parser p = open_default();
        for (size_t at = 0; at < sizeof WIRE - 1; at += size) {
            size_t n = sizeof WIRE - 1 - at;
            n = n < size ? n : size;
            IS(pagi_sse_parser_push(p, WIRE + at, n), n);
        }
        ALL(p, ": hi;e=a\nb#1;message=c#1;");
        char id[8];
        BYTES(id, LEN(pagi_sse_parser_last_event_id(p, id, sizeof id, &len_)), "2");
        uint64_t ms = 0;
        IS(pagi_sse_parser_retry(p, &ms), 1);
        IS(ms, 300);
        IS(pagi_sse_parser_free(p), 0);
    }
}

/* Room for a record that asks for it; the caller frees it. */
static pagi_sse_record *one(pagi_sse_parser p, char **buf, pagi_sse_record *r)
{
    char tiny[4];
    int64_t need = NEEDS(pagi_sse_parser_next(p, tiny, sizeof tiny, &len_));
    size_t at = 0;
    OK(need > (int64_t)sizeof tiny);
    *buf = malloc((size_t)need);
    IS(LEN(pagi_sse_parser_next(p, *buf, (size_t)need, &len_)), need);
    IS(pagi_sse_record_read(*buf, (size_t)need, &at, r, sizeof *r), 1);
    IS(at, need);
    return r;
}

static void batches(void)
{
    pagi_sse_parser p = open_default();
    const char wire[] = "id: 5\ndata: 1\n\ndata: 2\n\n: c\nid: 6\ndata: 3\n\ndata: 4\nid:\n\nid: 6\ndata: 5\n\n";
    const char *expected = "message=1#5;message=2#5;: c;message=3#6;message=4#;message=5#6;";
    for (size_t cap = 40; cap < 300; cap++) {
        IS(pagi_sse_parser_push(p, S(wire)), sizeof wire - 1);
        const char *got = read_all(p, cap);
        BYTES(got, text_len, expected);
    }
    IS(pagi_sse_parser_push(p, S(wire)), sizeof wire - 1);
    for (const char *id = "55 66", *data = "12 345"; *data; id += *id != 0, data++) {
        pagi_sse_record r;
        char *buf;
        one(p, &buf, &r);
        IS(r.kind, *data == ' ' ? PAGI_SSE_KIND_COMMENT : PAGI_SSE_KIND_EVENT);
        if (*data != ' ')
            BYTES(r.id.data, r.id.len, *data == '4' ? "" : *data == '5' ? "6" : *id == '5' ? "5" : "6");
        free(buf);
    }
    IS(LEN(pagi_sse_parser_next(p, text, sizeof text, &len_)), 0);
    IS(pagi_sse_parser_push(p, NONE), 0);
    IS(pagi_sse_parser_free(p), 0);
}

/* The largest record of a parser with those limits: an event, or a comment. */
static void bound(void)
{
    char wire[400], buf[1000];
    for (size_t line = 20; line < 100; line += 13)
        for (size_t most = 1; most < 60; most += 7) {
            pagi_sse_parser_options o = {.size = sizeof o, .max_line = line, .max_event = most, .max_id = most};
            const size_t bytes = most + 6 < line ? most : line - 6, id = most + 3 < line ? most : line - 3;
            pagi_sse_parser p = 0;
            IS(pagi_sse_parser_open(&o, &p), 0);
            size_t n = (size_t)sprintf(wire, "id:%.*s\ndata: %.*s\n", (int)id, "0123456789012345678901234567890123456789012345678901234567890123456789",
                                       (int)bytes, "0123456789012345678901234567890123456789012345678901234567890123456789");
            n += (size_t)sprintf(wire + n, "event:");
            memset(wire + n, 0xff, line - 6);
            n += line - 6;
            n += (size_t)sprintf(wire + n, "\n\n:");
            memset(wire + n, 0xff, line - 1);
            n += line - 1;
            wire[n++] = '\n';
            IS(pagi_sse_parser_push(p, wire, n), n);
            IS(NEEDS(pagi_sse_parser_next(p, buf, 1, &len_)), 25 + 3 * (line - 6) + bytes + id);
            OK(len_ <= 32 + 3 * line + most + most);
            IS(pagi_sse_parser_next(p, buf, len_, &len_), 1);
            IS(NEEDS(pagi_sse_parser_next(p, buf, 1, &len_)), 17 + 3 * (line - 1));
            OK(len_ <= 32 + 3 * line + most + most);
            IS(pagi_sse_parser_free(p), 0);
        }
}

static void limits(void)
{
    pagi_sse_parser_options o = {.size = sizeof o, .last_event_id = B("0"), .max_line = 8, .max_event = 4, .max_id = 2};
    pagi_sse_parser p = 0;
    IS(pagi_sse_parser_open(&o, &p), 0);
    const char wire[] = "data:abcd\n\ndata:ab\ndata:cd\n\nid:123\ndata:z\n\nid:12\ndata\n\n";
    IS(pagi_sse_parser_push(p, S(wire)), sizeof wire - 1);
    char expected[100];
    sprintf(expected, "!%d;!%d;!%d;message=z#0;message=#12;", R(LINE_TOO_LONG), R(EVENT_TOO_LARGE), R(ID_TOO_LONG));
    ALL(p, expected);
    IS(pagi_sse_parser_free(p), 0);
    o.last_event_id = B("123");
    IS(pagi_sse_parser_open(&o, &p), R(ID_TOO_LONG));
    o.max_id = 0;
    IS(pagi_sse_parser_open(&o, &p), 0);
    IS(pagi_sse_parser_free(p), 0);
    const uint64_t most = 128 << 20;
    uint64_t *limits[] = {&o.max_line, &o.max_event, &o.max_id};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        *limits[i] = most + 1;
        IS(pagi_sse_parser_open(&o, &p), R(BAD_ARGUMENT));
        *limits[i] = most;
    }
    IS(pagi_sse_parser_open(&o, &p), 0);
    IS(pagi_sse_parser_free(p), 0);
    o.max_line = 0, o.size = 39;
    IS(pagi_sse_parser_open(&o, &p), R(BAD_ARGUMENT));
    o.size = 40; /* without max_id */
    IS(pagi_sse_parser_open(&o, &p), 0);
    IS(pagi_sse_parser_free(p), 0);
    const struct { const char *id; int32_t result; } impossible[] = {
        {"a\nb", R(ID_NEWLINE)}, {"a\rb", R(ID_NEWLINE)}, {"a\0b", R(ID_NUL)}};
    o.size = sizeof o;
    for (int i = 0; i < 3; i++) {
        o.last_event_id = L(impossible[i].id, 3);
        IS(pagi_sse_parser_open(&o, &p), impossible[i].result);
    }
    o.size = sizeof o, o.last_event_id = B("\xff");
    IS(pagi_sse_parser_open(&o, &p), R(NOT_UTF8));
    o.last_event_id = L(NULL, 1);
    IS(pagi_sse_parser_open(&o, &p), R(NULL_POINTER));
}

static char sink[1 << 16];

/* Reads what waits: its records, its bytes. */
static size_t drain(pagi_sse_parser p, size_t *bytes)
{
    pagi_sse_record r;
    size_t count = 0;
    size_t used = 0, at;
    int32_t n;
    while ((n = pagi_sse_parser_next(p, sink, sizeof sink, &used)) > 0) {
        if (!OK(used <= sizeof sink))
            return count;
        *bytes += used;
        count += (size_t)n;
        for (at = 0; pagi_sse_record_read(sink, used, &at, &r, sizeof r) > 0;)
            n--;
        IS(n, 0);
        IS(at, used);
    }
    IS(n, 0);
    return count;
}

/* Pushes a head and a megabyte of a line again and again: each push stops with
 * little waiting, no record is lost, and all of them are no more than `times`
 * what came in. */
static void flood(const char *head, const char *line, size_t every, size_t times)
{
    enum { SIZE = 1000000 };
    char *wire = malloc(SIZE);
    size_t len = strlen(head), lines = 0, took = 0, count = 0, bytes = 0, most = 0;
    memcpy(wire, head, len);
    for (; len + strlen(line) <= SIZE; len += strlen(line), lines++)
        memcpy(wire + len, line, strlen(line));
    pagi_sse_parser p = open_default();
    while (took < len) {
        int64_t n = pagi_sse_parser_push(p, wire + took, len - took);
        if (!OK(n > 0))
            break;
        took += (size_t)n;
        if (took < len)
            IS(pagi_sse_parser_push(p, wire + took, len - took), 0);
        size_t before = bytes;
        count += drain(p, &bytes);
        most = bytes - before > most ? bytes - before : most;
    }
    IS(took, len);
    IS(count, every * lines);
    OK(bytes <= times * len);
    OK(most <= 3 << 20);
    IS(pagi_sse_parser_push(p, S("\n\ndata: x\n\n")), 11);
    IS(drain(p, &bytes), 1);
    IS(pagi_sse_parser_free(p), 0);
    free(wire);
}

static void floods(void)
{
    char id[5000] = "id:";
    memset(id + 3, 'x', PAGI_SSE_ID_BYTES);
    strcpy(id + 3 + PAGI_SSE_ID_BYTES, "\n");
    flood(id, "data\n\n", 1, 10);
    flood("", "data\n\n", 1, 10);
    flood("", "data\n\nid:1\ndata\n\nid:2\n", 2, 10);
    flood("", ":\n", 1, 10);
    flood("", ":\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\r", 1, 10);
    flood("", "event:e\n", 0, 0);
    flood("", "retry:1\n", 0, 0);
    flood("", "id:1\n", 0, 0);
    flood("", "id:1\n\n", 0, 0);
    strcat(id, "id:");
    memset(id + 3, 'y', PAGI_SSE_ID_BYTES + 1);
    strcpy(id + 3 + PAGI_SSE_ID_BYTES + 1, "\n");
    flood("", id, 1, 1);
}

static void together(void)
{
    enum { COUNT = 3 };
    pagi_sse_parser p[COUNT];
    char wire[COUNT][5000], expected[COUNT][5000];
    for (size_t i = 0; i < COUNT; i++) {
        p[i] = open_default();
        sprintf(wire[i], "id:%zu\ndata:%zu\n\ndata\n\nid:%zu%zu\n\ndata:z\n\n", i, i, i, i);
        sprintf(expected[i], "message=%zu#%zu;message=#%zu;message=z#%zu%zu;", i, i, i, i, i);
    }
    for (size_t at = 0; at < strlen(wire[0]); at++)
        for (size_t i = 0; i < COUNT; i++)
            IS(pagi_sse_parser_push(p[i], wire[i] + at, 1), 1);
    for (size_t i = 0; i < COUNT; i++) {
        ALL(p[i], expected[i]);
        IS(pagi_sse_parser_free(p[i]), 0);
    }
}

static void reset(void)
{
    pagi_sse_parser p = open_default();
    uint64_t ms = 42;
    IS(pagi_sse_parser_retry(p, &ms), 0);
    IS(ms, 42);
    pagi_sse_parser_push(p, S("id: 1\ndata: a\n\nid: 2\ndata: half"));
    IS(pagi_sse_parser_reset(p), 0);
    pagi_sse_parser_push(p, S("\xEF\xBB\xBF" "data: b\n\nid: 3\ndata: c\n\n"));
    ALL(p, "message=a#1;message=b#1;message=c#3;");
    IS(pagi_sse_parser_reset(p), 0);
    pagi_sse_parser_push(p, S("data: d\n\n"));
    ALL(p, "message=d#3;");
    IS(pagi_sse_parser_free(p), 0);
}

static void misuse(void)
{
    char buf[64];
    pagi_sse_parser p = open_default();
    IS(pagi_sse_parser_open(NULL, NULL), R(NULL_POINTER));
    IS(pagi_sse_parser_push(p, NULL, 3), R(NULL_POINTER));
    IS(pagi_sse_parser_push(p, "x", SIZE_MAX), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_parser_next(p, NULL, 0, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_parser_next(p, NULL, 9, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_parser_next(p, buf, 0, &len_)), R(NULL_POINTER));
    IS(pagi_sse_parser_retry(p, NULL), R(NULL_POINTER));
    IS(LEN(pagi_sse_parser_last_event_id(p, NULL, 5, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_parser_last_event_id(p, NULL, 0, &len_)), 0);
    IS(pagi_sse_conn_state(p), R(HANDLE_KIND));
    IS(pagi_sse_parser_free(p), 0);
    IS(pagi_sse_parser_free(p), R(HANDLE_STALE));
    IS(pagi_sse_parser_push(p, S("x")), R(HANDLE_STALE));
    IS(LEN(pagi_sse_parser_next(0, buf, sizeof buf, &len_)), R(HANDLE_INVALID));
}

static const test tests[] = {
    {"no record is larger than the limits say", bound},
    {"chunk borders mean nothing", chunks},
    {"records come whole and in batches of any size", batches},
    {"limits drop what is too large, and say so", limits},
    {"a flood stops at what may wait, and makes little more than it is", floods},
    {"parsers know nothing of each other", together},
    {"a reset keeps the id and drops the unfinished", reset},
    {"misuse is an error", misuse},
};
RUN(tests)
