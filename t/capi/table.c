/* The table in docs/abi.md: what each end does to a connection in each state, what
 * the client gets, and what ENDED tells of it. */
#include "client.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
#define ASKED_FOR_STREAM "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: text/event-stream\r\n\r\n"

/* Of a server; of a runtime's sockets; of what the host reads. */
enum { PENDING, HEAD_ONLY, PART, WANTED, STARTED, DISGUISED, SOCKET, SOCKET_STARTED, QUEUE, QUEUE_STARTED, STATES };
enum { CLOSE, FREE, ABORT, DISCONNECT, GONE, STOP, ENDS };
static const char *const states[] = {"pending", "head only", "part of the body", "a stream was asked for", "a stream",
    "an event stream as a response", "socket, nothing yet", "socket, begun", "queue, nothing yet", "queue, begun"};
static const char *const ends[] = {"close", "free", "abort", "disconnect", "client's end", "stop"};

typedef struct cell {
    const char *wire;   /* status and what is behind the head; NULL: not read */
    const char *closed; /* the reason in CLOSED; NULL: no record */
    uint16_t status;    /* these three in ENDED */
    uint64_t bytes;
    const char *ended;
} cell;

#define EVENT_CHUNK "9\r\ndata: x\n\n\r\n"
#define LAST_CHUNK "0\r\n\r\n"
#define DROPPED "503 the request was dropped\n"
#define DIED "500 Internal Server Error\n"

#define NOT_ANSWERED { \
        [CLOSE] = {DROPPED, NULL, 503, 24, "app_closed"}, \
        [FREE] = {DROPPED, NULL, 503, 24, "app_closed"}, \
        [ABORT] = {DIED, NULL, 500, 22, "server_error"}, \
        [DISCONNECT] = {DROPPED, "client_closed", 503, 24, "client_closed"}, \
        [GONE] = {NULL, "client_closed", 0, 0, "client_closed"}, \
        [STOP] = {"503 the server is stopping", "server_shutdown", 503, 22, "server_shutdown"}, \
    }
#define BEGUN { \
        [CLOSE] = {"200 " EVENT_CHUNK LAST_CHUNK, NULL, 200, 9, "app_closed"}, \
        [FREE] = {"200 " EVENT_CHUNK LAST_CHUNK, NULL, 200, 9, "app_closed"}, \
        [ABORT] = {"200 " EVENT_CHUNK, NULL, 200, 9, "server_error"}, \
        [DISCONNECT] = {"200 " EVENT_CHUNK, "client_closed", 200, 9, "client_closed"}, \
        [GONE] = {NULL, "client_closed", 200, 9, "client_closed"}, \
        [STOP] = {"200 " EVENT_CHUNK LAST_CHUNK, "server_shutdown", 200, 9, "server_shutdown"}, \
    }
#define A_STREAM_IN_WAITING \
        [CLOSE] = {"200 " LAST_CHUNK, NULL, 200, 0, "app_closed"}, \
        [FREE] = {"200 " LAST_CHUNK, NULL, 200, 0, "app_closed"}, \
        [GONE] = {NULL, "client_closed", 0, 0, "client_closed"}, \
        [STOP] = {"200 " LAST_CHUNK, "server_shutdown", 200, 0, "server_shutdown"}

static const cell table[STATES][ENDS] = {
    [PENDING] = NOT_ANSWERED,
    [HEAD_ONLY] = NOT_ANSWERED,
    [PART] = {
        [CLOSE] = {"200 part", NULL, 200, 4, "app_closed"},
        [FREE] = {"200 part", NULL, 200, 4, "app_closed"},
        [ABORT] = {"200 part", NULL, 200, 4, "server_error"},
        [DISCONNECT] = {"200 part", "client_closed", 200, 4, "client_closed"},
        [GONE] = {NULL, "client_closed", 200, 4, "client_closed"},
        [STOP] = {"200 part", "server_shutdown", 200, 4, "server_shutdown"},
    },
    [WANTED] = {
        A_STREAM_IN_WAITING,
        [ABORT] = {DIED, NULL, 500, 22, "server_error"},
        [DISCONNECT] = {DROPPED, "client_closed", 503, 24, "client_closed"},
    },
    [STARTED] = BEGUN,
    [DISGUISED] = {
        [CLOSE] = {"200 " EVENT_CHUNK, NULL, 200, 9, "app_closed"},
        [FREE] = {"200 " EVENT_CHUNK, NULL, 200, 9, "app_closed"},
        [ABORT] = {"200 " EVENT_CHUNK, NULL, 200, 9, "server_error"},
        [DISCONNECT] = {"200 " EVENT_CHUNK, "client_closed", 200, 9, "client_closed"},
        [GONE] = {NULL, "client_closed", 200, 9, "client_closed"},
        [STOP] = {"200 " EVENT_CHUNK LAST_CHUNK, "server_shutdown", 200, 9, "server_shutdown"},
    },
    [SOCKET] = {
        A_STREAM_IN_WAITING,
        [ABORT] = {"", NULL, 0, 0, "server_error"},
        [DISCONNECT] = {"", "client_closed", 0, 0, "client_closed"},
    },
    [SOCKET_STARTED] = BEGUN,
    /* The client of a queue is the host, which says of its end by _disconnect. */
    [QUEUE] = {
        [CLOSE] = {"200 " LAST_CHUNK, NULL, 200, 0, "app_closed"},
        [FREE] = {NULL, NULL, 0, 0, "app_closed"},
        [ABORT] = {"", NULL, 0, 0, "server_error"},
        [DISCONNECT] = {"", "client_closed", 0, 0, "client_closed"},
        [STOP] = {"200 " LAST_CHUNK, "server_shutdown", 200, 0, "server_shutdown"},
    },
    [QUEUE_STARTED] = {
        [CLOSE] = {"200 " EVENT_CHUNK LAST_CHUNK, NULL, 200, 9, "app_closed"},
        [FREE] = {NULL, NULL, 0, 0, "app_closed"},
        [ABORT] = {"200 " EVENT_CHUNK, NULL, 200, 9, "server_error"},
        [DISCONNECT] = {"", "client_closed", 0, 0, "client_closed"},
        [STOP] = {"200 " EVENT_CHUNK LAST_CHUNK, "server_shutdown", 200, 9, "server_shutdown"},
    },
};

/* What serves: a server's functions, or a runtime's. */
typedef struct side {
    uint64_t handle;
    int fd;
    next_function *next;
    int32_t (*stop)(uint64_t, uint64_t);
    int32_t (*free)(uint64_t, uint64_t);
} side;

static side begin(int state)
{
    if (state < SOCKET) {
        begin_server((pagi_sse_server_options){0});
        return (side){srv, srv_fd, pagi_sse_server_next, pagi_sse_server_stop, pagi_sse_server_free};
    }
    pagi_sse_runtime rt = 0;
    pagi_sse_runtime_options o = {.size = sizeof o, .workers = 1};
    IS(pagi_sse_runtime_open(&o, &rt), 0);
    return (side){rt, pagi_sse_runtime_fd(rt), pagi_sse_runtime_next, pagi_sse_runtime_stop, pagi_sse_runtime_free};
}

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

static int32_t number(const char *reason)
{
    return !strcmp(reason, "app_closed")      ? PAGI_SSE_REASON_APP_CLOSED
         : !strcmp(reason, "server_error")    ? PAGI_SSE_REASON_SERVER_ERROR
         : !strcmp(reason, "client_closed")   ? PAGI_SSE_REASON_CLIENT_CLOSED
         : !strcmp(reason, "server_shutdown") ? PAGI_SSE_REASON_SERVER_SHUTDOWN
                                              : PAGI_SSE_REASON_OTHER;
}

/* A connection in that state; `fd` is its client's, or -1. */
static pagi_sse_conn request(const side *s, int state, int *fd)
{
    pagi_sse_record r = {0};
    pagi_sse_conn c = 0;
    pagi_sse_header length[] = {{S("content-length"), S("10")}};
    pagi_sse_header events[] = {{S("content-type"), S("text/event-stream")}};
    int pair[2];
    *fd = -1;
    if (state < SOCKET) {
        *fd = asks(state == WANTED || state == STARTED ? ASKED_FOR_STREAM : GET);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        c = r.conn;
    } else if (state < QUEUE) {
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        *fd = pair[0];
        IS(pagi_sse_conn_open_fd(s->handle, pair[1], PAGI_SSE_WIRE_HTTP11, &c), 0);
    } else
        IS(pagi_sse_conn_open_queue(s->handle, PAGI_SSE_WIRE_HTTP11, &c), 0);
    IS(pagi_sse_conn_hand_over(c), R(NOT_SUBSCRIBED));
    switch (state) {
    case HEAD_ONLY: IS(pagi_sse_conn_respond(c, 200, length, 1), 0); break;
    case PART:
        IS(pagi_sse_conn_respond(c, 200, length, 1), 0);
        IS(pagi_sse_conn_body(c, S("part"), 1), 0);
        receive(*fd, "part");
        break;
    case DISGUISED:
        IS(pagi_sse_conn_respond(c, 200, events, 1), 0);
        IS(pagi_sse_conn_body(c, S("data: x\n\n"), 1), 0);
        receive(*fd, "data: x\n\n\r\n");
        break;
    case STARTED:
    case SOCKET_STARTED:
    case QUEUE_STARTED:
        IS(pagi_sse_conn_send(c, S("x")), 0);
        if (*fd >= 0)
            receive(*fd, "data: x\n\n\r\n");
        break;
    default: break;
    }
    IS(pagi_sse_conn_hand_over(c), R(NOT_SUBSCRIBED));
    return c;
}

/* Adds what the host reads of a queue. */
static void read_queue(pagi_sse_conn c)
{
    size_t len = strlen(got), n = 0;
    int32_t code;
    while ((code = pagi_sse_conn_read(c, got + len, sizeof got - 1 - len, &n)) == 0 && n > 0)
        got[len += n] = 0;
    IS(code, R(CLOSED));
}

/* The records of that end: how many CLOSED, and the reason of one. */
static int ended(const side *s, pagi_sse_conn c, char *closed, size_t size, pagi_sse_record *out)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    int was_closed = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (now_ms() < deadline) {
        size_t used = 0, at = 0;
        IS(s->next(s->handle, buf, sizeof buf, &used) >= 0, 1);
        while (pagi_sse_record_read(buf, used, &at, out, sizeof *out) > 0) {
            if (out->conn != c)
                continue;
            if (out->kind == PAGI_SSE_KIND_CLOSED) {
                was_closed++;
                snprintf(closed, size, "%.*s", (int)out->text.len, out->text.data);
            } else if (out->kind == PAGI_SSE_KIND_ENDED)
                return was_closed;
        }
        if (!wait_for(s->fd))
            break;
    }
    failures++;
    printf("# no ENDED\n");
    return was_closed;
}

static void finish(const side *s, pagi_sse_conn c, int end, int fd)
{
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
    case STOP: IS(s->stop(s->handle, 0), 0); break;
    }
}

static void check(int state, int end, const cell *expected)
{
    int before = failures, fd;
    char reason[64] = "", so_far[2048];
    pagi_sse_record r = {0};
    got[0] = 0;
    side s = begin(state);
    pagi_sse_conn c = request(&s, state, &fd);
    snprintf(so_far, sizeof so_far, "%.2000s", got);
    finish(&s, c, end, fd);
    if (expected->wire) {
        if (fd >= 0)
            receive(fd, NULL);
        else
            got[0] = 0, read_queue(c);
        char all[4096];
        snprintf(all, sizeof all, "%.2000s%.2000s", so_far, got);
        memcpy(got, all, sizeof all);
        answer_is(expected->wire);
    }
    int closed = ended(&s, c, reason, sizeof reason, &r);
    IS(closed, expected->closed != NULL);
    if (expected->closed)
        BYTES(reason, strlen(reason), expected->closed);
    IS(r.status, expected->status);
    IS(r.bytes, expected->bytes);
    BYTES(r.text.data, r.text.len, expected->ended);
    IS(r.reason, number(expected->ended));
    if (end != GONE && fd >= 0)
        close(fd);
    if (end != FREE)
        IS(pagi_sse_conn_free(c), 0);
    IS(s.free(s.handle, 1000), 0);
    if (failures > before)
        printf("# that was %s, %s\n", states[state], ends[end]);
}

static void state(int s)
{
    for (int end = 0; end < ENDS; end++)
        if (table[s][end].ended)
            check(s, end, &table[s][end]);
}

static void pending(void) { state(PENDING); }
static void head_only(void) { state(HEAD_ONLY); }
static void part(void) { state(PART); }
static void wanted(void) { state(WANTED); }
static void begun(void) { state(STARTED); }
static void disguised(void) { state(DISGUISED); }
static void sockets(void) { state(SOCKET), state(SOCKET_STARTED); }
static void queues(void) { state(QUEUE), state(QUEUE_STARTED); }

/* A stream that was handed over to its hub: of its records only ENDED comes. */
enum { CANCEL = ENDS, HUB_CLOSES, HUB_FREED, ALL_ENDS };

static void handed_over(void)
{
    static const char *const reasons[ALL_ENDS] = {[GONE] = "client_closed", [STOP] = "server_shutdown",
        [CANCEL] = "app_closed", [HUB_CLOSES] = "the hub's", [HUB_FREED] = "app_closed"};
    for (int end = GONE; end < ALL_ENDS; end++) {
        int before = failures, fd;
        char reason[64] = "";
        pagi_sse_record r = {0};
        pagi_sse_hub hub = 0;
        pagi_sse_subscription sub = 0;
        side s = begin(STARTED);
        pagi_sse_conn c = request(&s, STARTED, &fd);
        IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &hub), 0);
        IS(pagi_sse_hub_subscribe(hub, c, S("t"), NULL, &sub), PAGI_SSE_RESUME_NEW);
        IS(pagi_sse_conn_hand_over(c), 0);
        IS(pagi_sse_conn_state(c), R(HANDLE_STALE));
        switch (end) {
        case CANCEL: IS(pagi_sse_subscription_cancel(sub), 0); break;
        case HUB_CLOSES: IS(pagi_sse_hub_close_streams(hub, S("t"), S("the hub's")), 1); break;
        case HUB_FREED: IS(pagi_sse_hub_free(hub, 1000), 0); break;
        default: finish(&s, c, end, fd);
        }
        if (end != GONE) {
            receive(fd, NULL);
            OK(strstr(got, LAST_CHUNK) != NULL);
            close(fd);
        }
        IS(ended(&s, c, reason, sizeof reason, &r), 0);
        IS(r.status, 200);
        OK(r.bytes >= 9);
        BYTES(r.text.data, r.text.len, reasons[end]);
        IS(pagi_sse_subscription_free(sub), 0);
        if (end != HUB_FREED)
            IS(pagi_sse_hub_free(hub, 1000), 0);
        IS(s.free(s.handle, 1000), 0);
        if (failures > before)
            printf("# that was %s, handed over\n", reasons[end]);
    }
}

/* What the library answers to a request that the host drops, on a connection that
 * stays: whole, and the next request is served. */
static void dropped(const char *request, int head_first, int end, const char *status, const char *rest, uint64_t bytes)
{
    int before = failures;
    pagi_sse_record r = {0};
    begin_server((pagi_sse_server_options){0});
    const side s = {.handle = srv};
    int fd = asks(request);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    if (head_first)
        IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
    finish(&s, c, end, fd);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, atoi(status));
    IS(r.bytes, bytes);
    if (end != FREE)
        IS(pagi_sse_conn_free(c), 0);
    OK(send(fd, S("GET /next HTTP/1.1\r\nHost: a\r\n\r\n"), MSG_NOSIGNAL) > 0);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    BYTES(r.path.data, r.path.len, "/next");
    IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, S("next"), 0), 0);
    receive(fd, "\r\n\r\nnext");
    char *second = strstr(got, "HTTP/1.1 200 OK");
    OK(second != NULL);
    if (second) {
        *second = 0;
        BYTES(got + 9, 3, status);
        const char *body = strstr(got, "\r\n\r\n");
        BYTES(body ? body + 4 : "", body ? strlen(body + 4) : 0, rest);
    }
    IS(pagi_sse_conn_free(r.conn), 0);
    close(fd);
    IS(pagi_sse_server_free(srv, 1000), 0);
    if (failures > before)
        printf("# that was %.4s, head %d, %s\n", request, head_first, ends[end]);
}

static void next_is_served(void)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++)
        for (int head_first = 0; head_first < 2; head_first++) {
            int no_body = i == 1;
            dropped(requests[i], head_first, CLOSE, "503", no_body ? "" : DROPPED + 4, no_body ? 0 : 24);
            dropped(requests[i], head_first, FREE, "503", no_body ? "" : DROPPED + 4, no_body ? 0 : 24);
            dropped(requests[i], head_first, ABORT, "500", no_body ? "" : DIED + 4, no_body ? 0 : 22);
        }
}

static void refused(const char *request, const char *status, const char *text)
{
    pagi_sse_record r = {0};
    int before = failures, fd = asks(request);
    receive(fd, NULL);
    close(fd);
    const char *body = strstr(got, "\r\n\r\n");
    BYTES(got + 9, 3, status);
    BYTES(body ? body + 4 : "", body ? strlen(body + 4) : 0, text);
    OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r));
    IS(r.status, atoi(status));
    IS(r.bytes, strlen(text));
    if (failures > before)
        printf("# that was %s\n", request);
}

/* What the server refuses by itself: a HEAD has no body, and none is counted. */
static void refusals(void)
{
    begin_server((pagi_sse_server_options){.head_timeout_ms = 300});
    refused("GET / HTTP/1.1\r\n\r\n", "400", "no Host field");
    refused("HEAD / HTTP/1.1\r\n\r\n", "400", "");
    refused("HEAD /\r\n\r\n", "400", "");
    refused("HEAD / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", "501", "");
    refused("GET / HTTP/1.1\r\nHost: a\r\nX", "408", "a request head did not come in time");
    refused("HEAD / HTTP/1.1\r\nHost: a\r\nX", "408", "");
    IS(pagi_sse_server_free(srv, 1000), 0);
}

/* A status of which no byte has left is none. */
static void nothing_taken(void)
{
    static char piece[1 << 16];
    pagi_sse_runtime rt = 0;
    pagi_sse_record r = {0};
    pagi_sse_conn c = 0;
    int pair[2];
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    while (send(pair[1], piece, sizeof piece, MSG_DONTWAIT) > 0)
        continue;
    IS(pagi_sse_conn_open_fd(rt, pair[1], PAGI_SSE_WIRE_HTTP11, &c), 0);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_runtime_flush(rt), 0);
    IS(pagi_sse_conn_disconnect(c, NONE), 1);
    OK(next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 0);
    IS(r.bytes, 0);
    IS(pagi_sse_conn_free(c), 0);
    close(pair[0]);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"a request that has no answer", pending},
    {"a response with its head only is none yet", head_only},
    {"a response with a part of its body", part},
    {"a request for a stream that has not begun", wanted},
    {"a stream", begun},
    {"an event stream as a response", disguised},
    {"a host's sockets", sockets},
    {"a host's queues", queues},
    {"a stream that was handed over", handed_over},
    {"after a request that the host drops the next one is served", next_is_served},
    {"what the server refuses is told with the bytes that were sent", refusals},
    {"a status is told when some of it has left", nothing_taken},
};
RUN(tests)
