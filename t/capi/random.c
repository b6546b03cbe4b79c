/* Random calls of every function: handles that are right, stale, of another
 * kind, invented; NULL, and lengths that are 0, right, impossible; structs of
 * odd sizes; by one thread, and by four. Each result is a documented one, no
 * output is touched that should not be, and in the end no handle is left.
 *
 * PAGI_SSE_FUZZ_SECONDS (20) is how long it takes. Each round says its seed
 * first; PAGI_SSE_FUZZ_SEED repeats that round: its calls, though not how
 * threads meet. */
#include "harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>

enum { CONN, SERVER, RUNTIME, PARSER, HUB, CLIENT, SUBSCRIPTION, KINDS };
#define SLOTS 8
#define COUNT(array) (sizeof(array) / sizeof *(array))
#define PICK(array) ((array)[below(COUNT(array))])

static uint64_t live[KINDS][SLOTS], gone[64]; /* handles; by __atomic */
static int sockets[16];
static uint16_t port; /* of a server, once one is open */
static int wrong;

static __thread uint64_t random_state;
static __thread char what_failed[200];

static uint64_t rnd(void)
{
    random_state += 0x9E3779B97F4A7C15u;
    uint64_t z = random_state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t below(uint64_t n)
{
    return rnd() % n;
}

static void bad(const char *what)
{
    __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
    snprintf(what_failed, sizeof what_failed, "%s", what);
}

static uint64_t number(void)
{
    static const uint64_t numbers[] = {0, 1, 2, 3, 8, 10, 99, 100, 200, 204, 404, 4096, 65536, INT32_MAX, UINT32_MAX,
                                       INT64_MAX, UINT64_MAX};
    return below(8) ? PICK(numbers) : rnd();
}

/* One that is open, mostly. */
static uint64_t right(int kind)
{
    uint64_t h = 0;
    for (int i = 0; i < SLOTS && !h; i++)
        h = __atomic_load_n(&live[kind][below(SLOTS)], __ATOMIC_RELAXED);
    return h;
}

static uint64_t handle_of(int kind)
{
    switch (below(16)) {
    case 0: return number();
    case 1: return __atomic_load_n(&PICK(gone), __ATOMIC_RELAXED);
    case 2: return right((int)below(KINDS));
    case 3: return right(kind) ^ (uint64_t)1 << below(64);
    default: return right(kind);
    }
}

static int32_t free_one(int kind, uint64_t h)
{
    switch (kind) {
    case CONN: return pagi_sse_conn_free(h);
    case SERVER: return pagi_sse_server_free(h, 0);
    case RUNTIME: return pagi_sse_runtime_free(h, 0);
    case PARSER: return pagi_sse_parser_free(h);
    case HUB: return pagi_sse_hub_free(h, 100);
    case CLIENT: return pagi_sse_client_free(h);
    default: return pagi_sse_subscription_free(h);
    }
}

/* A new handle takes a place; what was there is freed, if nobody did. */
static void keep(int kind, uint64_t h)
{
    uint64_t old = __atomic_exchange_n(&live[kind][below(SLOTS)], h, __ATOMIC_RELAXED);
    int32_t code = old ? free_one(kind, old) : 0;
    if (code != 0 && code != R(HANDLE_STALE))
        bad("a free of what was opened");
    if (old)
        __atomic_store_n(&PICK(gone), old, __ATOMIC_RELAXED);
}

/* Bytes to give. */
typedef struct given {
    const char *p;
    size_t n;
} given;

static char large[70000];

static given some(void)
{
    static const given all[] = {
        {NULL, 0}, {NULL, 0}, {NULL, 7}, {NULL, SIZE_MAX}, {"", 0}, {S("x")}, {S("a")}, {S("a\nb")}, {S("news")},
        {S("1")}, {S("[1, 2]")}, {S("{\"a\":")}, {S("two\r\nlines")}, {S("\xff\xfe")}, {S("nul\0inside")}, {S(" space ")},
        {S("content-type")}, {S("e.1")}, {S("data: 1\nid: 7\nretry: 5\n\n")}, {S("event: e\ndata: 2\n\n: c\n\n")},
        {large, 101}, {large, 5000}, {large, sizeof large}, {large, SIZE_MAX}, {large, (size_t)1 << 63},
    };
    return PICK(all);
}

static pagi_sse_bytes some_bytes(void)
{
    given g = some();
    return (pagi_sse_bytes){g.p, g.n};
}

/* Bytes that end in a buffer of the caller's: what was asked, and whether it
 * was kept to, is looked at behind the call. */
#define GUARD 16
static __thread struct { char *p; size_t cap, len, *len_out; char room[PAGI_SSE_RECORD_MAX + GUARD]; } into;
static __thread struct { _Alignas(16) char bytes[4096 + GUARD]; char *p; size_t size; } figures;
static __thread uint64_t out, *out_at;

#define UNTOUCHED 0xA5A5A5A5A5A5A5A5u

static int is_untouched(const char *p)
{
    for (int i = 0; i < GUARD; i++)
        if ((unsigned char)p[i] != 0xA5)
            return 0;
    return 1;
}

static void prepare(void)
{
    static const size_t caps[] = {0, 1, 8, 64, 1000, 65536, PAGI_SSE_RECORD_MAX, PAGI_SSE_RECORD_MAX, SIZE_MAX};
    static const size_t sizes[] = {0, 1, 7, 8, 64, 100, 216, 256, 4096, 4097, SIZE_MAX};
    into.cap = PICK(caps);
    into.p = below(10) ? into.room : NULL;
    into.len = (size_t)UNTOUCHED;
    into.len_out = below(20) ? &into.len : NULL;
    memset(into.room, 0xA5, GUARD);
    if (into.cap <= PAGI_SSE_RECORD_MAX)
        memset(into.room + into.cap, 0xA5, GUARD);
    figures.size = PICK(sizes);
    figures.p = below(10) ? figures.bytes : NULL;
    memset(figures.bytes, 0xA5, sizeof figures.bytes);
    out = UNTOUCHED;
    out_at = below(20) ? &out : NULL;
}

static void judge(const char *name, int64_t result)
{
    int failed = result < 0;
    if (failed && (result < INT32_MIN || result == R(PANIC) || !strcmp(pagi_sse_result_text((int32_t)result), "unknown result")))
        bad("a result that is none");
    if (failed && out != UNTOUCHED)
        bad("an output of a call that failed");
    if (failed && result != R(BUFFER_SMALL) && into.len != (size_t)UNTOUCHED)
        bad("a length of a call that failed");
    if ((failed && !is_untouched(into.room)) || (into.cap <= PAGI_SSE_RECORD_MAX && !is_untouched(into.room + into.cap)))
        bad("a buffer that is not ours");
    if (failed ? !is_untouched(figures.bytes) : figures.size <= 4096 && !is_untouched(figures.bytes + figures.size))
        bad("a struct that is not ours");
    if (what_failed[0]) {
        printf("# %s: wrong with %s (result %lld)\n", name, what_failed, (long long)result);
        what_failed[0] = 0;
    }
}

/* A struct to give, of the right size or of an odd one; NULL now and then. The
 * fields are the caller's to set. */
static __thread _Alignas(16) char room[4096];

static void *given_struct(size_t known)
{
    const size_t sizes[] = {known, known, known, known, known, known, known, 0, 1, 7, 8, known - 1, known + 8, known + 16,
                            4096, 4097, SIZE_MAX};
    size_t size = PICK(sizes);
    memset(room, 0, sizeof room);
    memcpy(room, &size, sizeof size);
    if (!below(8))
        room[known + below(16)] = 1; /* what this library does not know */
    return room;
}

static const pagi_sse_header *fields(size_t *count)
{
    static __thread pagi_sse_header list[129];
    static const size_t counts[] = {0, 0, 1, 2, 3, 129, SIZE_MAX};
    *count = PICK(counts);
    for (size_t i = 0; i < 3; i++) {
        given name = below(3) ? (given){S("x-a")} : some(), value = below(3) ? (given){S("b")} : some();
        list[i] = (pagi_sse_header){name.p, name.n, value.p, value.n};
    }
    for (size_t i = 3; i < COUNT(list); i++)
        list[i] = list[0];
    return below(20) ? list : NULL;
}

static int socket_to_give(void)
{
    int pair[2];
    if (!below(4) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return below(2) ? -1 : INT_MAX;
    int old = __atomic_exchange_n(&PICK(sockets), pair[1], __ATOMIC_RELAXED);
    if (old > 0)
        close(old);
    return pair[0];
}

/* A client of the server: it says something, and leaves sooner or later. */
static int64_t a_client(void)
{
    static const char *const says[] = {
        "GET /events HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello", "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nh",
        "GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", "nonsense\r\n\r\n", "GET /", ""};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons(__atomic_load_n(&port, __ATOMIC_RELAXED));
    const char *say = PICK(says);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
        close(fd);
        return 0;
    }
    struct pollfd writable = {.fd = fd, .events = POLLOUT};
    if (poll(&writable, 1, 10) == 1 && send(fd, say, strlen(say), MSG_NOSIGNAL) < 0)
        errno = 0; /* nobody listens there: no matter */
    int old = __atomic_exchange_n(&PICK(sockets), fd, __ATOMIC_RELAXED);
    if (old > 0)
        close(old);
    return 0;
}

typedef int32_t next_call(uint64_t, char *, size_t, size_t *);

/* Records that come are read, and the connections of requests are used. */
static int64_t taken(next_call *next, uint64_t h)
{
    int32_t count = next(h, into.p, into.cap, into.len_out);
    pagi_sse_record r;
    size_t at = 0;
    int32_t read = 0;
    if (count <= 0)
        return count;
    for (; pagi_sse_record_read(into.p, into.len, &at, &r, sizeof r) == 1; read++)
        if (r.kind == PAGI_SSE_KIND_REQUEST)
            keep(CONN, r.conn);
    if (read != count || at != into.len)
        bad("the number of its records");
    return count;
}

static int64_t opened(int kind, int32_t code)
{
    if (code >= 0) {
        if (out == UNTOUCHED || (int64_t)out <= 0)
            bad("the handle that it gave");
        keep(kind, out);
    }
    return code;
}

typedef struct call {
    const char *name;
    int64_t (*run)(void);
    int rare; /* it takes long: so much more seldom */
} call;

#define H handle_of
#define STATUS (uint16_t)(below(3) ? 200 : number())
#define INTO into.p, into.cap, into.len_out
#define FIGURES(type) (type *)(void *)figures.p, figures.size
#define G(name) given name = some()
#define TOPIC(name) given name = below(3) ? (given){S("news")} : some()

#define CALL(name) static int64_t call_##name(void)
CALL(pagi_sse_abi_version) { return pagi_sse_abi_version(); }
CALL(pagi_sse_version) { return (int64_t)strlen(pagi_sse_version()); }
CALL(pagi_sse_result_text) { return (int64_t)strlen(pagi_sse_result_text((int32_t)number())); }
CALL(pagi_sse_error) { return pagi_sse_error(INTO); }
CALL(pagi_sse_os_error) { return pagi_sse_os_error(); }
CALL(pagi_sse_handle_count) { return (int64_t)pagi_sse_handle_count(); }
CALL(pagi_sse_test_panic) { return -(pagi_sse_test_panic() != R(PANIC)); }
CALL(pagi_sse_conn_open_detached) { return opened(CONN, pagi_sse_conn_open_detached(out_at)); }
CALL(pagi_sse_conn_open_queue) { return opened(CONN, pagi_sse_conn_open_queue(H(RUNTIME), (int32_t)below(4), out_at)); }
CALL(pagi_sse_conn_open_fd)
{
    int fd = socket_to_give();
    int32_t code = pagi_sse_conn_open_fd(H(RUNTIME), fd, (int32_t)below(4), out_at);
    if (code != 0 && fd >= 0 && fd != INT_MAX)
        close(fd);
    return opened(CONN, code);
}
CALL(pagi_sse_conn_free) { return pagi_sse_conn_free(H(CONN)); }
CALL(pagi_sse_conn_hand_over) { return pagi_sse_conn_hand_over(H(CONN)); }
CALL(pagi_sse_conn_start) { size_t n; const pagi_sse_header *f = fields(&n); return pagi_sse_conn_start(H(CONN), STATUS, f, n); }
CALL(pagi_sse_conn_admit) { return pagi_sse_conn_admit(H(CONN)); }

/* An event with those flags, or fewer; seldom with any. */
static const pagi_sse_event *event(uint32_t flags)
{
    pagi_sse_event *e = given_struct(sizeof *e);
    e->data = some_bytes();
    e->event = some_bytes();
    e->id = below(4) ? (pagi_sse_bytes){NULL, 0} : some_bytes();
    e->key = flags < 4 || below(4) ? (pagi_sse_bytes){NULL, 0} : some_bytes();
    e->flags = below(9) ? (uint32_t)below(flags + 1) : (uint32_t)number();
    if (e->flags & PAGI_SSE_EVENT_RETRY)
        e->retry_ms = number();
    return below(99) ? e : NULL;
}

CALL(pagi_sse_conn_admit_event) { return pagi_sse_conn_admit_event(H(CONN), event(3)); }
CALL(pagi_sse_conn_send) { G(a); return pagi_sse_conn_send(H(CONN), a.p, a.n); }
CALL(pagi_sse_conn_send_event) { return pagi_sse_conn_send_event(H(CONN), event(3)); }
CALL(pagi_sse_conn_comment) { G(a); return pagi_sse_conn_comment(H(CONN), a.p, a.n); }
CALL(pagi_sse_conn_keepalive) { G(a); return pagi_sse_conn_keepalive(H(CONN), number(), a.p, a.n); }
CALL(pagi_sse_conn_close) { G(a); return pagi_sse_conn_close(H(CONN), a.p, a.n); }
CALL(pagi_sse_conn_expect_stream) { return pagi_sse_conn_expect_stream(H(CONN), (int32_t)number()); }
CALL(pagi_sse_conn_abort) { G(a); return pagi_sse_conn_abort(H(CONN), a.p, a.n); }
CALL(pagi_sse_conn_disconnect) { G(a); return pagi_sse_conn_disconnect(H(CONN), a.p, a.n); }
CALL(pagi_sse_conn_read) { return pagi_sse_conn_read(H(CONN), INTO); }
CALL(pagi_sse_conn_state) { return pagi_sse_conn_state(H(CONN)); }
CALL(pagi_sse_conn_reason) { return pagi_sse_conn_reason(H(CONN), INTO); }
CALL(pagi_sse_conn_catch_up) { return pagi_sse_conn_catch_up(H(CONN)); }
CALL(pagi_sse_conn_set_user) { return pagi_sse_conn_set_user(H(CONN), number()); }
CALL(pagi_sse_conn_buffered) { return pagi_sse_conn_buffered(H(CONN)); }
CALL(pagi_sse_conn_counters) { return pagi_sse_conn_counters(H(CONN), FIGURES(pagi_sse_conn_counts)); }
CALL(pagi_sse_conn_set_marks) { return pagi_sse_conn_set_marks(H(CONN), (uint32_t)number(), (uint32_t)number(), (uint32_t)number()); }
CALL(pagi_sse_conn_respond) { size_t n; const pagi_sse_header *f = fields(&n); return pagi_sse_conn_respond(H(CONN), STATUS, f, n); }
CALL(pagi_sse_conn_body) { G(a); return pagi_sse_conn_body(H(CONN), a.p, a.n, (int32_t)below(2)); }
CALL(pagi_sse_conn_read_body) { return pagi_sse_conn_read_body(H(CONN), INTO); }
CALL(pagi_sse_frame_event) { return pagi_sse_frame_event(event(3), INTO); }
CALL(pagi_sse_frame_comment) { G(a); return pagi_sse_frame_comment(a.p, a.n, INTO); }
CALL(pagi_sse_hub_open)
{
    given epoch = below(2) ? (given){S("e")} : some();
    pagi_sse_topic_options *o = given_struct(sizeof *o);
    o->events = number();
    o->bytes = number();
    o->state = (uint32_t)below(4);
    return opened(HUB, pagi_sse_hub_open(epoch.p, epoch.n, below(2) ? o : NULL, below(2) ? 0 : number(), (uint32_t)below(5), out_at));
}
CALL(pagi_sse_hub_free) { return pagi_sse_hub_free(H(HUB), below(100)); }
CALL(pagi_sse_hub_topic)
{
    TOPIC(t);
    pagi_sse_topic_options *o = given_struct(sizeof *o);
    o->events = number();
    o->age_ms = number();
    o->ttl_ms = number();
    o->state = (uint32_t)below(4);
    return pagi_sse_hub_topic(H(HUB), t.p, t.n, below(4) ? o : NULL);
}
CALL(pagi_sse_hub_publish)
{
    TOPIC(t);
    return pagi_sse_hub_publish(H(HUB), t.p, t.n, event(15));
}
CALL(pagi_sse_hub_subscribe)
{
    TOPIC(t);
    pagi_sse_subscribe_options *o = given_struct(sizeof *o);
    given id = some(), reset = some();
    o->last_event_id = L(id.p, id.n);
    if (!below(4))
        o->reset_event = L(reset.p, reset.n);
    o->full = (uint32_t)below(5);
    o->create = (uint32_t)below(4);
    o->last = (uint32_t)number();
    return opened(SUBSCRIPTION, pagi_sse_hub_subscribe(H(HUB), H(CONN), t.p, t.n, below(2) ? o : NULL, out_at));
}
CALL(pagi_sse_hub_ready) { return pagi_sse_hub_ready(H(HUB)); }
CALL(pagi_sse_hub_close_streams) { TOPIC(t); G(a); return pagi_sse_hub_close_streams(H(HUB), t.p, t.n, a.p, a.n); }
CALL(pagi_sse_hub_history) { TOPIC(t); return pagi_sse_hub_history(H(HUB), t.p, t.n, (int32_t)below(3), number(), INTO); }
CALL(pagi_sse_hub_has_topic) { TOPIC(t); return pagi_sse_hub_has_topic(H(HUB), t.p, t.n); }
CALL(pagi_sse_hub_subscribers) { TOPIC(t); return pagi_sse_hub_subscribers(H(HUB), t.p, t.n); }
CALL(pagi_sse_hub_counters) { return pagi_sse_hub_counters(H(HUB), FIGURES(pagi_sse_hub_counts)); }
CALL(pagi_sse_topic_counters)
{
    G(a);
    return pagi_sse_topic_counters(H(HUB), a.p, a.n, FIGURES(pagi_sse_topic_counts));
}
CALL(pagi_sse_hub_stats) { return pagi_sse_hub_stats(H(HUB), INTO); }
CALL(pagi_sse_subscription_cancel) { return pagi_sse_subscription_cancel(H(SUBSCRIPTION)); }
CALL(pagi_sse_subscription_free) { return pagi_sse_subscription_free(H(SUBSCRIPTION)); }
CALL(pagi_sse_subscription_counters)
{
    return pagi_sse_subscription_counters(H(SUBSCRIPTION), FIGURES(pagi_sse_subscription_counts));
}
CALL(pagi_sse_subscription_stats) { return pagi_sse_subscription_stats(H(SUBSCRIPTION), INTO); }
CALL(pagi_sse_client_open)
{
    static const uint16_t statuses[] = {429, 503, 200};
    static __thread char url[64];
    pagi_sse_client_options *o = given_struct(sizeof *o);
    size_t n = 0;
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", __atomic_load_n(&port, __ATOMIC_RELAXED));
    o->url = below(4) ? pagi_sse_text(url) : some_bytes();
    if (below(4) == 0)
        o->method = some_bytes();
    if (below(4) == 0)
        o->fields = fields(&n), o->fields_len = n;
    if (below(3) == 0)
        o->body = some_bytes();
    if (below(4) == 0)
        o->last_event_id = some_bytes();
    if (below(8) == 0)
        o->retry_on = statuses, o->retry_on_len = below(4);
    if (below(8) == 0)
        o->silence_ms = number(), o->max_event = number(), o->max_bytes = below(100), o->flags = (uint32_t)number();
    if (below(8) == 0)
        o->resume = (int32_t)number(), o->max_redirects = (uint32_t)number(), o->max_refusal = number();
    return opened(CLIENT, pagi_sse_client_open(H(RUNTIME), below(16) ? o : NULL, out_at));
}
CALL(pagi_sse_client_next) { return taken(pagi_sse_client_next, H(CLIENT)); }
CALL(pagi_sse_client_state) { return pagi_sse_client_state(H(CLIENT)); }
CALL(pagi_sse_client_last_event_id) { return pagi_sse_client_last_event_id(H(CLIENT), INTO); }
CALL(pagi_sse_client_close) { return pagi_sse_client_close(H(CLIENT)); }
CALL(pagi_sse_client_free) { return pagi_sse_client_free(H(CLIENT)); }
CALL(pagi_sse_parser_open)
{
    pagi_sse_parser_options *o = given_struct(sizeof *o);
    given id = some();
    o->last_event_id = L(id.p, id.n);
    o->max_line = below(2) ? 0 : number();
    o->max_event = below(2) ? 0 : number();
    return opened(PARSER, pagi_sse_parser_open(below(2) ? o : NULL, out_at));
}
CALL(pagi_sse_parser_free) { return pagi_sse_parser_free(H(PARSER)); }
CALL(pagi_sse_parser_push)
{
    G(a);
    int64_t n = pagi_sse_parser_push(H(PARSER), a.p, a.n);
    if (n > 0 && (uint64_t)n > a.n)
        bad("how much it took");
    return n;
}
CALL(pagi_sse_parser_next) { return taken(pagi_sse_parser_next, H(PARSER)); }
CALL(pagi_sse_parser_last_event_id) { return pagi_sse_parser_last_event_id(H(PARSER), INTO); }
CALL(pagi_sse_parser_retry) { return pagi_sse_parser_retry(H(PARSER), out_at); }
CALL(pagi_sse_parser_reset) { return pagi_sse_parser_reset(H(PARSER)); }
CALL(pagi_sse_record_read)
{
    size_t at = below(2) ? 0 : (size_t)number();
    G(a);
    return pagi_sse_record_read(a.p, a.n, below(20) ? &at : NULL, FIGURES(pagi_sse_record));
}
CALL(pagi_sse_query_value) { G(a); G(b); return pagi_sse_query_value(a.p, a.n, b.p, b.n, INTO); }
CALL(pagi_sse_percent_decode) { G(a); return pagi_sse_percent_decode(a.p, a.n, INTO); }
CALL(pagi_sse_record_header)
{
    G(a);
    pagi_sse_bytes value = {NULL, 0};
    return pagi_sse_record_header(some_bytes(), a.p, a.n, below(20) ? &value : NULL);
}
CALL(pagi_sse_record_header_at) { pagi_sse_header h; return pagi_sse_record_header_at(some_bytes(), (size_t)number(), below(20) ? &h : NULL); }
CALL(pagi_sse_runtime_open)
{
    pagi_sse_runtime_options *o = given_struct(sizeof *o);
    o->workers = (uint32_t)below(3);
    o->write_timeout_ms = number();
    o->max_queued_bytes = number();
    return opened(RUNTIME, pagi_sse_runtime_open(below(20) ? o : NULL, out_at));
}
CALL(pagi_sse_runtime_fd) { return pagi_sse_runtime_fd(H(RUNTIME)); }
CALL(pagi_sse_runtime_next) { return taken(pagi_sse_runtime_next, H(RUNTIME)); }
CALL(pagi_sse_runtime_flush) { return pagi_sse_runtime_flush(H(RUNTIME)); }
CALL(pagi_sse_runtime_wake) { return pagi_sse_runtime_wake(H(RUNTIME), number()); }
CALL(pagi_sse_runtime_busy) { return pagi_sse_runtime_busy(H(RUNTIME)); }
CALL(pagi_sse_runtime_counters) { return pagi_sse_runtime_counters(H(RUNTIME), FIGURES(pagi_sse_host_counts)); }
CALL(pagi_sse_runtime_stats) { return pagi_sse_runtime_stats(H(RUNTIME), INTO); }
CALL(pagi_sse_runtime_stop) { return pagi_sse_runtime_stop(H(RUNTIME), below(50)); }
CALL(pagi_sse_runtime_free) { return pagi_sse_runtime_free(H(RUNTIME), below(50)); }
CALL(pagi_sse_scope_set) { return pagi_sse_scope_set(below(100), H(CONN)); }
CALL(pagi_sse_scope_get) { return pagi_sse_scope_get(below(100), out_at); }
CALL(pagi_sse_scope_remove) { return pagi_sse_scope_remove(below(100)); }
CALL(pagi_sse_server_open)
{
    pagi_sse_server_options *o = given_struct(sizeof *o);
    given at = below(4) ? (given){S("127.0.0.1:0")} : some();
    o->listen = L(at.p, at.n);
    o->workers = (uint32_t)below(3);
    o->max_body = below(2) ? 0 : number();
    o->max_connections = below(2) ? 0 : (uint32_t)number();
    o->head_timeout_ms = below(2) ? 0 : number();
    int64_t code = opened(SERVER, pagi_sse_server_open(below(20) ? o : NULL, out_at));
    int32_t bound = code < 0 ? 0 : pagi_sse_server_port(out);
    if (bound > 0)
        __atomic_store_n(&port, (uint16_t)bound, __ATOMIC_RELAXED);
    return code;
}
static int32_t on_record(const pagi_sse_record *r, void *seen)
{
    ++*(int *)seen;
    if (r->kind == PAGI_SSE_KIND_REQUEST)
        keep(CONN, r->conn);
    return below(4) ? 0 : (int32_t)below(100);
}
#define ON_RECORD below(20) ? on_record : NULL, &(int){0}, below(20)
CALL(pagi_sse_runtime_wait) { return pagi_sse_runtime_wait(H(RUNTIME), below(20)); }
CALL(pagi_sse_runtime_run) { return pagi_sse_runtime_run(H(RUNTIME), ON_RECORD); }
CALL(pagi_sse_server_wait) { return pagi_sse_server_wait(H(SERVER), below(20)); }
CALL(pagi_sse_server_run) { return pagi_sse_server_run(H(SERVER), ON_RECORD); }
CALL(pagi_sse_server_start) { return pagi_sse_server_start(H(SERVER)); }
CALL(pagi_sse_server_port) { return pagi_sse_server_port(H(SERVER)); }
CALL(pagi_sse_server_fd) { return pagi_sse_server_fd(H(SERVER)); }
CALL(pagi_sse_server_address) { return pagi_sse_server_address(H(SERVER), INTO); }
CALL(pagi_sse_server_adopt)
{
    G(a);
    int fd = socket_to_give();
    int32_t code = pagi_sse_server_adopt(H(SERVER), fd, a.p, a.n);
    if (code != 0 && fd >= 0 && fd != INT_MAX)
        close(fd);
    return code;
}
CALL(pagi_sse_server_next) { return taken(pagi_sse_server_next, H(SERVER)); }
CALL(pagi_sse_server_flush) { return pagi_sse_server_flush(H(SERVER)); }
CALL(pagi_sse_server_wake) { return pagi_sse_server_wake(H(SERVER), number()); }
CALL(pagi_sse_server_busy) { return pagi_sse_server_busy(H(SERVER)); }
CALL(pagi_sse_server_counters) { return pagi_sse_server_counters(H(SERVER), FIGURES(pagi_sse_host_counts)); }
CALL(pagi_sse_server_stats) { return pagi_sse_server_stats(H(SERVER), INTO); }
CALL(pagi_sse_server_drain) { return pagi_sse_server_drain(H(SERVER)); }
CALL(pagi_sse_server_close_streams) { G(a); return pagi_sse_server_close_streams(H(SERVER), a.p, a.n); }
CALL(pagi_sse_server_stop) { return pagi_sse_server_stop(H(SERVER), below(50)); }
CALL(pagi_sse_server_free) { return pagi_sse_server_free(H(SERVER), below(50)); }

/* All of them: t/capi/abi.t holds this table against the list. */
#define ROW(name, rare) {#name, call_##name, rare}
static const call calls[] = {
    ROW(pagi_sse_abi_version, 1),
    ROW(pagi_sse_version, 1),
    ROW(pagi_sse_result_text, 1),
    ROW(pagi_sse_error, 1),
    ROW(pagi_sse_os_error, 1),
    ROW(pagi_sse_handle_count, 1),
    ROW(pagi_sse_test_panic, 0),
    ROW(pagi_sse_conn_open_detached, 1),
    ROW(pagi_sse_conn_open_queue, 1),
    ROW(pagi_sse_conn_open_fd, 1),
    ROW(pagi_sse_conn_free, 2),
    ROW(pagi_sse_conn_hand_over, 1),
    ROW(pagi_sse_conn_start, 1),
    ROW(pagi_sse_conn_admit, 1),
    ROW(pagi_sse_conn_admit_event, 1),
    ROW(pagi_sse_conn_send, 1),
    ROW(pagi_sse_conn_send_event, 1),
    ROW(pagi_sse_conn_comment, 1),
    ROW(pagi_sse_conn_keepalive, 1),
    ROW(pagi_sse_conn_close, 1),
    ROW(pagi_sse_conn_expect_stream, 1),
    ROW(pagi_sse_conn_abort, 1),
    ROW(pagi_sse_conn_disconnect, 1),
    ROW(pagi_sse_conn_read, 1),
    ROW(pagi_sse_conn_state, 1),
    ROW(pagi_sse_conn_reason, 1),
    ROW(pagi_sse_conn_catch_up, 1),
    ROW(pagi_sse_conn_set_user, 1),
    ROW(pagi_sse_conn_buffered, 1),
    ROW(pagi_sse_conn_counters, 1),
    ROW(pagi_sse_conn_set_marks, 1),
    ROW(pagi_sse_conn_respond, 1),
    ROW(pagi_sse_conn_body, 1),
    ROW(pagi_sse_conn_read_body, 1),
    ROW(pagi_sse_frame_event, 1),
    ROW(pagi_sse_frame_comment, 1),
    ROW(pagi_sse_query_value, 1),
    ROW(pagi_sse_percent_decode, 1),
    ROW(pagi_sse_hub_open, 20),
    ROW(pagi_sse_hub_free, 20),
    ROW(pagi_sse_hub_topic, 1),
    ROW(pagi_sse_hub_publish, 1),
    ROW(pagi_sse_hub_subscribe, 1),
    ROW(pagi_sse_hub_ready, 1),
    ROW(pagi_sse_hub_close_streams, 1),
    ROW(pagi_sse_hub_history, 1),
    ROW(pagi_sse_hub_has_topic, 1),
    ROW(pagi_sse_hub_subscribers, 1),
    ROW(pagi_sse_hub_stats, 1),
    ROW(pagi_sse_hub_counters, 1),
    ROW(pagi_sse_topic_counters, 1),
    ROW(pagi_sse_subscription_cancel, 1),
    ROW(pagi_sse_subscription_free, 1),
    ROW(pagi_sse_subscription_stats, 1),
    ROW(pagi_sse_client_open, 1),
    ROW(pagi_sse_client_next, 1),
    ROW(pagi_sse_client_state, 1),
    ROW(pagi_sse_client_last_event_id, 1),
    ROW(pagi_sse_client_close, 1),
    ROW(pagi_sse_client_free, 1),
    ROW(pagi_sse_subscription_counters, 1),
    ROW(pagi_sse_parser_open, 1),
    ROW(pagi_sse_parser_free, 1),
    ROW(pagi_sse_parser_push, 1),
    ROW(pagi_sse_parser_next, 1),
    ROW(pagi_sse_parser_last_event_id, 1),
    ROW(pagi_sse_parser_retry, 1),
    ROW(pagi_sse_parser_reset, 1),
    ROW(pagi_sse_record_read, 1),
    ROW(pagi_sse_record_header, 1),
    ROW(pagi_sse_record_header_at, 1),
    ROW(pagi_sse_runtime_open, 100),
    ROW(pagi_sse_runtime_fd, 1),
    ROW(pagi_sse_runtime_next, 1),
    ROW(pagi_sse_runtime_flush, 1),
    ROW(pagi_sse_runtime_wake, 1),
    ROW(pagi_sse_runtime_busy, 1),
    ROW(pagi_sse_runtime_stats, 1),
    ROW(pagi_sse_runtime_counters, 1),
    ROW(pagi_sse_runtime_stop, 100),
    ROW(pagi_sse_runtime_free, 100),
    ROW(pagi_sse_scope_set, 1),
    ROW(pagi_sse_scope_get, 1),
    ROW(pagi_sse_scope_remove, 1),
    ROW(pagi_sse_runtime_wait, 100),
    ROW(pagi_sse_runtime_run, 100),
    ROW(pagi_sse_server_wait, 100),
    ROW(pagi_sse_server_run, 100),
    ROW(pagi_sse_server_open, 100),
    ROW(pagi_sse_server_start, 1),
    ROW(pagi_sse_server_port, 1),
    ROW(pagi_sse_server_fd, 1),
    ROW(pagi_sse_server_address, 1),
    ROW(pagi_sse_server_adopt, 1),
    ROW(pagi_sse_server_next, 1),
    ROW(pagi_sse_server_flush, 1),
    ROW(pagi_sse_server_wake, 1),
    ROW(pagi_sse_server_busy, 1),
    ROW(pagi_sse_server_stats, 1),
    ROW(pagi_sse_server_counters, 1),
    ROW(pagi_sse_server_drain, 100),
    ROW(pagi_sse_server_close_streams, 1),
    ROW(pagi_sse_server_stop, 100),
    ROW(pagi_sse_server_free, 100),
    {"a client", a_client, 10},
};

#define CALLS 20000
#define THREADS 4

static uint64_t made[COUNT(calls)], fine[COUNT(calls)];
static uint64_t round_seed;
static int64_t until;

static void *caller(void *number_of)
{
    random_state = round_seed + (uint64_t)(uintptr_t)number_of;
    for (int i = 0; i < CALLS && now_ms() < until; i++) {
        size_t which = below(COUNT(calls));
        const call *c = &calls[which];
        if (!c->rare || below((uint64_t)c->rare))
            continue;
        prepare();
        int64_t result = c->run();
        judge(c->name, result);
        __atomic_add_fetch(&made[which], 1, __ATOMIC_RELAXED);
        __atomic_add_fetch(&fine[which], result >= 0, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* Something to begin with: without it few calls would get far. */
static void begin(void)
{
    pagi_sse_server_options options = {.size = sizeof options, .listen = B("127.0.0.1:0"), .workers = 1};
    IS(pagi_sse_server_open(&options, &live[SERVER][0]), 0);
    IS(pagi_sse_server_start(live[SERVER][0]), 0);
    IS(pagi_sse_runtime_open(NULL, &live[RUNTIME][0]), 0);
    IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &live[HUB][0]), 0);
    IS(pagi_sse_parser_open(NULL, &live[PARSER][0]), 0);
    for (int i = 0; i < SLOTS; i++)
        IS(pagi_sse_conn_open_queue(live[RUNTIME][0], PAGI_SSE_WIRE_HTTP11, &live[CONN][i]), 0);
    port = (uint16_t)pagi_sse_server_port(live[SERVER][0]);
}

/* What nobody has freed is freed, and then none is left. */
static void end(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < SLOTS; i++)
            if (live[kind][i]) {
                int32_t code = free_one(kind, live[kind][i]);
                OK(code == 0 || code == R(HANDLE_STALE));
                live[kind][i] = 0;
            }
    for (size_t i = 0; i < COUNT(sockets); i++) {
        if (sockets[i] > 0)
            close(sockets[i]);
        sockets[i] = 0;
    }
    memset(gone, 0, sizeof gone);
    IS(pagi_sse_handle_count(), 0);
}

static void a_round(uint64_t seed, int threads)
{
    pthread_t others[THREADS];
    round_seed = seed;
    wrong = 0;
    begin();
    for (int i = 1; i < threads; i++)
        OK(pthread_create(&others[i], NULL, caller, (void *)(uintptr_t)i) == 0);
    caller(NULL);
    for (int i = 1; i < threads; i++)
        pthread_join(others[i], NULL);
    end();
    IS(wrong, 0);
}

/* Half of the time is for each number of threads; a given seed has one round. */
static void rounds(int threads)
{
    const char *seconds = getenv("PAGI_SSE_FUZZ_SECONDS"), *seed = getenv("PAGI_SSE_FUZZ_SEED");
    uint64_t next = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid() * 17;
    int64_t end_ms = now_ms() + (seconds ? atoi(seconds) : 20) * 500;
    memset(large, 'x', sizeof large);
    do {
        printf("# round of %d: PAGI_SSE_FUZZ_SEED=%llu\n", threads, (unsigned long long)next);
        until = seed ? INT64_MAX : end_ms;
        a_round(next, threads);
        random_state = next;
        next = rnd();
    } while (!seed && !failures && now_ms() < end_ms);
}

static void alone(void)
{
    rounds(1);
}

static void together(void)
{
    rounds(THREADS);
}

static void all_were_called(void)
{
    uint64_t all = 0, good = 0;
    IS(call_pagi_sse_test_panic(), 0);
    for (size_t i = 0; i < COUNT(calls); i++) {
        all += made[i];
        good += fine[i];
        if (calls[i].rare && !made[i]) {
            failures++;
            printf("# %s was never called\n", calls[i].name);
        }
        else if (calls[i].rare && !fine[i])
            printf("# %s never did what it does\n", calls[i].name);
    }
    printf("# %llu calls, of which %llu did something\n", (unsigned long long)all, (unsigned long long)good);
}

static const test tests[] = {
    {"random calls by one thread do no harm", alone},
    {"random calls by four threads do no harm", together},
    {"every function was called", all_were_called},
};
RUN(tests)
