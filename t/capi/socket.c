/* A connection on a socket that the host hands over. */
#include "harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>

static pagi_sse_runtime rt;
static int rt_fd;

static int next(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return next_record(pagi_sse_runtime_next, rt, rt_fd, kind, c, r);
}

/* A pair of connected TCP sockets. */
static void tcp(int *server, int *client)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    OK(bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 1) == 0);
    getsockname(listener, (struct sockaddr *)&a, &len);
    *client = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(*client, (struct sockaddr *)&a, sizeof a) == 0);
    *server = accept(listener, NULL, NULL);
    close(listener);
}

static void unix_pair(int *server, int *client)
{
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    *server = pair[0], *client = pair[1];
}

/* Reads until the text has come, or the end (with NULL). */
static char got[1 << 16];

static void receive(int fd, const char *until)
{
    size_t len = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    got[0] = 0;
    while ((!until || !strstr(got, until)) && now_ms() < deadline && wait_for(fd)) {
        ssize_t n = recv(fd, got + len, sizeof got - 1 - len, 0);
        if (n <= 0)
            break;
        got[len += (size_t)n] = 0;
    }
    if (until && !strstr(got, until)) {
        failures++;
        printf("# never came: <<%s>>, but <<%s>>\n", until, got);
    }
}

static pagi_sse_conn opened(int server, int32_t wire)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_fd(rt, server, wire, &c), 0);
    IS(fcntl(server, F_GETFD), FD_CLOEXEC); /* the same, the library's now */
    return c;
}

/* So much may a client say that nobody reads, and not a byte more. */
static void forgotten(void)
{
    pagi_sse_record r;
    int server, client;
    static char bytes[PAGI_SSE_FORGOTTEN_BYTES];
    tcp(&server, &client);
    pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    for (size_t sent = 0; sent < sizeof bytes;) {
        ssize_t n = send(client, bytes, sizeof bytes - sent, MSG_NOSIGNAL);
        OK(n > 0);
        sent += (size_t)n;
    }
    receive(client, "data: x\n\n");
    /* Time for the runtime to read all of it. */
    poll(NULL, 0, 100);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_STARTED);
    OK(send(client, bytes, 1, MSG_NOSIGNAL) == 1);
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    IS(r.reason, PAGI_SSE_REASON_PROTOCOL_ERROR);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.reason, PAGI_SSE_REASON_PROTOCOL_ERROR);
    IS(pagi_sse_conn_free(c), 0);
    close(client);
}

static void stream(void (*pair)(int *, int *))
{
    pagi_sse_record r;
    int server, client;
    pair(&server, &client);
    pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_HTTP11);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    receive(client, "\r\n\r\n");
    IS(pagi_sse_conn_send(c, S("one")), 0);
    IS(pagi_sse_runtime_flush(rt), 0);
    receive(client, "b\r\ndata: one\n\n\r\n");
    IS(pagi_sse_conn_send(c, S("two")), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    receive(client, NULL);
    OK(strstr(got, "data: two\n\n\r\n0\r\n\r\n") != NULL);
    close(client);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 200);
    IS(r.bytes, strlen("data: one\n\ndata: two\n\n"));
    BYTES(r.text.data, r.text.len, "app_closed");
    IS(pagi_sse_conn_free(c), 0);
}

static void tcp_stream(void) { stream(tcp); }
static void unix_stream(void) { stream(unix_pair); }

static void client_leaves(void)
{
    for (int reset = 0; reset < 2; reset++) {
        pagi_sse_record r;
        int server, client;
        tcp(&server, &client);
        pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_HTTP11);
        IS(pagi_sse_conn_send(c, S("x")), 0);
        receive(client, "data: x");
        struct linger now = {.l_onoff = 1};
        if (reset)
            setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(client);
        OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
        BYTES(r.text.data, r.text.len, "client_closed");
        IS(pagi_sse_conn_send(c, S("x")), R(CLOSED));
        IS(pagi_sse_conn_free(c), 0);
    }
}

static void keepalive(void)
{
    int server, client;
    unix_pair(&server, &client);
    pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_EVENTS);
    IS(pagi_sse_conn_keepalive(c, 20, S("ping")), 0);
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    receive(client, ":ping\n\n:ping\n\n:ping\n\n");
    OK(strncmp(got, ":ping", 5) == 0);
    IS(pagi_sse_conn_free(c), 0);
    receive(client, NULL);
    close(client);
}

static void slow(void)
{
    static char chunk[32768];
    pagi_sse_record r;
    int server, client;
    int32_t code;
    unix_pair(&server, &client);
    pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_EVENTS);
    memset(chunk, 'x', sizeof chunk);
    int64_t deadline = now_ms() + PATIENCE_MS;
    while ((code = pagi_sse_conn_send(c, chunk, sizeof chunk)) >= 0 && now_ms() < deadline)
        ;
    IS(code, R(QUEUE_OVERFLOW));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_STARTED);
    /* It reads again: the queue drains. */
    while (pagi_sse_conn_buffered(c) > 0 && wait_for(client) && recv(client, got, sizeof got, 0) > 0)
        ;
    OK(next(PAGI_SSE_KIND_DRAINED, c, &r));
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_conn_free(c), 0);
    close(client);
}

static void write_timeout(void)
{
    static char chunk[65536];
    pagi_sse_runtime_options o = {.size = sizeof o, .write_timeout_ms = 50, .workers = 1};
    pagi_sse_runtime short_rt = 0;
    pagi_sse_record r;
    pagi_sse_conn c = 0;
    int server, client;
    IS(pagi_sse_runtime_open(&o, &short_rt), 0);
    unix_pair(&server, &client);
    IS(pagi_sse_conn_open_fd(short_rt, server, PAGI_SSE_WIRE_EVENTS, &c), 0);
    memset(chunk, 'x', sizeof chunk);
    for (int i = 0; i < 16; i++)
        pagi_sse_conn_send(c, chunk, sizeof chunk);
    OK(next_record(pagi_sse_runtime_next, short_rt, pagi_sse_runtime_fd(short_rt), PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "write_timeout");
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_runtime_free(short_rt, 1000), 0);
    close(client);
}

static void refused(void)
{
    pagi_sse_conn c = 77;
    int pipes[2], udp, alone, server, client;
    OK(pipe(pipes) == 0);
    udp = socket(AF_INET, SOCK_DGRAM, 0);
    alone = socket(AF_INET, SOCK_STREAM, 0);
    IS(pagi_sse_conn_open_fd(rt, -1, 0, &c), R(BAD_SOCKET));
    IS(pagi_sse_conn_open_fd(rt, 100000, 0, &c), R(BAD_SOCKET));
    IS(pagi_sse_conn_open_fd(rt, INT32_MIN, 0, &c), R(BAD_SOCKET));
    IS(pagi_sse_conn_open_fd(rt, pipes[0], 0, &c), R(BAD_SOCKET));
    IS(pagi_sse_conn_open_fd(rt, udp, 0, &c), R(BAD_SOCKET));
    IS(pagi_sse_conn_open_fd(rt, alone, 0, &c), R(BAD_SOCKET));
    unix_pair(&server, &client);
    IS(pagi_sse_conn_open_fd(rt, server, 9, &c), R(BAD_ARGUMENT));
    IS(pagi_sse_conn_open_fd(rt, server, 0, NULL), R(NULL_POINTER));
    IS(pagi_sse_conn_open_fd(0, server, 0, &c), R(HANDLE_INVALID));
    IS(c, 77);
    /* All of them are still the caller's, as they were. */
    int fds[] = {pipes[0], pipes[1], udp, alone, server, client};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        IS(fcntl(fds[i], F_GETFL) & O_NONBLOCK, 0);
        IS(close(fds[i]), 0);
    }
}

static void not_to_read(void)
{
    int server, client;
    char buf[16];
    unix_pair(&server, &client);
    pagi_sse_conn c = opened(server, PAGI_SSE_WIRE_EVENTS);
    IS(LEN(pagi_sse_conn_read(c, buf, sizeof buf, &len_)), R(NOT_PULLED));
    IS(pagi_sse_conn_disconnect(c, S("client_timeout")), 1);
    receive(client, NULL);
    IS(pagi_sse_conn_free(c), 0);
    close(client);
}

static void begin(void)
{
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    rt_fd = pagi_sse_runtime_fd(rt);
}

static void end(void)
{
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (pagi_sse_runtime_busy(rt) > 0 && now_ms() < deadline)
        poll(NULL, 0, 5);
    IS(pagi_sse_runtime_busy(rt), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"a runtime opens", begin},
    {"a stream over TCP, from head to last chunk", tcp_stream},
    {"and over a Unix socket", unix_stream},
    {"a client that leaves is noticed, by FIN and by RST", client_leaves},
    {"keepalives come by themselves", keepalive},
    {"a slow client fills its queue only, and may recover", slow},
    {"a client that takes nothing is dropped in time", write_timeout},
    {"a client may say 64 KiB that nobody reads", forgotten},
    {"what is no connected stream socket stays the caller's", refused},
    {"its output cannot be read, its disconnect be reported", not_to_read},
    {"nothing is in progress, and the runtime ends", end},
};
RUN(tests)
