/* The end of a server: what it owes to those who are there. */
#include "client.h"

#include <fcntl.h>

#define GET "GET /g HTTP/1.1\r\nHost: a\r\n\r\n"

static void begin(void)
{
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
}

static pagi_sse_conn request(const char *text, int *fd)
{
    pagi_sse_record r;
    *fd = asks(text);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    return r.conn;
}

static void reason_is(pagi_sse_conn c, const char *expected)
{
    char buf[64];
    int64_t n = LEN(pagi_sse_conn_reason(c, buf, sizeof buf, &len_));
    BYTES(buf, n, expected);
}

static void refused_with_503(int fd)
{
    receive(fd, NULL);
    OK(strncmp(got, "HTTP/1.1 503 Service Unavailable\r\n", 34) == 0);
    OK(strstr(got, "\r\n\r\nthe server is stopping") != NULL);
    close(fd);
}

/* Freed, stopped at once, or stopped while it waits: all get what they are
 * owed. */
static void owed(int how)
{
    enum { REQUESTS = 5 };
    int fds[REQUESTS], stream, pending, part, whole;
    pagi_sse_conn conns[REQUESTS];
    begin();
    pagi_sse_conn a = request(STREAM, &stream), b = request(STREAM, &pending), p = request(GET, &part);
    pagi_sse_conn w = request(GET, &whole);
    for (int i = 0; i < REQUESTS; i++)
        conns[i] = request(GET, &fds[i]);
    IS(pagi_sse_conn_send(a, S("last words")), 0);
    IS(pagi_sse_conn_respond(p, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(p, S("part"), 1), 0);
    IS(pagi_sse_conn_respond(w, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(w, S("whole"), 0), 0);
    if (how > 0) {
        int64_t since = now_ms();
        IS(pagi_sse_server_stop(srv, how == 1 ? 0 : 300), 0);
        OK(now_ms() - since < 10000);
    }
    IS(pagi_sse_server_free(srv, 5000), 0);
    receive(stream, NULL);
    OK(strstr(got, "data: last words\n\n\r\n0\r\n\r\n") != NULL);
    receive(pending, NULL);
    OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(got, "\r\n\r\n0\r\n\r\n") != NULL);
    receive(part, NULL);
    const char *end = strstr(got, "\r\n\r\n");
    BYTES(end ? end : "", end ? strlen(end) : 0, "\r\n\r\n4\r\npart\r\n");
    receive(whole, NULL);
    OK(strstr(got, "\r\n\r\nwhole") != NULL);
    for (int i = 0; i < REQUESTS; i++)
        refused_with_503(fds[i]);
    reason_is(a, "server_shutdown");
    reason_is(b, "server_shutdown");
    reason_is(p, "server_shutdown");
    for (int i = 0; i < REQUESTS; i++)
        reason_is(conns[i], "server_shutdown");
    const pagi_sse_conn all[] = {a, b, p, w};
    for (size_t i = 0; i < 4; i++)
        IS(pagi_sse_conn_free(all[i]), 0);
    for (int i = 0; i < REQUESTS; i++)
        IS(pagi_sse_conn_free(conns[i]), 0);
    close(stream), close(pending), close(part), close(whole);
}

static void freed(void) { owed(0); }
static void stopped_at_once(void) { owed(1); }
static void stopped_later(void) { owed(2); }

static void never_read(void)
{
    begin();
    int fd = asks(GET);
    OK(wait_for(srv_fd));
    IS(pagi_sse_server_free(srv, 1000), 0);
    refused_with_503(fd);
}

/* Nobody has accepted them: the server stops before it begins. */
static void waiting(void)
{
    enum { CLIENTS = 20 };
    int fds[CLIENTS];
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = asks(GET);
    IS(pagi_sse_server_stop(srv, 10000), 0);
    for (int i = 0; i < CLIENTS; i++)
        refused_with_503(fds[i]);
    IS(pagi_sse_server_busy(srv), 0);
    IS(pagi_sse_server_free(srv, 0), 0);
}

/* None of these is worth the whole deadline. */
static void idlers(void)
{
    enum { LARGE = 4 << 20 };
    static const char *const heads[] = {"", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "};
    char *data = malloc(LARGE);
    int fds[3], unread, untaken;
    memset(data, 'x', LARGE);
    begin();
    pagi_sse_conn s = request(STREAM, &unread), o = request(GET, &untaken);
    for (int i = 0; i < 3; i++)
        fds[i] = asks(heads[i]);
    IS(pagi_sse_conn_send(s, data, LARGE), 1);
    IS(pagi_sse_conn_respond(o, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(o, data, LARGE, 0), 1);
    int64_t since = now_ms();
    IS(pagi_sse_server_stop(srv, 60000), 0);
    OK(now_ms() - since < 15000);
    reason_is(s, "server_shutdown");
    reason_is(o, "write_timeout");
    for (int i = 0; i < 3; i++) {
        receive(fds[i], NULL);
        IS(strlen(got), 0);
        close(fds[i]);
    }
    IS(pagi_sse_conn_free(s), 0);
    IS(pagi_sse_conn_free(o), 0);
    IS(pagi_sse_server_free(srv, 0), 0);
    close(unread), close(untaken);
    free(data);
}

/* The same of a runtime's. */
static void unread_on_a_socket(void)
{
    enum { LARGE = 4 << 20 };
    char *data = malloc(LARGE);
    int pair[2];
    pagi_sse_runtime rt = 0;
    pagi_sse_conn c = 0;
    memset(data, 'x', LARGE);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_HTTP11, &c), 0);
    IS(pagi_sse_conn_send(c, data, LARGE), 1);
    int64_t since = now_ms();
    IS(pagi_sse_runtime_stop(rt, 60000), 0);
    OK(now_ms() - since < 15000);
    reason_is(c, "server_shutdown");
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_runtime_free(rt, 0), 0);
    close(pair[1]);
    free(data);
}

static void dropped_runtime(void)
{
    int pair[2];
    pagi_sse_runtime rt = 0;
    pagi_sse_conn c = 0;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_HTTP11, &c), 0);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_runtime_free(rt, 5000), 0);
    receive(pair[1], NULL);
    OK(strstr(got, "data: x\n\n\r\n0\r\n\r\n") != NULL);
    reason_is(c, "server_shutdown");
    IS(pagi_sse_conn_free(c), 0);
    close(pair[1]);
}

/* Connections that outlive their host keep neither its descriptor nor records. */
static void descriptors(void)
{
    int fd, pair[2];
    pagi_sse_runtime rt = 0;
    pagi_sse_conn of_runtime = 0;
    begin();
    pagi_sse_conn live = request(STREAM, &fd);
    IS(pagi_sse_conn_send(live, S("x")), 0);
    OK(fcntl(srv_fd, F_GETFD) >= 0);
    IS(pagi_sse_server_free(srv, 0), 0);
    IS(fcntl(srv_fd, F_GETFD), -1);
    reason_is(live, "server_shutdown");
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_EVENTS, &of_runtime), 0);
    IS(pagi_sse_conn_send(of_runtime, S("x")), 0);
    int rt_fd = pagi_sse_runtime_fd(rt);
    OK(fcntl(rt_fd, F_GETFD) >= 0);
    IS(pagi_sse_runtime_free(rt, 0), 0);
    IS(fcntl(rt_fd, F_GETFD), -1);
    reason_is(of_runtime, "server_shutdown");
    IS(pagi_sse_conn_free(live), 0);
    IS(pagi_sse_conn_free(of_runtime), 0);
    close(fd), close(pair[1]);
}

/* A child of a fork has copies of all descriptors, and lives on. */
static void forked(void)
{
    char path[64], tcp[32];
    snprintf(path, sizeof path, "unix:/tmp/pagi-sse-capi-stop-%d.sock", (int)getpid());
    for (int i = 0; i < 2; i++) {
        int ends[2];
        pagi_sse_server s = started(i ? path : "127.0.0.1:0");
        IS(pagi_sse_server_start(s), 0);
        int port = pagi_sse_server_port(s);
        OK(pipe(ends) == 0);
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            char byte;
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) != 0);
        }
        IS(pagi_sse_server_free(s, 5000), 0);
        if (i == 0) {
            struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            a.sin_port = htons((uint16_t)port);
            int fd = socket(AF_INET, SOCK_STREAM, 0);
            IS(connect(fd, (struct sockaddr *)&a, sizeof a), -1);
            IS(errno, ECONNREFUSED);
            close(fd);
            snprintf(tcp, sizeof tcp, "127.0.0.1:%d", port);
        }
        s = started(i ? path : tcp);
        IS(pagi_sse_server_free(s, 0), 0);
        IS(waitpid(pid, NULL, WNOHANG), 0);
        close(ends[0]), close(ends[1]);
        IS(waitpid(pid, NULL, 0), pid);
    }
}

static const test tests[] = {
    {"a server that is freed ends its streams and answers 503 to all requests", freed},
    {"so does one whose deadline is at once", stopped_at_once},
    {"and at any deadline", stopped_later},
    {"a request that the host has never read gets a 503, too", never_read},
    {"so do those who wait to be accepted", waiting},
    {"unfinished heads and clients that read nothing do not take the whole deadline", idlers},
    {"nor on a socket of the host's", unread_on_a_socket},
    {"a runtime that is freed ends its streams", dropped_runtime},
    {"what outlives a server or a runtime keeps no descriptor open", descriptors},
    {"a forked child does not keep the address", forked},
};
RUN(tests)
