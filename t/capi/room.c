/* Places among max_connections, and what counts as busy. */
#include "client.h"

#define ASK "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

static void open_server(uint32_t most, uint64_t idle_ms)
{
    begin_server((pagi_sse_server_options){.max_connections = most, .idle_timeout_ms = idle_ms});
}

static pagi_sse_conn request(void)
{
    pagi_sse_record r = {0};
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    return r.conn;
}

static void answer(pagi_sse_conn c, int fd)
{
    IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(c, S("hello"), 0), 0);
    receive(fd, "hello");
    IS(pagi_sse_conn_free(c), 0);
}

static void idle_ones_leave_for_others(void)
{
    open_server(2, 0);
    int one = asks(ASK);
    answer(request(), one);
    int silent = client(srv);
    int64_t from = now_ms();
    for (int i = 0; i < 20; i++) {
        int more = asks(ASK);
        answer(request(), more);
        close(more);
    }
    OK(now_ms() - from < 5000);
    receive(one, NULL); /* the longest idle was the first to leave */
    BYTES(got, strlen(got), "");
    close(one), close(silent);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void nobody_leaves_for_nobody(void)
{
    open_server(1, 0);
    int fd = asks(ASK);
    answer(request(), fd);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    IS(poll(&p, 1, 3000), 0);
    char stats[2048];
    int64_t n = LEN(pagi_sse_server_stats(srv, stats, sizeof stats - 1, &len_));
    stats[n > 0 ? n : 0] = 0;
    OK(strstr(stats, "\"records\":1,") != NULL); /* ENDED, and no LOG */
    OK(send(fd, S(ASK), MSG_NOSIGNAL) > 0);
    answer(request(), fd);
    int other = asks(ASK);
    answer(request(), other);
    receive(fd, NULL);
    BYTES(got, strlen(got), "");
    close(fd), close(other);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void who_is_answered_stays(void)
{
    open_server(1, 0);
    int stream = asks(STREAM);
    pagi_sse_conn c = request();
    IS(pagi_sse_conn_start(c, 200, NULL, 0), 1);
    receive(stream, "\r\n\r\n");
    int waiting = asks(ASK);
    struct pollfd p = {.fd = stream, .events = POLLIN};
    IS(poll(&p, 1, 700), 0);
    IS(pagi_sse_conn_free(c), 0);
    receive(stream, NULL);
    close(stream);
    answer(request(), waiting);
    close(waiting);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void an_idle_one_is_closed_in_time(void)
{
    open_server(0, 200);
    int fd = asks(ASK);
    answer(request(), fd);
    int64_t from = now_ms();
    receive(fd, NULL);
    BYTES(got, strlen(got), "");
    OK(now_ms() - from >= 190);
    close(fd);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static void is_busy(int64_t expected)
{
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (pagi_sse_server_busy(srv) != expected && now_ms() < deadline)
        poll(NULL, 0, 2);
    IS(pagi_sse_server_busy(srv), expected);
}

static void each_counts_once(void)
{
    open_server(0, 0);
    int silent = client(srv), asking = asks(ASK);
    pagi_sse_conn c = request(), d;
    IS(pagi_sse_server_busy(srv), 1);
    int stream = asks(STREAM);
    d = request();
    IS(pagi_sse_server_busy(srv), 2);
    IS(pagi_sse_conn_start(d, 200, NULL, 0), 1);
    receive(stream, "\r\n\r\n");
    IS(pagi_sse_server_busy(srv), 2);
    answer(c, asking); /* and it stays for the next request */
    is_busy(1);
    IS(pagi_sse_server_drain(srv), 0);
    is_busy(1);
    IS(pagi_sse_conn_free(d), 0);
    is_busy(0);
    close(silent), close(asking), close(stream);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

static const test tests[] = {
    {"idle connections make room for new clients, the longest idle first", idle_ones_leave_for_others},
    {"at the limit nobody leaves, and no notice comes, while nobody waits", nobody_leaves_for_nobody},
    {"a stream keeps its place, and a client gets it when it has ended", who_is_answered_stays},
    {"an idle connection is closed when its time is over", an_idle_one_is_closed_in_time},
    {"a request or stream counts once, a silent connection not at all", each_counts_once},
};
RUN(tests)
