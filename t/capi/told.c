/* What records say beside their text: the reason as a number, and the host's
 * own number of the connection. */
#include "client.h"

#include <pthread.h>

static pagi_sse_runtime rt;

static int told(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), kind, c, r);
}

static pagi_sse_conn queue(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), 0);
    return c;
}

/* The connection's end, with that reason as a number and in words. */
static void ended(pagi_sse_conn c, int32_t reason, const char *words)
{
    pagi_sse_record r;
    IS(pagi_sse_conn_free(c), 0);
    OK(told(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.reason, reason);
    BYTES(r.text.data, r.text.len, words);
}

static void reasons(void)
{
    pagi_sse_record r;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    pagi_sse_conn c = queue();
    ended(c, PAGI_SSE_REASON_APP_CLOSED, "app_closed");
    c = queue();
    IS(pagi_sse_conn_close(c, S("lunch")), 1);
    ended(c, PAGI_SSE_REASON_OTHER, "lunch");
    c = queue();
    IS(pagi_sse_conn_close(c, S("client_closed")), 1);
    ended(c, PAGI_SSE_REASON_CLIENT_CLOSED, "client_closed");
    c = queue();
    IS(pagi_sse_conn_abort(c, NONE), 1);
    ended(c, PAGI_SSE_REASON_SERVER_ERROR, "server_error");
    c = queue();
    IS(pagi_sse_conn_disconnect(c, NONE), 1);
    OK(told(PAGI_SSE_KIND_CLOSED, c, &r));
    IS(r.reason, PAGI_SSE_REASON_CLIENT_CLOSED);
    ended(c, PAGI_SSE_REASON_CLIENT_CLOSED, "client_closed");
    c = queue();
    IS(pagi_sse_runtime_stop(rt, 1000), 0);
    OK(told(PAGI_SSE_KIND_CLOSED, c, &r));
    IS(r.reason, PAGI_SSE_REASON_SERVER_SHUTDOWN);
    ended(c, PAGI_SSE_REASON_SERVER_SHUTDOWN, "server_shutdown");
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void begin(void)
{
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    IS(pagi_sse_server_start(srv), 0);
}

static void answered(const char *request, int32_t reason, const char *word)
{
    pagi_sse_record r;
    int fd = asks(request);
    OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r));
    IS(r.reason, reason);
    BYTES(r.text.data, r.text.len, word);
    close(fd);
}

static void answers(void)
{
    pagi_sse_record r;
    static char path[70000];
    begin();
    answered("GET / HTTP/1.1\r\n\r\n", PAGI_SSE_REASON_PROTOCOL_ERROR, "protocol_error");
    answered("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
             PAGI_SSE_REASON_NOT_IMPLEMENTED, "not_implemented");
    snprintf(path, sizeof path, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", 66000, 0);
    answered(path, PAGI_SSE_REASON_HEAD_TOO_LARGE, "head_too_large");
    answered("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", PAGI_SSE_REASON_BODY_TOO_LARGE,
             "body_too_large");
    int fd = asks("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(r.reason, PAGI_SSE_REASON_NONE);
    IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(c, S("x"), 0), 0);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.reason, PAGI_SSE_REASON_NONE);
    IS(r.text.len, 0);
    IS(pagi_sse_conn_free(c), 0);
    close(fd);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void users(void)
{
    pagi_sse_record r;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    pagi_sse_conn c = queue(), other = queue();
    IS(pagi_sse_conn_send(c, S("x")), 0); /* its OUTPUT record waits by now */
    IS(pagi_sse_conn_set_user(c, 7), 0);
    OK(told(PAGI_SSE_KIND_OUTPUT, c, &r));
    IS(r.user, 7);
    IS(pagi_sse_conn_set_user(c, UINT64_MAX), 0);
    IS(pagi_sse_conn_disconnect(c, NONE), 1);
    OK(told(PAGI_SSE_KIND_CLOSED, c, &r));
    OK(r.user == UINT64_MAX);
    IS(pagi_sse_conn_free(c), 0);
    OK(told(PAGI_SSE_KIND_ENDED, c, &r));
    OK(r.user == UINT64_MAX); /* though nobody has the connection any more */

    IS(pagi_sse_conn_disconnect(other, NONE), 1);
    IS(pagi_sse_conn_set_user(other, 9), 1);
    OK(told(PAGI_SSE_KIND_ENDED, other, &r));
    IS(r.user, 9);
    IS(pagi_sse_conn_free(other), 0);

    other = queue();
    IS(pagi_sse_conn_free(other), 0);
    OK(told(PAGI_SSE_KIND_ENDED, other, &r));
    IS(r.user, 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    IS(pagi_sse_conn_open_detached(&c), 0);
    IS(pagi_sse_conn_set_user(c, 1), 0);
    IS(pagi_sse_conn_free(c), 0);
}

/* Handed over to a hub: nothing but ENDED is told, with the number. */
static void user_of_a_stream_given_away(void)
{
    pagi_sse_record r;
    pagi_sse_hub hub;
    pagi_sse_subscription s;
    begin();
    IS(pagi_sse_hub_open(NONE, NULL, 0, 0, &hub), 0);
    for (int way = 0; way < 2; way++) {
        int fd = asks(STREAM);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        IS(pagi_sse_hub_subscribe(hub, c, S("a"), NULL, &s), 0);
        IS(pagi_sse_subscription_free(s), 0);
        IS(pagi_sse_conn_set_user(c, 7), 0);
        IS(pagi_sse_conn_hand_over(c), 0);
        IS(pagi_sse_conn_set_user(c, 8), R(HANDLE_STALE));
        if (way)
            IS(pagi_sse_hub_close_streams(hub, NONE, S("over")), 1);
        else
            close(fd);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.user, 7);
        BYTES(r.text.data, r.text.len, way ? "over" : "client_closed");
        if (way)
            close(fd);
    }
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void user_of_a_body(void)
{
    pagi_sse_record r;
    begin();
    int fd = asks("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(r.user, 0);
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_set_user(c, (uint64_t)(uintptr_t)&fd), 0);
    OK(next(PAGI_SSE_KIND_BODY, c, &r));
    OK((int *)(uintptr_t)r.user == &fd);
    IS(pagi_sse_conn_free(c), 0);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    OK((int *)(uintptr_t)r.user == &fd);
    close(fd);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

#define ASKS(method) method " / HTTP/1.1\r\nHost: a\r\n\r\n"

/* How a host ends what it has answered in whole. */
static int32_t frees(pagi_sse_conn c) { return pagi_sse_conn_free(c); }
static int32_t closes(pagi_sse_conn c) { return pagi_sse_conn_close(c, S("lunch")) < 0 ? -1 : pagi_sse_conn_free(c); }
static int32_t aborts(pagi_sse_conn c) { return pagi_sse_conn_abort(c, NONE) < 0 ? -1 : pagi_sse_conn_free(c); }

static int waits_for_a_turn(int n) { return n % 3 ? (int)usleep((useconds_t)(n % 3 * 100)) : 0; }

static char body[16 << 20];

/* A response of so many bytes, ended or not; with its length, or in chunks. */
static pagi_sse_conn answer(const char *request, int *fd, size_t bytes, int more, int with_length)
{
    char length[24];
    pagi_sse_record r;
    *fd = asks(request);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    snprintf(length, sizeof length, "%zu", bytes);
    pagi_sse_header h = {"content-length", 14, length, strlen(length)};
    IS(pagi_sse_conn_respond(r.conn, 200, &h, with_length ? 1 : 0), 0);
    OK(pagi_sse_conn_body(r.conn, body, bytes, more) >= 0);
    return r.conn;
}

static void expect(pagi_sse_conn c, const char *words)
{
    pagi_sse_record r;
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    BYTES(r.text.data, r.text.len, words);
    IS(r.reason, *words == 0                        ? PAGI_SSE_REASON_NONE
                 : strcmp(words, "app_closed") == 0 ? PAGI_SSE_REASON_APP_CLOSED
                                                    : PAGI_SSE_REASON_CLIENT_CLOSED);
}

static void whole_answers(void)
{
    int32_t (*const ways[])(pagi_sse_conn) = {frees, closes, aborts};
    int fd;
    begin();
    for (int n = 0; n < 600 && !failures; n++) {
        const size_t bytes = n % 10 == 9 ? 3000000 : (size_t)(n % 10);
        const int with_length = n / 10 % 2, more = with_length && n / 20 % 2;
        pagi_sse_conn c = answer(n % 7 ? ASKS("GET") : ASKS("HEAD"), &fd, bytes, more, with_length);
        waits_for_a_turn(n);
        IS(ways[n / 40 % 3](c), 0);
        if (n % 7 && bytes > 1000)
            OK(recv(fd, body, bytes, MSG_WAITALL) == (ssize_t)bytes); /* as good as all */
        expect(c, "");
        close(fd);
    }
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void parts_of_answers(void)
{
    int fd;
    begin();
    for (int n = 0; n < 200 && !failures; n++) {
        pagi_sse_conn c = answer(ASKS("GET"), &fd, (size_t)(n % 10), 1, 0);
        waits_for_a_turn(n);
        IS(pagi_sse_conn_free(c), 0);
        expect(c, "app_closed");
        close(fd);
    }
    for (int n = 0; n < 20 && !failures; n++) { /* more than the kernel takes of it */
        pagi_sse_conn c = answer(ASKS("GET"), &fd, sizeof body, 0, n % 2);
        waits_for_a_turn(n);
        IS(pagi_sse_conn_free(c), 0);
        receive(fd, "HTTP/1.1 200");
        close(fd); /* with bytes unread: a reset */
        expect(c, "client_closed");
    }
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static _Atomic pagi_sse_conn aim;

static void *disconnects(void *unused)
{
    for (pagi_sse_conn last = 0, c; (c = aim) != 1;) {
        if (c != last)
            pagi_sse_conn_disconnect(last = c, NONE);
        else
            sched_yield(); /* valgrind runs one thread at a time */
    }
    return unused;
}

/* Records up to a moment when there are no more: ENDED of that connection is
 * among them once, and nothing of it behind. */
static void last_is_ended(pagi_sse_conn c)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    const int64_t deadline = now_ms() + PATIENCE_MS;
    int ended = 0;
    for (int quiet = 0; quiet < 3 && now_ms() < deadline;) {
        size_t used = 0, at = 0;
        pagi_sse_record r;
        int32_t n = pagi_sse_server_next(srv, buf, sizeof buf, &used);
        quiet = n == 0 && ended ? quiet + 1 : 0;
        while (pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0) {
            if (r.conn == c && ended)
                IS(r.kind, -1);
            ended += r.conn == c && r.kind == PAGI_SSE_KIND_ENDED;
        }
        if (n == 0)
            poll(NULL, 0, 1);
    }
    IS(ended, 1);
}

static void ended_is_the_last(void)
{
    pthread_t other;
    char big[70000] = "";
    aim = 0;
    begin();
    pthread_create(&other, NULL, disconnects, NULL);
    for (int n = 0; n < 200 && !failures; n++) {
        pagi_sse_record r;
        int fd = asks(n % 2 ? STREAM : "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        if (n % 2) {
            IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
            OK(pagi_sse_conn_send(c, big, sizeof big) >= 0); /* DRAINED may come at the same time */
            if (n % 4 == 1)
                aim = c;
            close(fd);
        } else { /* BODY of a body that is not whole, though it is answered */
            IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
            IS(pagi_sse_conn_body(c, S("x"), 0), 0);
            if (n % 4 == 2)
                aim = c;
            if (n % 8 < 4)
                send(fd, "def", 3, MSG_NOSIGNAL);
            close(fd);
        }
        last_is_ended(c);
        IS(pagi_sse_conn_free(c), 0);
    }
    aim = 1;
    pthread_join(other, NULL);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void words(void)
{
    char text[200];
    size_t len;
    pagi_sse_hub hub;
    pagi_sse_subscription s;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_hub_open(NONE, NULL, 0, 0, &hub), 0);
    pagi_sse_conn c = queue();
    IS(pagi_sse_hub_subscribe(hub, c, S("a"), NULL, &s), 0);
    IS(pagi_sse_conn_hand_over(c), R(NOT_SUBSCRIBED));
    IS(pagi_sse_error(text, sizeof text, &len), 0);
    BYTES(text, len,
          "a connection cannot be handed over whose output the host carries, or that no hub publishes to: nobody could "
          "end it");
    IS(pagi_sse_conn_keepalive(c, 9, NONE), R(INTERVAL));
    IS(pagi_sse_error(text, sizeof text, &len), 0);
    BYTES(text, len, "a keepalive interval must be 0 (off) or from 10 to 86400000 milliseconds");
    IS(pagi_sse_subscription_free(s), 0);
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"CLOSED and ENDED have the reason as a number, and a host's own words are OTHER", reasons},
    {"so has ANSWERED; a response that went out in whole has NONE", answers},
    {"each record that is read has the number last given, ENDED that of a freed connection too", users},
    {"an ordinary response that went out in whole has no reason, whatever the host did behind it", whole_answers},
    {"of one that broke off it is the host's, or the client's when the host had given it all", parts_of_answers},
    {"of a connection nothing comes behind ENDED, and that once, whichever threads were at it", ended_is_the_last},
    {"what cannot be handed over, and how long an interval is, are said as they are", words},
    {"so has ENDED of a stream that was handed over, whatever ends it", user_of_a_stream_given_away},
    {"a body that came with its request has the number that the request was given", user_of_a_body},
};
RUN(tests)
