/* What a program must not do, and may survive: wrong handles, forks, threads. */
#include "harness.h"

#include <pthread.h>

typedef int64_t handle_function(uint64_t handle);

static int64_t f1(uint64_t h) { return pagi_sse_conn_free(h); }
static int64_t f2(uint64_t h) { return pagi_sse_conn_start(h, 200, NULL, 0); }
static int64_t f3(uint64_t h) { return pagi_sse_conn_admit(h); }
static int64_t f4(uint64_t h) { return pagi_sse_conn_admit_event(h, EVENT()); }
static int64_t f5(uint64_t h) { return pagi_sse_conn_send(h, S("x")); }
static int64_t f6(uint64_t h) { return pagi_sse_conn_send_event(h, EVENT()); }
static int64_t f8(uint64_t h) { return pagi_sse_conn_comment(h, NONE); }
static int64_t f9(uint64_t h) { return pagi_sse_conn_keepalive(h, 1000, NONE); }
static int64_t f10(uint64_t h) { return pagi_sse_conn_close(h, NONE); }
static int64_t f11(uint64_t h) { return pagi_sse_conn_disconnect(h, NONE); }
static int64_t f12(uint64_t h) { char b[8]; return LEN(pagi_sse_conn_read(h, b, sizeof b, &len_)); }
static int64_t f13(uint64_t h) { return pagi_sse_conn_state(h); }
static int64_t f14(uint64_t h) { return LEN(pagi_sse_conn_reason(h, NONE, &len_)); }
static int64_t f16(uint64_t h) { return pagi_sse_conn_buffered(h); }
static int64_t f17(uint64_t h) { pagi_sse_conn_counts c; return pagi_sse_conn_counters(h, &c, sizeof c); }
static int64_t f18(uint64_t h) { return pagi_sse_conn_set_marks(h, 1, 2, 3); }
static int64_t f19(uint64_t h) { return pagi_sse_conn_respond(h, 200, NULL, 0); }
static int64_t f20(uint64_t h) { return pagi_sse_conn_body(h, NONE, 0); }
static int64_t f21(uint64_t h) { char b[8]; return LEN(pagi_sse_conn_read_body(h, b, sizeof b, &len_)); }
static int64_t f22(uint64_t h) { return pagi_sse_scope_set(1, h); }
static int64_t f23(uint64_t h) { return pagi_sse_conn_hand_over(h); }
static int64_t f24(uint64_t h) { return pagi_sse_conn_catch_up(h); }
static int64_t f25(uint64_t h) { return pagi_sse_conn_set_user(h, 1); }
static int64_t f26(uint64_t h) { return pagi_sse_conn_abort(h, NONE); }
static int64_t f27(uint64_t h) { return pagi_sse_conn_expect_stream(h, 1); }
static int64_t s1(uint64_t h) { return pagi_sse_server_start(h); }
static int64_t s2(uint64_t h) { return pagi_sse_server_port(h); }
static int64_t s3(uint64_t h) { return pagi_sse_server_fd(h); }
static int64_t s4(uint64_t h) { char b[8]; return LEN(pagi_sse_server_next(h, b, sizeof b, &len_)); }
static int64_t s5(uint64_t h) { return pagi_sse_server_flush(h); }
static int64_t s6(uint64_t h) { return pagi_sse_server_wake(h, 0); }
static int64_t s7(uint64_t h) { return pagi_sse_server_busy(h); }
static int64_t s8(uint64_t h) { return LEN(pagi_sse_server_stats(h, NONE, &len_)); }
static int64_t s9(uint64_t h) { return pagi_sse_server_drain(h); }
static int64_t s10(uint64_t h) { return pagi_sse_server_close_streams(h, NONE); }
static int64_t s11(uint64_t h) { return pagi_sse_server_stop(h, 0); }
static int64_t s12(uint64_t h) { return pagi_sse_server_free(h, 0); }
static int64_t s13(uint64_t h) { return LEN(pagi_sse_server_address(h, NONE, &len_)); }
static int64_t s14(uint64_t h) { return pagi_sse_server_adopt(h, 0, NONE); }
static int32_t never(const pagi_sse_record *record, void *user) { return record && user ? 1 : 1; }
static int64_t s15(uint64_t h) { pagi_sse_host_counts n; return pagi_sse_server_counters(h, &n, sizeof n); }
static int64_t s16(uint64_t h) { return pagi_sse_server_wait(h, 0); }
static int64_t s17(uint64_t h) { return pagi_sse_server_run(h, never, NULL, 0); }
static int64_t r1(uint64_t h) { return pagi_sse_runtime_fd(h); }
static int64_t r2(uint64_t h) { char b[8]; return LEN(pagi_sse_runtime_next(h, b, sizeof b, &len_)); }
static int64_t r3(uint64_t h) { return pagi_sse_runtime_flush(h); }
static int64_t r4(uint64_t h) { return pagi_sse_runtime_wake(h, 0); }
static int64_t r5(uint64_t h) { return pagi_sse_runtime_busy(h); }
static int64_t r6(uint64_t h) { return LEN(pagi_sse_runtime_stats(h, NONE, &len_)); }
static int64_t r7(uint64_t h) { return pagi_sse_runtime_stop(h, 0); }
static int64_t r8(uint64_t h) { return pagi_sse_runtime_free(h, 0); }
static int64_t r9(uint64_t h) { pagi_sse_conn c; return pagi_sse_conn_open_queue(h, 0, &c); }
static int64_t r10(uint64_t h) { pagi_sse_conn c; return pagi_sse_conn_open_fd(h, 0, 0, &c); }
static int64_t r11(uint64_t h) { pagi_sse_client c; return pagi_sse_client_open(h, NULL, &c); }
static int64_t r12(uint64_t h) { pagi_sse_host_counts n; return pagi_sse_runtime_counters(h, &n, sizeof n); }
static int64_t r13(uint64_t h) { return pagi_sse_runtime_wait(h, 0); }
static int64_t r14(uint64_t h) { return pagi_sse_runtime_run(h, never, NULL, 0); }
static int64_t p1(uint64_t h) { return pagi_sse_parser_push(h, NONE); }
static int64_t p2(uint64_t h) { char b[8]; return LEN(pagi_sse_parser_next(h, b, sizeof b, &len_)); }
static int64_t p3(uint64_t h) { return LEN(pagi_sse_parser_last_event_id(h, NONE, &len_)); }
static int64_t p4(uint64_t h) { uint64_t ms; return pagi_sse_parser_retry(h, &ms); }
static int64_t p5(uint64_t h) { return pagi_sse_parser_reset(h); }
static int64_t p6(uint64_t h) { return pagi_sse_parser_free(h); }
static int64_t h1(uint64_t h) { return pagi_sse_hub_topic(h, S("t"), NULL); }
static int64_t h2(uint64_t h) { return pagi_sse_hub_publish(h, S("t"), EVENT(.data = B("x"))); }
static int64_t h3(uint64_t h) { pagi_sse_subscription s; return pagi_sse_hub_subscribe(h, 0, S("t"), NULL, &s); }
static int64_t h4(uint64_t h) { return pagi_sse_hub_ready(h); }
static int64_t h5(uint64_t h) { return pagi_sse_hub_close_streams(h, NONE, NONE); }
static int64_t h6(uint64_t h) { return pagi_sse_hub_subscribers(h, S("t")); }
static int64_t h7(uint64_t h) { return LEN(pagi_sse_hub_stats(h, NONE, &len_)); }
static int64_t h8(uint64_t h) { return LEN(pagi_sse_hub_history(h, S("t"), 0, 0, NONE, &len_)); }
static int64_t h9(uint64_t h) { return pagi_sse_hub_has_topic(h, S("t")); }
static int64_t h10(uint64_t h) { return pagi_sse_hub_free(h, 1000); }
static int64_t h11(uint64_t h) { pagi_sse_hub_counts n; return pagi_sse_hub_counters(h, &n, sizeof n); }
static int64_t h12(uint64_t h) { pagi_sse_topic_counts n; return pagi_sse_topic_counters(h, S("t"), &n, sizeof n); }
static int64_t c1(uint64_t h) { char b[8]; return LEN(pagi_sse_client_next(h, b, sizeof b, &len_)); }
static int64_t c2(uint64_t h) { return pagi_sse_client_state(h); }
static int64_t c3(uint64_t h) { return LEN(pagi_sse_client_last_event_id(h, NONE, &len_)); }
static int64_t c4(uint64_t h) { return pagi_sse_client_close(h); }
static int64_t c5(uint64_t h) { return pagi_sse_client_free(h); }
static int64_t u1(uint64_t h) { return pagi_sse_subscription_cancel(h); }
static int64_t u2(uint64_t h) { return LEN(pagi_sse_subscription_stats(h, NONE, &len_)); }
static int64_t u3(uint64_t h) { return pagi_sse_subscription_free(h); }

static int64_t u4(uint64_t h) { pagi_sse_subscription_counts n; return pagi_sse_subscription_counters(h, &n, sizeof n); }

/* Every function that takes a handle (t/capi/abi.t asks for them), by the kind of its object. */
static handle_function *const of_conn[] = {f1,  f2,  f3,  f4,  f5,  f6,  f8,  f9,  f10, f11,
                                           f12, f13, f14, f16, f17, f18, f19, f20, f21, f22, f23, f24, f25, f26, f27};
static handle_function *const of_server[] = {s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15, s16, s17};
static handle_function *const of_runtime[] = {r1, r2, r3, r4, r5, r6, r7, r8, r9, r10, r11, r12, r13, r14};
static handle_function *const of_parser[] = {p1, p2, p3, p4, p5, p6};
static handle_function *const of_hub[] = {h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, h12};
static handle_function *const of_client[] = {c1, c2, c3, c4, c5};
static handle_function *const of_subscription[] = {u1, u2, u3, u4};
#define COUNT(array) (sizeof(array) / sizeof *(array))

enum { CONN, SERVER, RUNTIME, PARSER, HUB, CLIENT, SUBSCRIPTION, KINDS };
static const struct { handle_function *const *functions; size_t count; } all[KINDS] = {
    {of_conn, COUNT(of_conn)},
    {of_server, COUNT(of_server)},
    {of_runtime, COUNT(of_runtime)},
    {of_parser, COUNT(of_parser)},
    {of_hub, COUNT(of_hub)},
    {of_client, COUNT(of_client)},
    {of_subscription, COUNT(of_subscription)},
};

static uint64_t opened(int kind);

/* A subscription outlives what it was of. */
static pagi_sse_subscription subscribed(void)
{
    pagi_sse_runtime rt = opened(RUNTIME);
    pagi_sse_hub hub = opened(HUB);
    pagi_sse_conn conn = 0;
    pagi_sse_subscription s = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &conn), 0);
    IS(pagi_sse_hub_subscribe(hub, conn, S("t"), NULL, &s), 0);
    IS(pagi_sse_conn_free(conn), 0);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    return s;
}

/* So does a client. */
static pagi_sse_client followed(void)
{
    pagi_sse_runtime rt = opened(RUNTIME);
    pagi_sse_client_options o = {.size = sizeof o, .url = B("http://127.0.0.1:1/")};
    pagi_sse_client c = 0;
    IS(pagi_sse_client_open(rt, &o, &c), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    return c;
}

static uint64_t opened(int kind)
{
    uint64_t h = 0;
    pagi_sse_server_options so = {.size = sizeof so, .workers = 1};
    pagi_sse_runtime_options ro = {.size = sizeof ro, .workers = 1};
    switch (kind) {
    case CONN: IS(pagi_sse_conn_open_detached(&h), 0); break;
    case SERVER: IS(pagi_sse_server_open(&so, &h), 0); break;
    case RUNTIME: IS(pagi_sse_runtime_open(&ro, &h), 0); break;
    case PARSER: IS(pagi_sse_parser_open(NULL, &h), 0); break;
    case HUB: IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &h), 0); break;
    case CLIENT: h = followed(); break;
    case SUBSCRIPTION: h = subscribed(); break;
    }
    return h;
}

static int64_t freed(int kind, uint64_t h)
{
    static handle_function *const free_one[KINDS] = {f1, s12, r8, p6, h10, c5, u3};
    return free_one[kind](h);
}

static void wrong_handles(void)
{
    for (int kind = 0; kind < KINDS; kind++) {
        uint64_t right = opened(kind), stale = opened(kind);
        IS(freed(kind, stale), 0);
        for (size_t i = 0; i < all[kind].count; i++) {
            handle_function *f = all[kind].functions[i];
            IS(f(0), R(HANDLE_INVALID));
            IS(f(UINT64_MAX), R(HANDLE_INVALID));
            IS(f(right + 100000), R(HANDLE_INVALID));
            IS(f(right + ((uint64_t)1 << 32)), R(HANDLE_INVALID));
            IS(f(stale), R(HANDLE_STALE));
        }
        for (int other = 0; other < KINDS; other++)
            if (other != kind)
                for (size_t i = 0; i < all[other].count; i++)
                    IS(all[other].functions[i](right), R(HANDLE_KIND));
        IS(freed(kind, right), 0);
        IS(freed(kind, right), R(HANDLE_STALE));
    }
}

static uint64_t mine[KINDS];

static int child(void)
{
    int bad = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < all[kind].count; i++)
            bad += all[kind].functions[i](mine[kind]) != R(HANDLE_FORKED);
    bad += pagi_sse_handle_count() != 0;
    for (int kind = 0; kind < KINDS; kind++) {
        uint64_t own = opened(kind);
        bad += own == mine[kind] || freed(kind, own) != 0;
    }
    return bad + failures;
}

static void forks(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        mine[kind] = opened(kind);
    IS(in_child(child), 0);
    IS(in_child(child), 0);
    for (int kind = 0; kind < KINDS; kind++)
        IS(freed(kind, mine[kind]), 0);
}

#define THREADS 8
#define ROUNDS 400

static pagi_sse_runtime shared_rt;
static pagi_sse_conn shared;
static pagi_sse_parser shared_parser;
static int freed_by, closed_by;

static void *everything(void *unused)
{
    char buf[4096];
    long bad = 0;
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        pagi_sse_conn own = 0;
        pagi_sse_conn_counts n;
        bad += pagi_sse_conn_send(shared, S("x")) < 0 && pagi_sse_conn_state(shared) == PAGI_SSE_STATE_STARTED
            && pagi_sse_conn_buffered(shared) == 0;
        bad += LEN(pagi_sse_conn_read(shared, buf, sizeof buf, &len_)) < 0;
        bad += pagi_sse_conn_counters(shared, &n, sizeof n) != 0;
        bad += pagi_sse_conn_send_event(shared, EVENT(.data = B("]"), AS_JSON)) != R(JSON);
        bad += LEN(pagi_sse_error(buf, sizeof buf, &len_)) <= 0;
        bad += LEN(pagi_sse_runtime_next(shared_rt, buf, sizeof buf, &len_)) < 0;
        bad += pagi_sse_runtime_flush(shared_rt) != 0;
        bad += LEN(pagi_sse_runtime_stats(shared_rt, buf, sizeof buf, &len_)) <= 0;
        bad += pagi_sse_parser_push(shared_parser, S("data: 1\n\n")) < 0;
        bad += LEN(pagi_sse_parser_next(shared_parser, buf, sizeof buf, &len_)) < 0;
        bad += pagi_sse_conn_open_queue(shared_rt, i % 3, &own) != 0;
        bad += pagi_sse_scope_set((uint64_t)i, own) != 0;
        bad += pagi_sse_conn_keepalive(own, 10, S("k")) != 0;
        bad += pagi_sse_conn_send(own, S("x")) != 0;
        bad += LEN(pagi_sse_conn_read(own, buf, sizeof buf, &len_)) <= 0;
        bad += pagi_sse_conn_free(own) != 0;
        bad += pagi_sse_conn_free(own) != R(HANDLE_STALE);
    }
    return (void *)bad;
}

static void *ending(void *unused)
{
    (void)unused;
    if (pagi_sse_conn_close(shared, S("race")) == 1)
        __atomic_add_fetch(&closed_by, 1, __ATOMIC_RELAXED);
    if (pagi_sse_conn_free(shared) == 0)
        __atomic_add_fetch(&freed_by, 1, __ATOMIC_RELAXED);
    pagi_sse_runtime_stop(shared_rt, 1000);
    if (pagi_sse_runtime_free(shared_rt, 1000) == 0)
        __atomic_add_fetch(&freed_by, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void in_threads(void *(*f)(void *))
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        OK(pthread_create(&threads[i], NULL, f, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *bad = NULL;
        pthread_join(threads[i], &bad);
        IS((long)bad, 0);
    }
}

static void threads(void)
{
    IS(pagi_sse_runtime_open(NULL, &shared_rt), 0);
    IS(pagi_sse_conn_open_queue(shared_rt, PAGI_SSE_WIRE_EVENTS, &shared), 0);
    IS(pagi_sse_parser_open(NULL, &shared_parser), 0);
    IS(pagi_sse_conn_start(shared, 200, NULL, 0), 1);
    in_threads(everything);
    IS(pagi_sse_runtime_busy(shared_rt), 1);
    in_threads(ending);
    IS(closed_by, 1);
    IS(freed_by, 2);
    IS(pagi_sse_parser_free(shared_parser), 0);
}

static volatile sig_atomic_t signalled;
static pthread_t main_thread;

static void handler(int signal)
{
    (void)signal;
    signalled += pthread_equal(pthread_self(), main_thread) ? 1 : 1000000;
}

static void signals(void)
{
    main_thread = pthread_self();
    signal(SIGUSR1, handler);
    pagi_sse_runtime rt = opened(RUNTIME);
    for (int i = 0; i < 100; i++)
        kill(getpid(), SIGUSR1);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
    OK(signalled > 0 && signalled < 1000000);
    signal(SIGUSR1, SIG_DFL);
}

static const test tests[] = {
    {"each wrong handle has its own error, in every function", wrong_handles},
    {"a child has no handle of its parent, and makes its own", forks},
    {"eight threads do everything at once", threads},
    {"signals come to the host's thread only", signals},
};
RUN(tests)
