/* curl_client.c - an EventSource on libcurl: curl fetches, the parser reads
 * what it brings, cut anywhere. When the stream ends it asks again, after the
 * time that the stream asked for, from the last event on. 204 ends it, as any
 * answer that is no event stream does.
 *
 *     cc -std=c11 -Wall -Wextra curl_client.c -o curl_client $(pkg-config --cflags --libs pagi-sse libcurl)
 *     ./curl_client http://127.0.0.1:5000/events
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <curl/curl.h>
#include <pagi_sse.h>

static pagi_sse_parser parser;
static CURL *curl;
static char *buf; /* of records; grows to the largest one */
static size_t cap = 4096;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    stop = signal;
}

static void show(const pagi_sse_record *r)
{
    if (r->kind == PAGI_SSE_KIND_EVENT)
        printf("%.*s %.*s: %.*s\n", (int)r->id.len, r->id.data, (int)r->event.len, r->event.data, (int)r->data.len,
               r->data.data);
    else if (r->kind == PAGI_SSE_KIND_ERROR)
        printf("! %s\n", pagi_sse_result_text(r->code));
    fflush(stdout);
}

/* All records that wait; 0 when there is no memory for one. */
static int take_records(void)
{
    for (;;) {
        size_t used = 0;
        pagi_sse_record r;
        int32_t count = pagi_sse_parser_next(parser, buf, cap, &used);
        if (count == PAGI_SSE_RESULT_BUFFER_SMALL) {
            char *larger = realloc(buf, used);
            if (!larger)
                return 0;
            buf = larger;
            cap = used;
            continue;
        }
        if (count <= 0)
            return count == 0;
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            show(&r);
    }
}

/* Whether the answer is an event stream. */
static int is_stream(void)
{
    long status = 0;
    const char *type = NULL;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
    return status == 200 && type && strncmp(type, "text/event-stream", 17) == 0;
}

static size_t on_bytes(char *bytes, size_t one, size_t len, void *unused)
{
    (void)one, (void)unused;
    for (size_t at = 0; at < len && is_stream();) {
        int64_t taken = pagi_sse_parser_push(parser, bytes + at, len - at);
        if (taken < 0 || !take_records())
            return 0; /* curl ends the transfer */
        at += (size_t)taken;
    }
    return len;
}

/* One stream, to its end; whether to come back. */
static int follow(CURLM *multi)
{
    static char header[32 + PAGI_SSE_ID_BYTES + 1] = "Last-Event-ID: ";
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: text/event-stream");
    size_t prefix = strlen("Last-Event-ID: "), len = 0;
    int running = 1;
    long status = 0;
    if (pagi_sse_parser_last_event_id(parser, header + prefix, sizeof header - prefix - 1, &len) == 0 && len > 0) {
        header[prefix + len] = 0;
        headers = curl_slist_append(headers, header);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_multi_add_handle(multi, curl);
    while (!stop && running && curl_multi_perform(multi, &running) == CURLM_OK && running)
        curl_multi_poll(multi, NULL, 0, 1000, NULL);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    int again = !stop && (status == 0 || is_stream()); /* 0: nobody answered */
    curl_multi_remove_handle(multi, curl);
    curl_slist_free_all(headers);
    pagi_sse_parser_reset(parser); /* what was unfinished is dropped */
    return again;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    if (argc != 2) {
        fprintf(stderr, "usage: %s URL\n", argv[0]);
        return 2;
    }
    int32_t code = pagi_sse_parser_open(NULL, &parser);
    buf = malloc(cap);
    if (code < 0 || !buf || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(curl = curl_easy_init())) {
        fprintf(stderr, "%s\n", code < 0 ? pagi_sse_result_text(code) : "no memory");
        return 1;
    }
    CURLM *multi = curl_multi_init();
    curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    while (follow(multi)) {
        uint64_t ms = 3000;
        pagi_sse_parser_retry(parser, &ms); /* as it was if the stream gave none */
        struct timespec wait = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
        nanosleep(&wait, NULL);
    }
    curl_easy_cleanup(curl);
    curl_multi_cleanup(multi);
    curl_global_cleanup();
    pagi_sse_parser_free(parser);
    free(buf);
    return pagi_sse_handle_count() != 0;
}
