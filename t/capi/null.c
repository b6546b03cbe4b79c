/* NULL where an output is due: each function that has one says so, and has done
 * nothing. t/capi/abi.t asks for a claim for each. */
#include "client.h"

#include <fcntl.h>

static pagi_sse_runtime rt;
static pagi_sse_hub hub;

static char buf[PAGI_SSE_RECORD_MAX];
static size_t len;

/* The buffer and the length have not been written to. */
static void untouched(void)
{
    size_t i = 0;
    while (i < 256 && buf[i] == 'x')
        i++;
    IS(i, 256);
    IS(len, 77);
}

static void ready(void)
{
    memset(buf, 'x', 256);
    len = 77;
}

/* A claim: of the function of that name. */
#define CLAIM(name) static void of_##name(void)
#define REFUSED(call)                                                                                                 \
    do {                                                                                                              \
        ready();                                                                                                      \
        IS((call), R(NULL_POINTER));                                                                                  \
        untouched();                                                                                                  \
    } while (0)

/* Texts: without `len`, without `buf`; and then as ever. */
#define TEXT(name, ...)                                                                                               \
    CLAIM(name)                                                                                                       \
    {                                                                                                                 \
        REFUSED(name(__VA_ARGS__ buf, sizeof buf, NULL));                                                             \
        REFUSED(name(__VA_ARGS__ NULL, 0, NULL));                                                                     \
        REFUSED(name(__VA_ARGS__ NULL, sizeof buf, &len));                                                            \
        OK(name(__VA_ARGS__ buf, sizeof buf, &len) >= 0);                                                             \
        OK(len != 77);                                                                                                \
    }

/* Figures: without `out`, of no size; and then as ever. */
#define NUMBERS(name, type, ...)                                                                                      \
    CLAIM(name)                                                                                                       \
    {                                                                                                                 \
        type out;                                                                                                     \
        REFUSED(name(__VA_ARGS__ NULL, sizeof out));                                                                  \
        REFUSED(name(__VA_ARGS__ (type *)(void *)buf, 0));                                                            \
        OK(name(__VA_ARGS__ & out, sizeof out) >= 0);                                                                 \
    }

/* What opens something: nothing is open then. */
#define OPENS(name, ...)                                                                                              \
    do {                                                                                                              \
        uint64_t handles = pagi_sse_handle_count();                                                                   \
        REFUSED(name(__VA_ARGS__ NULL));                                                                              \
        IS(pagi_sse_handle_count(), handles);                                                                         \
    } while (0)

static pagi_sse_conn queue(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), 0);
    return c;
}

static pagi_sse_parser parser;
static pagi_sse_conn conn;
static pagi_sse_subscription sub;
static pagi_sse_client follower;

CLAIM(pagi_sse_error)
{
    IS(pagi_sse_conn_free(0), R(HANDLE_INVALID));
    REFUSED(pagi_sse_error(buf, sizeof buf, NULL));
    REFUSED(pagi_sse_error(NULL, 9, &len));
    IS(pagi_sse_error(buf, sizeof buf, &len), 0); /* of the call before */
    BYTES(buf, len, "the handle was never given out");
}
TEXT(pagi_sse_server_address, srv, )
TEXT(pagi_sse_server_stats, srv, )
TEXT(pagi_sse_runtime_stats, rt, )
TEXT(pagi_sse_conn_reason, conn, )
TEXT(pagi_sse_hub_stats, hub, )
TEXT(pagi_sse_hub_history, hub, S("t"), 0, 0, )
TEXT(pagi_sse_subscription_stats, sub, )
TEXT(pagi_sse_parser_last_event_id, parser, )
TEXT(pagi_sse_client_last_event_id, follower, )
TEXT(pagi_sse_frame_event, EVENT(.data = B("a")), )
TEXT(pagi_sse_frame_comment, S("a"), )
TEXT(pagi_sse_query_value, S("a=b"), S("a"), )
TEXT(pagi_sse_percent_decode, S("%41"), )
NUMBERS(pagi_sse_server_counters, pagi_sse_host_counts, srv, )
NUMBERS(pagi_sse_runtime_counters, pagi_sse_host_counts, rt, )
NUMBERS(pagi_sse_conn_counters, pagi_sse_conn_counts, conn, )
NUMBERS(pagi_sse_hub_counters, pagi_sse_hub_counts, hub, )
NUMBERS(pagi_sse_topic_counters, pagi_sse_topic_counts, hub, S("t"), )
NUMBERS(pagi_sse_subscription_counters, pagi_sse_subscription_counts, sub, )

CLAIM(pagi_sse_server_open)
{
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("unix:/tmp/pagi-sse-null-test")};
    OPENS(pagi_sse_server_open, &o, );
    OPENS(pagi_sse_server_open, NULL, );
    OK(access("/tmp/pagi-sse-null-test", F_OK) < 0);
}
CLAIM(pagi_sse_runtime_open) { OPENS(pagi_sse_runtime_open, NULL, ); }
CLAIM(pagi_sse_parser_open) { OPENS(pagi_sse_parser_open, NULL, ); }
CLAIM(pagi_sse_hub_open) { OPENS(pagi_sse_hub_open, S("e"), NULL, 0, 0, ); }
CLAIM(pagi_sse_conn_open_detached)
{
    uint64_t handles = pagi_sse_handle_count();
    REFUSED(pagi_sse_conn_open_detached(NULL));
    IS(pagi_sse_handle_count(), handles);
}
CLAIM(pagi_sse_conn_open_queue)
{
    int64_t busy = pagi_sse_runtime_busy(rt);
    OPENS(pagi_sse_conn_open_queue, rt, PAGI_SSE_WIRE_EVENTS, );
    IS(pagi_sse_runtime_busy(rt), busy);
}
CLAIM(pagi_sse_conn_open_fd)
{
    int pair[2];
    int64_t busy = pagi_sse_runtime_busy(rt);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    OPENS(pagi_sse_conn_open_fd, rt, pair[0], PAGI_SSE_WIRE_EVENTS, );
    IS(pagi_sse_runtime_busy(rt), busy);
    OK((fcntl(pair[0], F_GETFL) & O_NONBLOCK) == 0); /* still the host's, as it was */
    OK((fcntl(pair[0], F_GETFD) & FD_CLOEXEC) == 0);
    OK(write(pair[0], "x", 1) == 1 && read(pair[1], buf, 9) == 1);
    close(pair[0]);
    close(pair[1]);
}
CLAIM(pagi_sse_client_open)
{
    pagi_sse_client_options o = {.size = sizeof o, .url = B("http://127.0.0.1:1/")};
    OPENS(pagi_sse_client_open, rt, &o, );
    OPENS(pagi_sse_client_open, rt, NULL, );
}
CLAIM(pagi_sse_hub_subscribe)
{
    pagi_sse_conn c = queue();
    int64_t subscribers = pagi_sse_hub_subscribers(hub, S("t"));
    OPENS(pagi_sse_hub_subscribe, hub, c, S("t"), NULL, );
    IS(pagi_sse_hub_subscribers(hub, S("t")), subscribers);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_buffered(c), 0);
    IS(pagi_sse_conn_free(c), 0);
}

/* A function that takes records: they wait until it is called as it must be. */
#define TAKES(name, handle)                                                                                           \
    do {                                                                                                              \
        REFUSED(name((handle), buf, sizeof buf, NULL));                                                               \
        REFUSED(name((handle), NULL, sizeof buf, &len));                                                              \
        REFUSED(name((handle), NULL, 0, &len));                                                                       \
        REFUSED(name((handle), buf, 0, &len));                                                                        \
    } while (0)

CLAIM(pagi_sse_server_next)
{
    pagi_sse_record r;
    int fd = asks("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    OK(wait_for(srv_fd));
    TAKES(pagi_sse_server_next, srv);
    OK(wait_for(srv_fd));
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(pagi_sse_conn_free(r.conn), 0);
    OK(next(PAGI_SSE_KIND_ENDED, r.conn, &r));
    close(fd);
}
CLAIM(pagi_sse_runtime_next)
{
    pagi_sse_record r;
    pagi_sse_conn c = queue();
    IS(pagi_sse_conn_send(c, S("x")), 0);
    TAKES(pagi_sse_runtime_next, rt);
    OK(next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), PAGI_SSE_KIND_OUTPUT, c, &r));
    IS(pagi_sse_conn_free(c), 0);
}
CLAIM(pagi_sse_parser_next)
{
    IS(pagi_sse_parser_push(parser, S("data: a\n\n")), 9);
    TAKES(pagi_sse_parser_next, parser);
    IS(pagi_sse_parser_next(parser, buf, sizeof buf, &len), 1);
}
CLAIM(pagi_sse_client_next)
{
    pagi_sse_client_options o = {.size = sizeof o, .url = B("http://127.0.0.1:1/"), .max_failures = 1};
    pagi_sse_record r;
    pagi_sse_client c;
    IS(pagi_sse_client_open(rt, &o, &c), 0);
    OK(next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), PAGI_SSE_KIND_CLIENT, c, &r));
    TAKES(pagi_sse_client_next, c);
    OK(pagi_sse_client_next(c, buf, sizeof buf, &len) > 0);
    IS(pagi_sse_client_free(c), 0);
}
CLAIM(pagi_sse_conn_read)
{
    pagi_sse_conn c = queue();
    IS(pagi_sse_conn_send(c, S("a")), 0);
    TAKES(pagi_sse_conn_read, c);
    IS(pagi_sse_conn_read(c, buf, sizeof buf, &len), 0);
    BYTES(buf, len, "data: a\n\n");
    IS(pagi_sse_conn_free(c), 0);
}
CLAIM(pagi_sse_conn_read_body)
{
    pagi_sse_record r;
    int fd = asks("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    OK(next(PAGI_SSE_KIND_BODY, c, &r));
    TAKES(pagi_sse_conn_read_body, c);
    OK(pagi_sse_conn_read_body(c, buf, sizeof buf, &len) >= 0);
    BYTES(buf, len, "abc");
    IS(pagi_sse_conn_free(c), 0);
    close(fd);
}
CLAIM(pagi_sse_parser_retry)
{
    pagi_sse_parser p;
    uint64_t ms = 5;
    IS(pagi_sse_parser_open(NULL, &p), 0);
    REFUSED(pagi_sse_parser_retry(p, NULL)); /* though there is none */
    IS(pagi_sse_parser_retry(p, &ms), 0);
    IS(ms, 5);
    IS(pagi_sse_parser_push(p, S("retry: 7\n\n")), 10);
    REFUSED(pagi_sse_parser_retry(p, NULL));
    IS(pagi_sse_parser_retry(p, &ms), 1);
    IS(ms, 7);
    IS(pagi_sse_parser_free(p), 0);
}
CLAIM(pagi_sse_scope_get)
{
    pagi_sse_conn c = 5;
    REFUSED(pagi_sse_scope_get(1, NULL)); /* though there is none */
    IS(pagi_sse_scope_set(1, conn), 0);
    REFUSED(pagi_sse_scope_get(1, NULL));
    IS(pagi_sse_scope_get(1, &c), 1);
    OK(c == conn);
    IS(pagi_sse_scope_remove(1), 1);
}
CLAIM(pagi_sse_record_read)
{
    pagi_sse_record r = {.kind = -1};
    size_t at = 0, used;
    IS(pagi_sse_parser_push(parser, S("data: a\n\n:b\n")), 12);
    IS(pagi_sse_parser_next(parser, buf, sizeof buf, &used), 2);
    IS(pagi_sse_record_read(buf, used, NULL, &r, sizeof r), R(NULL_POINTER));
    IS(pagi_sse_record_read(buf, used, &at, NULL, sizeof r), R(NULL_POINTER));
    IS(pagi_sse_record_read(buf, used, &at, &r, 0), R(NULL_POINTER));
    IS(pagi_sse_record_read(NULL, used, &at, &r, sizeof r), R(NULL_POINTER));
    IS(at, 0);
    IS(r.kind, -1);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    IS(r.kind, PAGI_SSE_KIND_EVENT);
    size_t second = at;
    IS(pagi_sse_record_read(buf, used, &at, NULL, sizeof r), R(NULL_POINTER));
    IS(at, second);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    IS(r.kind, PAGI_SSE_KIND_COMMENT);
    IS(pagi_sse_record_read(buf, used, &at, NULL, sizeof r), R(NULL_POINTER)); /* though that was all */
    IS(pagi_sse_record_read(buf, used, &at, &r, 0), R(NULL_POINTER));
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 0);
    IS(pagi_sse_record_read(NULL, 0, NULL, &r, sizeof r), R(NULL_POINTER));
}

static pagi_sse_bytes headers(pagi_sse_record *r, int *fd)
{
    *fd = asks("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, r));
    return r->headers;
}
CLAIM(pagi_sse_record_header)
{
    pagi_sse_record r;
    pagi_sse_bytes value = {NULL, 5};
    int fd;
    pagi_sse_bytes all = headers(&r, &fd);
    IS(pagi_sse_record_header(all, S("host"), NULL), R(NULL_POINTER));
    IS(pagi_sse_record_header(all, S("absent"), NULL), R(NULL_POINTER));
    IS(pagi_sse_record_header(all, NULL, 4, &value), R(NULL_POINTER));
    OK(value.data == NULL && value.len == 5);
    IS(pagi_sse_record_header(all, S("host"), &value), 1);
    IS(pagi_sse_conn_free(r.conn), 0);
    close(fd);
}
CLAIM(pagi_sse_record_header_at)
{
    pagi_sse_record r;
    pagi_sse_header h;
    int fd;
    pagi_sse_bytes all = headers(&r, &fd);
    IS(pagi_sse_record_header_at(all, 0, NULL), R(NULL_POINTER));
    IS(pagi_sse_record_header_at(all, 9, NULL), R(NULL_POINTER));
    IS(pagi_sse_record_header_at(all, 0, &h), 1);
    IS(pagi_sse_conn_free(r.conn), 0);
    close(fd);
}

#define ROW(name) of_##name
static void (*const claims[])(void) = {
    ROW(pagi_sse_error),
    ROW(pagi_sse_server_open),
    ROW(pagi_sse_server_address),
    ROW(pagi_sse_server_next),
    ROW(pagi_sse_server_stats),
    ROW(pagi_sse_server_counters),
    ROW(pagi_sse_record_read),
    ROW(pagi_sse_record_header),
    ROW(pagi_sse_record_header_at),
    ROW(pagi_sse_query_value),
    ROW(pagi_sse_percent_decode),
    ROW(pagi_sse_conn_open_detached),
    ROW(pagi_sse_conn_open_queue),
    ROW(pagi_sse_conn_open_fd),
    ROW(pagi_sse_conn_read),
    ROW(pagi_sse_conn_reason),
    ROW(pagi_sse_conn_counters),
    ROW(pagi_sse_conn_read_body),
    ROW(pagi_sse_hub_open),
    ROW(pagi_sse_hub_subscribe),
    ROW(pagi_sse_subscription_stats),
    ROW(pagi_sse_subscription_counters),
    ROW(pagi_sse_hub_history),
    ROW(pagi_sse_hub_stats),
    ROW(pagi_sse_hub_counters),
    ROW(pagi_sse_topic_counters),
    ROW(pagi_sse_frame_event),
    ROW(pagi_sse_frame_comment),
    ROW(pagi_sse_parser_open),
    ROW(pagi_sse_parser_next),
    ROW(pagi_sse_parser_last_event_id),
    ROW(pagi_sse_parser_retry),
    ROW(pagi_sse_runtime_open),
    ROW(pagi_sse_runtime_next),
    ROW(pagi_sse_runtime_stats),
    ROW(pagi_sse_runtime_counters),
    ROW(pagi_sse_scope_get),
    ROW(pagi_sse_client_open),
    ROW(pagi_sse_client_next),
    ROW(pagi_sse_client_last_event_id),
};

static void all(void)
{
    pagi_sse_client_options o = {.size = sizeof o, .url = B("http://127.0.0.1:1/"), .max_failures = 1};
    begin_server((pagi_sse_server_options){0});
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &hub), 0);
    IS(pagi_sse_parser_open(NULL, &parser), 0);
    conn = queue();
    IS(pagi_sse_hub_subscribe(hub, conn, S("t"), NULL, &sub), 0);
    IS(pagi_sse_hub_publish(hub, S("t"), EVENT(.data = B("a"))), 1);
    IS(pagi_sse_client_open(rt, &o, &follower), 0);
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++)
        claims[i]();
    IS(pagi_sse_client_free(follower), 0);
    IS(pagi_sse_subscription_free(sub), 0);
    IS(pagi_sse_conn_free(conn), 0);
    IS(pagi_sse_parser_free(parser), 0);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static const test tests[] = {
    {"NULL for an output, or for a buffer, is NULL_POINTER, and nothing was done, taken or written", all},
};
RUN(tests)
