/* The struct of an event: what it says, and what each function that takes one
 * refuses, by name. */
#include "harness.h"

#define FLAG(flag) .flags = PAGI_SSE_EVENT_##flag

static pagi_sse_runtime rt;
static pagi_sse_conn conn;
static pagi_sse_hub hub;
static char buf[256];

static void begin(void)
{
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &conn), 0);
    IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, &hub), 0);
}

static void end(void)
{
    IS(pagi_sse_conn_free(conn), 0);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

/* Every function that takes an event. */
typedef int64_t taker(const pagi_sse_event *event);
static int64_t admit(const pagi_sse_event *e) { return pagi_sse_conn_admit_event(conn, e); }
static int64_t send_it(const pagi_sse_event *e) { return pagi_sse_conn_send_event(conn, e); }
static int64_t frame(const pagi_sse_event *e) { return pagi_sse_frame_event(e, buf, sizeof buf, &len_); }
static int64_t publish(const pagi_sse_event *e) { return pagi_sse_hub_publish(hub, S("t"), e); }
static taker *const takers[] = {admit, send_it, frame, publish};
enum { OWN = 3, ALL = 4 }; /* those that take no key, and all */

#define REFUSES(count, event, code, says) refuses_(__LINE__, (count), (event), R(code), (says))

static void refuses_(int line, int count, const pagi_sse_event *event, int32_t code, const char *says)
{
    char text[256];
    for (int i = 0; i < count; i++) {
        is_(__FILE__, line, "the code", takers[i](event), code);
        int64_t n = LEN(pagi_sse_error(text, sizeof text - 1, &len_));
        text[n > 0 ? n : 0] = 0;
        const char *detail = strrchr(text, ':');
        bytes_(__FILE__, line, detail ? detail + 2 : text, strlen(detail ? detail + 2 : text), says);
    }
}

static void nothing_happened(void)
{
    IS(pagi_sse_conn_state(conn), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_hub_has_topic(hub, S("t")), 0);
}

static void sizes(void)
{
    struct { pagi_sse_event event; uint64_t more; } newer = {{.size = sizeof newer, .data = B("x")}, 0};
    static char says[64];
    for (int i = 0; i < ALL; i++)
        IS(takers[i](NULL), R(NULL_POINTER));
    REFUSES(ALL, &(pagi_sse_event){.data = B("x")}, BAD_ARGUMENT, "size, 0");
    snprintf(says, sizeof says, "size, %zu", sizeof(pagi_sse_event) - 1);
    REFUSES(ALL, (&(pagi_sse_event){.size = sizeof(pagi_sse_event) - 1}), BAD_ARGUMENT, says);
    REFUSES(ALL, (&(pagi_sse_event){.size = 4097}), BAD_ARGUMENT, "size, 4097");
    newer.more = 1;
    REFUSES(ALL, &newer.event, BAD_ARGUMENT, "what is unknown here is not 0");
    nothing_happened();
    newer.more = 0;
    IS(frame(&newer.event), 0);
    BYTES(buf, len_, "data: x\n\n");
}

static void flags(void)
{
    for (uint32_t flag = 16; flag; flag <<= 1) {
        char says[32];
        snprintf(says, sizeof says, "flags, %#x", flag | PAGI_SSE_EVENT_RETRY);
        REFUSES(ALL, EVENT(.data = B("x"), .flags = flag | PAGI_SSE_EVENT_RETRY), BAD_ARGUMENT, says);
    }
    REFUSES(ALL, EVENT(.data = B("x"), .reserved = 1), BAD_ARGUMENT, "reserved");
    REFUSES(OWN, EVENT(.data = B("x"), .key = B("")), BAD_ARGUMENT, "key is for pagi_sse_hub_publish");
    REFUSES(OWN, EVENT(FLAG(DELETE)), BAD_ARGUMENT, "PAGI_SSE_EVENT_DELETE is for pagi_sse_hub_publish");
    REFUSES(OWN, EVENT(FLAG(QUIET)), BAD_ARGUMENT, "PAGI_SSE_EVENT_QUIET is for pagi_sse_hub_publish");
    IS(publish(EVENT(.data = B("x"), FLAG(DELETE))), R(BAD_ARGUMENT));
    REFUSES(ALL, EVENT(.data = B("x"), .retry_ms = 7), BAD_ARGUMENT, "retry_ms without PAGI_SSE_EVENT_RETRY");
    REFUSES(ALL, EVENT(RETRY(-1)), BAD_ARGUMENT, "retry_ms, 18446744073709551615");
    nothing_happened();
}

static void fields(void)
{
    static const char huge[] = "x";
    const pagi_sse_bytes no_bytes = {NULL, 1}, too_long = {huge, ((size_t)1 << 30) + 1};
    REFUSES(ALL, EVENT(.data = no_bytes), NULL_POINTER, "data");
    REFUSES(ALL, EVENT(.event = no_bytes), NULL_POINTER, "event");
    REFUSES(ALL, EVENT(.id = no_bytes), NULL_POINTER, "id");
    REFUSES(ALL, EVENT(.key = no_bytes), NULL_POINTER, "key");
    REFUSES(ALL, EVENT(.data = too_long), BAD_ARGUMENT, "data");
    REFUSES(ALL, EVENT(.id = too_long), BAD_ARGUMENT, "id");
    REFUSES(ALL, EVENT(.data = B("a\xff")), NOT_UTF8, "data, byte 1");
    REFUSES(ALL, EVENT(.key = B("\xff")), NOT_UTF8, "key, byte 0");
    REFUSES(ALL, EVENT(.event = B("t"), AS_JSON), NULL_POINTER, "data of PAGI_SSE_EVENT_JSON");
    for (int i = 0; i < ALL; i++)
        IS(takers[i](EVENT(.data = B("{\"a\": }"), AS_JSON)), R(JSON));
    nothing_happened();
}

static void texts(void)
{
    const char *none = NULL;
    IS(frame(EVENT(.data = pagi_sse_text("ab"), .event = pagi_sse_text(""), .id = pagi_sse_text(none))), 0);
    BYTES(buf, len_, "data: ab\n\n");
    IS(frame(EVENT(.data = B("a" "b"), .id = B(""))), 0);
    BYTES(buf, len_, "id: \ndata: ab\n\n");
    IS(PAGI_SSE_BYTES("a\0b").len, 3);
    IS(pagi_sse_text("a\0b").len, 1);
}

static void as_json(void)
{
    IS(frame(EVENT(.data = B(" { \"a\" :\n[1, \"x y\"] } "), AS_JSON)), 0);
    BYTES(buf, len_, "data: {\"a\":[1,\"x y\"]}\n\n");
    IS(frame(EVENT(.data = B("1"), .retry_ms = 0, .flags = PAGI_SSE_EVENT_JSON | PAGI_SSE_EVENT_RETRY)), 0);
    BYTES(buf, len_, "retry: 0\ndata: 1\n\n");
    memcpy(buf, "[ 1 ]", 5);
    IS(frame(EVENT(.data = L(buf, 5), AS_JSON)), R(BAD_ARGUMENT)); /* overlaps, whatever becomes of it */
    BYTES(buf, 5, "[ 1 ]");
    IS(publish(EVENT(.data = B("[ 1 ]"), AS_JSON)), 1);
    IS(LEN(pagi_sse_hub_history(hub, S("t"), PAGI_SSE_KEPT_HISTORY, 0, buf, sizeof buf, &len_)), 27);
    BYTES(buf, len_, "[{\"data\":\"[1]\",\"id\":\"e.1\"}]");
    IS(send_it(EVENT(.data = B("[ 1 ]"), AS_JSON)), 0);
    IS(LEN(pagi_sse_conn_read(conn, buf, sizeof buf, &len_)), 11);
    BYTES(buf, len_, "data: [1]\n\n");
}

static const test tests[] = {
    {"a connection, a hub", begin},
    {"no event, one too small, and one of a newer header that says more are refused everywhere", sizes},
    {"flags that mean nothing are refused by name, and so is a retry time without its flag", flags},
    {"a bad field is named", fields},
    {"literals and C strings become bytes", texts},
    {"JSON is one line in a frame, on a connection and in a hub", as_json},
    {"all of it is freed", end},
};
RUN(tests)
