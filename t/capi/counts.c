/* Figures as structs, held against their JSON field by field. */
#include "hub.h"

#include <stddef.h>

typedef int32_t counters(uint64_t handle, char *out, size_t size);

typedef struct field {
    const char *name;
    size_t at;
} field;

#define F(type, name) {#name, offsetof(type, name)}
#define COUNT(fields) (sizeof(fields) / sizeof *(fields))
/* A field that is missing here makes the struct larger than its list. */
#define ALL(type, fields) _Static_assert(sizeof(type) == COUNT(fields) * sizeof(uint64_t), #type)

static const field of_host[] = {
    F(pagi_sse_host_counts, open),          F(pagi_sse_host_counts, opened),
    F(pagi_sse_host_counts, events),        F(pagi_sse_host_counts, comments),
    F(pagi_sse_host_counts, refused),       F(pagi_sse_host_counts, bytes_sent),
    F(pagi_sse_host_counts, queued_bytes),  F(pagi_sse_host_counts, queued_memory),
    F(pagi_sse_host_counts, max_queued_bytes), F(pagi_sse_host_counts, cut),
    F(pagi_sse_host_counts, records),       F(pagi_sse_host_counts, logs_dropped),
};
ALL(pagi_sse_host_counts, of_host);

static const field of_hub[] = {
    F(pagi_sse_hub_counts, published),  F(pagi_sse_hub_counts, connections), F(pagi_sse_hub_counts, pending_bytes),
    F(pagi_sse_hub_counts, kept_bytes), F(pagi_sse_hub_counts, evicted),     F(pagi_sse_hub_counts, dropped),
    F(pagi_sse_hub_counts, overflows),  F(pagi_sse_hub_counts, high),
};
ALL(pagi_sse_hub_counts, of_hub);

static const field of_topic[] = {
    F(pagi_sse_topic_counts, subscribers), F(pagi_sse_topic_counts, published),
    F(pagi_sse_topic_counts, kept_events), F(pagi_sse_topic_counts, kept_bytes),
    F(pagi_sse_topic_counts, keys),        F(pagi_sse_topic_counts, state_bytes),
    F(pagi_sse_topic_counts, refused_keys),
};
ALL(pagi_sse_topic_counts, of_topic);

static const field of_subscription[] = {
    F(pagi_sse_subscription_counts, delivered),
    F(pagi_sse_subscription_counts, dropped),
    F(pagi_sse_subscription_counts, queued_bytes),
    F(pagi_sse_subscription_counts, active),
};
ALL(pagi_sse_subscription_counts, of_subscription);

/* Numbers in the JSON text that are fields too, all of them; how many are not 0. */
static int same(const char *text, const void *counts, const field *fields, size_t n)
{
    int some = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t is;
        memcpy(&is, (const char *)counts + fields[i].at, sizeof is);
        const char *value = member(text, fields[i].name);
        if (!value)
            value = "-1";
        if (!is_(__FILE__, __LINE__, fields[i].name, (long long)is, *value == 't' ? 1 : *value == 'f' ? 0 : atoll(value)))
            printf("# in %s\n", text);
        some += is != 0;
    }
    return some;
}

#define SAME(text, counts, fields) same((text), &(counts), (fields), COUNT(fields))

/* Two clients of a state topic, one that takes nothing, and one that has gone. */
static void figures(void)
{
    pagi_sse_hub_counts h;
    pagi_sse_topic_counts t;
    pagi_sse_subscription_counts s;
    pagi_sse_host_counts r;
    pagi_sse_topic_options state = {.size = sizeof state, .state = PAGI_SSE_CHOICE_YES, .events = 2};
    begin();
    open_hub(&state);
    client a = JOINS(NEW, "t", WISH(.max_events = 2, .full = PAGI_SSE_FULL_DROP_OLDEST));
    client b = JOINS(NEW, "t\nu", WISH(.max_events = 2));
    for (int n = 0; n < 5; n++) {
        OK(publish("t", "x", n % 2 ? "k" : "l") > 0);
        settle(); /* a burst might find empty queues */
    }
    IS(pagi_sse_hub_counters(hub, &h, sizeof h), 0);
    OK(SAME(json(pagi_sse_hub_stats, hub), h, of_hub) >= 4);
    IS(h.published, 5);
    IS(h.overflows, 1);
    IS(pagi_sse_topic_counters(hub, S("t"), &t, sizeof t), 1);
    OK(SAME(member(member(json(pagi_sse_hub_stats, hub), "topics"), "t"), t, of_topic) >= 6);
    IS(t.subscribers, 1);
    IS(t.keys, 2);
    IS(pagi_sse_subscription_counters(a.sub, &s, sizeof s), 0);
    IS(SAME(json(pagi_sse_subscription_stats, a.sub), s, of_subscription), 4);
    IS(pagi_sse_subscription_counters(b.sub, &s, sizeof s), 0);
    SAME(json(pagi_sse_subscription_stats, b.sub), s, of_subscription);
    IS(s.active, 0);
    IS(pagi_sse_runtime_counters(rt, &r, sizeof r), 0);
    OK(SAME(json(pagi_sse_runtime_stats, rt), r, of_host) >= 6);
    IS(pagi_sse_topic_counters(hub, S("absent"), &t, sizeof t), 0);
    IS(t.published + t.subscribers + t.kept_events, 0);
    IS(pagi_sse_topic_counters(hub, S("no topic"), &t, sizeof t), R(TOPIC_NAME));
    leaves(a);
    leaves(b);
    free_hub();
    end();
}

static void sizes(void)
{
    uint64_t words[14];
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("127.0.0.1:0"), .workers = 1};
    pagi_sse_server server;
    pagi_sse_host_counts now;
    IS(pagi_sse_server_open(&o, &server), 0);
    IS(pagi_sse_server_counters(server, &now, sizeof now), 0);
    OK(now.max_queued_bytes > 0);
    SAME(json(pagi_sse_server_stats, server), now, of_host);
    memset(words, 0xff, sizeof words); /* an older host knows less, */
    IS(pagi_sse_server_counters(server, (pagi_sse_host_counts *)words, 8), 0);
    OK(words[0] == 0 && words[1] == UINT64_MAX);
    IS(pagi_sse_server_counters(server, (pagi_sse_host_counts *)words, sizeof words), 0); /* a newer one more */
    OK(words[8] == now.max_queued_bytes && words[12] == 0 && words[13] == 0);
    IS(pagi_sse_server_counters(server, NULL, sizeof words), R(NULL_POINTER));
    IS(pagi_sse_server_counters(server, &now, 0), R(NULL_POINTER));
    IS(pagi_sse_server_counters(server, &now, 5000), R(BAD_ARGUMENT));
    IS(pagi_sse_server_free(server, 1000), 0);
}

static const test tests[] = {
    {"each field of the structs is the member of that name in the JSON", figures},
    {"hosts of another version get what they know, and zeros where they know more", sizes},
};
RUN(tests)
