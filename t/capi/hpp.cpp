/* pagi_sse.hpp: all of it, as a program of C++ uses it. */
#include "harness.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <type_traits>

#include <pagi_sse.hpp>

using namespace std::string_literals;
using namespace std::chrono_literals;
namespace sse = pagi_sse;

#define SAYS(got, expected) says(__LINE__, #got, (got), (expected))

static void says(int line, const char *what, sse::view got, sse::view expected)
{
    if (got == expected)
        return;
    failures++;
    printf("# line %d: %s is <<%.*s>>, not <<%.*s>>\n", line, what, static_cast<int>(got.size()), got.data(),
           static_cast<int>(expected.size()), expected.data());
}

/* The code that a call throws, or 0. */
template <class F> static std::int32_t thrown(F f)
{
    try {
        f();
    } catch (const sse::error &e) {
        return e.code();
    }
    return 0;
}

template <class T> static constexpr bool moves_only = std::is_nothrow_move_constructible_v<T>
    && std::is_move_assignable_v<T> && !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(moves_only<sse::conn> && moves_only<sse::server> && moves_only<sse::runtime> && moves_only<sse::hub>
              && moves_only<sse::parser> && moves_only<sse::subscription>);

static sse::event event(sse::view data, sse::text type = {}, sse::text id = {})
{
    sse::event e;
    e.data = data;
    e.type = type;
    e.id = id;
    return e;
}

static void frames()
{
    SAYS(sse::frame(event("one\ntwo", "greeting", "7")), "event: greeting\nid: 7\ndata: one\ndata: two\n\n");
    sse::event e;
    e.retry = 1500ms;
    SAYS(sse::frame(e), "retry: 1500\n\n");
    SAYS(sse::frame({}), "");
    SAYS(sse::frame(event("")), "data: \n\n");
    SAYS(sse::frame_comment("c"), ":c\n\n");
    SAYS(sse::frame_comment({}), ":\n\n");
    IS(thrown([] { sse::frame(event("x", "a\nb")); }), R(EVENT_NEWLINE));
    sse::event long_event = event("x");
    std::string large(100000, 'x');
    long_event.data = large;
    SAYS(sse::frame(long_event), "data: " + large + "\n\n");
#if __cplusplus >= 202002L
    SAYS(sse::frame({.data = "d", .type = "t", .retry = 1s}), "event: t\nretry: 1000\ndata: d\n\n");
#endif
}

static void errors()
{
    try {
        sse::conn(1).send("x");
        OK(!"it threw");
    } catch (const std::runtime_error &e) {
        SAYS(e.what(), pagi_sse_result_text(R(HANDLE_INVALID)));
    }
    auto o = sse::options<pagi_sse_server_options>();
    o.listen = PAGI_SSE_BYTES("unix:/no/such/folder/socket");
    try {
        sse::server s(o);
        OK(!"it threw");
    } catch (const sse::error &e) {
        IS(e.code(), R(BIND_FAILED));
        IS(e.os(), ENOENT);
        OK(strstr(e.what(), ": ") != nullptr);
    }
}

static void owners()
{
    std::uint64_t before = pagi_sse_handle_count();
    {
        sse::runtime rt;
        sse::conn a = rt.open_queue(PAGI_SSE_WIRE_EVENTS), b = std::move(a), none;
        OK(b && !a && !none);
        none = std::move(b);
        IS(pagi_sse_handle_count(), before + 2);
        sse::conn &same = none;
        none = std::move(same);
        OK(static_cast<bool>(none));
        std::uint64_t raw = none.release();
        sse::conn again(raw);
        IS(again.get(), raw);
        again.reset();
        IS(pagi_sse_conn_free(raw), R(HANDLE_STALE));
        sse::runtime moved = std::move(rt);
        IS(moved.busy() >= 0, 1);
    }
    IS(pagi_sse_handle_count(), before);
}

static std::string read_all(sse::conn &c)
{
    std::string all;
    char buf[4096];
    for (std::optional<std::size_t> n; (n = c.read(buf, sizeof buf)) && *n > 0;)
        all.append(buf, *n);
    return all;
}

static void queues()
{
    sse::runtime rt;
    sse::conn c = rt.open_queue(PAGI_SSE_WIRE_EVENTS);
    IS(c.state(), PAGI_SSE_STATE_PENDING);
    OK(c.start());
    OK(!c.start());
    OK(!c.send("hello"));
    OK(!c.send(""));
    OK(!c.send_event(event("d", "e", "i")));
    sse::event json = event("{ \"a\": 1 }");
    json.json = true;
    c.send_event(json);
    c.comment("c");
    c.keepalive(15s);
    c.keepalive(15s, "k");
    c.catch_up();
    IS(c.counters().events, 4);
    OK(c.buffered() > 0);
    SAYS(read_all(c), "data: hello\n\ndata: \n\nevent: e\nid: i\ndata: d\n\ndata: {\"a\":1}\n\n:c\n\n");
    c.set_marks(1, 2, 3);
    OK(c.send("above the mark"));
    IS(thrown([&] { c.send("full"); }), R(QUEUE_OVERFLOW));
    IS(thrown([&] { c.keepalive(-1ms); }), R(INTERVAL));
    OK(c.disconnect("gone"));
    OK(!c.close());
    SAYS(c.reason(), "gone");
    char byte;
    OK(!c.read(&byte, 1));
    bool closed = false;
    rt.wake();
    OK(rt.wait());
    for (const pagi_sse_record &r : rt.next())
        if (r.kind == PAGI_SSE_KIND_CLOSED) {
            SAYS(sse::to_view(r.text), "gone");
            closed = true;
        }
    OK(closed);
    OK(rt.stats().find("\"abi\":1") != std::string::npos);
    rt.flush();
    rt.stop(1s);
    IS(thrown([&] { rt.open_queue(PAGI_SSE_WIRE_EVENTS); }), R(STOPPED));

    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    sse::runtime other;
    sse::conn s = other.open_fd(pair[0], PAGI_SSE_WIRE_EVENTS);
    s.send("over a socket");
    other.flush();
    char buf[64];
    ssize_t n = wait_for(pair[1]) ? recv(pair[1], buf, sizeof buf, 0) : 0;
    SAYS(sse::view(buf, static_cast<std::size_t>(n)), "data: over a socket\n\n");
    OK(s.abort("failed"));
    close(pair[1]);
}

static void hubs()
{
    sse::runtime rt;
    auto o = sse::options<pagi_sse_topic_options>();
    o.events = 10;
    sse::hub hub("e", 0, &o);
    hub.topic("news", o);
    OK(hub.ready());
    OK(hub.has_topic("news"));
    IS(hub.publish("news", event("one", "t")), 1);
    int pair[2];
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    sse::conn c = rt.open_queue(PAGI_SSE_WIRE_EVENTS), d = rt.open_fd(pair[0], PAGI_SSE_WIRE_EVENTS);
    auto seen = sse::options<pagi_sse_subscribe_options>();
    seen.last_event_id = PAGI_SSE_BYTES("e.0");
    sse::subscription s = hub.subscribe(c, "news", &seen), t = hub.subscribe(d, "news");
    IS(s.resume, PAGI_SSE_RESUME_RESUMED);
    IS(t.resume, PAGI_SSE_RESUME_NEW);
    d.hand_over();
    OK(!d);
    IS(hub.subscribers("news"), 2);
    c.catch_up();
    SAYS(read_all(c), "event: t\nid: e.1\ndata: one\n\n");
    SAYS(hub.history("news"), "[{\"data\":\"one\",\"event\":\"t\",\"id\":\"e.1\"}]");
    OK(hub.stats().find("\"epoch\":\"e\"") != std::string::npos);
    OK(s.stats().find("\"delivered\":1") != std::string::npos);
    s.cancel();
    sse::conn f = rt.open_queue(PAGI_SSE_WIRE_EVENTS);
    sse::subscription u = hub.subscribe(f, "news");
    IS(hub.close_streams("news", "over"), 2);
    close(pair[1]);
    SAYS(f.reason(), "over");
    IS(thrown([&] { hub.publish("no such name", {}); }), R(TOPIC_NAME));
}

static void parsers()
{
    auto o = sse::options<pagi_sse_parser_options>();
    o.max_event = 1 << 20;
    sse::parser p(&o);
    OK(!p.retry());
    std::string large(300000, 'y'), stream = "retry: 50\nid: 9\nevent: e\ndata: d\n\n:c\n\ndata: " + large + "\n\ndata: unfinished\n";
    std::string got;
    for (std::size_t at = 0; at < stream.size();) {
        at += p.push(sse::view(stream).substr(at));
        for (bool any = true; any;) {
            any = false;
            for (const pagi_sse_record &r : p.next()) {
                any = true;
                got += r.kind == PAGI_SSE_KIND_EVENT ? "["s.append(sse::to_view(r.event)).append(" ").append(sse::to_view(r.id))
                                                           .append(" ").append(std::to_string(r.data.len)) + "]"
                                                     : "("s.append(sse::to_view(r.text)) + ")";
            }
        }
    }
    SAYS(got, "[e 9 1](c)[message 9 300000]");
    SAYS(p.last_event_id(), "9");
    OK(p.retry() == 50ms);
    p.restart();
    SAYS(p.last_event_id(), "9");
}

static int ask(std::uint16_t port, sse::view request)
{
    struct sockaddr_in a = {};
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(connect(fd, reinterpret_cast<struct sockaddr *>(&a), sizeof a) == 0);
    OK(send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
    return fd;
}

/* All that comes on a connection until its end. */
static std::string answer(int fd)
{
    std::string all;
    char buf[4096];
    for (ssize_t n; wait_for(fd) && (n = recv(fd, buf, sizeof buf, 0)) > 0;)
        all.append(buf, static_cast<std::size_t>(n));
    close(fd);
    return all;
}

static void stream(const pagi_sse_record &r)
{
    sse::conn c(r.conn);
    SAYS(sse::header(r, "Host").value_or("none"), "a");
    OK(!sse::header(r, "absent"));
    IS(sse::headers(r).size(), 2);
    SAYS(sse::headers(r)[1].second, "text/event-stream");
    c.expect_stream(true);
    c.start(200, {{"x-a", "b"}});
    c.send("hello");
    c.close("done");
}

/* Answers with the body once it is here; whether it was. */
static bool echo(sse::conn &c, std::string &body)
{
    char buf[64];
    std::int32_t got;
    do {
        std::size_t len = 0;
        got = c.read_body(buf, sizeof buf, len);
        body.append(buf, len);
    } while (got == PAGI_SSE_BODY_MORE);
    if (got == PAGI_SSE_BODY_WAIT)
        return false;
    IS(got, PAGI_SSE_BODY_END);
    c.respond(201, {{"content-type", "text/plain"}});
    c.body("you said ", true);
    c.body(body);
    return true;
}

static void servers()
{
    auto o = sse::options<pagi_sse_server_options>();
    o.listen = PAGI_SSE_BYTES("127.0.0.1:0");
    sse::server server(o);
    server.start();
    SAYS(server.address(), "127.0.0.1:" + std::to_string(server.port()));
    int one = ask(server.port(), "GET /s HTTP/1.1\r\nhost: a\r\naccept: text/event-stream\r\n\r\n");
    int two = ask(server.port(), "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi");
    sse::conn post;
    std::string body;
    for (int ended = 0; ended < 2 && wait_for(server.fd());) {
        for (const pagi_sse_record &r : server.next()) {
            if (r.kind == PAGI_SSE_KIND_REQUEST && r.sse)
                stream(r);
            else if (r.kind == PAGI_SSE_KIND_REQUEST)
                post = sse::conn(r.conn);
            ended += r.kind == PAGI_SSE_KIND_ENDED;
        }
        if (post && echo(post, body))
            post.reset();
        server.flush();
    }
    std::string streamed = answer(one), posted = answer(two);
    OK(streamed.find("\r\nx-a: b\r\n") != std::string::npos && streamed.find("data: hello\n\n") != std::string::npos);
    OK(posted.rfind("HTTP/1.1 201 ", 0) == 0 && posted.find("hi") != std::string::npos);
    IS(server.busy(), 0);
    OK(server.stats().find("\"connections\"") != std::string::npos);
    server.wake(1ms);
    server.close_streams("enough");
    server.drain();
    server.stop(1s);
    int seen = 0;
    IS(pagi_sse_server_run(server.get(), [](const pagi_sse_record *, void *n) -> std::int32_t { return ++*static_cast<std::int32_t *>(n) > 1000; }, &seen, 0), R(STOPPED));
    OK(seen < 1000);
    IS(thrown([&] { server.start(); }), R(STOPPED));
    IS(thrown([&] { while (server.wait(0ms)) server.next(); }), R(STOPPED));
}

static const test tests[] = {
    {"frames, of an event with what it has", frames},
    {"a failure throws its code, its words and the system's number", errors},
    {"a handle has one owner, and moves", owners},
    {"a runtime's connections, and records in a range", queues},
    {"hubs and subscriptions", hubs},
    {"a parser, with records larger than its buffer", parsers},
    {"a server", servers},
};
RUN(tests)
