/* A connection whose output the host takes: state, queue, marks, ends. */
#include "harness.h"

static pagi_sse_runtime rt;
static int fd;

static pagi_sse_conn opened(int32_t wire)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_queue(rt, wire, &c), 0);
    return c;
}

static int next(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return next_record(pagi_sse_runtime_next, rt, fd, kind, c, r);
}

static char out[1 << 21];

static int64_t taken(pagi_sse_conn c)
{
    int64_t n = LEN(pagi_sse_conn_read(c, out, sizeof out - 1, &len_));
    out[n > 0 ? n : 0] = 0;
    return n;
}

static void events_only(void)
{
    pagi_sse_record r;
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(taken(c), 0);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 0);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_send(c, S("a")), 0);
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("b"), .event = B("e"), .id = B("1"), RETRY(9))), 0);
    IS(pagi_sse_conn_comment(c, S("hi")), 0);
    OK(next(PAGI_SSE_KIND_OUTPUT, c, &r));
    int64_t n = taken(c);
    BYTES(out, n, "data: a\n\nevent: e\nid: 1\nretry: 9\ndata: b\n\n:hi\n\n");
    IS(taken(c), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    IS(pagi_sse_conn_close(c, S("again")), 0);
    IS(taken(c), R(CLOSED));
    char reason[32];
    BYTES(reason, LEN(pagi_sse_conn_reason(c, reason, sizeof reason, &len_)), "app_closed");
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.bytes, n);
    IS(pagi_sse_conn_send(c, S("late")), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);
}

static void reasons(void)
{
    static char text[PAGI_SSE_REASON_BYTES + 1], back[PAGI_SSE_REASON_BYTES + 1];
    memset(text, 'x', sizeof text);
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_close(c, text, sizeof text), R(REASON_TOO_LONG));
    IS(pagi_sse_conn_abort(c, text, sizeof text), R(REASON_TOO_LONG));
    IS(pagi_sse_conn_disconnect(c, text, sizeof text), R(REASON_TOO_LONG));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_close(c, text, PAGI_SSE_REASON_BYTES), 1);
    memset(back, 0, sizeof back);
    IS(NEEDS(pagi_sse_conn_reason(c, back, PAGI_SSE_REASON_BYTES - 1, &len_)), PAGI_SSE_REASON_BYTES);
    IS(back[0], 0);
    IS(LEN(pagi_sse_conn_reason(c, back, sizeof back, &len_)), PAGI_SSE_REASON_BYTES);
    IS(memcmp(back, text, PAGI_SSE_REASON_BYTES), 0);
    IS(pagi_sse_conn_free(c), 0);

    pagi_sse_hub hub = 0;
    IS(pagi_sse_hub_open(NONE, NULL, 0, 0, &hub), 0);
    IS(pagi_sse_hub_close_streams(hub, NONE, text, sizeof text), R(REASON_TOO_LONG));
    IS(pagi_sse_hub_close_streams(hub, NONE, text, PAGI_SSE_REASON_BYTES), 0);
    IS(pagi_sse_hub_free(hub, 1000), 0);
}

static void http(void)
{
    pagi_sse_header h[] = {{S("X-A"), S("1")}, {S("date"), S("now")}, {S("content-length"), S("9")}};
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_HTTP11);
    IS(pagi_sse_conn_start(c, 201, h, 3), 1);
    IS(pagi_sse_conn_send(c, S("hello")), 0);
    OK(taken(c) > 0);
    OK(strncmp(out, "HTTP/1.1 201 Created\r\nx-a: 1\r\ndate: now\r\n", 40) == 0);
    OK(strstr(out, "content-type: text/event-stream\r\n") != NULL);
    OK(strstr(out, "content-length") == NULL);
    char *body = strstr(out, "\r\n\r\n");
    OK(body && strcmp(body + 4, "d\r\ndata: hello\n\n\r\n") == 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    BYTES(out, taken(c), "0\r\n\r\n");
    IS(taken(c), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);

    c = opened(PAGI_SSE_WIRE_HTTP10);
    IS(pagi_sse_conn_send(c, S("hello")), 0);
    OK(taken(c) > 0);
    OK(strstr(out, "chunked") == NULL && strstr(out, "\r\n\r\ndata: hello\n\n") != NULL);
    IS(pagi_sse_conn_free(c), 0);
}

static void small_reads(void)
{
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    char piece[4], all[64];
    int64_t n;
    size_t at = 0;
    IS(pagi_sse_conn_send(c, S("0123456789")), 0);
    IS(pagi_sse_conn_buffered(c), 18);
    while ((n = LEN(pagi_sse_conn_read(c, piece, sizeof piece, &len_))) > 0) {
        memcpy(all + at, piece, (size_t)n);
        at += (size_t)n;
        IS(pagi_sse_conn_buffered(c), 18 - (int64_t)at);
    }
    BYTES(all, at, "data: 0123456789\n\n");
    IS(pagi_sse_conn_free(c), 0);
}

static void json(void)
{
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("{ \"a\" :\n [1, 2.50, 1e400, \"x y\"] }"), .event = B("j"), AS_JSON)), 0);
    BYTES(out, taken(c), "event: j\ndata: {\"a\":[1,2.50,1e400,\"x y\"]}\n\n");
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("{\"a\":\n 1,}"), AS_JSON)), R(JSON));
    int64_t n = LEN(pagi_sse_error(out, sizeof out, &len_));
    out[n > 0 ? n : 0] = 0;
    OK(strstr(out, "line 2 column 4") != NULL);
    IS(NEEDS(pagi_sse_error(out, 3, &len_)), n);
    IS(pagi_sse_conn_send_event(c, EVENT(AS_JSON)), R(NULL_POINTER));
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("\"\xff\""), AS_JSON)), R(NOT_UTF8));
    n = LEN(pagi_sse_error(out, sizeof out, &len_));
    out[n > 0 ? n : 0] = 0;
    OK(strstr(out, "data, byte 1") != NULL);
    IS(taken(c), 0);
    IS(pagi_sse_conn_free(c), 0);
}

static void marks(void)
{
    pagi_sse_record r;
    pagi_sse_conn_counts n;
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_counters(c, &n, sizeof n), 0);
    IS(n.low, 16384);
    IS(n.high, 65536);
    IS(n.limit, 1048576);
    IS(pagi_sse_conn_set_marks(c, 10, 10, 100), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_set_marks(c, 0, 20, 30), 0);
    IS(pagi_sse_conn_send(c, S("1")), 0);
    IS(pagi_sse_conn_send(c, S("2")), 0);
    IS(pagi_sse_conn_send(c, S("3")), 1);
    IS(pagi_sse_conn_send(c, S("4")), R(QUEUE_OVERFLOW));
    char text[200];
    int64_t said = LEN(pagi_sse_error(text, sizeof text, &len_));
    BYTES(text, said, "queue_overflow: the output queue is full: its limit is 30 bytes");
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("x"), .id = B("a\x0c" "b"))), R(ID_HEADER));
    IS(pagi_sse_conn_admit_event(c, EVENT(.id = B("a\x1f"))), R(ID_HEADER));
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("1"), .id = B(" a"), AS_JSON)), R(ID_HEADER));
    IS(pagi_sse_conn_comment(c, S("")), 1);
    IS(pagi_sse_conn_counters(c, &n, sizeof n), 0);
    IS(n.events, 3);
    IS(n.comments, 1);
    IS(n.refused, 1);
    IS(n.queued_bytes, 30);
    IS(n.bytes_sent, 0);
    IS(taken(c), 30);
    OK(next(PAGI_SSE_KIND_DRAINED, c, &r));
    /* An older program's struct, and a newer one's. */
    uint64_t words[16];
    memset(words, 0xFF, sizeof words);
    IS(pagi_sse_conn_counters(c, (pagi_sse_conn_counts *)words, 16), 0);
    IS(words[1], 1);
    IS(words[2], -1);
    IS(pagi_sse_conn_counters(c, (pagi_sse_conn_counts *)words, sizeof words), 0);
    IS(words[15], 0);
    IS(pagi_sse_conn_free(c), 0);
}

static void large(void)
{
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    size_t len = 3 << 20;
    char *data = malloc(len);
    memset(data, 'x', len);
    IS(pagi_sse_conn_send(c, data, len), 1);
    IS(pagi_sse_conn_send(c, S("x")), R(QUEUE_OVERFLOW));
    int64_t n, all = 0;
    while ((n = LEN(pagi_sse_conn_read(c, out, 65536, &len_))) > 0)
        all += n;
    IS(all, (int64_t)len + 8);
    /* Between empty and the low mark it has drained as well. */
    pagi_sse_record r;
    OK(next(PAGI_SSE_KIND_DRAINED, c, &r));
    IS(pagi_sse_conn_send(c, data, len), 1);
    for (all = 0; all < (int64_t)len - 10000 && (n = LEN(pagi_sse_conn_read(c, out, 8192, &len_))) > 0;)
        all += n;
    OK(next(PAGI_SSE_KIND_DRAINED, c, &r));
    OK(pagi_sse_conn_buffered(c) > 0);
    IS(pagi_sse_conn_send(c, data, len), 1);
    IS(pagi_sse_conn_send(c, S("x")), 1); /* once after the drain */
    IS(pagi_sse_conn_send(c, S("x")), R(QUEUE_OVERFLOW));
    free(data);
    IS(pagi_sse_conn_free(c), 0);
}

static void keepalive(void)
{
    pagi_sse_record r;
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_keepalive(c, 20, S("ping")), 0);
    IS(pagi_sse_conn_keepalive(c, 1, NONE), R(INTERVAL));
    IS(pagi_sse_conn_keepalive(c, -1, NONE), R(INTERVAL));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    for (int i = 0; i < 3; i++) {
        OK(next(PAGI_SSE_KIND_OUTPUT, c, &r));
        BYTES(out, taken(c), ":ping\n\n");
    }
    IS(pagi_sse_conn_free(c), 0);
}

static void disconnects(void)
{
    pagi_sse_record r;
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_HTTP11);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_conn_disconnect(c, NONE), 1);
    IS(pagi_sse_conn_disconnect(c, S("other")), 0);
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 0); /* nothing was taken */
    IS(taken(c), R(CLOSED));
    IS(pagi_sse_conn_buffered(c), 0);
    IS(pagi_sse_conn_free(c), 0);
}

static void one_record(void)
{
    pagi_sse_record r;
    char buf[256];
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_EVENTS);
    while (LEN(pagi_sse_runtime_next(rt, buf, sizeof buf, &len_)) > 0)
        ;
    for (int i = 0; i < 1000; i++)
        pagi_sse_conn_send(c, S("x"));
    int64_t used = LEN(pagi_sse_runtime_next(rt, buf, sizeof buf, &len_));
    size_t at = 0;
    IS(pagi_sse_record_read(buf, (size_t)used, &at, &r, sizeof r), 1);
    IS(at, used);
    IS(r.kind, PAGI_SSE_KIND_OUTPUT);
    IS(taken(c), 9000);
    IS(pagi_sse_conn_free(c), 0);
}

static void detached(void)
{
    pagi_sse_conn_counts n;
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_detached(&c), 0);
    IS(pagi_sse_conn_admit_event(c, EVENT(.event = B("a\n"))), R(EVENT_NEWLINE));
    IS(pagi_sse_conn_admit_event(c, EVENT(.event = B("a"), .id = B("1"), RETRY(5))), 1);
    IS(pagi_sse_conn_admit(c), 0);
    IS(pagi_sse_conn_send(c, S("x")), R(NOT_HOSTED));
    IS(pagi_sse_conn_comment(c, S("x")), R(NOT_HOSTED));
    IS(pagi_sse_conn_keepalive(c, 1000, NONE), R(NOT_HOSTED));
    IS(LEN(pagi_sse_conn_read(c, out, sizeof out, &len_)), R(NOT_HOSTED));
    IS(pagi_sse_conn_set_marks(c, 1, 2, 3), R(NOT_HOSTED));
    IS(pagi_sse_conn_counters(c, &n, sizeof n), 0);
    IS(pagi_sse_conn_disconnect(c, S("client_timeout")), 1);
    IS(pagi_sse_conn_admit(c), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);
}

static void arguments(void)
{
    pagi_sse_conn c = opened(PAGI_SSE_WIRE_HTTP11), none = 77;
    pagi_sse_header bad_name[] = {{S("ok"), S("v")}, {S("a b"), S("v")}}, bad_value[] = {{S("a"), S("v\nx")}};
    pagi_sse_header null_name[] = {{NULL, 3, S("v")}};
    IS(pagi_sse_conn_start(c, 99, NULL, 0), R(STATUS));
    IS(pagi_sse_conn_start(c, 600, NULL, 0), R(STATUS));
    IS(pagi_sse_conn_start(c, 200, NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_conn_start(c, 200, null_name, 1), R(NULL_POINTER));
    IS(pagi_sse_conn_start(c, 200, bad_value, 1), R(HEADER_VALUE));
    IS(pagi_sse_conn_start(c, 200, bad_value, SIZE_MAX), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_start(c, 200, bad_name, 2), R(HEADER_NAME));
    int64_t n = LEN(pagi_sse_error(out, sizeof out, &len_));
    out[n > 0 ? n : 0] = 0;
    OK(strstr(out, "field 1, \"a b\"") != NULL);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_send(c, NULL, 0), R(NULL_POINTER));
    IS(pagi_sse_conn_send(c, NULL, 5), R(NULL_POINTER));
    IS(pagi_sse_conn_send(c, "x", SIZE_MAX), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_send(c, S("\xc0\x80")), R(NOT_UTF8));
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("x"), RETRY(INT64_MIN))), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_comment(c, NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_conn_close(c, NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_conn_close(c, S("\xff")), R(NOT_UTF8));
    IS(LEN(pagi_sse_conn_read(c, NULL, 0, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_conn_read(c, NULL, 9, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_conn_read(c, out, SIZE_MAX, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_conn_reason(c, NULL, 9, &len_)), R(NULL_POINTER));
    IS(pagi_sse_conn_counters(c, NULL, 8), R(NULL_POINTER));
    IS(pagi_sse_conn_respond(c, 200, NULL, 0), R(ALREADY_STARTED));
    IS(pagi_sse_conn_body(c, S("x"), 0), R(NO_RESPONSE));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_open_queue(rt, 3, &none), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_open_queue(rt, -1, &none), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_open_queue(rt, 0, NULL), R(NULL_POINTER));
    IS(pagi_sse_conn_open_queue(c, 0, &none), R(HANDLE_KIND));
    IS(pagi_sse_conn_open_detached(NULL), R(NULL_POINTER));
    IS(none, 77);
    IS(pagi_sse_conn_free(c), 0);
}

static void frees(void)
{
    /* In every state, with output waiting: nothing is left in the runtime. */
    for (int state = 0; state < 4; state++) {
        pagi_sse_conn c = opened(PAGI_SSE_WIRE_HTTP11);
        if (state > 0)
            pagi_sse_conn_send(c, S("x"));
        if (state > 1)
            pagi_sse_conn_close(c, NONE);
        if (state > 2)
            while (taken(c) > 0)
                ;
        IS(pagi_sse_conn_free(c), 0);
        IS(pagi_sse_conn_free(c), R(HANDLE_STALE));
        IS(pagi_sse_conn_send(c, S("x")), R(HANDLE_STALE));
    }
    IS(pagi_sse_runtime_busy(rt), 0);
}

static void begin(void)
{
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    fd = pagi_sse_runtime_fd(rt);
    OK(fd >= 0);
}

static void end(void)
{
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"a runtime opens", begin},
    {"events alone, in order, to the end", events_only},
    {"HTTP/1.1 has a head and chunks, HTTP/1.0 a head", http},
    {"output is taken in pieces of any size", small_reads},
    {"JSON is checked and made one line", json},
    {"marks, limit and counters", marks},
    {"one large event passes an empty queue", large},
    {"keepalives come by themselves", keepalive},
    {"a disconnect that the host reports ends the connection", disconnects},
    {"one OUTPUT record until the host reads", one_record},
    {"a detached connection has state only", detached},
    {"a reason has a longest length, and one longer ends nothing", reasons},
    {"bad arguments change nothing", arguments},
    {"freed in any state, nothing remains", frees},
    {"the runtime ends", end},
};
RUN(tests)
