/* The embedded listener, with a client of plain sockets. */
#include "client.h"

static void begin(void)
{
    srv = started("127.0.0.1:0");
    srv_fd = pagi_sse_server_fd(srv);
    OK(pagi_sse_server_port(srv) > 0);
    IS(pagi_sse_server_start(srv), 0);
    IS(pagi_sse_server_start(srv), 0);
}

static void stream(void)
{
    pagi_sse_record r;
    pagi_sse_bytes v = {NULL, 9};
    pagi_sse_header h;
    int fd = asks(STREAM);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(r.sse, 1);
    IS(r.flags, PAGI_SSE_FLAG_PATH_IS_TEXT);
    BYTES(r.method.data, r.method.len, "GET");
    BYTES(r.version.data, r.version.len, "1.1");
    BYTES(r.path.data, r.path.len, "/events");
    BYTES(r.query.data, r.query.len, "x=1");
    BYTES(r.client.data, r.client.len, "127.0.0.1");
    OK(r.client_port > 0);
    IS(r.server_port, pagi_sse_server_port(srv));
    IS(pagi_sse_record_header(r.headers, S("nothing"), &v), 0);
    IS(v.len, 9);
    IS(pagi_sse_record_header(r.headers, S("ACCEPT"), &v), 1);
    BYTES(v.data, v.len, "text/event-stream");
    IS(pagi_sse_record_header(r.headers, S("x-two"), &v), 1);
    BYTES(v.data, v.len, "2");
    size_t n = 0;
    while (pagi_sse_record_header_at(r.headers, n, &h) == 1)
        n++;
    IS(n, 4);
    IS(pagi_sse_record_header_at(r.headers, SIZE_MAX, &h), 0);

    IS(pagi_sse_conn_send_event(c, EVENT(.data = B("hello"), .event = B("greeting"), .id = B("1"))), 0);
    IS(pagi_sse_server_flush(srv), 0);
    receive(fd, "event: greeting\nid: 1\ndata: hello\n\n");
    OK(strncmp(got, "HTTP/1.1 200 OK\r\n", 17) == 0);
    close(fd);
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "client_closed");
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 200);
    IS(pagi_sse_conn_free(c), 0);
}

static void response(void)
{
    pagi_sse_record r;
    char buf[64];
    pagi_sse_header h[] = {{S("content-type"), S("text/plain")}};
    int fd = asks("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nping");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(r.flags & PAGI_SSE_FLAG_HAS_BODY, 1);
    size_t len = 0, n = 0;
    int32_t what = PAGI_SSE_BODY_WAIT;
    while (failures == 0 && what != PAGI_SSE_BODY_END) {
        what = pagi_sse_conn_read_body(c, buf + len, sizeof buf - len, &n);
        OK(what >= 0);
        len += n;
        if (what == PAGI_SSE_BODY_WAIT)
            OK(next(PAGI_SSE_KIND_BODY, c, &r));
    }
    BYTES(buf, len, "ping");
    IS(pagi_sse_conn_body(c, S("x"), 1), R(NO_RESPONSE));
    IS(pagi_sse_conn_respond(c, 404, h, 1), 0);
    IS(pagi_sse_conn_respond(c, 200, h, 1), R(DECLINED));
    IS(pagi_sse_conn_send(c, S("x")), R(DECLINED));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_RESPONDING);
    IS(pagi_sse_conn_body(c, S("pong"), 0), 0);
    /* CLOSED once the transport has ended. */
    int32_t late = pagi_sse_conn_body(c, S("x"), 0);
    OK(late == R(NO_RESPONSE) || late == R(CLOSED));
    receive(fd, "pong");
    OK(strncmp(got, "HTTP/1.1 404 ", 13) == 0);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 404);
    IS(pagi_sse_conn_free(c), 0);
    close(fd);
}

static void statistics(void)
{
    char json[2048];
    int64_t n = LEN(pagi_sse_server_stats(srv, json, sizeof json - 1, &len_));
    OK(n > 0);
    json[n > 0 ? n : 0] = 0;
    OK(json[0] == '{' && json[n - 1] == '}');
    OK(strstr(json, "\"abi\":1") != NULL && strstr(json, "\"opened\":2") != NULL);
    OK(strstr(json, "\"events\":1") != NULL);
    IS(NEEDS(pagi_sse_server_stats(srv, json, 3, &len_)), n);
    IS(NEEDS(pagi_sse_server_stats(srv, NONE, &len_)), n);
}

static void wakes(void)
{
    char buf[256];
    while (LEN(pagi_sse_server_next(srv, buf, sizeof buf, &len_)) > 0)
        ;
    struct pollfd p = {.fd = srv_fd, .events = POLLIN};
    IS(poll(&p, 1, 0), 0);
    IS(pagi_sse_server_wake(srv, 0), 0);
    IS(poll(&p, 1, 0), 1);
    IS(LEN(pagi_sse_server_next(srv, buf, sizeof buf, &len_)), 0);
    IS(poll(&p, 1, 0), 0);
    IS(pagi_sse_server_wake(srv, 5), 0);
    OK(wait_for(srv_fd));
}

static void small_buffer(void)
{
    char buf[4096];
    pagi_sse_record r;
    int fd = asks(STREAM);
    OK(wait_for(srv_fd));
    int64_t need = 0, deadline = now_ms() + PATIENCE_MS;
    while ((need = pagi_sse_server_next(srv, buf, 4, &len_)) == 0 && now_ms() < deadline)
        wait_for(srv_fd);
    IS(need, R(BUFFER_SMALL));
    need = (int64_t)len_;
    OK(need > 4);
    IS(NEEDS(pagi_sse_server_next(srv, buf, (size_t)need - 1, &len_)), need);
    IS(LEN(pagi_sse_server_next(srv, buf, (size_t)need, &len_)), need);
    size_t at = 0;
    IS(pagi_sse_record_read(buf, (size_t)need, &at, &r, sizeof r), 1);
    IS(at, need);
    IS(r.kind, PAGI_SSE_KIND_REQUEST);
    IS(pagi_sse_conn_free(r.conn), 0);
    receive(fd, NULL);
    close(fd);
}

/* Sends it and gives the status of the answer: 200 from the application, or
 * the server's own. In a record it fits always. */
static void takes(const char *head, size_t len, uint16_t status, size_t path)
{
    pagi_sse_record r;
    int fd = client(srv);
    size_t sent = 0;
    ssize_t n;
    while (sent < len && (n = send(fd, head + sent, len - sent, MSG_NOSIGNAL)) > 0)
        sent += (size_t)n;
    if (status == 200) {
        if (OK(next(PAGI_SSE_KIND_REQUEST, 0, &r))) {
            IS(r.path.len, path);
            IS(pagi_sse_conn_respond(r.conn, 200, NULL, 0), 0);
            IS(pagi_sse_conn_body(r.conn, NONE, 0), 0);
            IS(pagi_sse_conn_free(r.conn), 0);
        }
    } else if (OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r)))
        IS(r.status, status);
    receive(fd, NULL);
    close(fd);
    IS(atoi(got + (strlen(got) > 9 ? 9 : 0)), status);
}

/* Heads around each limit, and of all sizes, against the loop of the header:
 * each is served or refused, and the server goes on. */
static void heads(void)
{
    enum { LEAST = 1 << 10, MOST = 1 << 20, TARGET = 32 << 10, HEAD = 64 << 10 };
    static const char end[] = " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    static const char field[] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: ";
    char *head = malloc(MOST + 100);
    static const int around[] = {-1, 0, 1};
    for (size_t size = LEAST; size <= MOST; size += size / 4) {
        memset(head, 'x', size + 5);
        memcpy(head, "GET /", 5);
        memcpy(head + 4 + size, end, sizeof end);
        takes(head, 4 + size + sizeof end - 1, size > TARGET ? 414 : 200, size);
    }
    for (int i = 0; i < 3; i++) {
        size_t size = (size_t)(TARGET + around[i]);
        memset(head, 'x', size + 5);
        memcpy(head, "GET /", 5);
        memcpy(head + 4 + size, end, sizeof end);
        takes(head, 4 + size + sizeof end - 1, around[i] > 0 ? 414 : 200, size);
        /* What it decodes to is shorter. */
        for (size_t at = 5; at + 3 <= 4 + size; at += 3)
            memcpy(head + at, "%41", 3);
        takes(head, 4 + size + sizeof end - 1, around[i] > 0 ? 414 : 200, 1 + (size - 1) / 3 + (size - 1) % 3);
        size = (size_t)(HEAD + around[i]);
        memset(head, 'x', size);
        memcpy(head, field, sizeof field - 1);
        memcpy(head + size - 4, "\r\n\r\n", 4);
        takes(head, size, around[i] > 0 ? 431 : 200, 1);
    }
    /* The largest record there is: target and head as long as they may be. */
    memset(head, 'x', HEAD);
    memcpy(head, "GET /", 5);
    memcpy(head + 4 + TARGET, end, sizeof end - 3);
    memcpy(head + 4 + TARGET + sizeof end - 3, "X: ", 3);
    memcpy(head + HEAD - 4, "\r\n\r\n", 4);
    takes(head, HEAD, 200, TARGET);
    /* A target is refused before its end has come. */
    memset(head, 'x', TARGET + 1200);
    memcpy(head, "GET /", 5);
    takes(head, TARGET + 1200, 414, 0);
    free(head);
}

static void stops(void)
{
    pagi_sse_record r;
    int fd = asks(STREAM);
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    IS(pagi_sse_conn_send(c, S("last words")), 0);
    int64_t since = now_ms();
    IS(pagi_sse_server_stop(srv, 30000), 0);
    OK(now_ms() - since < 25000);
    receive(fd, NULL);
    OK(strstr(got, "data: last words\n\n\r\n0\r\n\r\n") != NULL);
    close(fd);
    /* Its records can still be read. */
    OK(next(PAGI_SSE_KIND_CLOSED, c, &r));
    BYTES(r.text.data, r.text.len, "server_shutdown");
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(pagi_sse_conn_send(c, S("x")), R(CLOSED));
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_server_busy(srv), 0);
    IS(pagi_sse_server_start(srv), R(STOPPED));
    IS(pagi_sse_server_stop(srv, 0), 0);
    IS(pagi_sse_server_flush(srv), 0);
    IS(pagi_sse_server_wake(srv, 5), 0);
    IS(pagi_sse_server_drain(srv), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
    IS(pagi_sse_server_free(srv, 1000), R(HANDLE_STALE));
    IS(pagi_sse_server_fd(srv), R(HANDLE_STALE));
}

static void deadlines(void)
{
    /* A request that nobody answers is cut off; its record is never read. */
    pagi_sse_server s = started("127.0.0.1:0");
    IS(pagi_sse_server_start(s), 0);
    int fd = client(s);
    OK(send(fd, STREAM, sizeof STREAM - 1, 0) > 0);
    OK(wait_for(pagi_sse_server_fd(s)));
    int64_t since = now_ms();
    IS(pagi_sse_server_stop(s, 50), 0);
    OK(now_ms() - since < 10000);
    receive(fd, NULL);
    close(fd);
    IS(pagi_sse_server_free(s, 0), 0);
    /* Never accepted anything. */
    s = started("127.0.0.1:0");
    IS(pagi_sse_server_free(s, 0), 0);
}

/* Asks, and reads to the end of the connection. */
static void refused(const char *request, const char *status_line)
{
    int fd = asks(request);
    receive(fd, NULL);
    close(fd);
    OK(strncmp(got, status_line, strlen(status_line)) == 0);
}

static void refusals(void)
{
    pagi_sse_record r;
    pagi_sse_bytes v;
    refused("GET /a?b HTTP/1.1\r\nUser-Agent: me\r\nAccept: text/event-stream\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n");
    OK(strstr(got, "\r\n\r\nno Host field") != NULL);
    OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r));
    IS(r.status, 400);
    IS(r.bytes, strlen("no Host field"));
    IS(r.sse, 0);
    BYTES(r.text.data, r.text.len, "protocol_error");
    BYTES(r.method.data, r.method.len, "GET");
    BYTES(r.version.data, r.version.len, "1.1");
    BYTES(r.raw_path.data, r.raw_path.len, "/a");
    BYTES(r.query.data, r.query.len, "b");
    BYTES(r.client.data, r.client.len, "127.0.0.1");
    OK(r.client_port > 0);
    IS(r.server_port, pagi_sse_server_port(srv));
    IS(pagi_sse_record_header(r.headers, S("user-agent"), &v), 1);
    BYTES(v.data, v.len, "me");

    OK(next(PAGI_SSE_KIND_LOG, 0, &r));
    OK(memmem(r.text.data, r.text.len, S("no Host field (400 to 127.0.0.1:")) == r.text.data);

    refused("\x16\x03\x01\n x", "HTTP/1.1 400 Bad Request\r\n");
    OK(next(PAGI_SSE_KIND_LOG, 0, &r));
    OK(memmem(r.text.data, r.text.len, S("TLS on a port that speaks plain HTTP (400 to 127.0.0.1:")) != NULL);
    refused("\x16\x03\x01\n x", "HTTP/1.1 400 Bad Request\r\n");
    OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r));
    IS(r.method.len, 0);
    BYTES(r.raw_path.data, r.raw_path.len, "\x16\x03\x01");

    /* With a connection: its ENDED record has the answer. */
    int fd = asks("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    receive(fd, NULL);
    close(fd);
    OK(strstr(got, "\r\n\r\na malformed chunk") != NULL);
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 400);
    BYTES(r.text.data, r.text.len, "protocol_error");
    IS(pagi_sse_conn_free(c), 0);

    fd = asks("GET http://target/ HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    c = r.conn;
    IS(pagi_sse_record_header(r.headers, S("host"), &v), 1);
    BYTES(v.data, v.len, "target");
    IS(pagi_sse_conn_respond(c, 205, NULL, 0), 0);
    IS(pagi_sse_conn_body(c, S("no"), 0), 0);
    receive(fd, NULL);
    close(fd);
    OK(strncmp(got, S("HTTP/1.1 205 Reset Content\r\n")) == 0);
    OK(strstr(got, "content-length: 0\r\n") != NULL);
    OK(strcmp(strstr(got, "\r\n\r\n"), "\r\n\r\n") == 0);
    IS(pagi_sse_conn_free(c), 0);
}

static void times(void)
{
    pagi_sse_record r;
    pagi_sse_server before = srv;
    int before_fd = srv_fd;
    begin_server((pagi_sse_server_options){.head_timeout_ms = 100, .body_timeout_ms = 200});
    refused("GET /slow HTTP/1.1\r\n", "HTTP/1.1 408 Request Timeout\r\n");
    OK(next(PAGI_SSE_KIND_ANSWERED, 0, &r));
    IS(r.status, 408);
    OK(r.milliseconds >= 100);
    BYTES(r.raw_path.data, r.raw_path.len, "/slow");
    BYTES(r.text.data, r.text.len, "client_timeout");
    refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", "HTTP/1.1 408 Request Timeout\r\n");
    OK(next(PAGI_SSE_KIND_REQUEST, 0, &r));
    pagi_sse_conn c = r.conn;
    OK(next(PAGI_SSE_KIND_ENDED, c, &r));
    IS(r.status, 408);
    BYTES(r.text.data, r.text.len, "client_timeout");
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
    srv = before, srv_fd = before_fd;
}

static void addresses(void)
{
    char path[64], why[256];
    pagi_sse_server s = 0, t = 77;
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("127.0.0.1")};
    IS(pagi_sse_server_open(&o, &t), R(LISTEN_ADDRESS));
    o.listen = B("192.0.2.1:0");
    IS(pagi_sse_server_open(&o, &t), R(BIND_FAILED));
    int64_t len = NEEDS(pagi_sse_error(NULL, 0, &len_));
    IS(LEN(pagi_sse_error(why, sizeof why, &len_)), len);
    BYTES(why, len, "the address cannot be bound: Cannot assign requested address");
    IS(NEEDS(pagi_sse_error(why, 10, &len_)), len);
    o.listen = B("unix:/no/such/dir");
    IS(pagi_sse_server_open(&o, &t), R(BIND_FAILED));
    len = LEN(pagi_sse_error(why, sizeof why, &len_));
    BYTES(why, len, "the address cannot be bound: No such file or directory");
    // The system would bind another path.
    o.listen = B("unix:/tmp/pagi-sse-capi\0x");
    IS(pagi_sse_server_open(&o, &t), R(LISTEN_ADDRESS));
    len = LEN(pagi_sse_error(why, sizeof why, &len_));
    BYTES(why, len, "the address must be HOST:PORT, unix:PATH or fd:NUMBER: control characters in unix:/tmp/pagi-sse-capi\\0x");
    IS(access("/tmp/pagi-sse-capi", F_OK), -1);
    o.listen = B("127.0.0.1\0:0");
    IS(pagi_sse_server_open(&o, &t), R(LISTEN_ADDRESS));
    o.listen = B("\xff");
    IS(pagi_sse_server_open(&o, &t), R(NOT_UTF8));
    o.listen = L(NULL, 1);
    IS(pagi_sse_server_open(&o, &t), R(NULL_POINTER));
    o.size = 8;
    IS(pagi_sse_server_open(&o, &t), R(BAD_ARGUMENT));
    o.size = SIZE_MAX;
    IS(pagi_sse_server_open(&o, &t), R(BAD_ARGUMENT));
    IS(pagi_sse_server_open(NULL, &t), R(NULL_POINTER));
    snprintf(path, sizeof path, "unix:/tmp/pagi-sse-capi-%d.sock", (int)getpid());
    s = started(path);
    IS(pagi_sse_server_port(s), 0);
    o = (pagi_sse_server_options){.size = sizeof o, .listen = L(path, strlen(path))};
    IS(pagi_sse_server_open(&o, &t), R(ADDRESS_IN_USE));
    IS(pagi_sse_server_open(&o, NULL), R(NULL_POINTER));
    IS(t, 77);
    IS(pagi_sse_server_free(s, 1000), 0);
    IS(access(path + 5, F_OK), -1);
    /* A newer program's larger struct: fine, if what it adds is zero. */
    struct { pagi_sse_server_options o; uint64_t later; } larger = {.o = {.size = sizeof larger, .workers = 1}};
    IS(pagi_sse_server_open(&larger.o, &s), 0);
    /* It names no address. */
    snprintf(path, sizeof path, "127.0.0.1:%d", (int)pagi_sse_server_port(s));
    OK(pagi_sse_server_port(s) > 0);
    len = LEN(pagi_sse_server_address(s, why, sizeof why, &len_));
    BYTES(why, len, path);
    IS(pagi_sse_server_free(s, 1000), 0);
    larger.later = 1;
    IS(pagi_sse_server_open(&larger.o, &s), R(BAD_ARGUMENT));
}

static const test tests[] = {
    {"a server starts and accepts", begin},
    {"a stream, from the request to the client's end", stream},
    {"an ordinary request, its body and its response", response},
    {"statistics are JSON", statistics},
    {"what the server answers by itself is a record", refusals},
    {"a head and a body have their times", times},
    {"the descriptor wakes the host's loop, now or later", wakes},
    {"a record that does not fit stays", small_buffer},
    {"heads of all sizes fit a record, or are refused", heads},
    {"stop ends in order, and after it all is an error", stops},
    {"a deadline cuts off what nobody answers", deadlines},
    {"addresses and options that are refused", addresses},
};
RUN(tests)
