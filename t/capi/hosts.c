/* One API, whatever carries the connection: the same claims for a stream of
 * the embedded server (HTTP/1.1, HTTP/1.0), on a socket of the host's, and in a
 * queue that the host takes, which is what PAGI::SSE::Hub's bridge does under
 * other servers. */
#include "client.h"

static pagi_sse_runtime rt;
static pagi_sse_hub hub;

/* The host under test, its one client, and what that has got of the stream. */
typedef struct host {
    const char *name;
    int32_t wire;
    int by_server, is_queue;
} host;

static const host hosts[] = {
    {"server, HTTP/1.1", PAGI_SSE_WIRE_HTTP11, 1, 0}, {"server, HTTP/1.0", PAGI_SSE_WIRE_HTTP10, 1, 0},
    {"socket, HTTP/1.1", PAGI_SSE_WIRE_HTTP11, 0, 0}, {"socket, HTTP/1.0", PAGI_SSE_WIRE_HTTP10, 0, 0},
    {"socket, events", PAGI_SSE_WIRE_EVENTS, 0, 0},   {"queue, HTTP/1.1", PAGI_SSE_WIRE_HTTP11, 0, 1},
    {"queue, HTTP/1.0", PAGI_SSE_WIRE_HTTP10, 0, 1},  {"queue, events", PAGI_SSE_WIRE_EVENTS, 0, 1},
};

static const host *at;
static int fd;
static char raw[16 << 20];
static size_t raw_len;
static int over; /* the client has seen the end */

static int record(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return at->by_server ? next(kind, c, r) : next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), kind, c, r);
}

static void flush(void)
{
    IS(at->by_server ? pagi_sse_server_flush(srv) : pagi_sse_runtime_flush(rt), 0);
}

/* A connection, and the client's end of it, which takes little at a time. */
static pagi_sse_conn opened(void)
{
    pagi_sse_conn c = 0;
    pagi_sse_record r;
    int pair[2] = {-1, -1}, little = 4096;
    raw_len = 0, over = 0, fd = -1;
    if (at->by_server) {
        fd = asks(at->wire == PAGI_SSE_WIRE_HTTP11 ? STREAM
                                                   : "GET / HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n");
        OK(record(PAGI_SSE_KIND_REQUEST, 0, &r));
        return r.conn;
    }
    if (at->is_queue) {
        IS(pagi_sse_conn_open_queue(rt, at->wire, &c), 0);
        return c;
    }
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    setsockopt(pair[1], SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    fd = pair[1];
    IS(pagi_sse_conn_open_fd(rt, pair[0], at->wire, &c), 0);
    return c;
}

/* Takes some of what was sent; 0 when there is nothing for now, or no more. */
static int take(pagi_sse_conn c, int wait)
{
    int64_t n;
    if (over || raw_len == sizeof raw)
        return 0;
    if (at->is_queue) {
        n = LEN(pagi_sse_conn_read(c, raw + raw_len, sizeof raw - raw_len, &len_));
        over = n == R(CLOSED);
    } else {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, wait ? 20 : 0) != 1)
            return 0;
        n = recv(fd, raw + raw_len, sizeof raw - raw_len, 0);
        over = n <= 0;
    }
    if (n > 0)
        raw_len += (size_t)n;
    return n > 0;
}

/* The events of the stream so far, without the head and chunk sizes; `whole`:
 * it ends as a whole one does. */
static char events[sizeof raw];
static size_t events_len;
static int whole;

static void decode(void)
{
    const char *p = raw, *end = raw + raw_len;
    events_len = 0, whole = over;
    if (at->wire != PAGI_SSE_WIRE_EVENTS) {
        p = memmem(raw, raw_len, "\r\n\r\n", 4);
        p = p ? p + 4 : end;
    }
    if (at->wire == PAGI_SSE_WIRE_HTTP11) {
        whole = 0;
        while (p < end) {
            char *line;
            size_t size = strtoul(p, &line, 16), left = (size_t)(end - p);
            if (!memchr(p, '\n', left))
                break;
            p = line + 2;
            if (size == 0) {
                whole = over && end - p == 2;
                break;
            }
            left = p < end ? (size_t)(end - p) : 0;
            memcpy(events + events_len, p, size < left ? size : left);
            events_len += size < left ? size : left;
            p += size + 2;
        }
    } else {
        memcpy(events, p, (size_t)(end - p));
        events_len = (size_t)(end - p);
    }
    events[events_len] = 0;
}

/* Takes until the events end with that text (NULL: until the end). */
static void receives(pagi_sse_conn c, const char *until)
{
    int64_t deadline = now_ms() + PATIENCE_MS;
    size_t want = until ? strlen(until) : 0;
    for (;;) {
        while (take(c, 1))
            ;
        decode();
        if (until ? events_len >= want && memcmp(events + events_len - want, until, want) == 0 : over)
            return;
        if (over || now_ms() > deadline)
            break;
        if (at->is_queue)
            poll(NULL, 0, 1);
    }
    failures++;
    printf("# %s: never came: <<%s>>, but <<%.200s>>\n", at->name, until ? until : "(the end)", events);
}

/* The transport's end, once, with that reason; then the handle goes. */
static void ended(pagi_sse_conn c, const char *reason)
{
    pagi_sse_record r;
    if (record(PAGI_SSE_KIND_ENDED, c, &r))
        BYTES(r.text.data, r.text.len, reason);
    IS(pagi_sse_conn_free(c), 0);
    if (fd >= 0)
        close(fd);
}

static void every_kind_of_send(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 0);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_send(c, S("a\nb")), 0);
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("x"), .event = B("t"), .id = B("7"), RETRY(1500))), 0);
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("{ \"n\": [1, 2] }"), AS_JSON)), 0);
    IS(pagi_sse_conn_comment(c, S("c")), 0);
    flush();
    receives(c, ":c\n\n");
    BYTES(events, events_len,
          "data: a\ndata: b\n\nevent: t\nid: 7\nretry: 1500\ndata: x\n\ndata: {\"n\":[1,2]}\n\n:c\n\n");
    pagi_sse_conn_counts n;
    IS(pagi_sse_conn_counters(c, &n, sizeof n), 0);
    IS(n.events, 3);
    IS(n.comments, 1);
    IS(n.bytes_sent, events_len);
    IS(n.queued_bytes, 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    IS(pagi_sse_conn_close(c, NONE), 0);
    receives(c, NULL);
    OK(whole);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_CLOSED);
    IS(pagi_sse_conn_send(c, S("x")), R(CLOSED));
    IS(pagi_sse_conn_comment(c, S("x")), R(CLOSED));
    IS(pagi_sse_conn_start(c, 200, NULL, 0), R(CLOSED));
    IS(pagi_sse_conn_keepalive(c, 1000, NONE), R(CLOSED));
    ended(c, "app_closed");
}

static void the_first_send_starts(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_close(c, S("done")), 1);
    receives(c, NULL);
    BYTES(events, events_len, "data: x\n\n");
    OK(whole);
    ended(c, "done");
}

static void an_empty_stream(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_close(c, NONE), 1);
    receives(c, NULL);
    BYTES(events, events_len, "");
    OK(whole);
    if (at->wire != PAGI_SSE_WIRE_EVENTS)
        OK(raw_len > 12 && memcmp(raw, "HTTP/1.1 200", 12) == 0);
    ended(c, "app_closed");
}

static void what_is_refused_leaves_nothing(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("x"), .event = B("a\nb"))), R(EVENT_NEWLINE));
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("x"), .id = B("a\rb"))), R(ID_NEWLINE));
    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("{"), AS_JSON)), R(JSON));
    IS(pagi_sse_conn_send(c, S("\xff")), R(NOT_UTF8));
    IS(pagi_sse_conn_start(c, 99, NULL, 0), R(STATUS));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    receives(c, NULL);
    BYTES(events, events_len, "data: x\n\n");
    ended(c, "app_closed");
}

static void broken_off(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_send(c, S("x")), 0);
    flush();
    receives(c, "data: x\n\n");
    IS(pagi_sse_conn_abort(c, NONE), 1);
    receives(c, NULL);
    BYTES(events, events_len, "data: x\n\n");
    IS(whole, at->wire != PAGI_SSE_WIRE_HTTP11); /* only chunks can tell */
    ended(c, "server_error");
}

static void the_client_leaves(void)
{
    pagi_sse_record r;
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_send(c, S("x")), 0);
    flush();
    receives(c, "data: x\n\n");
    if (at->is_queue)
        IS(pagi_sse_conn_disconnect(c, NONE), 1);
    else
        close(fd), fd = -1;
    OK(record(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    IS(pagi_sse_conn_send(c, S("x")), R(CLOSED));
    ended(c, "client_closed");
}

static void keepalive(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_keepalive(c, 20, S("k")), 0);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    flush();
    receives(c, ":k\n\n");
    IS(pagi_sse_conn_keepalive(c, 0, NONE), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    receives(c, NULL);
    OK(whole);
    ended(c, "app_closed");
}

static void a_slow_client(void)
{
    static char data[8192];
    pagi_sse_record r;
    pagi_sse_conn c = opened();
    int32_t sent = 0, high = 0, result = 0;
    memset(data, 'd', sizeof data);
    IS(pagi_sse_conn_set_marks(c, 1000, 20000, 100000), 0);
    for (; sent < 2000 && (result = pagi_sse_conn_send(c, data, sizeof data)) >= 0; sent++)
        high += result;
    IS(result, R(QUEUE_OVERFLOW));
    OK(high > 0);
    pagi_sse_conn_counts n;
    IS(pagi_sse_conn_counters(c, &n, sizeof n), 0);
    IS(n.refused, 1);
    IS(n.events, sent);
    OK(n.queued_bytes > 20000 && n.queued_bytes < 200000);
    while (pagi_sse_conn_buffered(c) > 0)
        take(c, 1);
    OK(record(PAGI_SSE_KIND_DRAINED, c, &r));
    IS(pagi_sse_conn_send(c, S("last")), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    receives(c, NULL);
    OK(whole);
    IS(events_len, (size_t)sent * (sizeof data + 8) + 12);
    ended(c, "app_closed");
}

static pagi_sse_subscription subscribed(pagi_sse_conn c, const char *seen)
{
    pagi_sse_subscription sub = 0;
    pagi_sse_subscribe_options o = {.size = sizeof o, .last_event_id = L(seen, strlen(seen))};
    IS(pagi_sse_hub_subscribe(hub, c, S("t"), &o, &sub), *seen != 0);
    return sub;
}

static void published(const char *data)
{
    OK(pagi_sse_hub_publish(hub, S("t"), EVENT(.data = L(data, strlen(data)))) > 0);
}

static void a_hub(void)
{
    IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &hub), 0);
    published("1");
    published("2");
    pagi_sse_conn c = opened();
    pagi_sse_subscription s = subscribed(c, "e.1");
    published("3");
    IS(pagi_sse_conn_send(c, S("own")), 0); /* behind what was published before */
    published("4");
    receives(c, "data: 4\n\n");
    BYTES(events, events_len,
          "id: e.2\ndata: 2\n\nid: e.3\ndata: 3\n\ndata: own\n\nid: e.4\ndata: 4\n\n");
    IS(pagi_sse_subscription_cancel(s), 0);
    IS(pagi_sse_subscription_free(s), 0);
    published("5");
    IS(pagi_sse_conn_send(c, S("alone")), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    receives(c, NULL);
    OK(whole);
    OK(!strstr(events, "data: 5") && strstr(events, "data: alone\n\n"));
    ended(c, "app_closed");

    c = opened();
    s = subscribed(c, "");
    published("6");
    receives(c, "data: 6\n\n");
    IS(pagi_sse_hub_close_streams(hub, NONE, S("maintenance")), 1);
    receives(c, NULL);
    OK(whole);
    IS(pagi_sse_subscription_free(s), 0);
    ended(c, "maintenance");
    IS(pagi_sse_hub_free(hub, 1000), 0);
}

static void freed_while_it_runs(void)
{
    pagi_sse_record r;
    pagi_sse_conn c = opened();
    IS(pagi_sse_conn_send(c, S("x")), 0);
    flush();
    receives(c, "data: x\n\n");
    IS(pagi_sse_conn_free(c), 0);
    OK(record(PAGI_SSE_KIND_ENDED, c, &r));
    BYTES(r.text.data, r.text.len, "app_closed");
    IS(pagi_sse_conn_send(c, S("x")), R(HANDLE_STALE));
    if (!at->is_queue) {
        receives(c, NULL);
        OK(whole);
        close(fd);
    }
}

static void on_each(void (*claim)(void))
{
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        int before = failures;
        at = &hosts[i];
        claim();
        if (failures > before)
            printf("# by %s\n", at->name);
    }
    IS(pagi_sse_server_free(srv, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

#define EACH(claim) static void each_##claim(void) { on_each(claim); }
EACH(every_kind_of_send)
EACH(the_first_send_starts)
EACH(an_empty_stream)
EACH(what_is_refused_leaves_nothing)
EACH(broken_off)
EACH(the_client_leaves)
EACH(keepalive)
EACH(a_slow_client)
EACH(a_hub)
EACH(freed_while_it_runs)

static const test tests[] = {
    {"each kind of send goes out in order, byte for byte, and close ends the whole", each_every_kind_of_send},
    {"the first send starts the stream, and a reason is the caller's", each_the_first_send_starts},
    {"a stream closed before it began is empty and whole", each_an_empty_stream},
    {"what is refused leaves nothing behind, and has not begun the stream", each_what_is_refused_leaves_nothing},
    {"a stream broken off does not look whole where the wire can tell", each_broken_off},
    {"a client that leaves is told of once, and nothing can be sent", each_the_client_leaves},
    {"a keepalive waits for the stream and ends with 0", each_keepalive},
    {"a slow client: the marks, a refused send, the drain, and no byte lost", each_a_slow_client},
    {"a hub replays, keeps one order with the application's own sends, and closes", each_a_hub},
    {"a connection freed while it runs ends in order", each_freed_while_it_runs},
};
RUN(tests)
