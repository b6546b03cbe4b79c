/* tail.c - follows an event stream as a browser does, and prints it: comes back
 * when it breaks, from the last event on, until the server says that there is
 * no more.
 *
 *     cc -std=c11 -Wall -Wextra tail.c -o tail $(pkg-config --cflags --libs pagi-sse)
 *     ./tail http://127.0.0.1:5000/events
 */
#define _POSIX_C_SOURCE 200809L
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <pagi_sse.h>

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    stop = signal;
}

#define TEXT(b) (int)(b).len, (b).data ? (b).data : ""

/* Prints a record; how the client has ended, or 0. */
static int show(const pagi_sse_record *r)
{
    switch (r->kind) {
    case PAGI_SSE_KIND_OPEN:
        fprintf(stderr, "* open: %.*s\n", TEXT(r->url));
        break;
    case PAGI_SSE_KIND_EVENT:
        printf("%.*s %.*s: %.*s\n", TEXT(r->id), TEXT(r->event), TEXT(r->data));
        break;
    case PAGI_SSE_KIND_ERROR:
        fprintf(stderr, "! %.*s\n", TEXT(r->text));
        if (r->data.len)
            fprintf(stderr, "%.*s\n", TEXT(r->data));
        if (r->flags & PAGI_SSE_FLAG_RETRY)
            fprintf(stderr, "* again in %.1f s\n", (double)r->milliseconds / 1000);
        break;
    case PAGI_SSE_KIND_END:
        return r->code;
    default: /* comments, and what a later version adds */
        break;
    }
    return 0;
}

/* All that waits. */
static int take(pagi_sse_client client)
{
    static char *buf; /* grows to the largest event */
    static size_t cap = 65536;
    size_t used = 0;
    int32_t count;
    int end = 0;
    if (!buf && !(buf = malloc(cap)))
        return PAGI_SSE_CLIENT_END_STOPPED;
    while ((count = pagi_sse_client_next(client, buf, cap, &used)) != 0) {
        pagi_sse_record r;
        if (count == PAGI_SSE_RESULT_BUFFER_SMALL) {
            char *larger = realloc(buf, used);
            if (!larger)
                return PAGI_SSE_CLIENT_END_STOPPED;
            buf = larger, cap = used;
            continue;
        }
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            end = show(&r);
        fflush(stdout);
        if (count < 0 || end)
            break;
    }
    return end;
}

static int end; /* how the client has ended */

/* The runtime says which client has something. */
static int32_t on_record(const pagi_sse_record *record, void *user)
{
    (void)user;
    if (record->kind == PAGI_SSE_KIND_CLIENT)
        end = take(record->conn);
    return end;
}

int main(int argc, char **argv)
{
    pagi_sse_runtime runtime = 0;
    pagi_sse_client client = 0;
    pagi_sse_client_options options = {.size = sizeof options};
    struct sigaction action = {.sa_handler = on_signal};
    char words[1024];
    size_t len = 0;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s URL [LAST-EVENT-ID]\n", argv[0]);
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    options.url = pagi_sse_text(argv[1]);
    options.last_event_id = pagi_sse_text(argv[2]);
    if (pagi_sse_runtime_open(NULL, &runtime) < 0 || pagi_sse_client_open(runtime, &options, &client) < 0) {
        if (pagi_sse_error(words, sizeof words, &len) == PAGI_SSE_RESULT_OK)
            fprintf(stderr, "%.*s\n", (int)len, words);
        pagi_sse_runtime_free(runtime, 1000);
        return 2;
    }
    while (!stop && !end && pagi_sse_runtime_run(runtime, on_record, NULL, 1000) >= 0)
        continue;
    pagi_sse_client_free(client);
    pagi_sse_runtime_free(runtime, 1000);
    return end == PAGI_SSE_CLIENT_END_FAILED ? 1 : 0;
}
