/* A client: what its records say, how they are taken, and what waits. */
#include "answers.h"

static void story(void)
{
    static const char *const all[] = {
        STREAM_HEAD ": hi\nretry: 150\nid: 1\ndata: a\n\ndata: b\n\nevent: e\nid: 2\ndata: c\ndata: d\n\n",
        STREAM_HEAD "data: late\n\nid:\ndata: z\n\n", NO_CONTENT, NULL};
    answers a = {0};
    watched w = {0};
    char id[8];
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.user = 77});
    ITEM(&w, "open 200 URL");
    ITEM(&w, ": hi");
    ITEM(&w, "retry 150");
    ITEM(&w, "message=a#1");
    ITEM(&w, "message=b#1");
    ITEM(&w, "e=c\nd#2");
    ITEM(&w, "error 1 flags 3: the stream has ended (URL)");
    BYTES(id, LEN(pagi_sse_client_last_event_id(w.client, id, sizeof id, &len_)), "2");
    ITEM(&w, "open 200 URL");
    OK(strstr(a.request[1], "last-event-id: 2\r\n"));
    ITEM(&w, "message=late#2");
    ITEM(&w, "message=z#");
    ITEM(&w, "error 1 flags 3: the stream has ended (URL)");
    IS(pagi_sse_client_state(w.client), PAGI_SSE_CLIENT_PHASE_CONNECTING);
    ITEM(&w, "end 1");
    OK(!strstr(a.request[2], "last-event-id"));
    IS(pagi_sse_client_state(w.client), PAGI_SSE_CLIENT_PHASE_CLOSED);
    IS(LEN(pagi_sse_client_last_event_id(w.client, NONE, &len_)), 0);
    IS(pagi_sse_client_next(w.client, w.buf, w.cap, &w.used), 0);
    IS(a.asked, 3);
    OK(strstr(a.request[0], "GET / HTTP/1.1\r\n") == a.request[0]);
    OK(strstr(a.request[0], "\r\naccept: text/event-stream\r\n"));
    watched_close(&w);
    answers_stop(&a);
}

static void users(void)
{
    static const char *const all[] = {NO_CONTENT, NULL};
    answers a = {0};
    watched w = {0};
    pagi_sse_record r;
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.user = 0xFEDCBA9876543210});
    IS(next_record(pagi_sse_runtime_next, w.runtime, pagi_sse_runtime_fd(w.runtime), PAGI_SSE_KIND_CLIENT, 0, &r), 1);
    IS(r.conn, w.client);
    OK(r.user == 0xFEDCBA9876543210);
    ITEM(&w, "end 1");
    watched_close(&w);
    answers_stop(&a);
}

/* Everything that a request can have, and the head of an answer. */
static void posted(void)
{
    static const char *const all[] = {
        "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 4\r\n\r\nbusy",
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nX-One: 1\r\nX-Two: a\r\nX-Two: b\r\n\r\ndata: x\n\n",
        NULL};
    const pagi_sse_header fields[] = {{S("Content-Type"), S("application/json")}, {S("authorization"), S("Bearer t")}};
    const uint16_t again[] = {429, 503};
    answers a = {0};
    watched w = {0};
    pagi_sse_record r;
    pagi_sse_bytes value;
    pagi_sse_header at;
    answers_start(&a, all);
    watched_open(&w, &a,
                 (pagi_sse_client_options){.body = B("{\"a\":1}"), .fields = fields, .fields_len = 2, .retry_on = again,
                                           .retry_on_len = 2, .retry_ms = 100, .last_event_id = B("7")});
    if (next_item(&w, &r)) {
        IS(r.kind, PAGI_SSE_KIND_ERROR);
        IS(r.code, PAGI_SSE_TROUBLE_STATUS);
        IS(r.flags, PAGI_SSE_FLAG_OVER | PAGI_SSE_FLAG_RETRY);
        IS(r.status, 503);
        BYTES(r.data.data, r.data.len, "busy");
        BYTES(r.url.data, r.url.len, w.url);
        IS(pagi_sse_record_header(r.headers, S("retry-after"), &value), 1);
        OK(r.milliseconds >= 100 && r.milliseconds <= 125);
    }
    if (next_item(&w, &r)) {
        IS(r.kind, PAGI_SSE_KIND_OPEN);
        IS(pagi_sse_record_header(r.headers, S("X-Two"), &value), 1);
        BYTES(value.data, value.len, "b");
        IS(pagi_sse_record_header_at(r.headers, 1, &at), 1);
        BYTES(at.name, at.name_len, "x-one");
        IS(pagi_sse_record_header_at(r.headers, 4, &at), 0);
    }
    ITEM(&w, "message=x#7");
    ITEM(&w, "end 2"); /* a POST is made once */
    IS(a.asked, 2);
    OK(strstr(a.request[1], "POST / HTTP/1.1\r\n") == a.request[1]);
    OK(strstr(a.request[1], "\r\nauthorization: Bearer t\r\n"));
    OK(strstr(a.request[1], "\r\ncontent-type: application/json\r\n"));
    OK(strstr(a.request[1], "\r\n\r\n{\"a\":1}"));
    watched_close(&w);
    answers_stop(&a);
}

static void refused(void)
{
    static const char *const all[] = {"HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\n\r\n{\"error\":\"x\"", NULL};
    answers a = {0};
    watched w = {0};
    pagi_sse_record r;
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.max_refusal = 8});
    if (next_item(&w, &r)) {
        IS(r.code, PAGI_SSE_TROUBLE_STATUS);
        IS(r.flags, PAGI_SSE_FLAG_OVER | PAGI_SSE_FLAG_CUT);
        IS(r.milliseconds, 0);
        BYTES(r.data.data, r.data.len, "{\"error\"");
    }
    ITEM(&w, "end 3");
    watched_close(&w);
    answers_stop(&a);
}

/* One event of 300,000 bytes, between small ones. */
static void large(void)
{
    enum { SIZE = 300000 };
    char *text = malloc(SIZE + 200);
    strcpy(text, STREAM_HEAD "retry: 10000\ndata: before\n\ndata: ");
    size_t head = strlen(text);
    memset(text + head, 'x', SIZE);
    strcpy(text + head + SIZE, "\n\ndata: after\n\n");
    const char *const all[] = {text, NULL};
    answers a = {0};
    watched w = {.cap = 100};
    pagi_sse_record r;
    char byte;
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){0});
    ITEM(&w, "open 200 URL");
    ITEM(&w, "retry 10000");
    ITEM(&w, "message=before#");
    int before = w.looks;
    while (LEN(pagi_sse_client_next(w.client, &byte, 1, &len_)) != R(BUFFER_SMALL))
        if (!look(&w))
            break;
    for (int i = 0; i < 3; i++) /* it stays, and nobody is woken for it again */
        IS(NEEDS(pagi_sse_client_next(w.client, &byte, 1, &len_)), 4 + 9 + 4 + 7 + 4 + SIZE + 4);
    OK(w.looks <= before + 1);
    IS(w.small, 0);
    if (next_item(&w, &r)) {
        IS(w.small, 1);
        IS(r.data.len, SIZE);
        OK(r.data.data[0] == 'x' && memcmp(r.data.data, r.data.data + 1, SIZE - 1) == 0);
    }
    ITEM(&w, "message=after#");
    watched_close(&w);
    answers_stop(&a);
    free(text);
}

/* An id of 4 KB that 2,000 events have stands in a buffer once. */
static void long_ids(void)
{
    enum { COUNT = 2000 };
    char *text = malloc(8192 + COUNT * 16), *to = text;
    to += sprintf(to, STREAM_HEAD "retry: 10000\nid: ");
    memset(to, 'i', PAGI_SSE_ID_BYTES);
    to += PAGI_SSE_ID_BYTES;
    to += sprintf(to, "\n");
    for (int i = 0; i < COUNT; i++)
        to += sprintf(to, "data: %d\n\n", i);
    const char *const all[] = {text, NULL};
    answers a = {0};
    watched w = {0};
    pagi_sse_record r;
    size_t taken = 0, last = SIZE_MAX;
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.max_bytes = 64 << 20});
    ITEM(&w, "open 200 URL");
    ITEM(&w, "retry 10000");
    for (int i = 0; i < COUNT && next_item(&w, &r); i++) {
        char number[16];
        sprintf(number, "%d", i);
        BYTES(r.data.data, r.data.len, number);
        if (!IS(r.id.len, PAGI_SSE_ID_BYTES))
            break;
        if (w.at < last) /* the buffer was filled again */
            taken += w.used;
        last = w.at;
    }
    OK(taken < COUNT * 100);
    watched_close(&w);
    answers_stop(&a);
    free(text);
}

/* What the host does not take stops the reading of the socket. */
static void held(void)
{
    static const char *const all[] = {STREAM_HEAD "retry: 10000\n\n", NULL};
    static char flood[64 * 1024 + 1];
    for (size_t i = 0; i < sizeof flood - 1; i += 16)
        memcpy(flood + i, "data: 12345678\n\n", 16);
    answers a = {.flood = flood};
    watched w = {0};
    pagi_sse_record r;
    int64_t before = -1;
    answers_start(&a, all);
    watched_open(&w, &a, (pagi_sse_client_options){.max_items = 100});
    /* Until the server gets nothing off its hands for 300 ms. */
    for (int same = 0; same < 30;) {
        struct timespec wait = {0, 10 * 1000000};
        nanosleep(&wait, NULL);
        same = a.flooded == before ? same + 1 : 0;
        before = a.flooded;
    }
    int64_t stuck = a.flooded;
    OK(stuck > 0 && stuck < 16 << 20); /* the kernel's buffers */
    ITEM(&w, "open 200 URL");
    ITEM(&w, "retry 10000");
    /* It goes on as the host takes: all that was on its way, and more. */
    int64_t events = 0;
    while (events * 16 < stuck + (1 << 20) && next_item(&w, &r)) {
        BYTES(r.data.data, r.data.len, "12345678");
        events++;
        if (failures)
            break;
    }
    OK(a.flooded > stuck);
    IS(pagi_sse_client_close(w.client), 0);
    while (next_item(&w, &r) && r.kind == PAGI_SSE_KIND_EVENT)
        continue;
    IS(r.kind, PAGI_SSE_KIND_END);
    IS(r.code, PAGI_SSE_CLIENT_END_CLOSED);
    watched_close(&w);
    answers_stop(&a);
}

static const test tests[] = {
    {"a stream is told in order, to its end, over a reconnection", story},
    {"the host's number is in the record that calls it", users},
    {"a POST with fields, refused at first", posted},
    {"an answer that is no stream comes with its body", refused},
    {"an event that is too large for the buffer waits", large},
    {"an id that many events have stands in a buffer once", long_ids},
    {"what the host does not take is not read", held},
};
RUN(tests)
