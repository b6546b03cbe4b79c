/* uv_chat.c - chat rooms on libuv's loop: GET /rooms/NAME is the stream of a
 * room, POST to the same path says something in it, and what was said lately
 * comes first. The server's descriptor is one more uv_poll_t.
 *
 *     cc -std=c11 -Wall -Wextra uv_chat.c -o uv_chat $(pkg-config --cflags --libs pagi-sse libuv)
 *     ./uv_chat 127.0.0.1:5000
 *     curl -N http://127.0.0.1:5000/rooms/tea &
 *     curl -d hello http://127.0.0.1:5000/rooms/tea
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagi_sse.h>
#include <uv.h>

#define ROOMS "/rooms/"
#define MAX_BODY 1000

static pagi_sse_server server;
static pagi_sse_hub hub;

/* Something that is being said, and on which connection. */
typedef struct message {
    struct message *next;
    pagi_sse_conn conn;
    char room[PAGI_SSE_TOPIC_NAME_BYTES + 1];
    size_t len;
    char text[MAX_BODY + 1];
} message;

static message *messages;

/* Where that of a connection is, or where the next one belongs. */
static message **find(pagi_sse_conn conn)
{
    message **m = &messages;
    while (*m && (*m)->conn != conn)
        m = &(*m)->next;
    return m;
}

static void answer(pagi_sse_conn conn, uint16_t status, const char *text)
{
    if (pagi_sse_conn_respond(conn, status, NULL, 0) == 0)
        pagi_sse_conn_body(conn, text, strlen(text), 0);
    pagi_sse_conn_free(conn); /* what is queued is still sent */
}

/* The stream is the hub's from now on: it ends when its client leaves. */
static void join(const pagi_sse_record *request, pagi_sse_bytes room)
{
    pagi_sse_subscription subscription;
    pagi_sse_subscribe_options options = {.size = sizeof options, .last = 20};
    pagi_sse_bytes seen = {NULL, 0};
    pagi_sse_record_header(request->headers, "last-event-id", 13, &seen);
    options.last_event_id = seen;
    if (pagi_sse_hub_subscribe(hub, request->conn, room.data, room.len, &options, &subscription) < 0) {
        answer(request->conn, 404, "no such room\n");
        return;
    }
    pagi_sse_conn_keepalive(request->conn, 15000, NULL, 0);
    pagi_sse_subscription_free(subscription);
    pagi_sse_conn_hand_over(request->conn);
}

static void say(pagi_sse_conn conn, const message *m)
{
    pagi_sse_event event = {.size = sizeof event, .data = {m->text, m->len}};
    if (pagi_sse_hub_publish(hub, m->room, strlen(m->room), &event) < 0)
        answer(conn, 400, "a room's name and what is said there are text\n");
    else
        answer(conn, 204, "");
}

static void forget(pagi_sse_conn conn)
{
    message **m = find(conn), *gone = *m;
    if (gone) {
        *m = gone->next;
        free(gone);
    }
}

/* Its client has gone. */
static void give_up(pagi_sse_conn conn)
{
    forget(conn);
    pagi_sse_conn_free(conn); /* no harm if it was freed before */
}

static void read_message(pagi_sse_conn conn)
{
    for (message *m; (m = *find(conn));) {
        size_t n = 0;
        int32_t got = pagi_sse_conn_read_body(conn, m->text + m->len, sizeof m->text - m->len, &n);
        m->len += n;
        if (got == PAGI_SSE_BODY_END) {
            say(conn, m);
            forget(conn);
        }
        else if (got < 0)
            give_up(conn);
        else if (got == PAGI_SSE_BODY_WAIT)
            return;
    }
}

static void on_request(const pagi_sse_record *r)
{
    size_t prefix = strlen(ROOMS);
    int is_room = r->path.len > prefix && memcmp(r->path.data, ROOMS, prefix) == 0;
    if (!is_room || r->path.len - prefix > PAGI_SSE_TOPIC_NAME_BYTES) {
        answer(r->conn, 404, "rooms are at /rooms/NAME\n");
        return;
    }
    pagi_sse_bytes room = {r->path.data + prefix, r->path.len - prefix};
    if (r->method.len != 4 || memcmp(r->method.data, "POST", 4) != 0) {
        join(r, room);
        return;
    }
    message *m = calloc(1, sizeof *m);
    if (!m) {
        answer(r->conn, 503, "no memory\n");
        return;
    }
    memcpy(m->room, room.data, room.len);
    m->conn = r->conn;
    m->next = messages;
    messages = m;
    read_message(r->conn);
}

static void take_records(void)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record r;
    size_t used = 0;
    while (pagi_sse_server_next(server, buf, sizeof buf, &used) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            switch (r.kind) {
            case PAGI_SSE_KIND_REQUEST: on_request(&r); break;
            case PAGI_SSE_KIND_BODY: read_message(r.conn); break;
            case PAGI_SSE_KIND_CLOSED: give_up(r.conn); break;
            case PAGI_SSE_KIND_LOG: fprintf(stderr, "%.*s\n", (int)r.text.len, r.text.data); break;
            default: break;
            }
    pagi_sse_server_flush(server);
}

static void on_records(uv_poll_t *poll, int status, int events)
{
    (void)poll, (void)status, (void)events;
    take_records();
}

static void on_signal(uv_signal_t *signal, int number)
{
    (void)number;
    uv_stop(signal->loop);
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    uv_close(handle, NULL);
}

int main(int argc, char **argv)
{
    const char *listen = argc > 1 ? argv[1] : "127.0.0.1:0";
    pagi_sse_server_options options = {
        .size = sizeof options, .listen = pagi_sse_text(listen), .max_body = MAX_BODY};
    char epoch[24]; /* begins each event's id: another one at each start */
    uv_timeval64_t now;
    uv_gettimeofday(&now);
    snprintf(epoch, sizeof epoch, "%lld", (long long)now.tv_sec * 1000 + now.tv_usec / 1000);
    if (pagi_sse_hub_open(epoch, strlen(epoch), NULL, 0, 0, &hub) < 0 || pagi_sse_server_open(&options, &server) < 0
        || pagi_sse_server_start(server) < 0) {
        char why[512];
        size_t len = 0;
        pagi_sse_error(why, sizeof why, &len);
        fprintf(stderr, "%s: %.*s\n", listen, (int)len, why);
        return 1;
    }
    uv_loop_t *loop = uv_default_loop();
    uv_poll_t records;
    uv_signal_t term;
    uv_poll_init(loop, &records, pagi_sse_server_fd(server));
    uv_poll_start(&records, UV_READABLE, on_records);
    uv_signal_init(loop, &term);
    uv_signal_start(&term, on_signal, SIGTERM);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", (int)pagi_sse_server_port(server));
    uv_run(loop, UV_RUN_DEFAULT);

    uv_walk(loop, close_handle, NULL);
    uv_run(loop, UV_RUN_DEFAULT);
    uv_loop_close(loop);
    pagi_sse_hub_free(hub, 1000);       /* all that was said is delivered, */
    pagi_sse_server_stop(server, 5000); /* written, and every stream ended */
    take_records();
    pagi_sse_server_free(server, 1000);
    return pagi_sse_handle_count() != 0;
}
