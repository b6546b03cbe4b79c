/* A hub: topics, ids, history, resuming, state, settings, its end. */
#include "hub.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>

#define PUBLISH(...) pagi_sse_hub_publish(hub, __VA_ARGS__)

static void opening(void)
{
    static char many[41];
    static const char *const odd[] = {"", "a b", "a.b,c", "a\tb", "(a)", "a\"", "a:b", "\x7f", "\xc3\xa9"};
    pagi_sse_hub h = 77;
    memset(many, 'x', sizeof many);
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        IS(pagi_sse_hub_open(odd[i], strlen(odd[i]), NULL, 0, 0, &h), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_open(many, 41, NULL, 0, 0, &h), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_open(many, SIZE_MAX, NULL, 0, 0, &h), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_open(S("\xff"), NULL, 0, 0, &h), R(NOT_UTF8));
    /* Without one the library chooses, another one each time. */
    char stats[2][4096] = {{0}};
    for (int i = 0; i < 2; i++) {
        IS(pagi_sse_hub_open(NONE, NULL, 0, 0, &h), 0);
        OK(LEN(pagi_sse_hub_stats(h, stats[i], sizeof *stats, &len_)) > 0);
        IS(pagi_sse_hub_free(h, 1000), 0);
        char *epoch = strstr(stats[i], "\"epoch\":\"");
        OK(epoch && strspn(epoch + 9, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == 6);
    }
    OK(strcmp(stats[0], stats[1]) != 0);
    h = 77;
    IS(pagi_sse_hub_open(NULL, 1, NULL, 0, 0, &h), R(NULL_POINTER));
    IS(pagi_sse_hub_open(S("e"), NULL, 0, 0, NULL), R(NULL_POINTER));
    IS(pagi_sse_hub_open(S("e"), TOPIC(.reserved = 1), 0, 0, &h), R(BAD_ARGUMENT));
    for (uint32_t flags = 4; flags; flags <<= 1)
        IS(pagi_sse_hub_open(S("e"), NULL, 0, flags, &h), R(BAD_ARGUMENT));
    pagi_sse_topic_options cut = {.size = sizeof cut - 1};
    IS(pagi_sse_hub_open(S("e"), &cut, 0, 0, &h), R(BAD_ARGUMENT));
    cut.size = 0;
    IS(pagi_sse_hub_open(S("e"), &cut, 0, 0, &h), R(BAD_ARGUMENT));
    IS(h, 77);
    IS(pagi_sse_hub_open(many, 40, TOPIC(UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 1, 0), UINT64_MAX, 0, &hub), 0);
    client c = JOINS(NEW, "t", NULL);
    IS(publish("t", "x", NULL), 1);
    GETS(c, "id: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.0\n\n"
            "id: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.1\ndata: x\n\n");
    leaves(c);
    free_hub();
}

static void publishing(void)
{
    open_hub(NULL);
    IS(publish("kept", "for nobody", NULL), 1);
    client a = JOINS(NEW, "t", NULL), b = JOINS(NEW, "u\nt", NULL), other = JOINS(NEW, "other", NULL);
    IS(PUBLISH(S("t"), EVENT(.data = B("one\ntwo\r\nthree\rfour"), .event = B("type"), .key = B("key"), RETRY(7))), 2);
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("own"))), 3);
    IS(PUBLISH(S("t"), EVENT(.data = B(""), .event = B(""), .id = B(""), .key = B(""))), 4);
    IS(PUBLISH(S("t"), EVENT(RETRY(0))), 5);
    IS(PUBLISH(S("u"), EVENT(.data = B("\xe2\x82\xac"))), 6);
    IS(PUBLISH(S("t"), EVENT()), 7);
    const char *all = "id: e.1\n\n"
                      "event: type\nid: e.2\nretry: 7\ndata: one\ndata: two\ndata: three\ndata: four\n\n"
                      "id: own\ndata: x\n\n"
                      "id: \ndata: \n\n"
                      "id: e.5\nretry: 0\n\n"
                      "id: e.6\ndata: \xe2\x82\xac\n\n"
                      "id: e.7\n\n";
    GETS(b, all);
    char without[512];
    const char *at = strstr(all, "id: e.6");
    snprintf(without, sizeof without, "%.*s%s", (int)(at - all), all, strstr(all, "id: e.7"));
    GETS(a, without);
    GETS(other, "id: e.1\n\n");
    leaves(a), leaves(b), leaves(other);
    free_hub();
}

static void refused(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .event = B("a\nb"))), R(EVENT_NEWLINE));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .event = B("a\rb"))), R(EVENT_NEWLINE));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("a\rb"))), R(ID_NEWLINE));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("a\nb"))), R(ID_NEWLINE));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("a\0b"))), R(ID_NUL));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("a\x0c" "b"))), R(ID_HEADER));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("a "))), R(ID_HEADER));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), RETRY(-2))), R(BAD_ARGUMENT));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), RETRY(INT64_MIN))), R(BAD_ARGUMENT));
    IS(PUBLISH(S("\xff"), EVENT(.data = B("x"))), R(NOT_UTF8));
    IS(PUBLISH(S("t"), EVENT(.data = B("\xff"))), R(NOT_UTF8));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .event = B("\xff"))), R(NOT_UTF8));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = B("\xff"))), R(NOT_UTF8));
    IS(PUBLISH(S("t"), EVENT(.data = B("x"), .key = B("\xff"))), R(NOT_UTF8));
    struct { const char *p; size_t len; int32_t code; } const bad[] = {
        {NULL, 1, R(NULL_POINTER)},
        {NULL, SIZE_MAX, R(NULL_POINTER)},
        {"x", SIZE_MAX, R(BAD_ARGUMENT)},
        {"x", ((size_t)1 << 30) + 1, R(BAD_ARGUMENT)},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        IS(PUBLISH(bad[i].p, bad[i].len, EVENT(.data = B("x"))), bad[i].code);
        IS(PUBLISH(S("t"), EVENT(.data = L(bad[i].p, bad[i].len))), bad[i].code);
        IS(PUBLISH(S("t"), EVENT(.data = B("x"), .event = L(bad[i].p, bad[i].len))), bad[i].code);
        IS(PUBLISH(S("t"), EVENT(.data = B("x"), .id = L(bad[i].p, bad[i].len))), bad[i].code);
        IS(PUBLISH(S("t"), EVENT(.data = B("x"), .key = L(bad[i].p, bad[i].len))), bad[i].code);
    }
    IS(publish("t", "fine", NULL), 1);
    GETS(c, "id: e.0\n\nid: e.1\ndata: fine\n\n");
    leaves(c);
    free_hub();
}

static void names(void)
{
    static char long_name[102];
    static const char fine[] = "ABCXYZabcxyz0189.-_:/";
    static const char *const odd[] = {"", " ", "a b", "a,b", "a\n", "a+", "\xc3\xa9", "\x7f", "a?"};
    open_hub(NULL);
    memset(long_name, 'n', sizeof long_name - 1);
    client c = {opened(), 77};
    for (size_t i = 0; i < sizeof odd / sizeof *odd + 1; i++) {
        const char *name = i ? odd[i - 1] : long_name;
        IS(publish(name, "x", NULL), R(TOPIC_NAME));
        IS(pagi_sse_hub_topic(hub, name, strlen(name), NULL), R(TOPIC_NAME));
        IS(pagi_sse_hub_subscribe(hub, c.conn, name, strlen(name), NULL, &c.sub), *name ? R(TOPIC_NAME) : R(TOPIC_COUNT));
        IS(pagi_sse_hub_subscribers(hub, name, strlen(name)), R(TOPIC_NAME));
        IS(pagi_sse_hub_close_streams(hub, name, strlen(name), NONE), R(TOPIC_NAME));
    }
    IS(pagi_sse_hub_topic(hub, NONE, NULL), R(TOPIC_NAME));
    IS(PUBLISH(NONE, EVENT(.data = B("x"))), R(TOPIC_NAME));
    IS(pagi_sse_hub_topic(hub, S("a\0b"), NULL), R(TOPIC_NAME));
    IS(c.sub, 77);
    IS(pagi_sse_conn_state(c.conn), PAGI_SSE_STATE_PENDING);
    long_name[100] = 0;
    IS(publish(long_name, "x", NULL), 1);
    for (size_t i = 0; i < sizeof fine - 1; i++)
        IS(PUBLISH(fine + i, 1, EVENT(.data = B("x"))), 2 + i);
    IS(pagi_sse_conn_free(c.conn), 0);
    free_hub();
}

static void resuming(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "a\nb", NULL);
    IS(publish("a", "1", NULL), 1);
    IS(publish("b", "2", NULL), 2);
    IS(publish("c", "3", NULL), 3);
    IS(publish("a", "4", NULL), 4);
    GETS(c, "id: e.0\n\n" E(1) E(2) E(4));
    leaves(c);
    /* A client that comes back before its first event. */
    c = JOINS(RESUMED, "a\nb", WISH(SEEN("e.0")));
    GETS(c, E(1) E(2) E(4));
    leaves(c);
    /* Live events follow at once. Nothing new in between: an id all the same. */
    c = JOINS(RESUMED, "b\na", WISH(SEEN("e.2")));
    IS(publish("b", "5", NULL), 5);
    IS(publish("c", "6", NULL), 6);
    GETS(c, E(4) E(5));
    leaves(c);
    c = JOINS(RESUMED, "a\nb", WISH(SEEN("e.5")));
    GETS(c, "id: e.6\n\n");
    leaves(c);
    c = JOINS(RESUMED, "a", WISH(SEEN("e.2")));
    GETS(c, E(4) "id: e.6\n\n");
    leaves(c);
    c = JOINS(NEW, "a\nb\nc", WISH(.last_event_id = B("")));
    GETS(c, "id: e.6\n\n");
    leaves(c);
    free_hub();
}

static void gap(void)
{
    open_hub(TOPIC(.events = 2));
    for (int i = 1; i <= 4; i++) {
        char data[2] = {(char)('0' + i), 0};
        IS(publish("t", data, NULL), i);
    }
    IS(publish("quiet", "5", NULL), 5);
    client c = JOINS(TOO_OLD, "t", WISH(SEEN("e.1")));
    GETS(c, RESET("too_old") E(3) E(4) "id: e.5\n\n");
    leaves(c);
    c = JOINS(RESUMED, "t", WISH(SEEN("e.2")));
    GETS(c, E(3) E(4) "id: e.5\n\n");
    leaves(c);
    /* What other topics have forgotten is no loss. */
    c = JOINS(RESUMED, "quiet", WISH(SEEN("e.1")));
    GETS(c, E(5));
    leaves(c);
    c = JOINS(TOO_OLD, "quiet\nt", WISH(SEEN("e.1"), .reset_event = B("gap")));
    GETS(c, "event: gap\ndata: {\"reason\":\"too_old\"}\n\n" E(3) E(4) E(5));
    leaves(c);
    static const char *const unknown[] = {"f.2", "e.6", "e.99999999999999999999", "e.", "e.-1", "e.x", "e", "E.2", "2",
                                          "\xe2\x82\xac"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        c = JOINS(UNKNOWN, "t\nquiet", WISH(SEEN(unknown[i])));
        GETS(c, RESET("unknown_id") E(3) E(4) E(5));
        leaves(c);
    }
    c = JOINS(UNKNOWN, "empty", WISH(SEEN("f.2")));
    GETS(c, RESET("unknown_id") "id: e.5\n\n");
    leaves(c);
    /* A client may send what it likes. */
    static const char *const odd[] = {"\xff", "e.\xc3", "e\0", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        c = JOINS(UNKNOWN, "empty", WISH(.last_event_id = L(odd[i], strlen(odd[i]) + (i == 2))));
        GETS(c, RESET("unknown_id") "id: e.5\n\n");
        leaves(c);
    }
    free_hub();
}

static void own_ids(void)
{
    open_hub(TOPIC(.events = 4));
    static const char *const ids[] = {"a", "b", "a", "c"};
    for (int i = 0; i < 4; i++)
        IS(PUBLISH(S("t"), EVENT(.data = L(ids[i], 1), .id = L(ids[i], 1))), i + 1);
    client c = JOINS(RESUMED, "t", WISH(SEEN("b")));
    GETS(c, "id: a\ndata: a\n\nid: c\ndata: c\n\n"); /* its own id says where it is */
    leaves(c);
    c = JOINS(RESUMED, "t", WISH(SEEN("c")));
    GETS(c, "");
    leaves(c);
    c = JOINS(RESUMED, "t", WISH(SEEN("a")));
    GETS(c, "id: b\ndata: b\n\nid: a\ndata: a\n\nid: c\ndata: c\n\n");
    leaves(c);
    c = JOINS(UNKNOWN, "other", WISH(SEEN("a")));
    GETS(c, RESET("unknown_id") "id: e.4\n\n");
    leaves(c);
    IS(publish("t", "5", NULL), 5);
    IS(publish("t", "6", NULL), 6);
    c = JOINS(UNKNOWN, "t", WISH(SEEN("b"))); /* evicted, so nobody knows it */
    GETS(c, RESET("unknown_id") "id: a\ndata: a\n\nid: c\ndata: c\n\n"
            E(5) E(6));
    leaves(c);
    free_hub();
}

static void state(void)
{
    open_hub(NULL);
    IS(pagi_sse_hub_topic(hub, S("s"), TOPIC(.state = 1, .events = 2)), 0);
    IS(publish("s", "x=1", "x"), 1);
    IS(publish("s", "y=1", "y"), 2);
    IS(publish("plain", "k", "x"), 3);
    IS(publish("s", "x=2", "x"), 4);
    IS(publish("s", "no key", NULL), 5);
    /* y=1 has left the history, not the state. */
    client c = JOINS(NEW, "s\nplain", NULL);
    IS(publish("s", "y=2", "y"), 6);
    GETS(c, "id: e.2\ndata: y=1\n\nid: e.4\ndata: x=2\n\nid: e.5\n\nid: e.6\ndata: y=2\n\n");
    leaves(c);
    c = JOINS(RESUMED, "s", WISH(SEEN("e.4")));
    GETS(c, "id: e.5\ndata: no key\n\nid: e.6\ndata: y=2\n\n");
    leaves(c);
    c = JOINS(TOO_OLD, "s\nplain", WISH(SEEN("e.1")));
    GETS(c, RESET("too_old")
            "id: e.3\ndata: k\n\nid: e.4\ndata: x=2\n\nid: e.5\ndata: no key\n\nid: e.6\ndata: y=2\n\n");
    leaves(c);
    c = JOINS(UNKNOWN, "s", WISH(SEEN("?")));
    GETS(c, RESET("unknown_id")
            "id: e.4\ndata: x=2\n\nid: e.5\ndata: no key\n\nid: e.6\ndata: y=2\n\n");
    leaves(c);
    IS(figure("s", "kept_events"), 2);
    IS(figure("s", "keys"), 2);
    IS(figure("plain", "kept_events"), 1);
    IS(figure("plain", "keys"), 0);
    free_hub();
}

static void state_keys(void)
{
    char key[16];
    open_hub(TOPIC(.state = 1, .events = 1));
    for (int i = 1; i <= 10001; i++) {
        snprintf(key, sizeof key, "k%d", i);
        IS(publish("s", key, key), i);
    }
    IS(figure("s", "keys"), 10000);
    IS(publish("s", "again", "k10000"), 10002);
    client c = JOINS(NEW, "s", NULL);
    OK(taken(c) > 0);
    OK(strncmp(out, "id: e.1\ndata: k1\n\nid: e.2\ndata: k2\n\n", 36) == 0);
    OK(strstr(out, "\n\nid: e.9999\ndata: k9999\n\nid: e.10002\ndata: again\n\n") != NULL);
    OK(strstr(out, "10001") == NULL && strstr(out, "e.10000\n") == NULL);
    leaves(c);
    free_hub();
}

static void history(void)
{
    static char big[1000];
    memset(big, 'x', sizeof big - 1);
    open_hub(TOPIC(.bytes = 3000));
    for (int i = 1; i <= 3; i++)
        IS(publish("bytes", big, NULL), i);
    IS(figure(NULL, "evicted"), 1);
    client c = JOINS(TOO_OLD, "bytes", WISH(SEEN("e.0")));
    leaves(c);
    leaves(JOINS(RESUMED, "bytes", WISH(SEEN("e.1"))));
    /* One that is too large for any history is still delivered. */
    c = JOINS(NEW, "bytes", NULL);
    IS(taken(c), 9);
    memset(out, 'y', 4000), out[4000] = 0;
    IS(publish("bytes", out, NULL), 4);
    IS(taken(c), 8 + 6 + 4000 + 2);
    leaves(c);
    IS(figure("bytes", "kept_events"), 0);
    IS(figure("bytes", "kept_bytes"), 0);
    free_hub();

    /* The default: 1000 events. */
    open_hub(NULL);
    for (int i = 1; i <= 1001; i++)
        IS(publish("t", "x", NULL), i);
    leaves(JOINS(RESUMED, "t", WISH(SEEN("e.1"))));
    leaves(JOINS(TOO_OLD, "t", WISH(SEEN("e.0"))));
    free_hub();

    /* In total: the oldest of any topic goes. */
    IS(pagi_sse_hub_open(S("e"), NULL, 3000, 0, &hub), 0);
    IS(publish("a", big, NULL), 1);
    IS(publish("b", big, NULL), 2);
    IS(publish("b", big, NULL), 3);
    IS(figure("a", "kept_events"), 0);
    IS(figure("b", "kept_events"), 2);
    leaves(JOINS(TOO_OLD, "a", WISH(SEEN("e.0"))));
    leaves(JOINS(RESUMED, "b", WISH(SEEN("e.0"))));
    free_hub();

    /* By age. */
    open_hub(TOPIC(.age_ms = 300, .events = 1000000));
    int64_t start = now_ms(), published = 0;
    do {
        IS(publish("old", "x", NULL), ++published);
        poll(NULL, 0, 5);
    } while (figure(NULL, "evicted") == 0 && now_ms() < start + PATIENCE_MS);
    OK(now_ms() >= start + 300);
    leaves(JOINS(TOO_OLD, "old", WISH(SEEN("e.0"))));
    free_hub();
}

static void settings(void)
{
    open_hub(TOPIC(.events = 3));
    IS(pagi_sse_hub_topic(hub, S("t"), TOPIC(.reserved = 1)), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_topic(hub, S("t"), &(pagi_sse_topic_options){.size = 8}), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_topic(hub, NULL, 1, NULL), R(NULL_POINTER));
    IS(pagi_sse_hub_topic(hub, "t", SIZE_MAX, NULL), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_topic(hub, S("\xff"), NULL), R(NOT_UTF8));
    OK(strstr(json(pagi_sse_hub_stats, hub), "\"topics\":{}") != NULL);
    IS(pagi_sse_hub_topic(hub, S("one"), TOPIC(.events = 1)), 0);
    for (int i = 0; i < 5; i++) {
        OK(publish("one", "x", NULL) > 0);
        OK(publish("others", "x", NULL) > 0);
    }
    IS(figure("one", "kept_events"), 1);
    IS(figure("others", "kept_events"), 3);
    /* From now on, either way. */
    IS(pagi_sse_hub_topic(hub, S("one"), TOPIC(.events = 2)), 0);
    IS(pagi_sse_hub_topic(hub, S("others"), TOPIC(.events = 1)), 0);
    OK(publish("one", "x", NULL) > 0);
    OK(publish("others", "x", NULL) > 0);
    IS(figure("one", "kept_events"), 2);
    IS(figure("others", "kept_events"), 1);
    free_hub();
}

static void many_topics(void)
{
    static char list[100 * 1001];
    client all[50];
    pagi_sse_subscription sub = 77;
    pagi_sse_conn c = opened();
    open_hub(NULL);
    for (int i = 0; i < 50; i++) {
        size_t len = 0;
        for (int j = 0; j <= 1000; j++)
            len += (size_t)sprintf(list + len, "%st%d.%d", j ? "\n" : "", i, j);
        IS(pagi_sse_hub_subscribe(hub, c, list, len, NULL, &sub), R(TOPIC_COUNT));
        *strrchr(list, '\n') = 0;
        all[i] = JOINS(NEW, list, NULL);
    }
    IS(pagi_sse_hub_subscribe(hub, c, S("t0.0\none.more"), NULL, &sub), R(TOO_MANY_TOPICS));
    IS(sub, 77);
    /* The program has its half. */
    for (int i = 0; i < 50000; i++) {
        snprintf(list, sizeof list, "own.%d", i);
        if (publish(list, "x", NULL) != i + 1)
            IS(i, 50000);
    }
    IS(pagi_sse_hub_subscribe(hub, c, S("t0.0\none.more"), NULL, &sub), R(TOO_MANY_TOPICS));
    IS(pagi_sse_hub_topic(hub, S("one.more"), NULL), R(TOO_MANY_TOPICS));
    IS(publish("one.more", "x", NULL), R(TOO_MANY_TOPICS));
    IS(pagi_sse_hub_subscribers(hub, S("t0.0")), 1);
    /* Those that it has go on. */
    IS(pagi_sse_hub_topic(hub, S("t49.999"), NULL), 0);
    IS(publish("t49.999", "x", NULL), 50001);
    GETS(all[49], "id: e.0\n\nid: e.50001\ndata: x\n\n");
    for (int i = 0; i < 50; i++)
        leaves(all[i]);
    IS(pagi_sse_conn_free(c), 0);
    free_hub();
}

/* The hub looks for topics to end every few seconds, so this one starts first
 * and is looked at last. */
static pagi_sse_hub ttl_hub;
static client ttl_client;

static void ttl_begins(void)
{
    open_hub(TOPIC(.ttl_ms = 1));
    ttl_hub = hub;
    ttl_client = JOINS(NEW, "loved", NULL);
    IS(publish("loved", "1", NULL), 1);
    IS(publish("alone", "2", NULL), 2);
}

static void ttl_ends(void)
{
    hub = ttl_hub;
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (figure("alone", "published") >= 0 && now_ms() < deadline)
        poll(NULL, 0, 20);
    IS(figure("alone", "published"), -1);
    IS(figure("loved", "kept_events"), 1);
    IS(figure("loved", "subscribers"), 1);
    /* What it had is known to be gone. */
    leaves(JOINS(TOO_OLD, "alone", WISH(SEEN("e.1"))));
    client c = JOINS(RESUMED, "alone", WISH(SEEN("e.2")));
    GETS(c, "id: e.2\n\n");
    leaves(c);
    GETS(ttl_client, "id: e.0\n\n" E(1));
    leaves(ttl_client);
    free_hub();
}

static void statistics(void)
{
    char buf[4096];
    open_hub(TOPIC(.events = 2, .state = 1));
    int64_t size = NEEDS(pagi_sse_hub_stats(hub, NONE, &len_));
    OK(size > 0 && size < (int64_t)sizeof buf);
    OK(strstr(json(pagi_sse_hub_stats, hub), "\"epoch\":\"e\"") != NULL);
    static const char *const zeros[] = {"published", "connections", "pending_bytes", "kept_bytes",
                                        "evicted",   "dropped",     "overflows",     "high"};
    for (size_t i = 0; i < sizeof zeros / sizeof *zeros; i++)
        IS(figure(NULL, zeros[i]), 0);
    memset(buf, '#', sizeof buf);
    IS(NEEDS(pagi_sse_hub_stats(hub, buf, (size_t)size - 1, &len_)), size);
    OK(buf[0] == '#');
    IS(LEN(pagi_sse_hub_stats(hub, buf, (size_t)size, &len_)), size);
    OK(buf[0] == '{' && buf[size - 1] == '}' && buf[size] == '#');
    IS(LEN(pagi_sse_hub_stats(hub, NULL, 5, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_hub_stats(hub, buf, SIZE_MAX, &len_)), R(BAD_ARGUMENT));

    client a = JOINS(NEW, "t\nu", NULL), b = JOINS(NEW, "t", WISH(.full = DROP_NEWEST, .max_events = 1));
    OK(publish("t", "1", "k") && publish("t", "2", "k") && publish("t", "3", "l"));
    settle();
    IS(pagi_sse_hub_subscribers(hub, S("t")), 2);
    IS(pagi_sse_hub_subscribers(hub, S("u")), 1);
    IS(pagi_sse_hub_subscribers(hub, S("v")), 0);
    struct { const char *topic, *name; int64_t is; } const all[] = {
        {NULL, "published", 3}, {NULL, "connections", 2}, {NULL, "pending_bytes", 0}, {NULL, "evicted", 1},
        {NULL, "dropped", 2},   {NULL, "overflows", 0},   {NULL, "high", 0},          {"t", "subscribers", 2},
        {"t", "published", 3},  {"t", "kept_events", 2},  {"t", "keys", 2},           {"u", "subscribers", 1},
        {"u", "published", 0},  {"u", "kept_events", 0},  {"u", "kept_bytes", 0},     {"u", "keys", 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        is_(__FILE__, __LINE__, all[i].name, figure(all[i].topic, all[i].name), all[i].is);
    OK(figure("t", "kept_bytes") >= 2 * 17);
    OK(figure(NULL, "kept_bytes") >= figure("t", "kept_bytes"));
    leaves(a), leaves(b);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
    IS(pagi_sse_hub_subscribers(hub, NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_hub_subscribers(hub, "t", SIZE_MAX), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_subscribers(hub, S("\xff")), R(NOT_UTF8));
    free_hub();
}

static void closing(void)
{
    pagi_sse_record r;
    open_hub(NULL);
    client a = JOINS(NEW, "a", NULL), ab = JOINS(NEW, "a\nb", NULL), b = JOINS(NEW, "b", NULL);
    IS(pagi_sse_hub_close_streams(hub, NULL, 1, S("x")), R(NULL_POINTER));
    IS(pagi_sse_hub_close_streams(hub, S("a"), NULL, 1), R(NULL_POINTER));
    IS(pagi_sse_hub_close_streams(hub, "a", SIZE_MAX, S("x")), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_close_streams(hub, S("a"), "x", SIZE_MAX), R(BAD_ARGUMENT));
    IS(pagi_sse_hub_close_streams(hub, S("\xff"), S("x")), R(NOT_UTF8));
    IS(pagi_sse_hub_close_streams(hub, S("a"), S("\xff")), R(NOT_UTF8));
    IS(pagi_sse_hub_close_streams(hub, S("unheard.of"), S("x")), 0);
    IS(publish("a", "last", NULL), 1);
    IS(pagi_sse_hub_close_streams(hub, S("a"), S("maintenance")), 2);
    IS(pagi_sse_hub_close_streams(hub, S("a"), S("again")), 0);
    IS(publish("a", "too late", NULL), 2);
    IS(publish("b", "here", NULL), 3);
    GETS(a, "id: e.0\n\nid: e.1\ndata: last\n\n");
    GETS(ab, "id: e.0\n\nid: e.1\ndata: last\n\n");
    IS(taken(a), R(CLOSED));
    IS(taken(ab), R(CLOSED));
    OK(next(PAGI_SSE_KIND_CLOSED, 0, &r));
    BYTES(r.text.data, r.text.len, "maintenance");
    OK(r.conn == a.conn || r.conn == ab.conn);
    BYTES(out, LEN(pagi_sse_conn_reason(ab.conn, out, sizeof out, &len_)), "maintenance");
    STATS_ARE(a.sub, ENDED, 1, 0, 0);
    IS(pagi_sse_hub_subscribers(hub, S("b")), 1);
    GETS(b, "id: e.0\n\nid: e.3\ndata: here\n\n");
    client c = JOINS(RESUMED, "a", WISH(SEEN("e.1")));
    IS(pagi_sse_hub_close_streams(hub, NONE, NONE), 2);
    GETS(c, "id: e.2\ndata: too late\n\nid: e.3\n\n");
    OK(next(PAGI_SSE_KIND_CLOSED, b.conn, &r));
    BYTES(r.text.data, r.text.len, "app_closed");
    IS(taken(b), R(CLOSED));
    IS(pagi_sse_hub_close_streams(hub, NONE, NONE), 0);
    leaves(a), leaves(ab), leaves(b), leaves(c);
    free_hub();
}

static void ready(void)
{
    static char big[40000];
    pagi_sse_record r;
    memset(big, 'x', sizeof big - 1);
    open_hub(NULL);
    IS(pagi_sse_hub_ready(hub), 1);
    for (int way = 0; way < 4; way++) {
        client slow = JOINS(NEW, "t", WISH(.full = way == 3 ? DROP_OLDEST : DISCONNECT)), fast = JOINS(NEW, "t", NULL);
        IS(pagi_sse_hub_ready(hub), 1);
        OK(publish("t", big, NULL) > 0);
        OK(taken(fast) > 0);
        IS(pagi_sse_hub_ready(hub), 1);
        OK(publish("t", big, NULL) > 0);
        OK(taken(fast) > 0);
        IS(pagi_sse_hub_ready(hub), 0);
        IS(pagi_sse_hub_ready(hub), 0);
        IS(figure(NULL, "high"), 1);
        switch (way) {
        case 0:
            IS(LEN(pagi_sse_conn_read(slow.conn, out, 30000, &len_)), 30000);
            IS(pagi_sse_hub_ready(hub), 0);
            OK(taken(slow) > 0);
            break;
        case 1: IS(pagi_sse_subscription_cancel(slow.sub), 0); break;
        case 2: IS(pagi_sse_conn_disconnect(slow.conn, NONE), 1); break;
        case 3: IS(pagi_sse_conn_close(slow.conn, NONE), 1); break;
        }
        OK(next(PAGI_SSE_KIND_READY, hub, &r));
        IS(figure(NULL, "high"), 0);
        IS(pagi_sse_hub_ready(hub), 1);
        leaves(slow), leaves(fast);
    }
    free_hub();
}

static void wrong_subscribing(void)
{
    pagi_sse_hub none = 0;
    pagi_sse_subscription sub = 77;
    open_hub(NULL);
    pagi_sse_conn c = opened(), detached = 0, over = opened();
#define TRY(...) pagi_sse_hub_subscribe(hub, c, __VA_ARGS__, &sub)
    IS(pagi_sse_hub_subscribe(hub, c, S("t"), NULL, NULL), R(NULL_POINTER));
    IS(pagi_sse_hub_subscribe(none, c, S("t"), NULL, &sub), R(HANDLE_INVALID));
    IS(pagi_sse_hub_subscribe(c, c, S("t"), NULL, &sub), R(HANDLE_KIND));
    IS(pagi_sse_hub_subscribe(hub, 0, S("t"), NULL, &sub), R(HANDLE_INVALID));
    IS(pagi_sse_hub_subscribe(hub, hub, S("t"), NULL, &sub), R(HANDLE_KIND));
    IS(TRY(NULL, 1, NULL), R(NULL_POINTER));
    IS(TRY(NONE, NULL), R(TOPIC_COUNT));
    IS(TRY("t", SIZE_MAX, NULL), R(BAD_ARGUMENT));
    IS(TRY(S("\xff"), NULL), R(NOT_UTF8));
    IS(TRY(S("a\n\nb"), NULL), R(TOPIC_NAME));
    pagi_sse_subscribe_options cut = {.size = sizeof cut - 1};
    IS(TRY(S("t"), &cut), R(BAD_ARGUMENT));
    cut.size = 0;
    IS(TRY(S("t"), &cut), R(BAD_ARGUMENT));
    struct { pagi_sse_subscribe_options known; uint64_t unknown; } newer = {{.size = sizeof newer}, 1};
    IS(TRY(S("t"), &newer.known), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.full = 4)), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.full = UINT32_MAX)), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.max_topics = 1001)), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.create = 3)), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.reserved = 1)), R(BAD_ARGUMENT));
    IS(TRY(S("t\nu"), WISH(.max_topics = 1)), R(TOPIC_COUNT));
    IS(TRY(S("t"), WISH(.create = 2)), R(NO_TOPIC));
    IS(TRY(S("t"), WISH(.last_event_id = L(NULL, 1))), R(NULL_POINTER));
    IS(TRY(S("t"), WISH(.last_event_id = L("x", SIZE_MAX))), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.reset_event = L(NULL, 1))), R(NULL_POINTER));
    IS(TRY(S("t"), WISH(.reset_event = L("x", SIZE_MAX))), R(BAD_ARGUMENT));
    IS(TRY(S("t"), WISH(.reset_event = B("\xff"))), R(NOT_UTF8));
    IS(TRY(S("t"), WISH(.reset_event = B("a\nb"))), R(EVENT_NEWLINE));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_open_detached(&detached), 0);
    IS(pagi_sse_hub_subscribe(hub, detached, S("t"), NULL, &sub), R(NOT_HOSTED));
    IS(pagi_sse_conn_close(over, NONE), 1);
    IS(pagi_sse_hub_subscribe(hub, over, S("t"), NULL, &sub), R(CLOSED));
    IS(pagi_sse_conn_free(over), 0);
    IS(pagi_sse_hub_subscribe(hub, over, S("t"), NULL, &sub), R(HANDLE_STALE));
    IS(pagi_sse_conn_free(detached), 0);
    IS(sub, 77);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
    IS(TRY(S("t"), WISH(.max_events = UINT32_MAX, .max_bytes = UINT64_MAX)), 0);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 1);
    leaves((client){c, sub});
    free_hub();
}

/* A client of the library's server: its request, and all that it gets. */
static pagi_sse_server srv;

static int asks(const char *method, const char *fields, pagi_sse_record *r)
{
    char request[512];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)pagi_sse_server_port(srv));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(fd, (struct sockaddr *)&a, sizeof a) == 0);
    static const char form[] = "%s / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n%s\r\n";
    int len = snprintf(request, sizeof request, form, method, fields);
    OK(send(fd, request, (size_t)len, MSG_NOSIGNAL) == len);
    OK(next_record(pagi_sse_server_next, srv, pagi_sse_server_fd(srv), PAGI_SSE_KIND_REQUEST, 0, r));
    return fd;
}

/* The body's bytes until so many have come, or the end. */
static const char *body(int fd, size_t want)
{
    size_t len = 0;
    char *at = NULL;
    out[0] = 0;
    for (;;) {
        at = strstr(out, "\r\n\r\n");
        if ((at && strlen(at + 4) >= want) || !wait_for(fd))
            break;
        ssize_t n = recv(fd, out + len, sizeof out - 1 - len, 0);
        if (n <= 0)
            break;
        out[len += (size_t)n] = 0;
    }
    return at ? at + 4 : "no response";
}

#define BODY(fd, expected) (got = body((fd), strlen(expected)), BYTES(got, strlen(got), expected))

static void over_http(void)
{
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("127.0.0.1:0"), .workers = 1};
    pagi_sse_record r;
    pagi_sse_bytes id = {NULL, 0};
    pagi_sse_subscription sub = 0;
    const char *got;
    IS(pagi_sse_server_open(&o, &srv), 0);
    IS(pagi_sse_server_start(srv), 0);
    open_hub(NULL);
    /* A new client, whose connection the hub alone keeps. */
    int fd = asks("GET", "", &r);
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), NULL, &sub), 0);
    IS(pagi_sse_conn_hand_over(r.conn), 0);
    IS(pagi_sse_subscription_free(sub), 0);
    IS(publish("t", "1", NULL), 1);
    BODY(fd, "9\r\nid: e.0\n\n\r\n11\r\nid: e.1\ndata: 1\n\n\r\n");
    OK(strncmp(out, "HTTP/1.1 200 OK\r\n", 17) == 0);
    OK(strstr(out, "\r\ncontent-type: text/event-stream\r\n") != NULL);
    close(fd);
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (pagi_sse_hub_subscribers(hub, S("t")) && now_ms() < deadline)
        poll(NULL, 0, 5);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
    /* Without its subscription nobody could reach it: it ends. */
    fd = asks("GET", "", &r);
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), NULL, &sub), 0);
    IS(pagi_sse_conn_hand_over(r.conn), 0);
    IS(pagi_sse_subscription_cancel(sub), 0);
    IS(pagi_sse_subscription_free(sub), 0);
    BODY(fd, "9\r\nid: e.1\n\n\r\n0\r\n\r\n");
    close(fd);
    /* It comes back. */
    OK(publish("t", "2", NULL) && publish("t", "3", NULL));
    fd = asks("GET", "Last-Event-ID: e.1\r\n", &r);
    IS(pagi_sse_record_header(r.headers, S("last-event-id"), &id), 1);
    const pagi_sse_subscribe_options *wish = WISH(.last_event_id = L(id.data, id.len));
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), wish, &sub), RESUMED);
    IS(pagi_sse_conn_hand_over(r.conn), 0);
    OK(publish("t", "4", NULL));
    IS(pagi_sse_hub_close_streams(hub, NONE, S("enough")), 1);
    BODY(fd, "11\r\nid: e.2\ndata: 2\n\n\r\n11\r\nid: e.3\ndata: 3\n\n\r\n11\r\nid: e.4\ndata: 4\n\n\r\n0\r\n\r\n");
    STATS_ARE(sub, ENDED, 3, 0, 0);
    IS(pagi_sse_subscription_free(sub), 0);
    close(fd);
    /* HEAD: the stream's head, no event. */
    fd = asks("HEAD", "", &r);
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), WISH(SEEN("e.1")), &sub), RESUMED);
    IS(publish("t", "5", NULL), 5);
    settle();
    IS(pagi_sse_conn_free(r.conn), 0);
    IS(pagi_sse_subscription_free(sub), 0);
    BODY(fd, "");
    close(fd);
    /* An ordinary response is none that can be subscribed. */
    fd = asks("GET", "", &r);
    IS(pagi_sse_conn_respond(r.conn, 404, NULL, 0), 0);
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), NULL, &sub), R(DECLINED));
    IS(pagi_sse_conn_body(r.conn, NONE, 0), 0);
    IS(pagi_sse_conn_free(r.conn), 0);
    body(fd, 0);
    OK(strncmp(out, "HTTP/1.1 404 ", 13) == 0);
    close(fd);
    /* A stream that only the hub had ends with it, another one goes on. */
    fd = asks("GET", "", &r);
    IS(pagi_sse_hub_subscribe(hub, r.conn, S("t"), WISH(SEEN("e.5")), &sub), RESUMED);
    IS(pagi_sse_subscription_free(sub), 0);
    IS(pagi_sse_conn_hand_over(r.conn), 0);
    pagi_sse_record kept;
    int other = asks("GET", "", &kept);
    IS(pagi_sse_hub_subscribe(hub, kept.conn, S("t"), WISH(SEEN("e.5")), &sub), RESUMED);
    IS(pagi_sse_subscription_free(sub), 0);
    IS(publish("t", "6", NULL), 6);
    free_hub();
    BODY(fd, "9\r\nid: e.5\n\n\r\n11\r\nid: e.6\ndata: 6\n\n\r\n0\r\n\r\n");
    close(fd);
    IS(pagi_sse_conn_state(kept.conn), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_free(kept.conn), 0);
    BODY(other, "9\r\nid: e.5\n\n\r\n11\r\nid: e.6\ndata: 6\n\n\r\n0\r\n\r\n");
    close(other);
    IS(pagi_sse_server_stop(srv, 5000), 0);
    IS(pagi_sse_server_free(srv, 1000), 0);
}

#define PUBLISHERS 4
#define EACH 500
#define COMERS 3

static char numbers[PUBLISHERS * EACH + 1];

static void *publisher(void *which)
{
    char data[32];
    long bad = 0;
    int64_t last = 0;
    for (int i = 1; i <= EACH; i++) {
        snprintf(data, sizeof data, "%c%d", (char)('A' + (intptr_t)which), i);
        int64_t seq = publish("t", data, NULL);
        bad += seq <= last || seq > PUBLISHERS * EACH || __atomic_add_fetch(&numbers[seq], 1, __ATOMIC_RELAXED) != 1;
        last = seq;
    }
    return (void *)bad;
}

/* Reads "id: e.N\ndata: XI\n\n" blocks: N without a gap from *seq on, I without
 * one for each X. Blocks that have an id only do not count. Returns how many
 * are wrong. */
static long follow(const char *text, int64_t *seq, int *of_each)
{
    long bad = 0;
    long long n;
    char who;
    int i, len;
    while (*text) {
        len = 0;
        if (sscanf(text, "id: e.%lld\ndata: %c%d\n%n", &n, &who, &i, &len) == 3 && len > 0) {
            bad += n != ++*seq;
            bad += who < 'A' || who >= 'A' + PUBLISHERS || i != ++of_each[who - 'A'];
        } else if (sscanf(text, "id: e.%lld\n%n", &n, &len) == 1 && len > 0)
            bad += n < *seq;
        text = strstr(text, "\n\n");
        if (!text || bad)
            return bad + 1 - !!text;
        text += 2;
    }
    return bad;
}

/* Comes, reads a little, and goes, until all is read. */
static void *comer(void *unused)
{
    static __thread char text[1 << 18];
    char id[32] = "e.0";
    int64_t seq = 0, deadline = now_ms() + PATIENCE_MS;
    int of_each[PUBLISHERS] = {0};
    long bad = 0;
    (void)unused;
    while (seq < PUBLISHERS * EACH && !bad && now_ms() < deadline) {
        client c = {0, 0};
        bad += pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c.conn) != 0;
        bad += pagi_sse_hub_subscribe(hub, c.conn, S("t"), WISH(SEEN(id)), &c.sub) != RESUMED;
        for (int i = 0; i < 3; i++) {
            int64_t n = LEN(pagi_sse_conn_read(c.conn, text, sizeof text - 1, &len_));
            text[n > 0 ? n : 0] = 0;
            bad += n < 0 || follow(text, &seq, of_each);
        }
        snprintf(id, sizeof id, "e.%lld", (long long)seq);
        bad += pagi_sse_subscription_free(c.sub) != 0;
        bad += pagi_sse_conn_free(c.conn) != 0;
    }
    return (void *)(bad + (seq != PUBLISHERS * EACH));
}

static void threads(void)
{
    pthread_t thread[PUBLISHERS + COMERS];
    int64_t seq = 0;
    int of_each[PUBLISHERS] = {0};
    open_hub(TOPIC(.events = PUBLISHERS * EACH));
    client stays = JOINS(NEW, "t", NULL);
    for (intptr_t i = 0; i < PUBLISHERS + COMERS; i++)
        OK(pthread_create(&thread[i], NULL, i < PUBLISHERS ? publisher : comer, (void *)i) == 0);
    for (int i = 0; i < PUBLISHERS + COMERS; i++) {
        void *bad = NULL;
        pthread_join(thread[i], &bad);
        IS((long)bad, 0);
    }
    OK(taken(stays) > 0);
    IS(follow(out, &seq, of_each), 0);
    IS(seq, PUBLISHERS * EACH);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 1);
    leaves(stays);
    free_hub();
}

static void *until_stale(void *count)
{
    int64_t code;
    while ((code = publish("t", "x", NULL)) > 0)
        ;
    __atomic_add_fetch((int *)count, code == R(HANDLE_STALE), __ATOMIC_RELAXED);
    return NULL;
}

static void free_among_threads(void)
{
    pthread_t thread[PUBLISHERS];
    int stale = 0;
    open_hub(NULL);
    client c = JOINS(NEW, "t", WISH(.full = DROP_OLDEST));
    for (int i = 0; i < PUBLISHERS; i++)
        OK(pthread_create(&thread[i], NULL, until_stale, &stale) == 0);
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (figure("t", "kept_events") < 1000 && now_ms() < deadline)
        poll(NULL, 0, 1);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    for (int i = 0; i < PUBLISHERS; i++)
        pthread_join(thread[i], NULL);
    IS(stale, PUBLISHERS);
    IS(pagi_sse_hub_free(hub, 1000), R(HANDLE_STALE));
    leaves(c);
}

static void freed(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    IS(publish("t", "last", NULL), 1);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_conn_state(c.conn), PAGI_SSE_STATE_STARTED);
    IS(pagi_sse_conn_send(c.conn, S("of my own")), 0);
    int64_t n = LEN(pagi_sse_conn_read(c.conn, out, sizeof out, &len_));
    BYTES(out, n, "id: e.0\n\nid: e.1\ndata: last\n\ndata: of my own\n\n");
    IS(publish("t", "x", NULL), R(HANDLE_STALE));
    OK(NEEDS(pagi_sse_subscription_stats(c.sub, NONE, &len_)) > 0);
    IS(pagi_sse_subscription_cancel(c.sub), 0);
    leaves(c);
    /* And the other way round. */
    open_hub(NULL);
    c = JOINS(NEW, "t", NULL);
    leaves(c);
    IS(publish("t", "nobody", NULL), 1);
    free_hub();
}

static int a_child(void)
{
    pagi_sse_hub own = 0;
    int bad = publish("t", "child", NULL) != R(HANDLE_FORKED) || pagi_sse_hub_free(hub, 1000) != R(HANDLE_FORKED);
    bad += pagi_sse_hub_open(S("own"), NULL, 0, 0, &own) != 0 || own == hub;
    hub = own;
    bad += publish("t", "child", NULL) != 1 || pagi_sse_hub_free(own, 1000) != 0;
    return bad;
}

static void forks(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    IS(publish("t", "before", NULL), 1);
    IS(in_child(a_child), 0);
    IS(publish("t", "after", NULL), 2);
    GETS(c, "id: e.0\n\nid: e.1\ndata: before\n\nid: e.2\ndata: after\n\n");
    leaves(c);
    free_hub();
}

static void *frees_hub(void *barrier)
{
    pthread_barrier_wait(barrier);
    IS(pagi_sse_hub_free(hub, 1000), 0);
    return NULL;
}

/* Whichever comes first, the stream has an end. */
static void freed_while_handed_over(void)
{
    char byte[256];
    pthread_t thread;
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 300; i++) {
        int pair[2];
        client c = {0};
        open_hub(NULL);
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_EVENTS, &c.conn), 0);
        IS(pagi_sse_hub_subscribe(hub, c.conn, S("t"), NULL, &c.sub), NEW);
        IS(pagi_sse_subscription_free(c.sub), 0);
        OK(pthread_create(&thread, NULL, frees_hub, &barrier) == 0);
        pthread_barrier_wait(&barrier);
        for (volatile int spin = i * 37 % 4000; spin > 0; spin--)
            ;
        if (pagi_sse_conn_hand_over(c.conn) < 0) /* the hub was first */
            IS(pagi_sse_conn_free(c.conn), 0);
        pthread_join(thread, NULL);
        ssize_t n = 1;
        while (n > 0 && wait_for(pair[1]))
            n = recv(pair[1], byte, sizeof byte, 0);
        IS(n, 0);
        close(pair[1]);
        if (n)
            break;
    }
    pthread_barrier_destroy(&barrier);
}

static const test tests[] = {
    {"a runtime opens", begin},
    {"topics with a short time to live begin", ttl_begins},
    {"a hub needs an epoch of 1 to 40 plain characters, and settings that make sense", opening},
    {"an event is framed with its fields and the hub's id or its own, for its topic's subscribers", publishing},
    {"what cannot be published is refused, and takes no number", refused},
    {"a topic's name is 1 to 100 letters, digits and .-_:/", names},
    {"a client that comes back gets what it missed of its topics, in order, then what is new", resuming},
    {"an id too old for its topics, or unknown, gets the reset event and what is kept", gap},
    {"ids of the application's own resume too, an id used twice after the first", own_ids},
    {"a state topic gives the newest of each key to who is new or reset", state},
    {"a state topic keeps 10000 keys", state_keys},
    {"history is bounded by events, bytes and age, and in total", history},
    {"a topic may have settings of its own, from then on", settings},
    {"a subscription has 1000 topics at most, a hub 100000, half of them named by subscribers alone", many_topics},
    {"statistics are JSON, and say what is", statistics},
    {"close delivers what is pending and ends the streams of a topic, or all, with a reason", closing},
    {"ready says no above a high mark, and a READY record when it says yes again", ready},
    {"subscribing needs an open stream, topics and options that make sense", wrong_subscribing},
    {"over HTTP a client subscribes, leaves and resumes, owned by the hub alone", over_http},
    {"four threads publish while clients come and go: no gap, no repeat, each thread's order", threads},
    {"a hub that is freed among its publishers is stale for each, no more", free_among_threads},
    {"a hub that is freed delivers what is pending and leaves connections open", freed},
    {"one that is freed while a stream is handed over leaves no stream without an end", freed_while_handed_over},
    {"a child cannot use its parent's hub, and the parent's goes on", forks},
    {"a topic without subscribers ends with its time to live, and what it had is known to be gone", ttl_ends},
    {"nothing is in progress, and the runtime ends", end},
};
RUN(tests)
