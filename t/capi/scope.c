/* The scope cache: a host's key leads to a connection, weakly. */
#include "harness.h"

static pagi_sse_conn opened(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_detached(&c), 0);
    return c;
}

static void pairs(void)
{
    pagi_sse_conn a = opened(), b = opened(), got = 7;
    IS(pagi_sse_scope_get(1, &got), 0);
    IS(got, 7);
    IS(pagi_sse_scope_set(1, a), 0);
    IS(pagi_sse_scope_get(1, &got), 1);
    IS(got, a);
    IS(pagi_sse_scope_set(1, b), 0);
    IS(pagi_sse_scope_get(1, &got), 1);
    IS(got, b);
    IS(pagi_sse_scope_set(UINT64_MAX, b), 0);
    IS(pagi_sse_scope_get(1, &got), 0);
    IS(pagi_sse_scope_remove(UINT64_MAX), 1);
    IS(pagi_sse_scope_remove(UINT64_MAX), 0);
    IS(pagi_sse_conn_state(b), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_free(a), 0);
    IS(pagi_sse_conn_free(b), 0);
}

static void weak(void)
{
    pagi_sse_conn got = 0;
    for (uint64_t key = 0; key < 10000; key++) {
        pagi_sse_conn c = opened();
        IS(pagi_sse_scope_set(key, c), 0);
        IS(pagi_sse_conn_free(c), 0);
        IS(pagi_sse_scope_get(key, &got), 0);
    }
}

/* The other way to give a number back. */
static void handed_over(void)
{
    pagi_sse_conn got = 0, queue = 0, detached = opened();
    pagi_sse_runtime rt = 0;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &queue), 0);
    IS(pagi_sse_conn_send(queue, S("nobody can take it")), 0);
    IS(pagi_sse_scope_set(1, queue), 0);
    IS(pagi_sse_scope_set(2, detached), 0);
    IS(pagi_sse_conn_hand_over(queue), R(NOT_SUBSCRIBED));
    IS(pagi_sse_conn_hand_over(detached), R(NOT_SUBSCRIBED));
    IS(pagi_sse_scope_get(1, &got), 1);
    IS(pagi_sse_conn_free(queue), 0);
    IS(pagi_sse_conn_free(detached), 0);
    IS(pagi_sse_scope_get(1, &got), 0);
    IS(pagi_sse_scope_get(2, &got), 0);
    IS(pagi_sse_conn_hand_over(queue), R(HANDLE_STALE));
    IS(pagi_sse_runtime_busy(rt), 0);
    IS(pagi_sse_runtime_free(rt, 0), 0);
}

static void misuse(void)
{
    pagi_sse_conn c = opened();
    IS(pagi_sse_scope_set(1, 0), R(HANDLE_INVALID));
    IS(pagi_sse_scope_get(1, NULL), R(NULL_POINTER));
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_scope_set(1, c), R(HANDLE_STALE));
    pagi_sse_parser p = 0;
    IS(pagi_sse_parser_open(NULL, &p), 0);
    IS(pagi_sse_scope_set(1, p), R(HANDLE_KIND));
    IS(pagi_sse_parser_free(p), 0);
}

static pagi_sse_conn inherited;

static int child(void)
{
    pagi_sse_conn got = 0;
    return !(pagi_sse_scope_get(5, &got) == 0 && pagi_sse_scope_set(5, inherited) == R(HANDLE_FORKED));
}

static void forked(void)
{
    pagi_sse_conn got = 0;
    inherited = opened();
    IS(pagi_sse_scope_set(5, inherited), 0);
    IS(in_child(child), 0);
    IS(pagi_sse_scope_get(5, &got), 1);
    IS(pagi_sse_conn_free(inherited), 0);
}

static const test tests[] = {
    {"a key has one connection, a connection one key", pairs},
    {"an entry ends with its connection", weak},
    {"and with a hand-over; what nobody can reach then ends", handed_over},
    {"misuse is an error", misuse},
    {"a child has no keys of its parent", forked},
};
RUN(tests)
