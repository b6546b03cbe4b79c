/* A server that gives the answers that it was made with, one to each
 * connection (the last to all further ones), and closes; by a thread. */
#ifndef ANSWERS_H
#define ANSWERS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/time.h>

#include "harness.h"

#define STREAM_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
#define NO_CONTENT "HTTP/1.1 204 No Content\r\n\r\n"

typedef struct answers {
    const char *const *all; /* to a NULL */
    const char *flood;      /* sent again and again after the last, until the client leaves */
    int listener, port;
    pthread_t thread;
    volatile int asked;
    volatile int64_t flooded; /* bytes of flood that the kernel took */
    char request[16][4096];   /* heads and bodies, as they came */
} answers;

/* The head of a request, and its body as it has a length. */
static inline void take_request(int fd, char *to, size_t cap)
{
    size_t have = 0, want = 0;
    for (;;) {
        ssize_t n = recv(fd, to + have, cap - 1 - have, 0);
        if (n <= 0)
            break;
        to[have += (size_t)n] = 0;
        const char *end = strstr(to, "\r\n\r\n"), *length = strstr(to, "ontent-length: ");
        if (end && !want)
            want = (size_t)(end + 4 - to) + (length && length < end ? (size_t)atol(length + 15) : 0);
        if (want && have >= want)
            break;
    }
}

static inline void *answer_all(void *of)
{
    answers *a = of;
    int fd, at = 0;
    while ((fd = accept(a->listener, NULL, NULL)) >= 0) {
        take_request(fd, a->request[a->asked & 15], sizeof a->request[0]);
        a->asked++;
        if (send(fd, a->all[at], strlen(a->all[at]), MSG_NOSIGNAL) > 0 && !a->all[at + 1] && a->flood) {
            ssize_t n;
            while ((n = send(fd, a->flood, strlen(a->flood), MSG_NOSIGNAL)) > 0)
                a->flooded += n;
        }
        at += a->all[at + 1] != NULL;
        shutdown(fd, SHUT_WR);
        /* What the client still sends would make this end a reset. */
        char rest[64];
        struct timeval patience = {5, 0};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        while (recv(fd, rest, sizeof rest, 0) > 0)
            continue;
        close(fd);
    }
    return NULL;
}

static inline void answers_start(answers *a, const char *const *all)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    a->all = all;
    a->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    IS(bind(a->listener, (struct sockaddr *)&at, sizeof at), 0);
    IS(listen(a->listener, 16), 0);
    IS(getsockname(a->listener, (struct sockaddr *)&at, &len), 0);
    a->port = ntohs(at.sin_port);
    IS(pthread_create(&a->thread, NULL, answer_all, a), 0);
}

static inline void answers_stop(answers *a)
{
    shutdown(a->listener, SHUT_RDWR);
    pthread_join(a->thread, NULL);
    close(a->listener);
}

/* ---- the client's side */

typedef struct watched {
    pagi_sse_runtime runtime;
    pagi_sse_client client;
    char url[64];
    char *buf;
    size_t cap, used, at;
    int small; /* times that the buffer was too small */
    int looks; /* CLIENT records */
} watched;

/* A client of that server, on a runtime of its own. */
static inline void watched_open(watched *w, const answers *a, pagi_sse_client_options o)
{
    o.size = sizeof o;
    o.flags |= PAGI_SSE_CLIENT_NO_PROXY;
    snprintf(w->url, sizeof w->url, "http://127.0.0.1:%d/", a->port);
    if (!o.url.data)
        o.url = pagi_sse_text(w->url);
    w->cap = w->cap ? w->cap : 65536;
    w->buf = malloc(w->cap);
    IS(pagi_sse_runtime_open(NULL, &w->runtime), 0);
    IS(pagi_sse_client_open(w->runtime, &o, &w->client), 0);
}

static inline void watched_close(watched *w)
{
    IS(pagi_sse_client_free(w->client), 0);
    IS(pagi_sse_runtime_free(w->runtime, 1000), 0);
    free(w->buf);
}

/* Waits for the CLIENT record. */
static inline int look(watched *w)
{
    pagi_sse_record r;
    int is = next_record(pagi_sse_runtime_next, w->runtime, pagi_sse_runtime_fd(w->runtime), PAGI_SSE_KIND_CLIENT,
                         w->client, &r);
    w->looks += is;
    return is;
}

/* The next record of the client; its bytes are good until the next call. */
static inline int next_item(watched *w, pagi_sse_record *r)
{
    for (;;) {
        if (pagi_sse_record_read(w->buf, w->used, &w->at, r, sizeof *r) > 0)
            return IS(r->conn, w->client);
        w->used = w->at = 0;
        int32_t n = pagi_sse_client_next(w->client, w->buf, w->cap, &w->used);
        if (n == R(BUFFER_SMALL)) {
            w->small++;
            free(w->buf);
            w->buf = malloc(w->cap = w->used);
            w->used = 0;
        } else if (n < 0 || (n == 0 && !look(w))) {
            IS(n, 1);
            return 0;
        }
    }
}

/* The next one in short form, the server's place as URL. */
static inline const char *item(watched *w)
{
    static char text[8192];
    pagi_sse_record r;
    if (!next_item(w, &r))
        return "nothing";
    switch (r.kind) {
    case PAGI_SSE_KIND_OPEN:
        snprintf(text, sizeof text, "open %d %.*s", r.status, (int)r.url.len, r.url.data);
        break;
    case PAGI_SSE_KIND_EVENT:
        snprintf(text, sizeof text, "%.*s=%.*s#%.*s", (int)r.event.len, r.event.data, (int)r.data.len, r.data.data,
                 (int)r.id.len, r.id.data);
        break;
    case PAGI_SSE_KIND_COMMENT:
        snprintf(text, sizeof text, ":%.*s", (int)r.text.len, r.text.data);
        break;
    case PAGI_SSE_KIND_RETRY:
        snprintf(text, sizeof text, "retry %d", (int)r.milliseconds);
        break;
    case PAGI_SSE_KIND_ERROR:
        snprintf(text, sizeof text, "error %d flags %d: %.*s", r.code, r.flags, (int)r.text.len, r.text.data);
        break;
    default:
        snprintf(text, sizeof text, "%s %d", r.kind == PAGI_SSE_KIND_END ? "end" : "kind", r.code);
    }
    char *url = w->url[0] ? strstr(text, w->url) : NULL;
    if (url) {
        memcpy(url, "URL", 3);
        memmove(url + 3, url + strlen(w->url), strlen(url + strlen(w->url)) + 1);
    }
    return text;
}

#define ITEM(w, expected) do { const char *i_ = item(w); BYTES(i_, strlen(i_), (expected)); } while (0)

#endif
