/* epoll_host.c - a host that has epoll and its own HTTP: it accepts, reads the
 * request and answers by itself, and gives the sockets of streams to the
 * runtime. A timerfd ticks; the hub knows who listens.
 *
 *     cc -std=c11 -Wall -Wextra epoll_host.c -o epoll_host $(pkg-config --cflags --libs pagi-sse)
 *     ./epoll_host 5000 1000                  (port, milliseconds between ticks)
 *     curl -N http://127.0.0.1:5000/ticks
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <pagi_sse.h>

/* A client whose request is on its way; they stand under their descriptors. */
typedef struct client {
    size_t len;
    char head[4096];
} client;

#define CLIENTS 1024

static client *clients[CLIENTS];
static int loop; /* the epoll */
static pagi_sse_runtime runtime;
static pagi_sse_hub hub;

static int watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
}

/* Forgets a client; its socket stays open. */
static void forget(int fd)
{
    epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL);
    free(clients[fd]);
    clients[fd] = NULL;
}

static void hang_up(int fd, const char *answer)
{
    send(fd, answer, strlen(answer), MSG_NOSIGNAL);
    forget(fd);
    close(fd);
}

/* The value of a field, as far as a small host needs it. */
static pagi_sse_bytes field(const char *head, const char *name)
{
    const char *at = strcasestr(head, name);
    return at ? (pagi_sse_bytes){at + strlen(name), strcspn(at + strlen(name), "\r")} : (pagi_sse_bytes){NULL, 0};
}

static void stream(int fd, const client *c)
{
    pagi_sse_bytes seen = field(c->head, "\r\nlast-event-id: ");
    pagi_sse_subscribe_options options = {.size = sizeof options, .last_event_id = seen};
    int32_t wire = strstr(c->head, " HTTP/1.0\r\n") ? PAGI_SSE_WIRE_HTTP10 : PAGI_SSE_WIRE_HTTP11;
    pagi_sse_conn conn;
    pagi_sse_subscription subscription;
    epoll_ctl(loop, EPOLL_CTL_DEL, fd, NULL); /* the socket will be the runtime's */
    if (pagi_sse_conn_open_fd(runtime, fd, wire, &conn) < 0) {
        hang_up(fd, "");
        return;
    }
    if (pagi_sse_hub_subscribe(hub, conn, "ticks", 5, &options, &subscription) >= 0) {
        pagi_sse_conn_keepalive(conn, 15000, NULL, 0);
        pagi_sse_subscription_free(subscription);
        pagi_sse_conn_hand_over(conn); /* the hub's until the client leaves */
    } else {
        pagi_sse_conn_free(conn);
    }
    free(clients[fd]);
    clients[fd] = NULL;
}

static void on_bytes(int fd)
{
    client *c = clients[fd];
    ssize_t n = recv(fd, c->head + c->len, sizeof c->head - 1 - c->len, 0);
    c->len += n > 0 ? (size_t)n : 0;
    c->head[c->len] = 0;
    if (n <= 0)
        hang_up(fd, "");
    else if (strstr(c->head, "\r\n\r\n") && strncmp(c->head, "GET /ticks HTTP/1.", 18) == 0)
        stream(fd, c);
    else if (strstr(c->head, "\r\n\r\n"))
        hang_up(fd, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    else if (c->len == sizeof c->head - 1)
        hang_up(fd, "HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
}

static void on_connection(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= CLIENTS || (fd >= 0 && !(clients[fd] = calloc(1, sizeof **clients))))
        close(fd);
    else if (fd >= 0)
        watch(fd);
}

static void on_tick(int timer)
{
    uint64_t times;
    char data[24];
    static unsigned long tick;
    if (read(timer, &times, sizeof times) < 0)
        return;
    size_t len = (size_t)snprintf(data, sizeof data, "%lu", ++tick);
    pagi_sse_event event = {.size = sizeof event, .data = {data, len}, .event = PAGI_SSE_BYTES("tick")};
    pagi_sse_hub_publish(hub, "ticks", 5, &event);
    pagi_sse_runtime_flush(runtime);
}

/* Nobody waits for these records, as the hub has every stream; but one must
 * take them. */
static void on_records(void)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record r;
    size_t used = 0;
    while (pagi_sse_runtime_next(runtime, buf, sizeof buf, &used) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            if (r.kind == PAGI_SSE_KIND_ENDED)
                fprintf(stderr, "a stream of %llu bytes: %.*s\n", (unsigned long long)r.bytes, (int)r.text.len, r.text.data);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    long every = argc > 2 ? atol(argv[2]) : 1000;
    struct itimerspec interval = {.it_interval = {every / 1000, every % 1000 * 1000000}, .it_value.tv_nsec = 1};
    sigset_t signals;
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    loop = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int term = signalfd(-1, &signals, SFD_CLOEXEC);
    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&at, &len) < 0 || timerfd_settime(timer, 0, &interval, NULL) < 0) {
        perror("listen");
        return 1;
    }
    int32_t code = pagi_sse_runtime_open(NULL, &runtime);
    if (code < 0 || (code = pagi_sse_hub_open("epoll", 5, NULL, 0, 0, &hub)) < 0) {
        fprintf(stderr, "%s\n", pagi_sse_result_text(code));
        return 1;
    }
    int records = pagi_sse_runtime_fd(runtime);
    if (watch(listener) < 0 || watch(timer) < 0 || watch(term) < 0 || watch(records) < 0)
        return 1;
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(at.sin_port));

    for (struct epoll_event event; epoll_wait(loop, &event, 1, -1) == 1 && event.data.fd != term;)
        if (event.data.fd == listener)
            on_connection(listener);
        else if (event.data.fd == timer)
            on_tick(timer);
        else if (event.data.fd == records)
            on_records();
        else
            on_bytes(event.data.fd);

    for (int fd = 0; fd < CLIENTS; fd++)
        if (clients[fd])
            hang_up(fd, "");
    close(listener), close(timer), close(term), close(loop);
    pagi_sse_hub_free(hub, 1000); /* it ends the streams that it was given */
    pagi_sse_runtime_stop(runtime, 5000);
    on_records();
    pagi_sse_runtime_free(runtime, 1000);
    return pagi_sse_handle_count() != 0;
}
