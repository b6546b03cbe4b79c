/* Connections that the host has accepted by itself, and read some bytes of. */
#include "client.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/un.h>

#define FIRST "POST /one HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping"
#define SECOND "GET /two HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

static int listener;
static struct sockaddr_in at = {.sin_family = AF_INET};

static pagi_sse_server server(uint32_t max_connections)
{
    pagi_sse_server s = 0;
    pagi_sse_server_options o = {.size = sizeof o, .workers = 1, .max_connections = max_connections};
    IS(pagi_sse_server_open(&o, &s), 0);
    return s;
}

static void begin(void)
{
    socklen_t len = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    OK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 100) == 0);
    OK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    srv = server(0);
    srv_fd = pagi_sse_server_fd(srv);
}

/* Both ends of a connection; the host's is accepted. */
static int pair(int *theirs)
{
    *theirs = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(*theirs, (struct sockaddr *)&at, sizeof at) == 0);
    int ours = accept(listener, NULL, NULL);
    OK(ours >= 0);
    return ours;
}

static void answer(const char *path, const char *body)
{
    pagi_sse_record r;
    pagi_sse_header type[] = {{S("content-type"), S("text/plain")}};
    if (!OK(next(PAGI_SSE_KIND_REQUEST, 0, &r)))
        return;
    BYTES(r.path.data, r.path.len, path);
    BYTES(r.client.data, r.client.len, "127.0.0.1");
    OK(r.client_port > 0);
    IS(r.server_port, ntohs(at.sin_port));
    char got_body[16];
    size_t n = 0, len = 0;
    int32_t what = r.flags & PAGI_SSE_FLAG_HAS_BODY ? PAGI_SSE_BODY_WAIT : PAGI_SSE_BODY_END;
    pagi_sse_conn c = r.conn;
    int expects = what != PAGI_SSE_BODY_END;
    while (!failures && what != PAGI_SSE_BODY_END) {
        what = pagi_sse_conn_read_body(c, got_body + len, sizeof got_body - len, &n);
        OK(what >= 0);
        len += n;
        if (what == PAGI_SSE_BODY_WAIT)
            OK(next(PAGI_SSE_KIND_BODY, c, &r));
    }
    if (expects)
        BYTES(got_body, len, "ping");
    IS(pagi_sse_conn_respond(c, 200, type, 1), 0);
    IS(pagi_sse_conn_body(c, body, strlen(body), 0), 0);
    IS(pagi_sse_conn_free(c), 0);
}

/* The answers as they come, but for the date. */
static void answers_are(int fd, const char *expected)
{
    receive(fd, NULL);
    for (char *date; (date = strstr(got, "date: ")) != NULL;) {
        char *end = strchr(date, '\n');
        if (!OK(end))
            return;
        memmove(date, end + 1, strlen(end + 1) + 1);
    }
    BYTES(got, strlen(got), expected);
    close(fd);
}

static const char both_answers[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\npong"
    "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: 3\r\n\r\nend";

/* However much the host has read, from nothing to all of it. */
static void whatever_was_read(void)
{
    static const char all[] = FIRST SECOND;
    for (size_t n = 0; n < sizeof all; n++) {
        int theirs, ours = pair(&theirs);
        char read_[sizeof all];
        OK(send(theirs, all, n, MSG_NOSIGNAL) == (ssize_t)n);
        OK(n == 0 || recv(ours, read_, n, MSG_WAITALL) == (ssize_t)n);
        IS(pagi_sse_server_adopt(srv, ours, n ? read_ : NULL, n), 0);
        memset(read_, '!', sizeof read_);
        OK(send(theirs, all + n, sizeof all - 1 - n, MSG_NOSIGNAL) == (ssize_t)(sizeof all - 1 - n));
        answer("/one", "pong");
        answer("/two", "end");
        answers_are(theirs, both_answers);
        if (failures)
            break;
    }
}

static void streams(void)
{
    int theirs, ours = pair(&theirs);
    pagi_sse_record r;
    IS(pagi_sse_server_adopt(srv, ours, S(STREAM)), 0);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(r.sse, 1);
    IS(pagi_sse_conn_send(r.conn, S("hello")), 0);
    IS(pagi_sse_conn_close(r.conn, NONE), 1);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(theirs, NULL);
    OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(got, "data: hello\n\n\r\n0\r\n\r\n") != NULL);
    close(theirs);
}

/* What is no request, or none that is served, is answered as ever. */
static void refusals(void)
{
    enum { HEAD = 64 << 10 };
    char *head = malloc(HEAD + 1);
    int theirs, ours = pair(&theirs);
    memset(head, 'x', HEAD + 1);
    memcpy(head, "GET /", 5);
    IS(pagi_sse_server_adopt(srv, ours, head, HEAD + 1), R(BAD_ARGUMENT));
    IS(pagi_sse_server_adopt(srv, ours, head, HEAD), 0);
    receive(theirs, NULL);
    OK(strncmp(got, "HTTP/1.1 414 URI Too Long\r\n", 27) == 0);
    close(theirs);
    ours = pair(&theirs);
    IS(pagi_sse_server_adopt(srv, ours, S("NONSENSE\r\n")), 0);
    receive(theirs, NULL);
    OK(strncmp(got, "HTTP/1.1 400 Bad Request\r\n", 26) == 0);
    close(theirs);
    free(head);
}

static void unix_sockets(void)
{
    int both[2];
    pagi_sse_record r;
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, both) == 0);
    IS(pagi_sse_server_adopt(srv, both[0], S(SECOND)), 0);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    IS(r.flags, PAGI_SSE_FLAG_PATH_IS_TEXT | PAGI_SSE_FLAG_UNIX);
    IS(r.client.len, 0);
    IS(r.server.len, 0);
    IS(pagi_sse_conn_respond(r.conn, 204, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, NONE, 0), 0);
    IS(pagi_sse_conn_free(r.conn), 0);
    answers_are(both[1], "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
}

/* After an error the descriptor is the host's, with its flags. */
static void is_left(int fd, int32_t expected)
{
    for (int blocks = 0; blocks < 2; blocks++) {
        int flags = blocks ? 0 : O_NONBLOCK;
        OK(fcntl(fd, F_SETFL, flags) == 0);
        IS(pagi_sse_server_adopt(srv, fd, S("GET")), expected);
        IS(fcntl(fd, F_GETFL) & O_NONBLOCK, flags);
        IS(fcntl(fd, F_GETFD), 0);
    }
}

static void not_taken(void)
{
    int ends[2], udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    OK(pipe(ends) == 0);
    is_left(listener, R(BAD_SOCKET));
    is_left(udp, R(BAD_SOCKET));
    is_left(tcp, R(BAD_SOCKET));
    is_left(ends[0], R(BAD_SOCKET));
    IS(pagi_sse_server_adopt(srv, -1, NONE), R(BAD_SOCKET));
    IS(pagi_sse_server_adopt(srv, 100000, NONE), R(BAD_SOCKET));
    IS(pagi_sse_server_adopt(srv, tcp, NULL, 1), R(NULL_POINTER));
    close(ends[0]), close(ends[1]), close(udp), close(tcp);
}

/* With all places taken; an idle one makes room, a busy one does not. */
static void full(void)
{
    pagi_sse_server before = srv;
    int before_fd = srv_fd, first, second, theirs[2];
    srv = server(1);
    srv_fd = pagi_sse_server_fd(srv);
    first = pair(&theirs[0]), second = pair(&theirs[1]);
    IS(pagi_sse_server_adopt(srv, first, S("GET /one HTTP/1.1\r\nHost: a\r\n\r\n")), 0);
    is_left(second, R(TOO_MANY_CONNECTIONS));
    pagi_sse_record r;
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    is_left(second, R(TOO_MANY_CONNECTIONS));
    IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r.conn, S("pong"), 0), 0);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(theirs[0], "pong");
    /* It is idle now, and leaves when its place is wanted. */
    int64_t deadline = now_ms() + PATIENCE_MS;
    int32_t code;
    while ((code = pagi_sse_server_adopt(srv, second, S(SECOND))) == R(TOO_MANY_CONNECTIONS) && now_ms() < deadline)
        poll(NULL, 0, 1);
    IS(code, 0);
    receive(theirs[0], NULL);
    IS(strlen(got), 0);
    close(theirs[0]);
    answer("/two", "end");
    answers_are(theirs[1], strstr(both_answers, "pong") + 4);
    IS(pagi_sse_server_free(srv, 1000), 0);
    srv = before, srv_fd = before_fd;
}

static int from_threads[2][8];

static void *adopts(void *ours)
{
    return (void *)(long)(pagi_sse_server_adopt(srv, *(int *)ours, S(SECOND)) != 0);
}

static void threads(void)
{
    pthread_t t[8];
    for (int i = 0; i < 8; i++) {
        from_threads[0][i] = pair(&from_threads[1][i]);
        OK(pthread_create(&t[i], NULL, adopts, &from_threads[0][i]) == 0);
    }
    for (int i = 0; i < 8; i++) {
        void *bad = NULL;
        pthread_join(t[i], &bad);
        IS((long)bad, 0);
        answer("/two", "end");
    }
    for (int i = 0; i < 8; i++)
        answers_are(from_threads[1][i], strstr(both_answers, "pong") + 4);
}

/* Beside what the server accepts, until it drains. */
static void started_and_drained(void)
{
    IS(pagi_sse_server_start(srv), 0);
    int theirs, ours = pair(&theirs);
    IS(pagi_sse_server_adopt(srv, ours, S(SECOND)), 0);
    answer("/two", "end");
    answers_are(theirs, strstr(both_answers, "pong") + 4);
    ours = pair(&theirs);
    IS(pagi_sse_server_drain(srv), 0);
    is_left(ours, R(STOPPED));
    IS(pagi_sse_server_stop(srv, 1000), 0);
    is_left(ours, R(STOPPED));
    IS(pagi_sse_server_free(srv, 1000), 0);
    is_left(ours, R(HANDLE_STALE));
    close(ours), close(theirs), close(listener);
}

static const test tests[] = {
    {"a server, and a listener of the host's", begin},
    {"a connection is served whatever was read of it", whatever_was_read},
    {"a stream begins", streams},
    {"bytes that are too many are an error, a bad head is answered", refusals},
    {"a Unix socket without a name", unix_sockets},
    {"what cannot be taken is left as it was", not_taken},
    {"with all places taken it says so, and an idle connection makes room", full},
    {"threads may do it", threads},
    {"before the server accepts, and while it does, not when it drains", started_and_drained},
};
RUN(tests)
