/* A client: what it refuses and how it says so, and how it ends. */
#include "answers.h"

#include <pthread.h>
#include <sys/resource.h>

static pagi_sse_runtime rt;

#define OPTIONS(...) (pagi_sse_client_options){.size = sizeof(pagi_sse_client_options), __VA_ARGS__}
#define URL .url = B("http://127.0.0.1:1/")

/* That it is refused with this code and these words. */
static void refuses_(int line, pagi_sse_client_options o, int32_t code, const char *expected)
{
    char words[1024];
    pagi_sse_client c = 77;
    int before = failures;
    IS(pagi_sse_client_open(rt, &o, &c), code);
    IS(c, 77);
    BYTES(words, LEN(pagi_sse_error(words, sizeof words, &len_)), expected);
    if (failures != before)
        printf("# line %d\n", line);
}
#define REFUSES(options, code, words) refuses_(__LINE__, (options), R(code), (words))
#define RANGE "an argument is outside its range: "

static void refusals(void)
{
    static const pagi_sse_header colon = {S("a:b"), S("x")}, feed = {S("x-y"), S("a\nb")}, length = {S("content-length"), S("5")};
    static const uint16_t fine[] = {503, 200};
    static char long_id[PAGI_SSE_ID_BYTES + 1];
    memset(long_id, 'x', sizeof long_id);
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    REFUSES(OPTIONS(.reserved = 0), NULL_POINTER, "a pointer is NULL: url");
    REFUSES(OPTIONS(.url = B("")), BAD_ARGUMENT, RANGE "the URL \"\": relative URL without a base");
    REFUSES(OPTIONS(.url = B("events")), BAD_ARGUMENT, RANGE "the URL \"events\": relative URL without a base");
    REFUSES(OPTIONS(.url = B("http://")), BAD_ARGUMENT, RANGE "the URL \"http://\": empty host");
    REFUSES(OPTIONS(.url = B("ftp://h/")), BAD_ARGUMENT, RANGE "the URL \"ftp://h/\": the scheme ftp is none of http, https, http+unix");
    REFUSES(OPTIONS(.url = B("http://h:70000/")), BAD_ARGUMENT, RANGE "the URL \"http://h:70000/\": invalid port number");
    REFUSES(OPTIONS(.url = B("http://h/\n")), BAD_ARGUMENT, RANGE "the URL \"http://h/\\n\": it contains a control character");
    REFUSES(OPTIONS(.url = B("http://h/\xff")), NOT_UTF8, "the text is not well-formed UTF-8: url, byte 9");
    REFUSES(OPTIONS(URL, .method = B("HEAD")), BAD_ARGUMENT, RANGE "the method HEAD has no stream");
    REFUSES(OPTIONS(URL, .method = B("GE T")), BAD_ARGUMENT, RANGE "the method \"GE T\" is no token");
    REFUSES(OPTIONS(URL, .method = B("")), BAD_ARGUMENT, RANGE "the method \"\" is no token");
    REFUSES(OPTIONS(URL, .fields = &colon, .fields_len = 1), HEADER_NAME, "a header name must be a token (RFC 9110): field 0, \"a:b\"");
    REFUSES(OPTIONS(URL, .fields = &feed, .fields_len = 1), HEADER_VALUE, "a header value must not contain control characters: field 0, \"x-y\"");
    REFUSES(OPTIONS(URL, .fields = &length, .fields_len = 1), BAD_ARGUMENT, RANGE "the field content-length is the client's to set");
    REFUSES(OPTIONS(URL, .fields_len = 1), NULL_POINTER, "a pointer is NULL");
    REFUSES(OPTIONS(URL, .body = {NULL, 5}), NULL_POINTER, "a pointer is NULL: body");
    REFUSES(OPTIONS(URL, .last_event_id = B("a\nb")), BAD_ARGUMENT, RANGE "the last event id contains NUL, CR or LF");
    REFUSES(OPTIONS(URL, .last_event_id = {long_id, sizeof long_id}), BAD_ARGUMENT, RANGE "the last event id is longer than 4096 bytes");
    REFUSES(OPTIONS(URL, .proxy = B("nonsense proxy")), BAD_ARGUMENT, RANGE "the proxy's URL is none");
    REFUSES(OPTIONS(URL, .proxy = B("socks5://h/")), BAD_ARGUMENT, RANGE "a proxy of scheme socks5 is none of http, https");
    REFUSES(OPTIONS(URL, .proxy = B("http://h/"), .flags = PAGI_SSE_CLIENT_NO_PROXY), BAD_ARGUMENT, RANGE "a proxy and PAGI_SSE_CLIENT_NO_PROXY");
    REFUSES(OPTIONS(URL, .max_redirects = 1, .flags = PAGI_SSE_CLIENT_NO_REDIRECTS), BAD_ARGUMENT, RANGE "max_redirects and PAGI_SSE_CLIENT_NO_REDIRECTS");
    REFUSES(OPTIONS(URL, .flags = 16), BAD_ARGUMENT, RANGE "flags, 0x10");
    REFUSES(OPTIONS(URL, .resume = 3), BAD_ARGUMENT, RANGE "resume, 3");
    REFUSES(OPTIONS(URL, .reserved = 1), BAD_ARGUMENT, RANGE "reserved");
    REFUSES(OPTIONS(URL, .retry_on = fine, .retry_on_len = 2), BAD_ARGUMENT, RANGE "retry_on has 200, which is no failure");
    REFUSES(OPTIONS(URL, .retry_on_len = 1), NULL_POINTER, "a pointer is NULL: retry_on");
    REFUSES(OPTIONS(URL, .retry_on_len = 101), BAD_ARGUMENT, RANGE "retry_on_len, 101, is above 100");
    REFUSES(OPTIONS(URL, .max_line = (128 << 20) + 1), BAD_ARGUMENT, RANGE "max_line, 134217729, is above 134217728");
    REFUSES(OPTIONS(URL, .max_event = UINT64_MAX), BAD_ARGUMENT, RANGE "max_event, 18446744073709551615, is above 134217728");
    REFUSES(OPTIONS(URL, .max_refusal = 1 << 21), BAD_ARGUMENT, RANGE "max_refusal, 2097152, is above 1048576");
    pagi_sse_client_options o = OPTIONS(URL);
    pagi_sse_client c;
    IS(pagi_sse_client_open(rt, &o, NULL), R(NULL_POINTER));
    IS(pagi_sse_client_open(rt, NULL, &c), R(NULL_POINTER));
    o.size -= 8;
    IS(pagi_sse_client_open(rt, &o, &c), R(BAD_ARGUMENT));
    IS(pagi_sse_runtime_stop(rt, 1000), 0);
    REFUSES(OPTIONS(URL), STOPPED, "the server or runtime is stopped");
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void files(void)
{
    pagi_sse_client_options o = OPTIONS(.url = B("https://127.0.0.1:1/"), .ca_file = B("/no/such/file.pem"));
    pagi_sse_client c;
    char words[300];
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    OK(pagi_sse_client_open(rt, &o, &c) < 0);
    BYTES(words, LEN(pagi_sse_error(words, sizeof words, &len_)), "an operating-system call failed: the CA file /no/such/file.pem: No such file or directory");
    IS(pagi_sse_os_error(), ENOENT);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static void closed(void)
{
    static const char *const all[] = {STREAM_HEAD "data: a\n\ndata: b\n\n", NULL};
    answers a = {.flood = ":\n"};
    watched w = {.cap = 60};
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.max_items = 4});
    OK(look(&w));
    IS(pagi_sse_client_close(w.client), 0);
    IS(pagi_sse_client_close(w.client), 0);
    IS(pagi_sse_client_state(w.client), PAGI_SSE_CLIENT_PHASE_CLOSED);
    /* What waited is dropped, the end is told. */
    ITEM(&w, "end 4");
    IS(pagi_sse_client_next(w.client, w.buf, w.cap, &w.used), 0);
    IS(pagi_sse_client_close(w.client), 0);
    IS(pagi_sse_client_next(w.client, w.buf, w.cap, &w.used), 0);
    /* Of one that was given back only what waited already. */
    IS(pagi_sse_client_free(w.client), 0);
    IS(pagi_sse_client_next(w.client, w.buf, w.cap, &w.used), R(HANDLE_STALE));
    IS(pagi_sse_client_state(w.client), R(HANDLE_STALE));
    IS(pagi_sse_runtime_next(w.runtime, w.buf, w.cap, &w.used), 0);
    IS(pagi_sse_runtime_free(w.runtime, 1000), 0);
    free(w.buf);
    answers_stop(&a);
}

/* The runtime ends before its clients. */
static void stopped(void)
{
    static const char *const all[] = {STREAM_HEAD "data: a\n\n", NULL};
    answers a = {.flood = ":\n"};
    watched w = {0};
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){0});
    ITEM(&w, "open 200 URL");
    ITEM(&w, "message=a#");
    IS(pagi_sse_runtime_stop(w.runtime, 1000), 0);
    IS(pagi_sse_client_state(w.client), PAGI_SSE_CLIENT_PHASE_CLOSED);
    const char *last = item(&w);
    while (last[0] == ':')
        last = item(&w);
    BYTES(last, strlen(last), "end 5");
    IS(pagi_sse_runtime_free(w.runtime, 1000), 0);
    IS(pagi_sse_client_next(w.client, w.buf, w.cap, &w.used), 0);
    IS(pagi_sse_client_close(w.client), 0);
    IS(pagi_sse_client_free(w.client), 0);
    free(w.buf);
    answers_stop(&a);
}

static watched shared;

static void *takes(void *unused)
{
    char buf[4096];
    size_t used;
    (void)unused;
    while (pagi_sse_client_next(shared.client, buf, sizeof buf, &used) != R(HANDLE_STALE))
        continue;
    return NULL;
}

static void freed_meanwhile(void)
{
    static const char *const all[] = {STREAM_HEAD, NULL};
    for (int round = 0; round < 30; round++) {
        answers a = {.flood = "id: 1\ndata: x\n\n"};
        pthread_t threads[2];
        pagi_sse_record r;
        shared = (watched){0};
        answers_start(&a, all);
        watched_open(&shared, &a, (pagi_sse_client_options){.max_items = 50});
        OK(next_item(&shared, &r));
        for (int i = 0; i < 2; i++)
            pthread_create(&threads[i], NULL, takes, NULL);
        struct timespec wait = {0, round * 100000};
        nanosleep(&wait, NULL);
        watched_close(&shared);
        for (int i = 0; i < 2; i++)
            pthread_join(threads[i], NULL);
        answers_stop(&a);
    }
}

static int child(void)
{
    pagi_sse_runtime own;
    pagi_sse_client c;
    pagi_sse_client_options o = OPTIONS(URL);
    int bad = pagi_sse_client_next(shared.client, shared.buf, shared.cap, &shared.used) != R(HANDLE_FORKED);
    bad += pagi_sse_client_free(shared.client) != R(HANDLE_FORKED);
    bad += pagi_sse_client_open(shared.runtime, &o, &c) != R(HANDLE_FORKED);
    bad += pagi_sse_runtime_open(NULL, &own) != 0 || pagi_sse_client_open(own, &o, &c) != 0;
    bad += pagi_sse_client_free(c) != 0 || pagi_sse_runtime_free(own, 1000) != 0;
    return bad;
}

static void forks(void)
{
    static const char *const all[] = {STREAM_HEAD "data: a\n\n", STREAM_HEAD "data: b\n\n", NO_CONTENT, NULL};
    answers a = {0};
    shared = (watched){0};
    answers_start(&a, all);
    watched_open(&shared, &a, (pagi_sse_client_options){.retry_ms = 100});
    ITEM(&shared, "open 200 URL");
    IS(in_child(child), 0);
    ITEM(&shared, "message=a#");
    ITEM(&shared, "error 1 flags 3: the stream has ended (URL)");
    ITEM(&shared, "open 200 URL");
    ITEM(&shared, "message=b#");
    watched_close(&shared);
    answers_stop(&a);
}

/* A server that is down costs next to nothing. */
static void down(void)
{
    struct rusage before, after;
    pagi_sse_client_options o = OPTIONS(URL, .retry_ms = 100, .flags = PAGI_SSE_CLIENT_NO_PROXY);
    pagi_sse_client c;
    char buf[4096];
    size_t used;
    int attempts = 0;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_client_open(rt, &o, &c), 0);
    getrusage(RUSAGE_SELF, &before);
    int64_t until = now_ms() + 3000;
    while (now_ms() < until) {
        struct pollfd p = {pagi_sse_runtime_fd(rt), POLLIN, 0};
        int32_t n;
        poll(&p, 1, (int)(until - now_ms()));
        IS(pagi_sse_runtime_next(rt, buf, sizeof buf, &used) >= 0, 1);
        while ((n = pagi_sse_client_next(c, buf, sizeof buf, &used)) > 0)
            attempts += n;
        IS(n, 0);
    }
    getrusage(RUSAGE_SELF, &after);
    int64_t us = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000LL +
                 after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec;
    printf("# %d attempts in 3 s, %lld us of CPU\n", attempts, (long long)us);
    OK(attempts >= 2 && attempts <= 7); /* at 0, 0.1, 0.3, 0.7, 1.5, ... */
    OK(us < 30000); /* 1 % */
    IS(pagi_sse_client_free(c), 0);
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"what cannot be done is refused, with the reason", refusals},
    {"a file that is not there is the operating system's error", files},
    {"one that is closed drops what waits, and tells its end", closed},
    {"one whose runtime stops tells so, and outlives it", stopped},
    {"it may be freed while others take from it", freed_meanwhile},
    {"a child of a fork has none of it", forks},
    {"a server that is down costs less than 1 % of a core", down},
};
RUN(tests)
