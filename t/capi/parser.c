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
    int64_t used, at;
    text_len = 0;
    text[0] = 0;
    while ((used = pagi_sse_parser_next(p, buf, cap)) > 0 && (size_t)used <= cap)
        for (at = 0; (at = pagi_sse_record_read(buf, (size_t)used, at, &r, sizeof r)) > 0;) {
            IS(r.conn, p);
            if (r.kind == PAGI_SSE_KIND_EVENT)
                text_len += (size_t)sprintf(text + text_len, "%.*s=%.*s#%.*s;", (int)r.event.len, r.event.data,
                                            (int)r.text.len, r.text.data, (int)r.id.len, r.id.data);
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
            OK(pagi_sse_parser_push(p, WIRE + at, n < size ? n : size) >= 0);
        }
        ALL(p, ": hi;e=a\nb#1;message=c#1;");
        char id[8];
        BYTES(id, pagi_sse_parser_last_event_id(p, id, sizeof id), "2");
        uint64_t ms = 0;
        IS(pagi_sse_parser_retry(p, &ms), 1);
        IS(ms, 300);
        IS(pagi_sse_parser_free(p), 0);
    }
}

static void batches(void)
{
    pagi_sse_parser p = open_default();
    int64_t waiting = pagi_sse_parser_push(p, S("data: 1\n\ndata: 2\n\ndata: 3\n\n"));
    OK(waiting > 0);
    char tiny[4], *exact = malloc((size_t)waiting);
    int64_t need = pagi_sse_parser_next(p, tiny, sizeof tiny);
    OK(need > (int64_t)sizeof tiny && need < waiting);
    IS(pagi_sse_parser_next(p, exact, (size_t)need), need);
    IS(pagi_sse_parser_push(p, NONE), waiting - need);
    IS(pagi_sse_parser_next(p, exact, (size_t)(waiting - need)), waiting - need);
    IS(pagi_sse_parser_next(p, exact, (size_t)waiting), 0);
    free(exact);
    IS(pagi_sse_parser_free(p), 0);
}

static void limits(void)
{
    pagi_sse_parser_options o = {.size = sizeof o, .last_event_id = "0", .last_event_id_len = 1, .max_line = 8, .max_event = 4};
    pagi_sse_parser p = 0;
    IS(pagi_sse_parser_open(&o, &p), 0);
    OK(pagi_sse_parser_push(p, S("data:abcd\n\ndata:ab\ndata:cd\n\ndata:z\n\n")) > 0);
    char expected[100];
    sprintf(expected, "!%d;!%d;message=z#0;", R(LINE_TOO_LONG), R(EVENT_TOO_LARGE));
    ALL(p, expected);
    IS(pagi_sse_parser_free(p), 0);
    o.max_line = (uint64_t)1 << 40;
    IS(pagi_sse_parser_open(&o, &p), R(BAD_ARGUMENT));
    o.max_line = 0, o.size = 8;
    IS(pagi_sse_parser_open(&o, &p), R(BAD_ARGUMENT));
    o.size = sizeof o, o.last_event_id = "\xff";
    IS(pagi_sse_parser_open(&o, &p), R(NOT_UTF8));
    o.last_event_id = NULL;
    IS(pagi_sse_parser_open(&o, &p), R(NULL_POINTER));
}

static void full(void)
{
    pagi_sse_parser p = open_default();
    static char many[60000];
    for (size_t i = 0; i + 3 <= sizeof many; i += 3)
        memcpy(many + i, ":\n\n", 3);
    int64_t waiting = 0, got;
    while ((got = pagi_sse_parser_push(p, many, sizeof many)) > 0)
        waiting = got;
    IS(got, R(QUEUE_OVERFLOW));
    OK(waiting >= 8 << 20 && waiting < 9 << 20);
    static char sink[1 << 20];
    while ((got = pagi_sse_parser_next(p, sink, sizeof sink)) > 0)
        ;
    IS(got, 0);
    OK(pagi_sse_parser_push(p, S("data: x\n\n")) > 0);
    IS(pagi_sse_parser_free(p), 0);
}

static void reset(void)
{
    pagi_sse_parser p = open_default();
    uint64_t ms = 42;
    IS(pagi_sse_parser_retry(p, &ms), 0);
    IS(ms, 42);
    pagi_sse_parser_push(p, S("id: 1\ndata: a\n\nid: 2\ndata: half"));
    IS(pagi_sse_parser_reset(p), 0);
    pagi_sse_parser_push(p, S("data: b\n\n"));
    ALL(p, "message=a#1;message=b#1;");
    IS(pagi_sse_parser_free(p), 0);
}

static void misuse(void)
{
    char buf[64];
    pagi_sse_parser p = open_default();
    IS(pagi_sse_parser_open(NULL, NULL), R(NULL_POINTER));
    IS(pagi_sse_parser_push(p, NULL, 3), R(NULL_POINTER));
    IS(pagi_sse_parser_push(p, "x", SIZE_MAX), R(BAD_ARGUMENT));
    IS(pagi_sse_parser_next(p, NULL, 0), R(NULL_POINTER));
    IS(pagi_sse_parser_next(p, NULL, 9), R(NULL_POINTER));
    IS(pagi_sse_parser_next(p, buf, 0), R(NULL_POINTER));
    IS(pagi_sse_parser_retry(p, NULL), R(NULL_POINTER));
    IS(pagi_sse_parser_last_event_id(p, NULL, 5), R(NULL_POINTER));
    IS(pagi_sse_parser_last_event_id(p, NULL, 0), 0);
    IS(pagi_sse_conn_state(p), R(HANDLE_KIND));
    IS(pagi_sse_parser_free(p), 0);
    IS(pagi_sse_parser_free(p), R(HANDLE_STALE));
    IS(pagi_sse_parser_push(p, S("x")), R(HANDLE_STALE));
    IS(pagi_sse_parser_next(0, buf, sizeof buf), R(HANDLE_INVALID));
}

static const test tests[] = {
    {"chunk borders mean nothing", chunks},
    {"records come whole and in batches of any size", batches},
    {"limits drop what is too large, and say so", limits},
    {"a parser that nobody reads takes no more", full},
    {"a reset keeps the id and drops the unfinished", reset},
    {"misuse is an error", misuse},
};
RUN(tests)
