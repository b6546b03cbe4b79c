// pagi_sse.hpp - pagi_sse.h for C++17 and later: objects that free themselves,
// exceptions, records in a range-for. Inline functions only; what they do, the
// manual says, pagi_sse.h, at the function of the same name.
//
// A failure throws pagi_sse::error. Objects can be moved and not copied; get() is
// the C handle, release() gives it away, reset() frees it. The end of a server, a
// runtime or a hub waits at most a second: call stop() before for a longer time.
// A client has no class: handle with its _free owns it, records::take with its _next.
#ifndef PAGI_SSE_HPP
#define PAGI_SSE_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <pagi_sse.h>

namespace pagi_sse {

using std::chrono::milliseconds;
using view = std::string_view;
using text = std::optional<view>; // std::nullopt: absent
using fields = std::vector<std::pair<view, view>>;

// The last failure of this thread, in words; code() is one of enum pagi_sse_result.
class error : public std::runtime_error {
    std::int32_t code_, os_;
    static std::string words(std::int32_t code)
    {
        char words[4096];
        std::size_t len = 0;
        bool has = pagi_sse_error(words, sizeof words, &len) == PAGI_SSE_RESULT_OK && len > 0;
        return has ? std::string(words, len) : pagi_sse_result_text(code);
    }

public:
    explicit error(std::int32_t code) : std::runtime_error(words(code)), code_(code), os_(pagi_sse_os_error()) {}
    std::int32_t code() const noexcept { return code_; }
    std::int32_t os() const noexcept { return os_; } // errno, or 0
};

// The result of a function, or its error.
template <class T> T check(T result) { return result < 0 ? throw error(static_cast<std::int32_t>(result)) : result; }

// The text of a function that ends in (buf, cap, &len).
template <class F, class... A> std::string string(F f, A... args)
{
    std::string s;
    std::size_t len = 0;
    std::int32_t code = 0;
    while ((code = f(args..., s.empty() ? nullptr : s.data(), s.size(), &len)) == PAGI_SSE_RESULT_BUFFER_SMALL)
        s.resize(len);
    check(code);
    s.resize(len);
    return s;
}

// A struct of options: all is 0, but its size.
template <class T> T options()
{
    T o{};
    return o.size = sizeof o, o;
}

// An absent text is {NULL, 0}, an empty one is not.
inline pagi_sse_bytes bytes(const text &t) { return t ? pagi_sse_bytes{t->empty() ? "" : t->data(), t->size()} : pagi_sse_bytes{nullptr, 0}; }
inline view to_view(pagi_sse_bytes b) { return {b.data ? b.data : "", b.len}; }
inline std::uint64_t to_ms(milliseconds t) { return t.count() < 0 ? UINT64_MAX : static_cast<std::uint64_t>(t.count()); }

// Owns a handle.
template <auto Free, std::uint64_t... Deadline> class handle {
protected:
    std::uint64_t h_ = 0;

public:
    handle() = default;
    explicit handle(std::uint64_t h) noexcept : h_(h) {}
    handle(handle &&other) noexcept : h_(other.release()) {}
    handle &operator=(handle &&other) noexcept { return reset(other.release()), *this; }
    ~handle() { reset(); }
    std::uint64_t get() const noexcept { return h_; }
    explicit operator bool() const noexcept { return h_ != 0; }
    std::uint64_t release() noexcept { return std::exchange(h_, 0); }
    void reset(std::uint64_t h = 0) noexcept
    {
        std::uint64_t old = std::exchange(h_, h);
        [[maybe_unused]] std::int32_t code = old ? Free(old, Deadline...) : 0; // stale: there is nothing to do
    }
};

// An event. C++20 can name what it has: hub.publish("news", {.data = "hello", .type = "greeting"}).
struct event {
    text data{}, type{}, id{}, key{};
    std::optional<milliseconds> retry{};
    bool json = false;       // data is JSON
    std::uint32_t flags = 0; // PAGI_SSE_EVENT_ bits: what is above has its own

    // The same for C, to the end of the expression.
    const pagi_sse_event *c(pagi_sse_event &&e = options<pagi_sse_event>()) const
    {
        e.data = bytes(data), e.event = bytes(type), e.id = bytes(id), e.key = bytes(key);
        e.retry_ms = retry ? to_ms(*retry) : 0;
        e.flags = flags | std::uint32_t{json ? PAGI_SSE_EVENT_JSON : 0U} | std::uint32_t{retry ? PAGI_SSE_EVENT_RETRY : 0U};
        return &e;
    }
};

// The bytes of an event, or of a comment, as they go over the wire.
inline std::string frame(const event &e) { return string(pagi_sse_frame_event, e.c()); }
inline std::string frame_comment(view t) { return string(pagi_sse_frame_comment, t.data(), t.size()); }

// A request's header field, if it is there; and all of them.
inline text header(const pagi_sse_record &r, view name)
{
    pagi_sse_bytes value{};
    return check(pagi_sse_record_header(r.headers, name.data(), name.size(), &value)) ? text(to_view(value)) : text();
}
inline fields headers(const pagi_sse_record &r)
{
    fields all;
    for (pagi_sse_header h{}; check(pagi_sse_record_header_at(r.headers, all.size(), &h));)
        all.push_back({{h.name, h.name_len}, {h.value, h.value_len}});
    return all;
}

// Records that were taken together. Their bytes live until the next are taken.
class records {
    std::vector<char> buf_;
    std::size_t used_ = 0;

public:
    class iterator {
        const records *of_ = nullptr;
        std::size_t at_ = 0;
        pagi_sse_record record_{};

    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = pagi_sse_record;
        using difference_type = std::ptrdiff_t;
        using pointer = const pagi_sse_record *;
        using reference = const pagi_sse_record &;
        iterator() = default; // the end
        explicit iterator(const records *of) : of_(of) { ++*this; }
        reference operator*() const { return record_; }
        pointer operator->() const { return &record_; }
        iterator &operator++()
        {
            if (!check(pagi_sse_record_read(of_->buf_.data(), of_->used_, &at_, &record_, sizeof record_)))
                of_ = nullptr;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const { return of_ == other.of_; }
        bool operator!=(const iterator &other) const { return of_ != other.of_; }
    };
    iterator begin() const { return iterator(this); }
    iterator end() const { return {}; }

    template <class Next> const records &take(Next next, std::uint64_t h)
    {
        std::int32_t code;
        buf_.resize(buf_.empty() ? PAGI_SSE_RECORD_MAX : buf_.size());
        while ((code = next(h, buf_.data(), buf_.size(), &used_)) == PAGI_SSE_RESULT_BUFFER_SMALL)
            buf_.resize(used_);
        used_ = code > 0 ? used_ : 0;
        return check(code), *this;
    }
};

// One client. That of a REQUEST record is conn(record.conn).
class conn : public handle<pagi_sse_conn_free> {
    template <class F> bool end(F f, const text &t) { return check(f(h_, bytes(t).data, bytes(t).len)); }
    template <class F> std::int32_t head(F f, std::uint16_t status, const fields &list)
    {
        std::vector<pagi_sse_header> all;
        for (const auto &[name, value] : list)
            all.push_back({name.data(), name.size(), value.data(), value.size()});
        return check(f(h_, status, all.data(), all.size()));
    }

public:
    using handle::handle;
    // Those that send give true when the queue is at its high mark: wait for DRAINED.
    bool send(view data) { return check(pagi_sse_conn_send(h_, bytes(data).data, data.size())); }
    bool send_event(const event &e) { return check(pagi_sse_conn_send_event(h_, e.c())); }
    bool comment(view t) { return check(pagi_sse_conn_comment(h_, t.data(), t.size())); }
    bool body(view b, bool more = false) { return check(pagi_sse_conn_body(h_, b.data(), b.size(), more)); }
    bool start(std::uint16_t status = 200, const fields &f = {}) { return head(pagi_sse_conn_start, status, f); }
    void respond(std::uint16_t status, const fields &f = {}) { head(pagi_sse_conn_respond, status, f); }
    void keepalive(milliseconds t, const text &c = {}) { check(pagi_sse_conn_keepalive(h_, to_ms(t), bytes(c).data, bytes(c).len)); }
    bool close(const text &reason = {}) { return end(pagi_sse_conn_close, reason); }
    bool abort(const text &reason = {}) { return end(pagi_sse_conn_abort, reason); }
    bool disconnect(const text &reason = {}) { return end(pagi_sse_conn_disconnect, reason); }
    void expect_stream(bool stream) { check(pagi_sse_conn_expect_stream(h_, stream)); }
    void set_marks(std::uint32_t low, std::uint32_t high, std::uint32_t limit) { check(pagi_sse_conn_set_marks(h_, low, high, limit)); }
    void catch_up() { check(pagi_sse_conn_catch_up(h_)); }
    bool set_user(std::uint64_t user) { return check(pagi_sse_conn_set_user(h_, user)) == 0; }
    void hand_over() { check(pagi_sse_conn_hand_over(h_)), release(); }
    // How much was read; none: the connection is closed, and all was taken.
    std::optional<std::size_t> read(char *buf, std::size_t cap)
    {
        std::size_t len = 0;
        std::int32_t code = pagi_sse_conn_read(h_, buf, cap, &len);
        return code == PAGI_SSE_RESULT_CLOSED ? std::nullopt : (check(code), std::optional(len));
    }
    std::int32_t read_body(char *buf, std::size_t cap, std::size_t &len) { return check(pagi_sse_conn_read_body(h_, buf, cap, &len)); }
    std::int32_t state() const { return check(pagi_sse_conn_state(h_)); }
    std::string reason() const { return string(pagi_sse_conn_reason, h_); }
    std::int64_t buffered() const { return check(pagi_sse_conn_buffered(h_)); }
    pagi_sse_conn_counts counters() const { pagi_sse_conn_counts n{}; return check(pagi_sse_conn_counters(h_, &n, sizeof n)), n; }
};

struct subscription : handle<pagi_sse_subscription_free> {
    using handle::handle;
    std::int32_t resume = 0; // one of enum pagi_sse_resume
    void cancel() { check(pagi_sse_subscription_cancel(h_)); }
    std::string stats() const { return string(pagi_sse_subscription_stats, h_); }
};

struct hub : handle<pagi_sse_hub_free, 1000> {
    explicit hub(view epoch, std::uint32_t flags = 0, const pagi_sse_topic_options *o = nullptr, std::uint64_t total_bytes = 0) { check(pagi_sse_hub_open(epoch.data(), epoch.size(), o, total_bytes, flags, &h_)); }
    void topic(view t, const pagi_sse_topic_options &o) { check(pagi_sse_hub_topic(h_, t.data(), t.size(), &o)); }
    // The event's number.
    std::int64_t publish(view t, const event &e) { return check(pagi_sse_hub_publish(h_, t.data(), t.size(), e.c())); }
    subscription subscribe(const conn &c, view topics, const pagi_sse_subscribe_options *o = nullptr) // one topic a line
    {
        std::uint64_t out = 0;
        std::int32_t resume = check(pagi_sse_hub_subscribe(h_, c.get(), topics.data(), topics.size(), o, &out));
        subscription s(out);
        s.resume = resume;
        return s;
    }
    bool ready() { return check(pagi_sse_hub_ready(h_)); }
    std::int64_t close_streams(const text &t, const text &reason) { return check(pagi_sse_hub_close_streams(h_, bytes(t).data, bytes(t).len, bytes(reason).data, bytes(reason).len)); }
    bool has_topic(view t) const { return check(pagi_sse_hub_has_topic(h_, t.data(), t.size())); }
    std::int64_t subscribers(view t) const { return check(pagi_sse_hub_subscribers(h_, t.data(), t.size())); }
    std::string history(view t, std::int32_t kept = 0, std::uint64_t last = 0) const { return string(pagi_sse_hub_history, h_, t.data(), t.size(), kept, last); }
    std::string stats() const { return string(pagi_sse_hub_stats, h_); }
};

class parser : public handle<pagi_sse_parser_free> {
    records records_;

public:
    explicit parser(const pagi_sse_parser_options *o = nullptr) { check(pagi_sse_parser_open(o, &h_)); }
    std::size_t push(view b) { return static_cast<std::size_t>(check(pagi_sse_parser_push(h_, b.data(), b.size()))); }
    const records &next() { return records_.take(pagi_sse_parser_next, h_); }
    std::string last_event_id() const { return string(pagi_sse_parser_last_event_id, h_); }
    std::optional<milliseconds> retry() const
    {
        std::uint64_t ms = 0;
        return check(pagi_sse_parser_retry(h_, &ms)) ? std::optional(milliseconds(ms)) : std::nullopt;
    }
    void restart() { check(pagi_sse_parser_reset(h_)); }
};

// What a server and a runtime have in common.
template <auto Free, auto Fd, auto Wait, auto Next, auto Flush, auto Wake, auto Busy, auto Stats, auto Stop>
class loop : public handle<Free, 1000> {
    records records_;

public:
    std::int32_t fd() const { return check(Fd(this->h_)); }
    bool wait(milliseconds t = milliseconds(-1)) { return check(Wait(this->h_, to_ms(t))); } // below 0: for ever; true: look at next(). _run is for C, which has no exceptions
    const records &next() { return records_.take(Next, this->h_); } // all of one buffer; fd() tells of more
    void flush() { check(Flush(this->h_)); }
    void wake(milliseconds delay = {}) { check(Wake(this->h_, to_ms(delay))); }
    std::int64_t busy() const { return check(Busy(this->h_)); }
    std::string stats() const { return string(Stats, this->h_); }
    void stop(milliseconds deadline) { check(Stop(this->h_, to_ms(deadline))); }
};

struct runtime : loop<pagi_sse_runtime_free, pagi_sse_runtime_fd, pagi_sse_runtime_wait, pagi_sse_runtime_next, pagi_sse_runtime_flush, pagi_sse_runtime_wake, pagi_sse_runtime_busy, pagi_sse_runtime_stats, pagi_sse_runtime_stop> {
    explicit runtime(const pagi_sse_runtime_options *o = nullptr) { check(pagi_sse_runtime_open(o, &h_)); }
    conn open_queue(std::int32_t wire) { std::uint64_t c = 0; return check(pagi_sse_conn_open_queue(h_, wire, &c)), conn(c); }
    conn open_fd(std::int32_t fd, std::int32_t wire) { std::uint64_t c = 0; return check(pagi_sse_conn_open_fd(h_, fd, wire, &c)), conn(c); }
};

struct server : loop<pagi_sse_server_free, pagi_sse_server_fd, pagi_sse_server_wait, pagi_sse_server_next, pagi_sse_server_flush, pagi_sse_server_wake, pagi_sse_server_busy, pagi_sse_server_stats, pagi_sse_server_stop> {
    explicit server(const pagi_sse_server_options &o) { check(pagi_sse_server_open(&o, &h_)); }
    void start() { check(pagi_sse_server_start(h_)); }
    std::uint16_t port() const { return static_cast<std::uint16_t>(check(pagi_sse_server_port(h_))); }
    std::string address() const { return string(pagi_sse_server_address, h_); }
    void adopt(int fd, const text &read = {}) { check(pagi_sse_server_adopt(h_, fd, bytes(read).data, bytes(read).len)); }
    void drain() { check(pagi_sse_server_drain(h_)); }
    void close_streams(const text &reason = {}) { check(pagi_sse_server_close_streams(h_, bytes(reason).data, bytes(reason).len)); }
};

} // namespace pagi_sse

#endif
