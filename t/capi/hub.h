/* What the tests of hubs and of subscriptions share: a runtime, one hub at a
 * time, and clients whose output the test takes itself. */
#ifndef HUB_H
#define HUB_H

#include "harness.h"

#define TOPIC(...) (&(pagi_sse_topic_options){.size = sizeof(pagi_sse_topic_options), __VA_ARGS__})
#define WISH(...) (&(pagi_sse_subscribe_options){.size = sizeof(pagi_sse_subscribe_options), __VA_ARGS__})
/* For WISH. */
#define SEEN(id) .last_event_id = L((id), strlen(id))

/* Blocks as they go over the wire: an event whose data is its number, the one
 * that says "you missed something". */
#define E(n) "id: e." #n "\ndata: " #n "\n\n"
#define RESET(reason) "event: reset\ndata: {\"reason\":\"" reason "\"}\n\n"

enum {
    DISCONNECT = PAGI_SSE_FULL_DISCONNECT,
    DROP_OLDEST = PAGI_SSE_FULL_DROP_OLDEST,
    DROP_NEWEST = PAGI_SSE_FULL_DROP_NEWEST,
    LATEST = PAGI_SSE_FULL_LATEST
};
enum {
    NEW = PAGI_SSE_RESUME_NEW,
    RESUMED = PAGI_SSE_RESUME_RESUMED,
    TOO_OLD = PAGI_SSE_RESUME_TOO_OLD,
    UNKNOWN = PAGI_SSE_RESUME_UNKNOWN
};

static pagi_sse_runtime rt;
static int rt_fd;
static pagi_sse_hub hub;

typedef struct client {
    pagi_sse_conn conn;
    pagi_sse_subscription sub;
} client;

static inline void begin(void)
{
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    rt_fd = pagi_sse_runtime_fd(rt);
}

static inline void end(void)
{
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (pagi_sse_runtime_busy(rt) > 0 && now_ms() < deadline)
        poll(NULL, 0, 5);
    IS(pagi_sse_runtime_busy(rt), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static inline int next(int32_t kind, pagi_sse_conn c, pagi_sse_record *r)
{
    return next_record(pagi_sse_runtime_next, rt, rt_fd, kind, c, r);
}

/* A hub whose ids are e.1, e.2, ... */
static inline void open_hub(const pagi_sse_topic_options *defaults)
{
    hub = 0;
    IS(pagi_sse_hub_open(S("e"), defaults, 0, 0, &hub), 0);
}

static inline void free_hub(void)
{
    IS(pagi_sse_hub_free(hub, 1000), 0);
}

static inline pagi_sse_conn opened(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), 0);
    return c;
}

#define JOINS(how, topics, wish) joins_(__LINE__, (how), (topics), (wish))

static inline client joins_(int line, int how, const char *topics, const pagi_sse_subscribe_options *wish)
{
    client c = {opened(), 0};
    int32_t code = pagi_sse_hub_subscribe(hub, c.conn, topics, strlen(topics), wish, &c.sub);
    is_(__FILE__, line, "how it begins", code, how);
    return c;
}

static inline void leaves(client c)
{
    IS(pagi_sse_subscription_free(c.sub), 0);
    IS(pagi_sse_conn_free(c.conn), 0);
}

/* An event of nothing but data, perhaps with a key. */
static inline int64_t publish(const char *topic, const char *data, const char *key)
{
    size_t key_len = key ? strlen(key) : 0;
    return pagi_sse_hub_publish(hub, topic, strlen(topic), EVENT(.data = L(data, strlen(data)), .key = L(key, key_len)));
}

/* Everything published is with the connections. */
static inline void settle(void)
{
    static const char none[] = "\"pending_bytes\":0,";
    int64_t deadline = now_ms() + PATIENCE_MS;
    int delivered = 0;
    while (!delivered && now_ms() < deadline) {
        int64_t cap = NEEDS(pagi_sse_hub_stats(hub, NULL, 0, &len_)) + 4096, n;
        char *text = calloc(1, (size_t)cap + 1);
        n = LEN(pagi_sse_hub_stats(hub, text, (size_t)cap, &len_));
        delivered = n >= 0 && strstr(text, none);
        free(text);
        if (!delivered)
            poll(NULL, 0, 1);
    }
    OK(delivered);
}

static char out[1 << 21];

static inline int64_t taken(client c)
{
    settle();
    int64_t n = LEN(pagi_sse_conn_read(c.conn, out, sizeof out - 1, &len_));
    out[n > 0 ? n : 0] = 0;
    return n;
}

/* What waits for a client, all of it. */
#define GETS(c, expected) bytes_(__FILE__, __LINE__, out, (size_t)taken(c), (expected))

/* Figures as JSON; more members may come, so each is looked for. */
typedef int32_t json_function(uint64_t handle, char *buf, size_t cap, size_t *len);

static inline const char *json(json_function *f, uint64_t handle)
{
    static char text[1 << 16];
    int64_t n = LEN(f(handle, text, sizeof text - 1, &len_));
    text[n > 0 ? n : 0] = 0;
    return text;
}

/* What follows "name": in it, or NULL. */
static inline const char *member(const char *text, const char *name)
{
    char quoted[128];
    int len = snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = text ? strstr(text, quoted) : NULL;
    return at ? at + len : NULL;
}

/* A number of the hub's, or of one of its topics; -1 if there is none. */
static inline int64_t figure(const char *topic, const char *name)
{
    const char *all = json(pagi_sse_hub_stats, hub);
    const char *number = member(topic ? member(member(all, "topics"), topic) : all, name);
    return number ? atoll(number) : -1;
}

enum { ENDED, ACTIVE };

/* All figures of a subscription. */
#define STATS_ARE(sub, active, delivered, dropped, queued)                                                            \
    stats_are_(__FILE__, __LINE__, (sub), (active), (delivered), (dropped), (queued))

static inline int stats_are_(const char *file, int line, pagi_sse_subscription sub, int active, int64_t delivered,
                             int64_t dropped, int64_t queued)
{
    settle();
    const char *all = json(pagi_sse_subscription_stats, sub), *value[4] = {NULL};
    static const char *const names[4] = {"delivered", "dropped", "queued_bytes", "active"};
    const int64_t expected[3] = {delivered, dropped, queued};
    for (int i = 0; i < 4; i++)
        value[i] = member(all, names[i]);
    for (int i = 0; i < 3; i++)
        is_(file, line, names[i], value[i] ? atoll(value[i]) : -1, expected[i]);
    const char *word = active ? "true" : "false";
    return bytes_(file, line, value[3], value[3] ? strcspn(value[3], ",}") : 0, word);
}

#endif
