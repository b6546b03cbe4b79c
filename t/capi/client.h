/* A server under test, and clients of plain sockets. */
#ifndef CLIENT_H
#define CLIENT_H

#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static pagi_sse_server srv;
static int srv_fd;

static inline int next(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return next_record(pagi_sse_server_next, srv, srv_fd, kind, c, r);
}

/* The server under test, on any port, with these options beside. */
static inline void begin_server(pagi_sse_server_options o)
{
    o.size = sizeof o, o.listen = B("127.0.0.1:0"), o.workers = 1;
    IS(pagi_sse_server_open(&o, &srv), 0);
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
}

static inline pagi_sse_server started(const char *listen)
{
    pagi_sse_server s = 0;
    pagi_sse_server_options o = {.size = sizeof o, .listen = L(listen, strlen(listen)), .workers = 1};
    IS(pagi_sse_server_open(&o, &s), 0);
    return s;
}

static inline int client(pagi_sse_server s)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)pagi_sse_server_port(s));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    return fd;
}

static inline int asks(const char *request)
{
    int fd = client(srv);
    OK(send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request));
    return fd;
}

static char got[1 << 16];

static inline void receive(int fd, const char *until)
{
    size_t len = 0;
    got[0] = 0;
    while ((!until || !strstr(got, until)) && wait_for(fd)) {
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

#define STREAM "GET /events?x=1 HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\nX-Two: 1\r\nx-two: 2\r\n\r\n"

#endif
