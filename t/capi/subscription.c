/* A subscription: what becomes of events that its client does not take, its
 * place beside the connection's own sends, its end. */
#include "hub.h"

#include <pthread.h>

/* Publishes "1", "2", ... to a topic, each with a key from a list, and has
 * each delivered before the next. */
static void publish_each(const char *topic, const char *const *keys, int count)
{
    for (int i = 1; i <= count; i++) {
        char data[12];
        snprintf(data, sizeof data, "%d", i);
        OK(publish(topic, data, keys ? keys[i - 1] : NULL) > 0);
        settle();
    }
}

static void by_events(void)
{
    pagi_sse_record r;
    open_hub(NULL);
    client disconnect = JOINS(NEW, "t", WISH(.full = DISCONNECT, .max_events = 3)),
           oldest = JOINS(NEW, "t", WISH(.full = DROP_OLDEST, .max_events = 3)),
           newest = JOINS(NEW, "t", WISH(.full = DROP_NEWEST, .max_events = 3)),
           latest = JOINS(NEW, "t", WISH(.full = LATEST, .max_events = 3)), fine = JOINS(NEW, "t", NULL);
    publish_each("t", NULL, 5);
    /* What a subscription begins with does not count, and stays. */
    GETS(oldest, "id: e.0\n\n" E(3) E(4) E(5));
    GETS(newest, "id: e.0\n\n" E(1) E(2) E(3));
    GETS(latest, "id: e.0\n\n" E(3) E(4) E(5));
    GETS(fine, "id: e.0\n\n" E(1) E(2) E(3) E(4) E(5));
    IS(taken(disconnect), R(CLOSED));
    OK(next(PAGI_SSE_KIND_CLOSED, disconnect.conn, &r));
    BYTES(r.text.data, r.text.len, "queue_overflow");
    STATS_ARE(oldest.sub, ACTIVE, 3, 2, 0);
    STATS_ARE(newest.sub, ACTIVE, 3, 2, 0);
    STATS_ARE(latest.sub, ACTIVE, 3, 2, 0);
    STATS_ARE(fine.sub, ACTIVE, 5, 0, 0);
    STATS_ARE(disconnect.sub, ENDED, 3, 0, 0);
    IS(figure(NULL, "dropped"), 6);
    IS(figure(NULL, "overflows"), 1);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 4);
    /* The one that was dropped comes back, and has missed nothing. */
    leaves(disconnect);
    disconnect = JOINS(RESUMED, "t", WISH(SEEN("e.0"), .max_events = 3));
    GETS(disconnect, E(1) E(2) E(3) E(4) E(5));
    /* They have room again. */
    OK(publish("t", "6", NULL) == 6);
    GETS(disconnect, E(6));
    GETS(oldest, E(6));
    GETS(newest, E(6));
    GETS(latest, E(6));
    leaves(disconnect), leaves(oldest), leaves(newest), leaves(latest), leaves(fine);
    free_hub();
}

static void by_bytes(void)
{
    /* Each event is 17 bytes; 50 are room for two. */
    open_hub(NULL);
    client disconnect = JOINS(NEW, "t", WISH(.full = DISCONNECT, .max_bytes = 50)),
           oldest = JOINS(NEW, "t", WISH(.full = DROP_OLDEST, .max_bytes = 50)),
           newest = JOINS(NEW, "t", WISH(.full = DROP_NEWEST, .max_bytes = 50)),
           latest = JOINS(NEW, "t", WISH(.full = LATEST, .max_bytes = 50));
    publish_each("t", NULL, 2);
    STATS_ARE(disconnect.sub, ACTIVE, 2, 0, 43);
    OK(publish("t", "3", NULL) == 3);
    STATS_ARE(disconnect.sub, ENDED, 2, 0, 0);
    STATS_ARE(oldest.sub, ACTIVE, 2, 1, 43);
    GETS(oldest, "id: e.0\n\n" E(2) E(3));
    GETS(newest, "id: e.0\n\n" E(1) E(2));
    GETS(latest, "id: e.0\n\n" E(2) E(3));
    /* One that is larger than the limit goes alone. */
    const char *large = "44444444444444444444444444444444444444444444444444";
    OK(publish("t", large, NULL) == 4);
    OK(publish("t", "5", NULL) == 5);
    char expected[128];
    snprintf(expected, sizeof expected, "id: e.4\ndata: %s\n\n", large);
    GETS(oldest, E(5));
    GETS(newest, expected);
    GETS(latest, E(5));
    leaves(disconnect), leaves(oldest), leaves(newest), leaves(latest);
    free_hub();
}

static void by_key(void)
{
    static const char *const keys[] = {"a", "b", "a", NULL, NULL, "b", "c", "a"};
    open_hub(NULL);
    client plenty = JOINS(NEW, "t", WISH(.full = LATEST)),
           little = JOINS(NEW, "t", WISH(.full = LATEST, .max_events = 3)),
           oldest = JOINS(NEW, "t", WISH(.full = DROP_OLDEST));
    publish_each("t", keys, 8);
    GETS(plenty, "id: e.0\n\n" E(4) E(5) E(6) E(7) E(8));
    STATS_ARE(plenty.sub, ACTIVE, 5, 3, 0);
    GETS(little, "id: e.0\n\n" E(6) E(7) E(8));
    STATS_ARE(little.sub, ACTIVE, 3, 5, 0);
    /* For the other policies a key is no reason. */
    GETS(oldest, "id: e.0\n\n" E(1) E(2) E(3) E(4) E(5) E(6) E(7) E(8));
    /* What the client has taken cannot be replaced. */
    publish_each("t", keys, 1);
    GETS(plenty, "id: e.9\ndata: 1\n\n");
    publish_each("t", keys, 1);
    GETS(plenty, "id: e.10\ndata: 1\n\n");
    leaves(plenty), leaves(little), leaves(oldest);
    free_hub();
}

static void defaults(void)
{
    static char big[64000];
    open_hub(NULL);
    client c = JOINS(NEW, "t", WISH(.full = DROP_OLDEST));
    for (int i = 1; i <= 10001; i++)
        OK(publish("t", "x", NULL) == i);
    STATS_ARE(c.sub, ACTIVE, 10000, 1, 198907);
    OK(taken(c) > 0);
    OK(strncmp(out, "id: e.0\n\nid: e.2\n", 17) == 0);
    leaves(c);
    free_hub();
    /* And 1 MiB. */
    memset(big, 'x', sizeof big - 1);
    open_hub(NULL);
    c = JOINS(NEW, "t", WISH(.full = DROP_NEWEST));
    for (int i = 1; i <= 20; i++)
        OK(publish("t", big, NULL) == i);
    settle();
    int64_t each = NEEDS(pagi_sse_frame_event(EVENT(.data = L(big, sizeof big - 1), .id = B("e.1")), NONE, &len_));
    IS((1 << 20) / each, 16);
    int64_t n = taken(c);
    OK(n > 16 * each && n < 17 * each);
    STATS_ARE(c.sub, ACTIVE, 16, 4, 0);
    leaves(c);
    free_hub();
}

static void whole_events(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", WISH(.full = DROP_OLDEST, .max_events = 2)),
           keyed = JOINS(NEW, "t", WISH(.full = LATEST, .max_events = 2));
    GETS(c, "id: e.0\n\n");
    GETS(keyed, "id: e.0\n\n");
    OK(publish("t", "1", "k") && publish("t", "2", "k"));
    settle();
    /* Half of an event has gone: the rest follows, whatever comes. */
    BYTES(out, LEN(pagi_sse_conn_read(c.conn, out, 10, &len_)), "id: e.1\nda");
    BYTES(out, LEN(pagi_sse_conn_read(keyed.conn, out, 10, &len_)), "id: e.2\nda");
    OK(publish("t", "3", "k") && publish("t", "4", "k"));
    GETS(c, "ta: 1\n\n" E(3) E(4));
    GETS(keyed, "ta: 2\n\n" E(4));
    leaves(c), leaves(keyed);
    free_hub();
}

static void own_sends(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", WISH(.full = DROP_OLDEST, .max_events = 1));
    OK(publish("t", "1", NULL) == 1);
    settle();
    IS(pagi_sse_conn_send(c.conn, S("own")), 0);
    IS(pagi_sse_conn_comment(c.conn, S("note")), 0);
    OK(publish("t", "2", NULL) == 2);
    settle();
    IS(pagi_sse_conn_send(c.conn, S("more")), 0);
    OK(publish("t", "3", NULL) == 3);
    GETS(c, "id: e.0\n\ndata: own\n\n:note\n\ndata: more\n\n" E(3));
    pagi_sse_conn_counts n;
    IS(pagi_sse_conn_counters(c.conn, &n, sizeof n), 0);
    IS(n.comments, 1);
    leaves(c);
    free_hub();
}

static void in_order(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    for (int i = 1; i <= 100; i++) {
        OK(publish("t", "x", NULL) == 3 * i - 2);
        IS(pagi_sse_conn_send(c.conn, S("own")), 0);
        OK(publish("t", "x", NULL) == 3 * i - 1);
        IS(pagi_sse_conn_comment(c.conn, S("note")), 0);
        OK(publish("t", "x", NULL) == 3 * i);
        IS(pagi_sse_conn_catch_up(c.conn), 0);
        char wire[256];
        snprintf(wire, sizeof wire, "%sid: e.%d\ndata: x\n\ndata: own\n\nid: e.%d\ndata: x\n\n:note\n\nid: e.%d\ndata: x\n\n",
                 i == 1 ? "id: e.0\n\n" : "", 3 * i - 2, 3 * i - 1, 3 * i);
        GETS(c, wire);
    }
    OK(publish("t", "last", NULL) == 301);
    IS(pagi_sse_conn_close(c.conn, NONE), 1);
    GETS(c, "id: e.301\ndata: last\n\n");
    leaves(c);
    free_hub();
}

static void one_at_a_time(void)
{
    pagi_sse_hub other;
    pagi_sse_subscription sub = 77;
    open_hub(NULL);
    IS(pagi_sse_hub_open(S("f"), NULL, 0, 0, &other), 0);
    client c = JOINS(NEW, "t", NULL);
    IS(pagi_sse_hub_subscribe(hub, c.conn, S("u"), NULL, &sub), R(SUBSCRIBED));
    IS(pagi_sse_hub_subscribe(other, c.conn, S("u"), NULL, &sub), R(SUBSCRIBED));
    IS(sub, 77);
    IS(pagi_sse_hub_subscribers(hub, S("u")), 0);
    IS(pagi_sse_subscription_cancel(c.sub), 0);
    IS(pagi_sse_hub_subscribe(other, c.conn, S("u"), NULL, &sub), NEW);
    GETS(c, "id: e.0\n\nid: f.0\n\n");
    IS(pagi_sse_subscription_free(sub), 0);
    IS(pagi_sse_hub_free(other, 1000), 0);
    leaves(c);
    free_hub();
}

static void cancelling(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t\nu", NULL), stays = JOINS(NEW, "t", NULL);
    IS(pagi_sse_hub_subscribers(hub, S("u")), 1);
    OK(publish("t", "1", NULL) == 1);
    settle();
    IS(pagi_sse_subscription_cancel(c.sub), 0);
    IS(pagi_sse_subscription_cancel(c.sub), 0);
    IS(pagi_sse_hub_subscribers(hub, S("u")), 0);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 1);
    OK(publish("t", "2", NULL) == 2);
    IS(pagi_sse_conn_send(c.conn, S("open")), 0);
    GETS(c, "id: e.0\n\n" E(1) "data: open\n\n");
    STATS_ARE(c.sub, ENDED, 1, 0, 0);
    /* It can subscribe again, on the same stream. */
    pagi_sse_subscription again = 0;
    IS(pagi_sse_hub_subscribe(hub, c.conn, S("t"), WISH(SEEN("e.1")), &again), RESUMED);
    OK(publish("t", "3", NULL) == 3);
    GETS(c, E(2) E(3));
    GETS(stays, "id: e.0\n\n" E(1) E(2) E(3));
    IS(pagi_sse_subscription_free(again), 0);
    leaves(c), leaves(stays);
    free_hub();
}

static void freeing(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    IS(pagi_sse_subscription_free(c.sub), 0);
    IS(pagi_sse_subscription_free(c.sub), R(HANDLE_STALE));
    IS(pagi_sse_subscription_cancel(c.sub), R(HANDLE_STALE));
    IS(LEN(pagi_sse_subscription_stats(c.sub, NONE, &len_)), R(HANDLE_STALE));
    IS(pagi_sse_hub_subscribers(hub, S("t")), 1);
    OK(publish("t", "1", NULL) == 1);
    GETS(c, "id: e.0\n\n" E(1));
    IS(pagi_sse_conn_free(c.conn), 0);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
    /* The number outlives all else, too. */
    c = JOINS(NEW, "t", NULL);
    GETS(c, "id: e.1\n\n");
    IS(pagi_sse_conn_free(c.conn), 0);
    free_hub();
    OK(strstr(json(pagi_sse_subscription_stats, c.sub), "\"active\":false") != NULL);
    IS(pagi_sse_subscription_cancel(c.sub), 0);
    IS(pagi_sse_subscription_free(c.sub), 0);
}

static void statistics(void)
{
    char buf[256];
    open_hub(NULL);
    client c = JOINS(NEW, "t", NULL);
    int64_t size = NEEDS(pagi_sse_subscription_stats(c.sub, NONE, &len_));
    OK(size > 0 && size < (int64_t)sizeof buf);
    memset(buf, '#', sizeof buf);
    IS(NEEDS(pagi_sse_subscription_stats(c.sub, buf, (size_t)size - 1, &len_)), size);
    OK(buf[0] == '#');
    IS(LEN(pagi_sse_subscription_stats(c.sub, buf, (size_t)size, &len_)), size);
    OK(buf[0] == '{' && buf[size - 1] == '}' && buf[size] == '#');
    STATS_ARE(c.sub, ACTIVE, 0, 0, 9);
    IS(LEN(pagi_sse_subscription_stats(c.sub, NULL, 5, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_subscription_stats(c.sub, buf, SIZE_MAX, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_subscription_stats(0, buf, sizeof buf, &len_)), R(HANDLE_INVALID));
    IS(LEN(pagi_sse_subscription_stats(c.conn, buf, sizeof buf, &len_)), R(HANDLE_KIND));
    IS(pagi_sse_subscription_cancel(0), R(HANDLE_INVALID));
    IS(pagi_sse_subscription_cancel(hub), R(HANDLE_KIND));
    IS(pagi_sse_subscription_free(0), R(HANDLE_INVALID));
    IS(pagi_sse_subscription_free(c.conn), R(HANDLE_KIND));
    OK(publish("t", "1", NULL) == 1);
    STATS_ARE(c.sub, ACTIVE, 1, 0, 26);
    leaves(c);
    /* A replay counts as delivered. */
    c = JOINS(RESUMED, "t", WISH(SEEN("e.0")));
    STATS_ARE(c.sub, ACTIVE, 1, 0, 17);
    leaves(c);
    free_hub();
}

static void named_twice(void)
{
    open_hub(NULL);
    client c = JOINS(NEW, "t\nu\nt", NULL);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 1);
    OK(publish("t", "1", NULL) && publish("u", "2", NULL));
    GETS(c, "id: e.0\n\n" E(1) E(2));
    IS(figure(NULL, "connections"), 1);
    IS(pagi_sse_hub_close_streams(hub, S("t"), NONE), 1);
    leaves(c);
    free_hub();
}

/* A client on a socket: however it goes, its subscription goes with it. */
static client on_socket(int *fd, const pagi_sse_subscribe_options *wish)
{
    int pair[2];
    client c = {0, 0};
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_EVENTS, &c.conn), 0);
    IS(pagi_sse_hub_subscribe(hub, c.conn, S("t"), wish, &c.sub), NEW);
    *fd = pair[1];
    return c;
}

static void receives(int fd, const char *expected)
{
    char got[4096];
    size_t len = 0;
    while (len < strlen(expected) && len < sizeof got && wait_for(fd)) {
        ssize_t n = recv(fd, got + len, sizeof got - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    BYTES(got, len, expected);
}

static void ends(void)
{
    for (int way = 0; way < 4; way++) {
        pagi_sse_record r;
        int fd;
        open_hub(NULL);
        client c = on_socket(&fd, NULL);
        OK(publish("t", "1", NULL) == 1);
        receives(fd, "id: e.0\n\n" E(1));
        switch (way) {
        case 0: close(fd), fd = -1; OK(next(PAGI_SSE_KIND_CLOSED, c.conn, &r)); break;
        case 1: IS(pagi_sse_conn_close(c.conn, NONE), 1); break;
        case 2: IS(pagi_sse_conn_disconnect(c.conn, NONE), 1); break;
        case 3: IS(pagi_sse_conn_free(c.conn), 0); break;
        }
        int64_t deadline = now_ms() + PATIENCE_MS;
        while (pagi_sse_hub_subscribers(hub, S("t")) && now_ms() < deadline)
            poll(NULL, 0, 1);
        IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
        STATS_ARE(c.sub, ENDED, 1, 0, 0);
        IS(figure(NULL, "connections"), 0);
        if (fd >= 0)
            close(fd);
        IS(pagi_sse_subscription_free(c.sub), 0);
        IS(pagi_sse_conn_free(c.conn), way == 3 ? R(HANDLE_STALE) : 0);
        free_hub();
    }
}

static int signals;
static void count_signal(int number) { (void)number; signals++; }

/* With several pieces queued, and the client gone before the host writes. */
static void no_signal(void)
{
    static char big[200000];
    memset(big, 'x', sizeof big);
    signals = 0;
    void (*before)(int) = signal(SIGPIPE, count_signal);
    open_hub(NULL);
    for (int i = 0; i < 50; i++) {
        int fd;
        client c = on_socket(&fd, NULL);
        receives(fd, "id: e.0\n\n");
        int64_t deadline = now_ms() + PATIENCE_MS;
        while (pagi_sse_conn_buffered(c.conn) < (int64_t)(3 * sizeof big) && now_ms() < deadline) {
            OK(pagi_sse_hub_publish(hub, S("t"), EVENT(.data = L(big, sizeof big))) > 0);
            settle();
        }
        OK(now_ms() < deadline);
        close(fd);
        IS(pagi_sse_conn_free(c.conn), 0);
        IS(pagi_sse_subscription_free(c.sub), 0);
        free_hub();
        open_hub(NULL);
    }
    free_hub();
    signal(SIGPIPE, before);
    IS(signals, 0);
}

static void stuck(void)
{
    static char big[32768];
    static const char *const reason[] = {"queue_overflow", "", "", ""};
    char text[128];
    memset(big, 'x', sizeof big - 1);
    for (uint32_t full = DISCONNECT; full <= LATEST; full++) {
        int slow, fast;
        open_hub(NULL);
        client s = on_socket(&slow, WISH(.full = full, .max_bytes = 100000)), f = on_socket(&fast, NULL);
        receives(fast, "id: e.0\n\n");
        int64_t deadline = now_ms() + PATIENCE_MS;
        /* One that stops reading: its queue fills, the other's does not. */
        for (int i = 1; now_ms() < deadline; i++) {
            size_t id_len = (size_t)snprintf(text, sizeof text, "e.%d", i);
            int64_t n = NEEDS(pagi_sse_frame_event(EVENT(.data = L(big, sizeof big - 1), .id = L(text, id_len)), NONE, &len_));
            OK(publish("t", big, NULL) == i);
            for (ssize_t got = 1; n > 0 && got > 0 && wait_for(fast); n -= got)
                got = recv(fast, out, (size_t)n, 0);
            IS(n, 0);
            if (full == DISCONNECT ? pagi_sse_conn_state(s.conn) == PAGI_SSE_STATE_CLOSED
                                   : atoll(member(json(pagi_sse_subscription_stats, s.sub), "dropped")) > 0)
                break;
        }
        OK(now_ms() < deadline);
        BYTES(text, LEN(pagi_sse_conn_reason(s.conn, text, sizeof text, &len_)), reason[full]);
        IS(pagi_sse_conn_state(f.conn), PAGI_SSE_STATE_STARTED);
        STATS_ARE(f.sub, ACTIVE, figure(NULL, "published"), 0, 0);
        leaves(s), leaves(f);
        close(slow), close(fast);
        free_hub();
    }
}

#define THREADS 6
#define ROUNDS 200

static void *everything(void *unused)
{
    char buf[4096];
    long bad = 0;
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        client c = {0, 0};
        bad += pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c.conn) != 0;
        const pagi_sse_subscribe_options *wish = WISH(.full = (uint32_t)i % 4, .max_events = 2);
        bad += pagi_sse_hub_subscribe(hub, c.conn, S("t\nu"), wish, &c.sub) != 0;
        bad += publish(i % 2 ? "t" : "u", "x", i % 3 ? "k" : NULL) <= 0;
        bad += LEN(pagi_sse_subscription_stats(c.sub, buf, sizeof buf, &len_)) <= 0;
        bad += LEN(pagi_sse_hub_stats(hub, buf, sizeof buf, &len_)) <= 0;
        bad += pagi_sse_hub_subscribers(hub, S("t")) < 0;
        bad += pagi_sse_hub_ready(hub) < 0;
        bad += pagi_sse_hub_topic(hub, S("t"), TOPIC(.events = 1 + (uint64_t)i % 9, .state = (uint32_t)i % 2)) != 0;
        if (i % 50 == 0)
            bad += pagi_sse_hub_close_streams(hub, S("u"), NONE) < 0;
        if (i % 5 == 0)
            bad += pagi_sse_subscription_cancel(c.sub) != 0;
        if (i % 7 == 0)
            bad += pagi_sse_conn_disconnect(c.conn, NONE) < 0;
        bad += pagi_sse_subscription_free(c.sub) != 0;
        bad += pagi_sse_conn_free(c.conn) != 0;
    }
    return (void *)bad;
}

static void threads(void)
{
    pthread_t thread[THREADS];
    open_hub(NULL);
    for (int i = 0; i < THREADS; i++)
        OK(pthread_create(&thread[i], NULL, everything, NULL) == 0);
    for (int i = 0; i < THREADS; i++) {
        void *bad = NULL;
        pthread_join(thread[i], &bad);
        IS((long)bad, 0);
    }
    settle();
    IS(figure(NULL, "connections"), 0);
    IS(figure(NULL, "high"), 0);
    IS(figure(NULL, "pending_bytes"), 0);
    IS(figure(NULL, "published"), THREADS * ROUNDS);
    IS(pagi_sse_hub_subscribers(hub, S("t")), 0);
    free_hub();
}

static const test tests[] = {
    {"a runtime opens", begin},
    {"at its limit of events a client is disconnected, or misses the oldest or the newest", by_events},
    {"and at its limit of bytes; one large event goes alone", by_bytes},
    {"latest keeps the newest event of each key, and drops the oldest at a limit", by_key},
    {"10000 events or 1 MiB may wait if nothing else is said", defaults},
    {"an event that has begun to go is never torn", whole_events},
    {"the connection's own sends keep their place and are never dropped", own_sends},
    {"what was published goes before a send of the connection's own, a comment and the end", in_order},
    {"a connection has one subscription at a time", one_at_a_time},
    {"a client that has gone raises no signal in the host's thread", no_signal},
    {"cancel ends a subscription, not its connection, which may subscribe again", cancelling},
    {"free gives the number back, the subscription goes on", freeing},
    {"statistics are JSON, and say what is", statistics},
    {"a topic named twice counts once", named_twice},
    {"a subscription ends with its connection, whoever ends that", ends},
    {"a client that stops reading costs the others nothing, with every policy", stuck},
    {"six threads do everything at once, and nothing is left", threads},
    {"nothing is in progress, and the runtime ends", end},
};
RUN(tests)
