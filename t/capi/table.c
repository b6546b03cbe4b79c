/* The table in docs/abi.md: what each end does to a request in each state, what
 * the client gets, and what ENDED tells of it. */
#include "client.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define ASKED_FOR_STREAM "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"

enum { PENDING, PENDING_STREAM, STARTED, HEAD_ONLY, PART, STATES };
enum { CLOSE, FREE, ABORT, DISCONNECT, GONE, STOP, ENDS };
static const char *const states[] = {"pending", "pending, stream", "started", "head only", "part of the body"};
static const char *const ends[] = {"close", "free", "abort", "disconnect", "client's end", "stop"};

typedef struct cell {
    const char *wire;   /* status and what is behind the head; NULL: not read */
    const char *closed; /* the reason in CLOSED; NULL: no record */
    uint16_t status;    /* these three in ENDED */
    uint64_t bytes;
    const char *ended;
} cell;

static const cell table[STATES][ENDS] = {
    [PENDING] = {
        [CLOSE] = {"503 the request was dropped\n", NULL, 503, 24, "app_closed"},
        [FREE] = {"503 the request was dropped\n", NULL, 503, 24, "app_closed"},
        [ABORT] = {"500 Internal Server Error\n", NULL, 500, 22, "server_error"},
        [DISCONNECT] = {"503 the request was dropped\n", "client_closed", 503, 24, "client_closed"},
        [GONE] = {NULL, "client_closed", 0, 0, "client_closed"},
        [STOP] = {"503 the server is stopping", "server_shutdown", 503, 22, "server_shutdown"},
    },
    [PENDING_STREAM] = {
        [CLOSE] = {"200 0\r\n\r\n", NULL, 200, 0, "app_closed"},
        [FREE] = {"200 0\r\n\r\n", NULL, 200, 0, "app_closed"},
        [ABORT] = {"500 Internal Server Error\n", NULL, 500, 22, "server_error"},
        [DISCONNECT] = {"503 the request was dropped\n", "client_closed", 503, 24, "client_closed"},
        [GONE] = {NULL, "client_closed", 0, 0, "client_closed"},
        [STOP] = {"200 0\r\n\r\n", "server_shutdown", 200, 0, "server_shutdown"},
    },
    [STARTED] = {
        [CLOSE] = {"200 9\r\ndata: x\n\n\r\n0\r\n\r\n", NULL, 200, 9, "app_closed"},
        [FREE] = {"200 9\r\ndata: x\n\n\r\n0\r\n\r\n", NULL, 200, 9, "app_closed"},
        [ABORT] = {"200 9\r\ndata: x\n\n\r\n", NULL, 200, 9, "server_error"},
        [DISCONNECT] = {"200 9\r\ndata: x\n\n\r\n", "client_closed", 200, 9, "client_closed"},
        [GONE] = {NULL, "client_closed", 200, 9, "client_closed"},
        [STOP] = {"200 9\r\ndata: x\n\n\r\n0\r\n\r\n", "server_shutdown", 200, 9, "server_shutdown"},
    },
    [HEAD_ONLY] = {
        [CLOSE] = {"503 the request was dropped\n", NULL, 503, 24, "app_closed"},
        [FREE] = {"503 the request was dropped\n", NULL, 503, 24, "app_closed"},
        [ABORT] = {"500 Internal Server Error\n", NULL, 500, 22, "server_error"},
        [DISCONNECT] = {"503 the request was dropped\n", "client_closed", 503, 24, "client_closed"},
        [GONE] = {NULL, "client_closed", 0, 0, "client_closed"},
        [STOP] = {"503 the server is stopping", "server_shutdown", 503, 22, "server_shutdown"},
    },
    [PART] = {
        [CLOSE] = {"200 part", NULL, 200, 4, "app_closed"},
        [FREE] = {"200 part", NULL, 200, 4, "app_closed"},
        [ABORT] = {"200 part", NULL, 200, 4, "server_error"},
        [DISCONNECT] = {"200 part", "client_closed", 200, 4, "client_closed"},
        [GONE] = {NULL, "client_closed", 200, 4, "client_closed"},
        [STOP] = {"200 part", "server_shutdown", 200, 4, "server_shutdown"},
    },
};

/* Status, a space, and the body as it came. */
static void answer_is(const char *expected)
{
    char text[512] = "";
    const char *body = strstr(got, "\r\n\r\n");
    if (body)
        snprintf(text, sizeof text, "%.3s %.400s", got + 9, body + 4);
    else
        snprintf(text, sizeof text, "%.400s", got);
    BYTES(text, strlen(text), expected);
}

static pagi_sse_conn request(int state, int *fd)
{
    pagi_sse_record r = {0};
    pagi_sse_header length[] = {{S("content-length"), S("10")}};
    *fd = asks(state == PENDING || state >= HEAD_ONLY ? GET : ASKED_FOR_STREAM);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    switch (state) {
    case STARTED:
        IS(pagi_sse_conn_send(c, S("x")), 0);
        IS(pagi_sse_server_flush(srv), 0);
        receive(*fd, "data: x\n\n");
        break;
    case HEAD_ONLY: IS(pagi_sse_conn_respond(c, 200, length, 1), 0); break;
    case PART:
        IS(pagi_sse_conn_respond(c, 200, length, 1), 0);
        IS(pagi_sse_conn_body(c, S("part"), 1), 0);
        receive(*fd, "part");
        break;
    }
    return c;
}

/* The records of that end: 1 and the reason of CLOSED if there was one. */
static int ended(pagi_sse_conn c, char *closed, size_t size, pagi_sse_record *out)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    int was_closed = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (now_ms() < deadline) {
        size_t used = 0, at = 0;
        IS(pagi_sse_server_next(srv, buf, sizeof buf, &used) >= 0, 1);
        while (pagi_sse_record_read(buf, used, &at, out, sizeof *out) > 0) {
            if (out->conn != c)
                continue;
            if (out->kind == PAGI_SSE_KIND_CLOSED) {
                was_closed++;
                snprintf(closed, size, "%.*s", (int)out->text.len, out->text.data);
            } else if (out->kind == PAGI_SSE_KIND_ENDED)
                return was_closed;
        }
        if (!wait_for(srv_fd))
            break;
    }
    failures++;
    printf("# no ENDED\n");
    return was_closed;
}

static void check(int state, int end, const cell *expected)
{
    int before = failures, fd;
    char reason[64] = "";
    pagi_sse_record r = {0};
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
    pagi_sse_conn c = request(state, &fd);
    size_t had = strlen(got);
    if (state < STARTED || state == HEAD_ONLY)
        had = 0, got[0] = 0;
    char so_far[2048];
    snprintf(so_far, sizeof so_far, "%.*s", (int)had, got);
    switch (end) {
    case CLOSE: IS(pagi_sse_conn_close(c, NONE), 1); break;
    case FREE: IS(pagi_sse_conn_free(c), 0); break;
    case ABORT: IS(pagi_sse_conn_abort(c, NONE), 1); break;
    case DISCONNECT: IS(pagi_sse_conn_disconnect(c, NONE), 1); break;
    case GONE: {
        struct linger at_once = {1, 0};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        close(fd);
        break;
    }
    case STOP: IS(pagi_sse_server_stop(srv, 0), 0); break;
    }
    if (end != GONE) {
        receive(fd, NULL);
        char all[4096];
        snprintf(all, sizeof all, "%.2000s%.2000s", so_far, got);
        snprintf(got, sizeof got, "%s", all);
        answer_is(expected->wire);
        close(fd);
    }
    int closed = ended(c, reason, sizeof reason, &r);
    IS(closed, expected->closed != NULL);
    if (expected->closed)
        BYTES(reason, strlen(reason), expected->closed);
    IS(r.status, expected->status);
    IS(r.bytes, expected->bytes);
    BYTES(r.text.data, r.text.len, expected->ended);
    if (end != FREE)
        IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
    if (failures > before)
        printf("# that was %s, %s\n", states[state], ends[end]);
}

static void state(int s)
{
    for (int end = 0; end < ENDS; end++)
        check(s, end, &table[s][end]);
}

static void pending(void) { state(PENDING); }
static void pending_stream(void) { state(PENDING_STREAM); }
static void begun(void) { state(STARTED); }
static void head_only(void) { state(HEAD_ONLY); }
static void part(void) { state(PART); }

static const test tests[] = {
    {"a request that has no answer", pending},
    {"one for a stream that has not begun", pending_stream},
    {"a stream", begun},
    {"a response with its head only", head_only},
    {"a response with a part of its body", part},
};
RUN(tests)
