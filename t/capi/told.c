/* What records say beside their text: the reason as a number, and the host's
 * own number of the connection. */
#include "client.h"

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

static const test tests[] = {
    {"CLOSED and ENDED have the reason as a number, and a host's own words are OTHER", reasons},
    {"so has ANSWERED; a response that went out in whole has NONE", answers},
    {"each record that is read has the number last given, ENDED that of a freed connection too", users},
    {"a body that came with its request has the number that the request was given", user_of_a_body},
};
RUN(tests)
