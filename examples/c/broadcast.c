/* broadcast.c - a clock for any number of browsers: each tick is published
 * once, and a client that was away gets what it missed. One thread, no loop, no
 * list of clients: the library's threads do HTTP and write, the
 * hub knows who is to get what.
 *
 * Build and run:
 *     cc -std=c11 -Wall -Wextra broadcast.c -o broadcast $(pkg-config --cflags --libs pagi-sse)
 *     ./broadcast 127.0.0.1:5000 1000        (address, milliseconds between ticks)
 */
#define _POSIX_C_SOURCE 200809L
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pagi_sse.h>

static const char PAGE[] = "<!doctype html><title>clock</title><h1 id=t></h1>"
                           "<script>new EventSource('/events').onmessage = e => t.textContent = e.data</script>\n";
#define TOPIC "clock", 5 /* with its length */

static pagi_sse_server server;
static pagi_sse_hub hub;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    stop = signal;
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Subscribes a client, after the event that it has seen last, and gives both
 * numbers back: the stream is the hub's until the client leaves. */
static int subscribe(const pagi_sse_record *request)
{
    pagi_sse_subscription subscription;
    pagi_sse_bytes id = {NULL, 0}; /* a new client has none */
    pagi_sse_record_header(request->headers, "last-event-id", 13, &id);
    pagi_sse_subscribe_options options = {.size = sizeof options, .last_event_id = id};
    if (pagi_sse_hub_subscribe(hub, request->conn, TOPIC, &options, &subscription) < 0)
        return 0;
    pagi_sse_conn_keepalive(request->conn, 15000, NULL, 0);
    pagi_sse_subscription_free(subscription);
    pagi_sse_conn_hand_over(request->conn);
    return 1;
}

/* A request: the stream for EventSource, the page for people. */
static void answer(const pagi_sse_record *request)
{
    if (request->sse && subscribe(request))
        return;
    pagi_sse_header type = {"content-type", 12, "text/html; charset=utf-8", 24};
    if (pagi_sse_conn_respond(request->conn, 200, &type, 1) == 0)
        pagi_sse_conn_body(request->conn, PAGE, sizeof PAGE - 1, 0);
    pagi_sse_conn_free(request->conn); /* what is queued is still sent */
}

static int32_t on_record(const pagi_sse_record *record, void *user)
{
    (void)user;
    if (record->kind == PAGI_SSE_KIND_REQUEST)
        answer(record);
    else if (record->kind == PAGI_SSE_KIND_LOG)
        fprintf(stderr, "%.*s\n", (int)record->text.len, record->text.data);
    return 0;
}

/* One event for everybody; its number. Nobody waits for a slow client: one
 * whose queue is full is dropped, comes back, and resumes by its id. */
static int64_t tick(void)
{
    char data[64];
    time_t now = time(NULL);
    size_t len = strftime(data, sizeof data, "%Y-%m-%d %H:%M:%S", localtime(&now));
    pagi_sse_event event = {.size = sizeof event, .data = {data, len}};
    return pagi_sse_hub_publish(hub, TOPIC, &event);
}

int main(int argc, char **argv)
{
    const char *listen = argc > 1 ? argv[1] : "127.0.0.1:0";
    int64_t interval = argc > 2 ? atoi(argv[2]) : 1000, ticks = 0;
    pagi_sse_server_options options = {.size = sizeof options, .listen = pagi_sse_text(listen)};
    int32_t code;
    char epoch[24]; /* begins each id, so that ids of an earlier run are told apart */
    snprintf(epoch, sizeof epoch, "%" PRId64, now_ms(CLOCK_REALTIME));
    if ((code = pagi_sse_hub_open(epoch, strlen(epoch), NULL, 0, 0, &hub)) < 0
        || (code = pagi_sse_server_open(&options, &server)) < 0 || (code = pagi_sse_server_start(server)) < 0) {
        fprintf(stderr, "%s: %s\n", listen, pagi_sse_result_text(code));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", (int)pagi_sse_server_port(server));

    for (int64_t due = now_ms(CLOCK_MONOTONIC) + interval; !stop;) {
        int64_t left = due - now_ms(CLOCK_MONOTONIC);
        pagi_sse_server_run(server, on_record, NULL, left > 0 ? (uint64_t)left : 0);
        if (now_ms(CLOCK_MONOTONIC) >= due) {
            ticks = tick();
            due += interval;
        }
    }
    fprintf(stderr, "%" PRId64 " clients, %" PRId64 " ticks\n", pagi_sse_hub_subscribers(hub, TOPIC), ticks);
    pagi_sse_hub_free(hub, 1000);             /* every tick is delivered, */
    pagi_sse_server_stop(server, 5000); /* written, and every stream ended */
    return pagi_sse_server_free(server, 1000) < 0;
}
