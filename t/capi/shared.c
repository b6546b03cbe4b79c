/* A listening socket of the host's: for systemd, and for a prefork of children
 * that accept at one listener. */
#include "client.h"

#include <fcntl.h>
#include <sys/un.h>

#define GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static int bound(int *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 100) == 0);
    OK(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static int32_t opened(int fd, pagi_sse_server *out)
{
    char at[32];
    snprintf(at, sizeof at, "fd:%d", fd);
    pagi_sse_server_options o = {.size = sizeof o, .listen = L(at, strlen(at)), .workers = 1};
    return pagi_sse_server_open(&o, out);
}

static int connected(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    OK(send(fd, GET, sizeof GET - 1, MSG_NOSIGNAL) > 0);
    return fd;
}

static void answer(const char *body)
{
    pagi_sse_record r;
    if (!OK(next(PAGI_SSE_KIND_REQUEST, 0, &r)))
        return;
    IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, body, strlen(body), 0), 0);
    IS(pagi_sse_conn_free(r.conn), 0);
}

static void tells_where(void)
{
    int port, fd = bound(&port);
    char expected[128], at[128];
    IS(opened(fd, &srv), 0);
    IS(pagi_sse_server_port(srv), port);
    snprintf(expected, sizeof expected, "127.0.0.1:%d", port);
    int64_t n = NEEDS(pagi_sse_server_address(srv, NONE, &len_));
    IS(n, strlen(expected));
    IS(LEN(pagi_sse_server_address(srv, at, sizeof at, &len_)), n);
    BYTES(at, n, expected);
    IS(pagi_sse_server_free(srv, 1000), 0);
    close(fd);

    struct sockaddr_un u = {.sun_family = AF_UNIX};
    snprintf(u.sun_path, sizeof u.sun_path, "/tmp/pagi-sse-capi-shared-%d.sock", (int)getpid());
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(bind(fd, (struct sockaddr *)&u, sizeof u) == 0 && listen(fd, 5) == 0);
    IS(opened(fd, &srv), 0);
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_port(srv), 0);
    snprintf(expected, sizeof expected, "unix:%s", u.sun_path);
    n = LEN(pagi_sse_server_address(srv, at, sizeof at, &len_));
    BYTES(at, n, expected);
    IS(pagi_sse_server_start(srv), 0);
    int c = socket(AF_UNIX, SOCK_STREAM, 0);
    OK(connect(c, (struct sockaddr *)&u, sizeof u) == 0);
    OK(send(c, GET, sizeof GET - 1, MSG_NOSIGNAL) > 0);
    pagi_sse_record r;
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    OK(r.flags & PAGI_SSE_FLAG_UNIX);
    BYTES(r.server.data, r.server.len, u.sun_path);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(c, NULL);
    IS(pagi_sse_server_free(srv, 1000), 0);
    /* The file is the host's. */
    IS(access(u.sun_path, F_OK), 0);
    IS(unlink(u.sun_path), 0);
    close(c), close(fd);
}

/* A server that goes leaves those who wait to the next. */
static void nobody_is_turned_away(void)
{
    enum { CLIENTS = 5 };
    int port, fd = bound(&port), fds[CLIENTS];
    IS(opened(fd, &srv), 0);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = connected(port);
    IS(pagi_sse_server_drain(srv), 0);
    IS(pagi_sse_server_stop(srv, 5000), 0);
    IS(pagi_sse_server_busy(srv), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
    IS(opened(fd, &srv), 0);
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
    /* A duplicate is enough for it. */
    close(fd);
    for (int i = 0; i < CLIENTS; i++)
        answer("late");
    for (int i = 0; i < CLIENTS; i++) {
        receive(fds[i], NULL);
        OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(got, "\r\n\r\nlate") != NULL);
        close(fds[i]);
    }
    IS(pagi_sse_server_free(srv, 1000), 0);
}

typedef struct child {
    pid_t pid;
    int ends, tells;
} child;

/* Answers with its name until its pipe says a word; then it stops in order. */
static int serves(int fd, int ends, int tells, const char *name)
{
    IS(opened(fd, &srv), 0);
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
    struct pollfd p[] = {{.fd = ends, .events = POLLIN}, {.fd = srv_fd, .events = POLLIN}};
    OK(write(tells, "+", 1) == 1);
    while (!failures && (poll(p, 2, PATIENCE_MS), !p[0].revents)) {
        static char buf[PAGI_SSE_RECORD_MAX];
        size_t used = 0, at = 0;
        pagi_sse_record r;
        OK(pagi_sse_server_next(srv, buf, sizeof buf, &used) >= 0);
        while (pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0)
            if (r.kind == PAGI_SSE_KIND_REQUEST) {
                IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
                IS(pagi_sse_conn_body(r.conn, name, strlen(name), 0), 0);
                IS(pagi_sse_conn_free(r.conn), 0);
            }
        IS(pagi_sse_server_flush(srv), 0);
    }
    IS(pagi_sse_server_stop(srv, 5000), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
    return failures;
}

static child born(int fd, const char *name)
{
    int ends[2], tells[2];
    char byte;
    OK(pipe2(ends, O_CLOEXEC) == 0 && pipe2(tells, O_CLOEXEC) == 0);
    fflush(stdout);
    child c = {.pid = fork(), .ends = ends[1], .tells = tells[0]};
    if (c.pid == 0) {
        alarm(100);
        close(ends[1]);
        leave(serves(fd, ends[0], tells[1], name));
    }
    close(ends[0]), close(tells[1]);
    OK(read(c.tells, &byte, 1) == 1);
    return c;
}

static void ended(child *c)
{
    int status = -1;
    OK(write(c->ends, "-", 1) == 1);
    close(c->ends), close(c->tells);
    IS(waitpid(c->pid, &status, 0), c->pid);
    IS(status, 0);
}

/* Who answers each of so many requests. */
static void asked(int port, int requests, int counts[3])
{
    memset(counts, 0, 3 * sizeof *counts);
    for (int i = 0; i < requests; i++) {
        int fd = connected(port);
        receive(fd, NULL);
        close(fd);
        const char *end = strstr(got, "\r\n\r\n");
        if (OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0 && end && end[4] >= '0' && end[4] <= '2'))
            counts[end[4] - '0']++;
    }
}

static void prefork(void)
{
    enum { REQUESTS = 60 };
    int port, fd = bound(&port), counts[3];
    child children[] = {born(fd, "0"), born(fd, "1"), born(fd, "2")};
    asked(port, REQUESTS, counts);
    IS(counts[0] + counts[1] + counts[2], REQUESTS);
    ended(&children[0]);
    asked(port, REQUESTS, counts);
    IS(counts[0], 0);
    IS(counts[1] + counts[2], REQUESTS);
    ended(&children[1]);
    asked(port, REQUESTS, counts);
    IS(counts[2], REQUESTS);
    ended(&children[2]);
    close(fd);
}

static void is_refused(int fd, const char *why)
{
    char text[256], expected[256];
    pagi_sse_server s = 77;
    IS(opened(fd, &s), R(NOT_LISTENING));
    IS(s, 77);
    int64_t n = LEN(pagi_sse_error(text, sizeof text, &len_));
    snprintf(expected, sizeof expected, "the descriptor is not a listening stream socket: fd:%d is %s", fd, why);
    BYTES(text, n, expected);
}

static void others(void)
{
    int pair[2], ends[2], udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0);
    is_refused(ends[0], "no socket");
    is_refused(udp, "a socket of another type than stream");
    is_refused(tcp, "a socket that does not listen");
    is_refused(pair[0], "a connected socket");
    is_refused(100000, "no descriptor: Bad file descriptor");
    IS(pagi_sse_os_error(), 0);
    const int all[] = {ends[0], udp, tcp, pair[0]};
    for (size_t i = 0; i < 4; i++)
        IS(fcntl(all[i], F_GETFL) & O_NONBLOCK, 0);
    close(pair[0]), close(pair[1]), close(ends[0]), close(ends[1]), close(udp), close(tcp);
    static const char *const none[] = {"fd:", "fd:-1", "fd:x", "fd: 3", "fd:3 ", "fd:99999999999"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        pagi_sse_server s = 77;
        pagi_sse_server_options o = {.size = sizeof o, .listen = L(none[i], strlen(none[i]))};
        IS(pagi_sse_server_open(&o, &s), R(LISTEN_ADDRESS));
        IS(s, 77);
    }
}

static void names(void)
{
    static const char expected[] = "the host name does not resolve: no.such.name.invalid: ";
    char text[256];
    pagi_sse_server s = 77;
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("no.such.name.invalid:0")};
    IS(pagi_sse_server_open(&o, &s), R(HOST_UNKNOWN));
    IS(s, 77);
    int64_t n = LEN(pagi_sse_error(text, sizeof text, &len_));
    OK(n > (int64_t)sizeof expected);
    BYTES(text, sizeof expected - 1, expected);
}

static void nowhere(void)
{
    char text[64];
    pagi_sse_server_options o = {.size = sizeof o, .workers = 1};
    IS(pagi_sse_server_open(&o, &srv), 0);
    OK(pagi_sse_server_port(srv) > 0);
    int64_t n = LEN(pagi_sse_server_address(srv, text, sizeof text, &len_));
    OK(n > 10 && memcmp(text, "127.0.0.1:", 10) == 0);
    IS(pagi_sse_server_free(srv, 0), 0);
}

static const test tests[] = {
    {"a server on a listener of the host's says where it is", tells_where},
    {"those who wait there are left to others", nobody_is_turned_away},
    {"three children on one listener, of which one after the other stops in order", prefork},
    {"what is no listening socket is told what it is, and left as it was", others},
    {"a name that does not resolve", names},
    {"no address at all is 127.0.0.1, any port", nowhere},
};
RUN(tests)
