/* The runtime as an object: options, stop, statistics, its end. */
#include "harness.h"

#include <stddef.h>

static pagi_sse_runtime opened(void)
{
    pagi_sse_runtime rt = 0;
    pagi_sse_runtime_options o = {.size = sizeof o, .workers = 1};
    IS(pagi_sse_runtime_open(&o, &rt), 0);
    return rt;
}

static int64_t figure(pagi_sse_runtime rt, const char *name)
{
    char json[2048];
    int64_t n = LEN(pagi_sse_runtime_stats(rt, json, sizeof json - 1, &len_));
    json[n > 0 ? n : 0] = 0;
    const char *at = strstr(json, name);
    return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static void options(void)
{
    pagi_sse_runtime rt = 77;
    pagi_sse_runtime_options o = {.size = sizeof o, .log_level = 3};
    IS(pagi_sse_runtime_open(&o, &rt), R(BAD_ARGUMENT));
    o.log_level = 0, o.size = offsetof(pagi_sse_runtime_options, max_queued_bytes) - 1;
    IS(pagi_sse_runtime_open(&o, &rt), R(BAD_ARGUMENT));
    o.size = 0;
    IS(pagi_sse_runtime_open(&o, &rt), R(BAD_ARGUMENT));
    IS(pagi_sse_runtime_open(&o, NULL), R(NULL_POINTER));
    IS(rt, 77);
    /* As a program knows it that was built before. */
    o.size = offsetof(pagi_sse_runtime_options, max_queued_bytes), o.max_queued_bytes = 1;
    IS(pagi_sse_runtime_open(&o, &rt), 0);
    IS(figure(rt, "\"max_queued_bytes\":"), 256 << 20);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    o.size = sizeof o, o.max_queued_bytes = UINT64_MAX, o.workers = UINT32_MAX, o.write_timeout_ms = UINT64_MAX;
    IS(pagi_sse_runtime_open(&o, &rt), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void statistics(void)
{
    char json[2048];
    pagi_sse_runtime rt = opened();
    pagi_sse_conn a = 0, b = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &a), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &b), 0);
    IS(pagi_sse_conn_send(a, S("x")), 0);
    IS(pagi_sse_conn_send(b, S("x")), 0);
    IS(pagi_sse_conn_free(b), 0);
    int64_t n = LEN(pagi_sse_runtime_stats(rt, json, sizeof json - 1, &len_));
    json[n > 0 ? n : 0] = 0;
    OK(strstr(json, "\"connections\":{\"open\":1,\"opened\":2}") != NULL);
    OK(strstr(json, "\"events\":2") != NULL && strstr(json, "\"queued_bytes\":9") != NULL);
    OK(strstr(json, "\"version\":\"") != NULL);
    IS(pagi_sse_conn_free(a), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

/* All queues together: the largest is cut off, the others go on. */
static void queued(void)
{
    enum { MIB = 1 << 20 };
    static char big[3 * MIB];
    pagi_sse_record r;
    pagi_sse_runtime rt = 0;
    pagi_sse_runtime_options o = {.size = sizeof o, .workers = 1, .max_queued_bytes = 4 * MIB};
    pagi_sse_conn c[3];
    int client[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, client) == 0);
    size_t len[3] = {MIB, 3 * MIB, MIB / 2};
    IS(pagi_sse_runtime_open(&o, &rt), 0);
    IS(figure(rt, "\"max_queued_bytes\":"), 4 * MIB);
    memset(big, 'x', sizeof big);
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            IS(pagi_sse_conn_open_fd(rt, client[0], PAGI_SSE_WIRE_EVENTS, &c[i]), 0);
        else
            IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c[i]), 0);
        IS(pagi_sse_conn_send(c[i], big, len[i] - 100), 1);
    }
    OK(next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), PAGI_SSE_KIND_CLOSED, c[1], &r));
    BYTES(r.text.data, r.text.len, "queue_overflow");
    /* Counted by the thread that told us. */
    for (int64_t until = now_ms() + PATIENCE_MS; figure(rt, "\"cut\":") < 1 && now_ms() < until;)
        poll(NULL, 0, 1);
    IS(figure(rt, "\"cut\":"), 1);
    IS(pagi_sse_conn_send(c[1], S("x")), R(CLOSED));
    IS(pagi_sse_conn_send(c[2], S("x")), 1);
    OK(figure(rt, "\"queued_memory\":") < 2 * MIB);
    for (int i = 0; i < 3; i++)
        IS(pagi_sse_conn_free(c[i]), 0);
    IS(figure(rt, "\"queued_memory\":"), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    close(client[1]);
}

static void stops(void)
{
    char out[64];
    int server[2];
    pagi_sse_record r;
    pagi_sse_runtime rt = opened();
    pagi_sse_conn queue = 0, sock = 0, none = 77;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &queue), 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, server) == 0);
    IS(pagi_sse_conn_open_fd(rt, server[0], PAGI_SSE_WIRE_EVENTS, &sock), 0);
    IS(pagi_sse_conn_send(queue, S("q")), 0);
    IS(pagi_sse_conn_send(sock, S("s")), 0);
    IS(pagi_sse_runtime_stop(rt, 30000), 0);
    /* The socket has it all, and its end. */
    BYTES(out, recv(server[1], out, sizeof out, 0), "data: s\n\n");
    IS(recv(server[1], out, sizeof out, 0), 0);
    close(server[1]);
    /* The host takes the rest of its own. */
    BYTES(out, LEN(pagi_sse_conn_read(queue, out, sizeof out, &len_)), "data: q\n\n");
    IS(LEN(pagi_sse_conn_read(queue, out, sizeof out, &len_)), R(CLOSED));
    OK(next_record(pagi_sse_runtime_next, rt, pagi_sse_runtime_fd(rt), PAGI_SSE_KIND_ENDED, queue, &r));
    BYTES(r.text.data, r.text.len, "server_shutdown");
    IS(pagi_sse_runtime_busy(rt), 0);
    IS(pagi_sse_conn_open_queue(rt, 0, &none), R(STOPPED));
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, server) == 0);
    IS(pagi_sse_conn_open_fd(rt, server[0], 0, &none), R(STOPPED));
    IS(close(server[0]), 0);
    close(server[1]);
    IS(none, 77);
    IS(pagi_sse_runtime_stop(rt, 0), 0);
    IS(pagi_sse_runtime_wake(rt, 10), 0);
    IS(pagi_sse_runtime_flush(rt), 0);
    IS(pagi_sse_conn_free(queue), 0);
    IS(pagi_sse_conn_free(sock), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), R(HANDLE_STALE));
    IS(pagi_sse_runtime_stop(rt, 1000), R(HANDLE_STALE));
    IS(pagi_sse_runtime_fd(rt), R(HANDLE_STALE));
}

static void free_first(void)
{
    /* Connections outlive their runtime, closed. */
    char out[64];
    int server[2];
    pagi_sse_runtime rt = opened();
    pagi_sse_conn queue = 0, sock = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &queue), 0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, server) == 0);
    IS(pagi_sse_conn_open_fd(rt, server[0], PAGI_SSE_WIRE_EVENTS, &sock), 0);
    IS(pagi_sse_conn_keepalive(sock, 1000, S("x")), 0);
    IS(pagi_sse_conn_send(queue, S("q")), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    IS(pagi_sse_conn_state(queue), PAGI_SSE_STATE_CLOSED);
    IS(pagi_sse_conn_state(sock), PAGI_SSE_STATE_CLOSED);
    IS(pagi_sse_conn_send(sock, S("x")), R(CLOSED));
    IS(LEN(pagi_sse_conn_read(queue, out, sizeof out, &len_)), R(CLOSED));
    IS(pagi_sse_conn_keepalive(queue, 1000, NONE), R(CLOSED));
    IS(recv(server[1], out, sizeof out, 0), 0);
    close(server[1]);
    IS(pagi_sse_conn_free(queue), 0);
    IS(pagi_sse_conn_free(sock), 0);
}

static void wakes(void)
{
    char buf[64];
    pagi_sse_runtime rt = opened();
    struct pollfd p = {.fd = pagi_sse_runtime_fd(rt), .events = POLLIN};
    IS(poll(&p, 1, 0), 0);
    IS(pagi_sse_runtime_wake(rt, 0), 0);
    IS(poll(&p, 1, 0), 1);
    IS(LEN(pagi_sse_runtime_next(rt, buf, sizeof buf, &len_)), 0);
    IS(poll(&p, 1, 0), 0);
    IS(LEN(pagi_sse_runtime_next(rt, NULL, 0, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_runtime_next(rt, NULL, 5, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_runtime_next(rt, buf, SIZE_MAX, &len_)), R(BAD_ARGUMENT));
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static long rss_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Memory is another thing under valgrind and sanitizers. */
static int is_watched(void)
{
#ifdef __SANITIZE_ADDRESS__
    return 1;
#else
    const char *loaded = getenv("LD_PRELOAD");
    return loaded && strstr(loaded, "vgpreload");
#endif
}

/* Opened, used and freed, while nobody reads a record. */
static void unread_of_freed(void)
{
    pagi_sse_runtime rt = opened();
    long before = 0;
    int32_t code = 0;
    int n = 0;
    for (; n < 200000; n++) {
        pagi_sse_conn c = 0;
        code = pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c);
        if (code < 0)
            break;
        pagi_sse_conn_send(c, S("x"));
        if (n % 2)
            pagi_sse_conn_disconnect(c, NONE);
        pagi_sse_conn_free(c);
        if (n == 1000)
            before = rss_kib();
    }
    IS(code, R(RECORDS_UNREAD));
    IS(n, 65536);
    IS(figure(rt, "\"records\":"), 65536);
    long more = rss_kib() - before;
    if (!is_watched() && !OK(more < 64 << 10))
        printf("# %ld KiB more\n", more);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void unread_ends(void)
{
    pagi_sse_runtime rt = opened();
    int32_t code = 0;
    int opened_ = 0;
    for (; code == 0 && opened_ < 200000; opened_++) {
        int ends[2];
        pagi_sse_conn c = 0;
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
            break;
        code = pagi_sse_conn_open_fd(rt, ends[0], PAGI_SSE_WIRE_EVENTS, &c);
        close(ends[1]);
        if (code < 0)
            close(ends[0]);
        else
            pagi_sse_conn_free(c);
        /* Not more descriptors than one may have. */
        int64_t deadline = now_ms() + PATIENCE_MS;
        while (pagi_sse_runtime_busy(rt) > 200 && now_ms() < deadline)
            poll(NULL, 0, 1);
    }
    IS(code, R(RECORDS_UNREAD));
    OK(figure(rt, "\"records\":") >= 65536 && figure(rt, "\"records\":") <= 65536 + 201);
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), R(RECORDS_UNREAD));
    IS(c, 0);
    char buf[PAGI_SSE_RECORD_MAX];
    size_t used = 0;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while ((pagi_sse_runtime_busy(rt) > 0 || figure(rt, "\"records\":") > 0) && now_ms() < deadline)
        OK(pagi_sse_runtime_next(rt, buf, sizeof buf, &used) >= 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), 0);
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"options that make no sense are refused, extreme ones bounded", options},
    {"statistics count what was and what is", statistics},
    {"above max_queued_bytes the largest queue is cut off", queued},
    {"stop ends in order, and after it opening is an error", stops},
    {"connections outlive their runtime, closed", free_first},
    {"the descriptor wakes the host's loop", wakes},
    {"unread records of a freed queue go with it, but for its ENDED", unread_of_freed},
    {"who reads no ENDED of its sockets can open 65,536, and more after reading", unread_ends},
};
RUN(tests)
