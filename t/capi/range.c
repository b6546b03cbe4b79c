/* A bad argument is named, with what was given. */
#include "harness.h"

static void says(int32_t code, const char *what)
{
    char text[256], expected[256];
    size_t len = 0;
    IS(code, R(BAD_ARGUMENT));
    IS(pagi_sse_error(text, sizeof text, &len), 0);
    snprintf(expected, sizeof expected, "an argument is outside its range: %s", what);
    BYTES(text, len, expected);
}

static void of_hubs(void)
{
    pagi_sse_hub hub = 0;
    pagi_sse_topic_options topic;
    memset(&topic, 0, sizeof topic);
    topic.size = sizeof topic;
    says(pagi_sse_hub_open(S("a b"), NULL, 0, 0, &hub), "epoch: 1 to 40 letters, digits, - and _");
    says(pagi_sse_hub_open(S("a"), NULL, 0, 8, &hub), "flags, 0x8");
    topic.state = 9;
    says(pagi_sse_hub_open(S("a"), &topic, 0, 0, &hub), "state, 9");
    topic.state = 0;
    topic.reserved = 1;
    says(pagi_sse_hub_open(S("a"), &topic, 0, 0, &hub), "reserved");
    IS(hub, 0);
}

static void of_subscriptions_and_queues(void)
{
    pagi_sse_runtime rt;
    pagi_sse_conn conn;
    pagi_sse_hub hub;
    pagi_sse_subscription sub = 0;
    pagi_sse_subscribe_options options;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &conn), 0);
    IS(pagi_sse_hub_open(S("a"), NULL, 0, 0, &hub), 0);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.full = 77;
    says(pagi_sse_hub_subscribe(hub, conn, S("t"), &options, &sub), "full, 77");
    options.full = 0;
    options.create = 5;
    says(pagi_sse_hub_subscribe(hub, conn, S("t"), &options, &sub), "create, 5");
    IS(sub, 0);
    says(pagi_sse_conn_set_marks(conn, 9, 5, 20), "low 9, high 5, limit 20");
    IS(pagi_sse_hub_free(hub, 1000), 0);
    IS(pagi_sse_conn_free(conn), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void of_servers_and_runtimes(void)
{
    pagi_sse_server server = 0;
    pagi_sse_runtime rt = 0;
    pagi_sse_server_options options;
    pagi_sse_runtime_options chosen;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.log_level = 9;
    says(pagi_sse_server_open(&options, &server), "log_level, 9");
    options.log_level = 0;
    options.reserved = 2;
    says(pagi_sse_server_open(&options, &server), "reserved");
    memset(&chosen, 0, sizeof chosen);
    chosen.size = sizeof chosen;
    chosen.log_level = 9;
    says(pagi_sse_runtime_open(&chosen, &rt), "log_level, 9");
    IS(server == 0 && rt == 0, 1);
}

static const test tests[] = {
    {"of a hub and its topics", of_hubs},
    {"of subscriptions and of a queue's marks", of_subscriptions_and_queues},
    {"of servers and runtimes", of_servers_and_runtimes},
};
RUN(tests)
