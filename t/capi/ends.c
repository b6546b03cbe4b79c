/* How requests and responses end, when they do not end as they should: bodies
 * that break off, clients that leave or close one side, applications that fail. */
#include "client.h"

#include <fcntl.h>

#define POST "POST /p HTTP/1.1\r\nHost: a\r\n"
#define GET "GET /g HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
#define SSE "Accept: text/event-stream\r\n"

enum leaving { FIN, RST, STAYS };

/* A server with so many places. */
static void begin_with(uint32_t places, uint32_t write_timeout_ms)
{
    begin_server((pagi_sse_server_options){.max_connections = places, .write_timeout_ms = write_timeout_ms});
}

static void begin(void) { begin_with(0, 0); }
static void end(void) { IS(pagi_sse_server_free(srv, 1000), 0); }

static void go_away(int fd, enum leaving how)
{
    struct linger now = {.l_onoff = 1};
    if (how == STAYS)
        return;
    if (how == RST)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* Reads the request body as far as it comes; what ended it. */
static int64_t body(pagi_sse_conn c, char *buf, size_t cap, size_t *len)
{
    int32_t what = PAGI_SSE_BODY_MORE;
    pagi_sse_record r;
    *len = 0;
    while (what != PAGI_SSE_BODY_END) {
        size_t n = 0;
        what = pagi_sse_conn_read_body(c, buf + *len, cap - *len, &n);
        if (what < 0)
            return what;
        *len += n;
        if (what == PAGI_SSE_BODY_WAIT && !next(PAGI_SSE_KIND_BODY, c, &r))
            return -1000;
    }
    return 0;
}

static void breaks_off(const char *request, enum leaving how, const char *came, const char *reason)
{
    char buf[64];
    size_t len;
    pagi_sse_record r;
    int fd = asks(request);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    /* What has come is read first: a reset may take it back. */
    for (len = 0; len < strlen(came) && failures == 0;) {
        size_t n = 0;
        int32_t what = pagi_sse_conn_read_body(c, buf + len, sizeof buf - len, &n);
        OK(what > 0);
        len += n;
        if (what == PAGI_SSE_BODY_WAIT)
            OK(next(PAGI_SSE_KIND_BODY, c, &r));
    }
    BYTES(buf, len, came);
    go_away(fd, how);
    IS(body(c, buf, sizeof buf, &len), R(BODY_INCOMPLETE));
    IS(len, 0);
    /* Again and again. */
    IS(LEN(pagi_sse_conn_read_body(c, buf, sizeof buf, &len_)), R(BODY_INCOMPLETE));
    int64_t n = LEN(pagi_sse_error(buf, sizeof buf, &len_));
    BYTES(buf, n, "the request body broke off");
    n = LEN(pagi_sse_conn_reason(c, buf, sizeof buf, &len_));
    BYTES(buf, n, reason);
    if (how == STAYS)
        IS(pagi_sse_conn_respond(c, 200, NULL, 0), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);
    if (how == STAYS) {
        receive(fd, NULL);
        OK(strncmp(got, "HTTP/1.1 400 Bad Request\r\n", 26) == 0);
        close(fd);
    }
}

static void bodies(void)
{
    static const char *const accept[] = {"", SSE};
    char request[256];
    for (size_t i = 0; i < 2; i++)
        for (enum leaving how = FIN; how <= RST; how++) {
            snprintf(request, sizeof request, POST "%sTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", accept[i]);
            breaks_off(request, how, "abc", "client_closed");
            snprintf(request, sizeof request, POST "%sContent-Length: 10\r\n\r\nabc", accept[i]);
            breaks_off(request, how, "abc", "client_closed");
        }
    breaks_off(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nno chunk\r\n", STAYS, "abc", "protocol_error");
    breaks_off(POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd", STAYS, "abc", "protocol_error");
}

/* Whether the FIN or the host's answer is first makes no difference. */
static void answer_to_half_a_body(void)
{
    char buf[64];
    size_t len;
    pagi_sse_record r;
    static const char *const requests[] = {
        POST "Content-Length: 10\r\n\r\nabc",
        POST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        POST SSE "Content-Length: 10\r\n\r\nabc",
        POST SSE "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    };
    for (int i = 0; i < 8; i++) {
        int answers = i < 4, fd = asks(requests[i % 4]);
        shutdown(fd, SHUT_WR);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        IS(body(c, buf, sizeof buf, &len), R(BODY_INCOMPLETE));
        BYTES(buf, len, "abc");
        if (answers) {
            IS(pagi_sse_conn_respond(c, 422, NULL, 0), 0);
            IS(pagi_sse_conn_body(c, S("no"), 0), 0);
        } else {
            IS(pagi_sse_conn_close(c, NONE), 1);
        }
        receive(fd, NULL);
        OK(strstr(got, answers ? "HTTP/1.1 422 " : "HTTP/1.1 400 ") == got);
        OK(strstr(got, answers ? "\r\n\r\nno" : "\r\n\r\nthe request body broke off") != NULL);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.status, answers ? 422 : 400);
        BYTES(r.text.data, r.text.len, answers ? "" : "protocol_error");
        IS(pagi_sse_conn_free(c), 0);
        close(fd);
    }
}

static void stream_with_half_a_body(void)
{
    char buf[64];
    size_t len;
    pagi_sse_record r;
    int fd = asks(POST SSE "Content-Length: 10\r\n\r\nabc");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_send(c, S("x")), 0);
    go_away(fd, FIN);
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 400);
    IS(body(c, buf, sizeof buf, &len), R(BODY_INCOMPLETE));
    BYTES(buf, len, "abc");
    IS(pagi_sse_conn_free(c), 0);
}

/* 600 KB that nobody reads, from more clients than the server has places. */
static void unread(void)
{
    enum { PLACES = 3, BODY = 600 * 1000 };
    char *request = malloc(BODY + 256);
    pagi_sse_conn conns[4 * PLACES];
    pagi_sse_record r;
    begin_with(PLACES, 0);
    for (int round = 0; round < 4; round++) {
        int fds[PLACES], n = sprintf(request, POST "%sContent-Length: %d\r\n\r\n", round < 2 ? "" : SSE, BODY);
        memset(request + n, 'x', BODY);
        for (int i = 0; i < PLACES; i++) {
            fds[i] = client(srv);
            fcntl(fds[i], F_SETFL, O_NONBLOCK);
            OK(send(fds[i], request, (size_t)n + BODY, MSG_NOSIGNAL) > 0);
            OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
            conns[round * PLACES + i] = r.conn;
        }
        for (int i = 0; i < PLACES; i++)
            go_away(fds[i], round % 2 ? RST : FIN);
        /* Nobody frees them: the handlers go on. */
        for (int i = 0; i < PLACES; i++) {
            OK(next(PAGI_SSE_KIND_ENDED, 0, &r));
            BYTES(r.text.data, r.text.len, "client_closed");
        }
    }
    int fd = asks(GET "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, S("place"), 0), 0);
    receive(fd, "place");
    close(fd);
    IS(pagi_sse_conn_free(r.conn), 0);
    for (size_t i = 0; i < sizeof conns / sizeof *conns; i++)
        IS(pagi_sse_conn_free(conns[i]), 0);
    free(request);
    end();
}

static void half_close(const char *request, int before)
{
    pagi_sse_record r;
    for (int i = 0; i < 30; i++) {
        int fd = asks(request);
        if (before)
            OK(shutdown(fd, SHUT_WR) == 0);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        /* Time for the FIN to be seen. */
        if (i == 0)
            poll(NULL, 0, 100);
        IS(pagi_sse_conn_state(r.conn), PAGI_SSE_STATE_PENDING);
        if (!before)
            OK(shutdown(fd, SHUT_WR) == 0);
        IS(pagi_sse_conn_respond(r.conn, 404, NULL, 0), 0);
        IS(pagi_sse_conn_body(r.conn, S("not "), 1), 0);
        IS(pagi_sse_conn_body(r.conn, S("here"), 0), 0);
        receive(fd, NULL);
        OK(strncmp(got, "HTTP/1.1 404 Not Found\r\n", 24) == 0);
        OK(strstr(got, "not ") != NULL && strstr(got, "here") != NULL);
        close(fd);
        pagi_sse_conn c = r.conn;
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.text.len, 0);
        IS(r.bytes, 8);
        IS(pagi_sse_conn_free(c), 0);
    }
}

static void half_closes(void)
{
    for (int before = 0; before < 2; before++) {
        half_close(GET "\r\n", before);
        half_close(GET SSE "\r\n", before);
        half_close(POST "Connection: close\r\nContent-Length: 3\r\n\r\nabc", before);
    }
}

static void half_closed_stream(void)
{
    pagi_sse_record r;
    for (int before = 0; before < 2; before++) {
        int fd = asks(GET SSE "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        if (before)
            shutdown(fd, SHUT_WR);
        IS(pagi_sse_conn_send(c, S("x")), 0);
        if (!before) {
            receive(fd, "data: x\n\n");
            shutdown(fd, SHUT_WR);
        }
        OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
        BYTES(r.text.data, r.text.len, "client_closed");
        IS(pagi_sse_conn_free(c), 0);
        close(fd);
    }
    /* The same as an ordinary response. */
    pagi_sse_header h = {S("content-type"), S("Text/Event-Stream; charset=utf-8")};
    int fd = asks(GET "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_respond(c, 200, &h, 1), 0);
    IS(pagi_sse_conn_body(c, S("data: x\n\n"), 1), 0);
    receive(fd, "data: x\n\n");
    shutdown(fd, SHUT_WR);
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    IS(pagi_sse_conn_free(c), 0);
    close(fd);
}

/* Who has closed, and not only one side, is told apart. */
static void closes_while_nothing_is_chosen(void)
{
    static const char *const requests[] = {GET "\r\n", GET SSE "\r\n"};
    for (int i = 0; i < 4; i++) {
        pagi_sse_record r;
        int fd = asks(requests[i % 2]);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        go_away(fd, i < 2 ? FIN : RST);
        OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
        BYTES(r.text.data, r.text.len, "client_closed");
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.status, 0);
        IS(pagi_sse_conn_respond(c, 200, NULL, 0), R(CLOSED));
        IS(pagi_sse_conn_free(c), 0);
    }
}

static void late_answer(void)
{
    pagi_sse_record r;
    int fd = asks(GET "\r\n");
    shutdown(fd, SHUT_WR);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    receive(fd, "\r\n\r\n");
    BYTES(got, strlen(got), "HTTP/1.1 100 Continue\r\n\r\n");
    IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, S("late"), 0), 0);
    receive(fd, NULL);
    OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(got, "\r\n\r\nlate") != NULL);
    IS(pagi_sse_conn_free(r.conn), 0);
    close(fd);
}

static void not_taken(void)
{
    enum { ALL = 20 * 1000 * 1000, PIECE = 500 * 1000 };
    static char piece[PIECE];
    pagi_sse_header h = {S("content-length"), S("20000000")};
    for (int known = 0; known < 2; known++) {
        pagi_sse_record r;
        int fd = asks(GET "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        IS(pagi_sse_conn_respond(c, 200, &h, (size_t)known), 0);
        int64_t given = 0, deadline = now_ms() + PATIENCE_MS;
        int32_t code = 0;
        /* As much as is taken, and the last of it. */
        while (given < ALL && now_ms() < deadline) {
            code = pagi_sse_conn_body(c, piece, PIECE, given + PIECE < ALL);
            if (code >= 0)
                given += PIECE;
            else if (code == R(QUEUE_OVERFLOW) && given > 4 * PIECE)
                break;
            else
                poll(NULL, 0, 1);
        }
        OK(recv(fd, got, 1024, 0) > 0);
        go_away(fd, RST);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.status, 200);
        BYTES(r.text.data, r.text.len, "client_closed");
        OK(r.bytes > 1000 && (int64_t)r.bytes < given);
        IS(pagi_sse_conn_free(c), 0);
    }
    /* A response that was given whole is not sent whole. */
    pagi_sse_record r;
    char *all = malloc(ALL);
    memset(all, 'x', ALL);
    int fd = asks(GET "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(c, all, ALL, 0), 1);
    free(all);
    OK(recv(fd, got, 1024, 0) > 0);
    go_away(fd, RST);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    OK(r.bytes > 1000 && r.bytes < ALL / 2);
    IS(pagi_sse_conn_free(c), 0);
}

static void aborted_stream(void)
{
    pagi_sse_record r;
    int fd = asks(GET SSE "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_send(c, S("part")), 0);
    IS(pagi_sse_conn_abort(c, NONE), 1);
    IS(pagi_sse_conn_abort(c, NONE), 0);
    IS(pagi_sse_conn_close(c, NONE), 0);
    IS(pagi_sse_conn_send(c, S("x")), R(CLOSED));
    receive(fd, NULL);
    const char *end = strstr(got, "\r\n\r\n");
    BYTES(end ? end : "", end ? strlen(end) : 0, "\r\n\r\nc\r\ndata: part\n\n\r\n");
    close(fd);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 200);
    BYTES(r.text.data, r.text.len, "server_error");
    IS(pagi_sse_conn_free(c), 0);
}

static void aborted_response(void)
{
    static const char *const ends[] = {"\r\n\r\n4\r\npart\r\n", "\r\n\r\npart"};
    pagi_sse_header h = {S("content-length"), S("10")};
    for (int known = 0; known < 2; known++) {
        pagi_sse_record r;
        int fd = asks("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        IS(pagi_sse_conn_respond(c, 200, &h, (size_t)known), 0);
        IS(pagi_sse_conn_body(c, S("part"), 1), 0);
        IS(pagi_sse_conn_abort(c, S("x-broken")), 1);
        receive(fd, NULL);
        const char *end = strstr(got, "\r\n\r\n");
        BYTES(end ? end : "", end ? strlen(end) : 0, ends[known]);
        close(fd);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        IS(r.status, 200);
        IS(r.bytes, 4);
        BYTES(r.text.data, r.text.len, "x-broken");
        IS(pagi_sse_conn_free(c), 0);
    }
}

static void aborted_before(void)
{
    static const char *const requests[] = {GET "\r\n", GET SSE "\r\n"};
    for (int i = 0; i < 3; i++) {
        pagi_sse_record r;
        int fd = asks(requests[i % 2]);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        if (i == 2)
            IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
        IS(pagi_sse_conn_abort(r.conn, NONE), 1);
        IS(pagi_sse_conn_free(r.conn), 0);
        receive(fd, NULL);
        OK(strncmp(got, "HTTP/1.1 500 Internal Server Error\r\n", 36) == 0);
        close(fd);
    }
}

/* A stop goes by what the host says, not by the Accept field. */
static void expected(void)
{
    static const char *const requests[] = {GET SSE "\r\n", GET "\r\n"};
    static const char *const heads[] = {"HTTP/1.1 503 ", "HTTP/1.1 200 OK\r\n"};
    for (int stream = 0; stream < 2; stream++) {
        pagi_sse_record r;
        int fd = asks(requests[stream]);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        IS(pagi_sse_conn_expect_stream(r.conn, stream), 0);
        IS(pagi_sse_server_close_streams(srv, S("server_shutdown")), 0);
        IS(pagi_sse_conn_state(r.conn), stream ? 2 : 0);
        IS(pagi_sse_conn_free(r.conn), 0);
        IS(pagi_sse_conn_expect_stream(r.conn, stream), R(HANDLE_STALE));
        receive(fd, NULL);
        OK(strncmp(got, heads[stream], strlen(heads[stream])) == 0);
        close(fd);
    }
}

/* Nobody could answer or end them any more. */
static void handed_over_to_nobody(void)
{
    pagi_sse_record r;
    int fd = asks(GET "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(pagi_sse_conn_hand_over(r.conn), R(NOT_SUBSCRIBED));
    IS(pagi_sse_conn_state(r.conn), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(fd, NULL);
    OK(strncmp(got, "HTTP/1.1 503 ", 13) == 0);
    close(fd);
    fd = asks(GET SSE "\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(pagi_sse_conn_send(r.conn, S("x")), 0);
    IS(pagi_sse_conn_hand_over(r.conn), R(NOT_SUBSCRIBED));
    IS(pagi_sse_conn_send(r.conn, S("y")), 0);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(fd, NULL);
    OK(strstr(got, "data: y\n\n\r\n0\r\n\r\n") != NULL);
    close(fd);
}

static void aborted_queue(void)
{
    pagi_sse_runtime rt = 0;
    pagi_sse_conn c = 0;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_HTTP11, &c), 0);
    IS(pagi_sse_conn_send(c, S("part")), 0);
    IS(pagi_sse_conn_abort(c, NONE), 1);
    int64_t n = LEN(pagi_sse_conn_read(c, got, sizeof got - 1, &len_));
    got[n > 0 ? n : 0] = 0;
    const char *end = strstr(got, "\r\n\r\n");
    BYTES(end ? end : "", end ? strlen(end) : 0, "\r\n\r\nc\r\ndata: part\n\n\r\n");
    IS(LEN(pagi_sse_conn_read(c, got, sizeof got, &len_)), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    IS(pagi_sse_conn_open_detached(&c), 0);
    IS(pagi_sse_conn_abort(c, NONE), 1);
    n = LEN(pagi_sse_conn_reason(c, got, sizeof got, &len_));
    BYTES(got, n, "server_error");
    IS(pagi_sse_conn_free(c), 0);
}

/* A client that reads nothing, whose stream has been ended: nothing is waited
 * for. */
static void severed(void)
{
    enum { LARGE = 4 << 20 };
    char *data = malloc(LARGE);
    memset(data, 'x', LARGE);
    begin_with(1, 60000);
    for (int i = 0; i < 2; i++) {
        pagi_sse_record r;
        int fd = asks(i ? GET "\r\n" : GET SSE "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        if (i) {
            IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
            IS(pagi_sse_conn_body(c, data, LARGE, 0), 1);
        } else
            IS(pagi_sse_conn_send(c, data, LARGE), 1);
        /* It does not move any more. */
        for (int64_t before = -1, now; (now = pagi_sse_conn_buffered(c)) != before; before = now)
            poll(NULL, 0, 50);
        int64_t since = now_ms();
        IS(pagi_sse_conn_disconnect(c, S("queue_overflow")), 1);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        BYTES(r.text.data, r.text.len, "queue_overflow");
        /* Its place is free. */
        int second = asks(GET "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        OK(now_ms() - since < 5000);
        IS(pagi_sse_conn_free(r.conn), 0);
        IS(pagi_sse_conn_free(c), 0);
        close(fd);
        receive(second, NULL);
        close(second);
    }
    free(data);
    end();
}

/* One that the host calls gone before it was answered. */
static void gone_before_the_answer(void)
{
    begin_with(1, 600000);
    for (int i = 0; i < 2; i++) {
        pagi_sse_record r;
        int fd = asks(i ? "GET / HTTP/1.1\r\nHost: a\r\n\r\n" : STREAM);
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        IS(pagi_sse_conn_disconnect(c, NONE), 1);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        BYTES(r.text.data, r.text.len, "client_closed");
        receive(fd, NULL);
        OK(strstr(got, "connection: close") != NULL);
        IS(pagi_sse_conn_free(c), 0);
        close(fd);
    }
    end();
}

/* The same with streams that are closed or freed, whose queues are to go out:
 * at the maximum nobody waits for the write time-out. */
static void freed_at_the_maximum(void)
{
    enum { LARGE = 4 << 20, PLACES = 3 };
    char *data = malloc(LARGE);
    memset(data, 'x', LARGE);
    pagi_sse_conn c[PLACES];
    int fd[PLACES];
    pagi_sse_record r;
    begin_with(PLACES, 600000);
    for (int i = 0; i < PLACES; i++) {
        fd[i] = asks(GET SSE "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        c[i] = r.conn;
        IS(pagi_sse_conn_send(c[i], data, LARGE), 1);
    }
    IS(pagi_sse_conn_free(c[0]), 0);
    IS(pagi_sse_conn_close(c[1], NONE), 1);
    int fourth = asks(GET "\r\n"), fifth = asks(GET "\r\n");
    for (int i = 0; i < 2; i++) {
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        IS(pagi_sse_conn_free(r.conn), 0);
    }
    /* Who is open is left alone. */
    IS(pagi_sse_conn_state(c[2]), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_free(c[1]), 0);
    IS(pagi_sse_conn_free(c[2]), 0);
    close(fourth);
    close(fifth);
    end();
    for (int i = 0; i < PLACES; i++)
        close(fd[i]);
    free(data);
}

/* Forty large events, each when the one before has drained. */
static void large(void)
{
    enum { LARGE = 1200 * 1000, COUNT = 40 };
    char *data = malloc(LARGE);
    memset(data, 'y', LARGE);
    for (int ordinary = 0; ordinary < 2; ordinary++) {
        pagi_sse_record r;
        int fd = asks(ordinary ? GET "\r\n" : GET SSE "\r\n");
        OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
        pagi_sse_conn c = r.conn;
        if (ordinary)
            IS(pagi_sse_conn_respond(c, 200, NULL, 0), 0);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(fd, 0);
            execl("/bin/sh", "sh", "-c", "exec cat >/dev/null", (char *)NULL);
            _exit(126);
        }
        close(fd);
        for (int i = 0; i < COUNT && !failures; i++) {
            int32_t code = ordinary ? pagi_sse_conn_body(c, data, LARGE, i + 1 < COUNT)
                                    : pagi_sse_conn_send(c, data, LARGE);
            if (code < 0)
                IS(code, 0);
            if (code == 1)
                OK(next(PAGI_SSE_KIND_DRAINED, c, &r));
        }
        if (!ordinary)
            IS(pagi_sse_conn_close(c, NONE), 1);
        OK(next(PAGI_SSE_KIND_ENDED, c, &r));
        OK(r.bytes >= (uint64_t)LARGE * COUNT);
        IS(pagi_sse_conn_free(c), 0);
        waitpid(pid, NULL, 0);
    }
    free(data);
}

static const test tests[] = {
    {"a server starts", begin},
    {"a request body that breaks off is no end of it", bodies},
    {"an answer to it goes out, and without one there is a 400", answer_to_half_a_body},
    {"nor when a stream was chosen meanwhile", stream_with_half_a_body},
    {"a half-close leaves a response and a decline their client, before the choice and after it", half_closes},
    {"but a stream ends with it, also one that is an ordinary response", half_closed_stream},
    {"a client that closes or resets before the choice is noticed", closes_while_nothing_is_chosen},
    {"one that has half-closed and waits long is told 100, and then its answer", late_answer},
    {"what hyper has taken is not what was sent", not_taken},
    {"an aborted stream has what was sent, and no last chunk", aborted_stream},
    {"an aborted response is no whole one, chunked or counted", aborted_response},
    {"aborted before it began it is a 500", aborted_before},
    {"a stop goes by what the host expects, not by the Accept field", expected},
    {"what is handed over with no hub to it ends as if it were freed", handed_over_to_nobody},
    {"what the host carries is aborted the same way, and what it frames has the reason", aborted_queue},
    {"after DRAINED an event of any size is taken, and a piece of a response", large},
    {"the server ends", end},
    {"clients that left with their bodies unread give their places back", unread},
    {"a client that reads nothing is not waited for when its end has come", severed},
    {"one that the host calls gone before an answer is sent off, and its place is free", gone_before_the_answer},
    {"nor, at the maximum of connections, when its stream has been closed or freed", freed_at_the_maximum},
};
RUN(tests)
