/* broadcast.c - a clock for any number of browsers.
 *
 * Build and run:
 *     cc -std=c11 -Wall -Wextra broadcast.c -o broadcast $(pkg-config --cflags --libs pagi-sse)
 *     ./broadcast 127.0.0.1:5000 1000        (address, milliseconds between ticks)
 *
 * One thread, one descriptor: the library's threads do HTTP and the writing.
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pagi_sse.h>

static const char PAGE[] = "<!doctype html><title>clock</title><h1 id=t></h1>"
                           "<script>new EventSource('/events').onmessage = e => t.textContent = e.data</script>\n";

static pagi_sse_conn *clients;
static size_t count, room;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    (void)signal;
    stop = 1;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* A request: the page for people, the stream for EventSource. */
static void answer(pagi_sse_conn conn, int wants_stream)
{
    if (wants_stream && pagi_sse_conn_start(conn, 200, NULL, 0) >= 0) {
        if (count == room && !(clients = realloc(clients, (room = room ? 2 * room : 64) * sizeof *clients)))
            abort();
        pagi_sse_conn_keepalive(conn, 15, NULL, 0);
        clients[count++] = conn;
        return;
    }
    pagi_sse_header type = {"content-type", 12, "text/html; charset=utf-8", 24};
    if (pagi_sse_conn_respond(conn, 200, &type, 1) == 0)
        pagi_sse_conn_body(conn, PAGE, sizeof PAGE - 1, 0);
    pagi_sse_conn_free(conn); /* what is queued is still sent */
}

static void leave(pagi_sse_conn conn)
{
    for (size_t i = 0; i < count; i++)
        if (clients[i] == conn) {
            clients[i] = clients[--count];
            pagi_sse_conn_free(conn);
            return;
        }
}

static void take_records(pagi_sse_server server)
{
    static char buf[1 << 16];
    pagi_sse_record r;
    int64_t used = pagi_sse_server_next(server, buf, sizeof buf);
    for (int64_t at = 0; used > 0 && (at = pagi_sse_record_read(buf, (size_t)used, at, &r, sizeof r)) > 0;)
        switch (r.kind) {
        case PAGI_SSE_KIND_REQUEST: answer(r.conn, r.sse); break;
        case PAGI_SSE_KIND_CLOSED: leave(r.conn); break;
        case PAGI_SSE_KIND_LOG: fprintf(stderr, "%.*s\n", (int)r.text.len, r.text.data); break;
        }
}

/* One event for everybody. A client whose queue is full misses it, and no one
 * waits for it. */
static void tick(pagi_sse_server server, uint64_t number)
{
    char data[64], id[24];
    time_t now = time(NULL);
    size_t data_len = strftime(data, sizeof data, "%Y-%m-%d %H:%M:%S", localtime(&now));
    int id_len = snprintf(id, sizeof id, "%" PRIu64, number);
    for (size_t i = 0; i < count; i++)
        pagi_sse_conn_send_event(clients[i], data, data_len, NULL, 0, id, (size_t)id_len, -1);
    pagi_sse_server_flush(server);
}

int main(int argc, char **argv)
{
    const char *listen = argc > 1 ? argv[1] : "127.0.0.1:0";
    int64_t interval = argc > 2 ? atoi(argv[2]) : 1000;
    pagi_sse_server_options options = {.size = sizeof options, .listen = listen, .listen_len = strlen(listen)};
    pagi_sse_server server;
    int32_t code = pagi_sse_server_start(&options, &server);
    if (code < 0 || (code = pagi_sse_server_accept(server)) < 0) {
        fprintf(stderr, "%s: %s\n", listen, pagi_sse_result_text(code));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", (int)pagi_sse_server_port(server));

    struct pollfd readable = {.fd = pagi_sse_server_fd(server), .events = POLLIN};
    uint64_t number = 0;
    for (int64_t due = now_ms() + interval; !stop;) {
        int64_t left = due - now_ms();
        if (poll(&readable, 1, left > 0 ? (int)left : 0) > 0)
            take_records(server);
        if (now_ms() >= due) {
            tick(server, ++number);
            due += interval;
        }
    }
    pagi_sse_server_stop(server, 5000); /* everybody gets the rest, and the end */
    fprintf(stderr, "%zu clients, %" PRIu64 " ticks\n", count, number);
    while (count > 0)
        pagi_sse_conn_free(clients[--count]);
    free(clients);
    return pagi_sse_server_free(server, 1000) < 0;
}
