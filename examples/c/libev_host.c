/* libev_host.c - a host with its own HTTP and its own loop: libev accepts and
 * reads requests, the runtime writes the streams. The wake-up descriptor is
 * one more ev_io.
 *
 *     cc -std=c11 -Wall -Wextra libev_host.c -o libev_host $(pkg-config --cflags --libs pagi-sse) -lev
 *     ./libev_host 5000
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <ev.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <pagi_sse.h>

static pagi_sse_runtime runtime;
static pagi_sse_conn *clients;
static size_t count, room;

/* A client whose request is on its way. */
typedef struct request {
    ev_io io;
    size_t len;
    char head[4096];
} request;

static void give_up(EV_P_ request *r)
{
    ev_io_stop(EV_A_ &r->io);
    close(r->io.fd);
    free(r);
}

static void on_request(EV_P_ ev_io *io, int events)
{
    request *r = (request *)io;
    (void)events;
    ssize_t n = recv(io->fd, r->head + r->len, sizeof r->head - 1 - r->len, 0);
    if (n <= 0 || (r->len += (size_t)n) == sizeof r->head - 1) {
        give_up(EV_A_ r);
        return;
    }
    r->head[r->len] = 0;
    if (!strstr(r->head, "\r\n\r\n"))
        return;
    pagi_sse_conn conn;
    if (strncmp(r->head, "GET ", 4) != 0 || pagi_sse_conn_open_fd(runtime, io->fd, PAGI_SSE_WIRE_HTTP11, &conn) < 0) {
        give_up(EV_A_ r);
        return;
    }
    /* The socket is the runtime's now: no close. */
    ev_io_stop(EV_A_ io);
    free(r);
    if (count == room && !(clients = realloc(clients, (room = room ? 2 * room : 64) * sizeof *clients)))
        abort();
    pagi_sse_conn_keepalive(conn, 15000, NULL, 0);
    pagi_sse_conn_start(conn, 200, NULL, 0);
    clients[count++] = conn;
}

static void on_connection(EV_P_ ev_io *io, int events)
{
    (void)events;
    int fd = accept(io->fd, NULL, NULL);
    request *r = fd < 0 ? NULL : calloc(1, sizeof *r);
    if (!r)
        return;
    ev_io_init(&r->io, on_request, fd, EV_READ);
    ev_io_start(EV_A_ &r->io);
}

/* The runtime has something to say: that a client has gone. */
static void on_records(EV_P_ ev_io *io, int events)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record r;
    (void)loop, (void)io, (void)events;
    size_t used;
    while (pagi_sse_runtime_next(runtime, buf, sizeof buf, &used) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
        for (size_t i = 0; r.kind == PAGI_SSE_KIND_CLOSED && i < count; i++)
            if (clients[i] == r.conn) {
                clients[i] = clients[--count];
                pagi_sse_conn_free(r.conn);
            }
}

static void on_tick(EV_P_ ev_timer *timer, int events)
{
    char json[64];
    (void)timer, (void)events;
    int len = snprintf(json, sizeof json, "{ \"now\": %.0f, \"clients\": %zu }", ev_now(EV_A), count);
    pagi_sse_event event = {.size = sizeof event,
                            .data = {json, (size_t)len},
                            .event = PAGI_SSE_BYTES("tick"),
                            .flags = PAGI_SSE_EVENT_JSON};
    for (size_t i = 0; i < count; i++)
        pagi_sse_conn_send_event(clients[i], &event);
    pagi_sse_runtime_flush(runtime);
}

static void on_signal(EV_P_ ev_signal *signal, int events)
{
    (void)signal, (void)events;
    ev_break(EV_A_ EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    struct ev_loop *loop = ev_default_loop(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&at, &len) < 0) {
        perror("listen");
        return 1;
    }
    int32_t code = pagi_sse_runtime_open(NULL, &runtime);
    if (code < 0) {
        fprintf(stderr, "%s\n", pagi_sse_result_text(code));
        return 1;
    }
    ev_io accepts, records;
    ev_timer tick;
    ev_signal term;
    ev_io_init(&accepts, on_connection, listener, EV_READ);
    ev_io_init(&records, on_records, pagi_sse_runtime_fd(runtime), EV_READ);
    ev_timer_init(&tick, on_tick, 0.1, 0.1);
    ev_signal_init(&term, on_signal, SIGTERM);
    ev_io_start(loop, &accepts);
    ev_io_start(loop, &records);
    ev_timer_start(loop, &tick);
    ev_signal_start(loop, &term);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(at.sin_port));
    ev_run(loop, 0);

    pagi_sse_runtime_stop(runtime, 5000);
    while (count > 0)
        pagi_sse_conn_free(clients[--count]);
    free(clients);
    close(listener);
    ev_loop_destroy(loop);
    return pagi_sse_runtime_free(runtime, 1000) < 0;
}
