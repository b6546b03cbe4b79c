/* What a hub has kept: reading it, filling it, deleting from its state, the
 * last of it for who is new; and who may create a topic. */
#include "hub.h"

#define PUT(...) pagi_sse_hub_publish(hub, S("t"), EVENT(__VA_ARGS__))
#define DELETE .flags = PAGI_SSE_EVENT_DELETE
#define QUIET .flags = PAGI_SSE_EVENT_QUIET

enum { HISTORY, STATE };

/* The newest of a topic's history or state, as JSON. */
static size_t kept(int state, uint64_t last)
{
    int64_t n = LEN(pagi_sse_hub_history(hub, S("t"), state, last, out, sizeof out, &len_));
    return n > 0 ? (size_t)n : 0;
}

#define KEPT(state, last, expected) BYTES(out, kept((state), (last)), expected)

static void reading(void)
{
    char buf[64];
    open_hub(TOPIC(.state = 1));
    KEPT(HISTORY, 0, "[]");
    KEPT(STATE, 0, "[]");
    OK(strstr(json(pagi_sse_hub_stats, hub), "\"topics\":{}") != NULL);
    IS(pagi_sse_hub_publish(hub, S("t"), EVENT(.data = B("a\r\nb\n"), .event = B("type"), .id = B("own"), .key = B("k"), RETRY(7))), 1);
    IS(publish("t", "\xe2\x82\xac \"x\"", NULL), 2);
    IS(PUT(), 3);
    IS(publish("t", "", "k"), 4);
    KEPT(HISTORY, 0,
         "[{\"data\":\"a\\nb\\n\",\"event\":\"type\",\"id\":\"own\",\"key\":\"k\",\"retry\":7},"
         "{\"data\":\"\xe2\x82\xac \\\"x\\\"\",\"id\":\"e.2\"},{\"id\":\"e.3\"},"
         "{\"data\":\"\",\"id\":\"e.4\",\"key\":\"k\"}]");
    KEPT(HISTORY, 2, "[{\"id\":\"e.3\"},{\"data\":\"\",\"id\":\"e.4\",\"key\":\"k\"}]");
    KEPT(HISTORY, UINT64_MAX, "[{\"data\":\"a\\nb\\n\",\"event\":\"type\",\"id\":\"own\",\"key\":\"k\",\"retry\":7},"
         "{\"data\":\"\xe2\x82\xac \\\"x\\\"\",\"id\":\"e.2\"},{\"id\":\"e.3\"},"
         "{\"data\":\"\",\"id\":\"e.4\",\"key\":\"k\"}]");
    KEPT(STATE, 0, "[{\"data\":\"\",\"id\":\"e.4\",\"key\":\"k\"}]");
#define READ(...) LEN(pagi_sse_hub_history(hub, __VA_ARGS__, &len_))
#define READ_NEEDS(...) NEEDS(pagi_sse_hub_history(hub, __VA_ARGS__, &len_))
    IS(READ_NEEDS(S("t"), STATE, 0, NONE), 34);
    memset(buf, '#', sizeof buf);
    IS(READ_NEEDS(S("t"), STATE, 0, buf, 33), 34);
    OK(buf[0] == '#');
    IS(READ(S("t"), STATE, 0, buf, 34), 34);
    OK(buf[33] == ']' && buf[34] == '#');
    IS(READ(S("t"), 2, 0, NONE), R(BAD_ARGUMENT));
    IS(READ(S("t"), -1, 0, NONE), R(BAD_ARGUMENT));
    IS(READ(S("t"), STATE, 0, NULL, 1), R(NULL_POINTER));
    IS(READ(S("t"), STATE, 0, buf, SIZE_MAX), R(BAD_ARGUMENT));
    IS(READ(NULL, 1, STATE, 0, NONE), R(NULL_POINTER));
    IS(READ(S("a b"), STATE, 0, NONE), R(TOPIC_NAME));
    IS(READ(S("\xff"), STATE, 0, NONE), R(NOT_UTF8));
    free_hub();
}

static void deleting(void)
{
    open_hub(TOPIC(.state = 1));
    IS(PUT(DELETE, .key = B("a")), 0); /* no topic for nothing */
    IS(pagi_sse_hub_has_topic(hub, S("t")), 0);
    client live = JOINS(NEW, "t", NULL);
    OK(publish("t", "1", "a") && publish("t", "2", "b") && publish("t", "3", "c"));
    IS(PUT(DELETE, .data = B("4"), .key = B("a")), 4);
    IS(PUT(DELETE, .key = B("b")), 0);
    IS(PUT(DELETE, .key = B("never")), 0);
    GETS(live, "id: e.0\n\n" E(1) E(2) E(3) E(4));
    leaves(live);
    client c = JOINS(NEW, "t", NULL);
    GETS(c, E(3) "id: e.5\n\n");
    leaves(c);
    c = JOINS(UNKNOWN, "t", WISH(SEEN("?")));
    GETS(c, RESET("unknown_id") E(3) E(4) "id: e.5\n\n");
    leaves(c);
    c = JOINS(RESUMED, "t", WISH(SEEN("e.1")));
    GETS(c, E(2) E(3) E(4) "id: e.5\n\n");
    leaves(c);
    KEPT(STATE, 0, "[{\"data\":\"3\",\"id\":\"e.3\",\"key\":\"c\"}]");
    KEPT(HISTORY, 1, "[{\"data\":\"4\",\"delete\":true,\"id\":\"e.4\",\"key\":\"a\"}]");
    IS(figure("t", "keys"), 1);
    IS(figure("t", "kept_events"), 4);
    IS(figure("t", "published"), 4);
    IS(figure(NULL, "published"), 4);
    IS(PUT(DELETE, .data = B("x")), R(BAD_ARGUMENT));
    IS(PUT(DELETE), R(BAD_ARGUMENT));
    for (uint32_t flags = 16; flags; flags <<= 1)
        IS(PUT(.flags = flags, .data = B("x"), .key = B("a")), R(BAD_ARGUMENT));
    IS(publish("t", "6", NULL), 6);
    free_hub();
}

static void filling(void)
{
    open_hub(TOPIC(.state = 1));
    client live = JOINS(NEW, "t", NULL);
    IS(PUT(QUIET, .data = B("1"), .id = B("old.7"), .key = B("k")), 1);
    IS(PUT(QUIET, .data = B("2"), .id = B("old.8"), .key = B("l")), 2);
    IS(PUT(QUIET | PAGI_SSE_EVENT_DELETE, .data = B("3"), .key = B("l")), 3);
    OK(publish("t", "4", NULL));
    GETS(live, "id: e.0\n\n" E(4));
    leaves(live);
    client c = JOINS(RESUMED, "t", WISH(SEEN("old.7"))); /* of before the restart */
    GETS(c, "id: old.8\ndata: 2\n\n" E(3) E(4));
    leaves(c);
    c = JOINS(NEW, "t", NULL);
    GETS(c, "id: old.7\ndata: 1\n\nid: e.4\n\n");
    leaves(c);
    free_hub();
}

static void the_last(void)
{
    open_hub(NULL);
    for (int i = 1; i <= 5; i++) {
        char data[2] = {(char)('0' + i), 0};
        IS(publish(i % 2 ? "a" : "b", data, NULL), i);
    }
    client c = JOINS(NEW, "a\nb", WISH(.last = 2));
    GETS(c, E(4) E(5));
    leaves(c);
    c = JOINS(NEW, "b", WISH(.last = UINT32_MAX));
    GETS(c, E(2) E(4) "id: e.5\n\n");
    leaves(c);
    c = JOINS(RESUMED, "a\nb", WISH(SEEN("e.2"), .last = 1));
    GETS(c, E(3) E(4) E(5));
    leaves(c);
    c = JOINS(UNKNOWN, "a", WISH(SEEN("?"), .last = 1));
    GETS(c, RESET("unknown_id") E(1) E(3) E(5));
    leaves(c);
    free_hub();
}

static void own_ids(void)
{
    IS(pagi_sse_hub_open(S("e"), NULL, 0, PAGI_SSE_HUB_FLAG_OWN_IDS, &hub), 0);
    client c = JOINS(NEW, "t", NULL);
    IS(PUT(.data = B("1"), .id = B("one")), 1);
    IS(publish("t", "2", NULL), 2);
    IS(PUT(), R(BAD_ARGUMENT)); /* nothing to send */
    GETS(c, "id: one\ndata: 1\n\ndata: 2\n\n");
    leaves(c);
    c = JOINS(RESUMED, "t", WISH(SEEN("one")));
    GETS(c, "data: 2\n\n");
    leaves(c);
    c = JOINS(UNKNOWN, "t", WISH(SEEN("e.1")));
    GETS(c, RESET("unknown_id") "id: one\ndata: 1\n\ndata: 2\n\n");
    leaves(c);
    free_hub();
}

static void alike(void)
{
    open_hub(NULL);
    OK(publish("t", "1", NULL) && publish("t", "2", NULL));
    IS(PUT(.data = B("x"), .id = B("e.1")), 3);
    client c = JOINS(RESUMED, "t", WISH(SEEN("e.1")));
    GETS(c, E(2) "id: e.1\ndata: x\n\n");
    leaves(c);
    free_hub();
}

static void creating(void)
{
    pagi_sse_subscription sub = 77;
    IS(pagi_sse_hub_open(S("e"), NULL, 0, PAGI_SSE_HUB_FLAG_NO_CREATE, &hub), 0);
    pagi_sse_conn c = opened();
    IS(pagi_sse_hub_subscribe(hub, c, S("room"), NULL, &sub), R(NO_TOPIC));
    IS(pagi_sse_hub_has_topic(hub, S("room")), 0);
    IS(pagi_sse_hub_topic(hub, S("room"), NULL), 0);
    IS(pagi_sse_hub_has_topic(hub, S("room")), 1);
    IS(pagi_sse_hub_subscribe(hub, c, S("room\nother"), NULL, &sub), R(NO_TOPIC));
    IS(sub, 77);
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_hub_subscribe(hub, c, S("room"), NULL, &sub), 0);
    leaves((client){c, sub});
    leaves(JOINS(NEW, "other", WISH(.create = 1)));
    IS(pagi_sse_hub_has_topic(hub, S("other")), 0);
    IS(publish("other", "x", NULL), 1);
    leaves(JOINS(NEW, "other", NULL));
    IS(pagi_sse_hub_has_topic(hub, S("a b")), R(TOPIC_NAME));
    IS(pagi_sse_hub_has_topic(hub, NONE), R(TOPIC_NAME));
    IS(pagi_sse_hub_has_topic(hub, NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_hub_has_topic(hub, S("\xff")), R(NOT_UTF8));
    free_hub();
}

static const test tests[] = {
    {"a runtime opens", begin},
    {"history and state are JSON, oldest first, the newest so many", reading},
    {"a key of a state is deleted, with an event or without, and does not come back", deleting},
    {"what is put quietly is kept, and not delivered", filling},
    {"who is new gets the last of its topics, in all, and no reset", the_last},
    {"with the program's own ids alone no id of the hub's is ever sent", own_ids},
    {"an id of the program's that looks like one of the hub's hides nothing", alike},
    {"subscribers create topics only where they may", creating},
    {"nothing is in progress, and the runtime ends", end},
};
RUN(tests)
