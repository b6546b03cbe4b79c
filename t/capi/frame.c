/* Frames into a caller's buffer: no handle, nothing kept. */
#include "harness.h"

#define MARK 0x5A

static char buf[4096];

static void blank(void)
{
    memset(buf, MARK, sizeof buf);
}

static void fields(void)
{
    blank();
    int64_t n = LEN(pagi_sse_frame_event(EVENT(.data = B("one\ntwo\r\nthree\rfour"), .event = B("tick"), .id = B("7"), RETRY(1500)), buf, sizeof buf, &len_));
    BYTES(buf, n, "event: tick\nid: 7\nretry: 1500\ndata: one\ndata: two\ndata: three\ndata: four\n\n");
    IS(buf[n], MARK);
    n = LEN(pagi_sse_frame_event(EVENT(.data = B("")), buf, sizeof buf, &len_));
    BYTES(buf, n, "data: \n\n");
    n = LEN(pagi_sse_frame_event(EVENT(.id = B("")), buf, sizeof buf, &len_));
    BYTES(buf, n, "id: \n\n");
    n = LEN(pagi_sse_frame_event(EVENT(RETRY(INT64_MAX)), buf, sizeof buf, &len_));
    BYTES(buf, n, "retry: 9223372036854775807\n\n");
    IS(LEN(pagi_sse_frame_event(EVENT(), buf, sizeof buf, &len_)), 0);
}

static void comments(void)
{
    int64_t n = LEN(pagi_sse_frame_comment(S("a\nb"), buf, sizeof buf, &len_));
    BYTES(buf, n, ":a\n:b\n\n");
    n = LEN(pagi_sse_frame_comment(NONE, buf, sizeof buf, &len_));
    BYTES(buf, n, ":\n\n");
}

static void sizes(void)
{
    int64_t need = NEEDS(pagi_sse_frame_event(EVENT(.data = B("hello")), NONE, &len_));
    IS(need, 13);
    for (size_t cap = 0; cap < 13; cap++) {
        blank();
        IS(NEEDS(pagi_sse_frame_event(EVENT(.data = B("hello")), buf, cap, &len_)), need);
        IS(buf[0], MARK);
    }
    blank();
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("hello")), buf, 13, &len_)), need);
    BYTES(buf, 13, "data: hello\n\n");
    IS(buf[13], MARK);
    IS(NEEDS(pagi_sse_frame_comment(S("hi"), NONE, &len_)), 5);
    /* An exact heap block: a sanitizer sees one byte too many. */
    char *exact = malloc(5);
    IS(LEN(pagi_sse_frame_comment(S("hi"), exact, 5, &len_)), 5);
    BYTES(exact, 5, ":hi\n\n");
    free(exact);
}

static void refusals(void)
{
    blank();
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .event = B("a\nb")), buf, sizeof buf, &len_)), R(EVENT_NEWLINE));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .event = B("a\rb")), buf, sizeof buf, &len_)), R(EVENT_NEWLINE));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B("a\nb")), buf, sizeof buf, &len_)), R(ID_NEWLINE));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B("a\0b")), buf, sizeof buf, &len_)), R(ID_NUL));
    /* What would not come back through a header of the client's. */
    static char id[4097];
    memset(id, 'x', sizeof id);
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B("a\x0c" "b")), buf, sizeof buf, &len_)), R(ID_HEADER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B("a\x7f")), buf, sizeof buf, &len_)), R(ID_HEADER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B(" a")), buf, sizeof buf, &len_)), R(ID_HEADER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = B("a\t")), buf, sizeof buf, &len_)), R(ID_HEADER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = L(id, sizeof id)), buf, sizeof buf, &len_)), R(ID_HEADER));
    IS(NEEDS(pagi_sse_frame_event(EVENT(.id = L(id, sizeof id - 1)), NULL, 0, &len_)), 4096 + 6);
    IS(NEEDS(pagi_sse_frame_event(EVENT(.id = B("a\tb \xc3\xa9")), NULL, 0, &len_)), 6 + 6);
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("\xff")), buf, sizeof buf, &len_)), R(NOT_UTF8));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .event = B("\xc3")), buf, sizeof buf, &len_)), R(NOT_UTF8));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), RETRY(-2)), buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_frame_comment(S("\xed\xa0\x80"), buf, sizeof buf, &len_)), R(NOT_UTF8));
    IS(buf[0], MARK);
}

static void pointers(void)
{
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L(NULL, 1)), buf, sizeof buf, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .event = L(NULL, 1)), buf, sizeof buf, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x"), .id = L(NULL, 1)), buf, sizeof buf, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x")), NULL, 100, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_frame_comment(NULL, 1, buf, sizeof buf, &len_)), R(NULL_POINTER));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L("x", SIZE_MAX)), buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L("x", (size_t)-5)), buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_frame_comment("x", SIZE_MAX / 2, buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = B("x")), buf, SIZE_MAX, &len_)), R(BAD_ARGUMENT));
}

static void overlap(void)
{
    memcpy(buf, "abcdef", 6);
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L(buf, 6)), buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L(buf + 3, 3)), buf, sizeof buf, &len_)), R(BAD_ARGUMENT));
    BYTES(buf, 6, "abcdef");
    /* Beside the frame, in the same block: fine. */
    memcpy(buf + 1000, "abcdef", 6);
    IS(LEN(pagi_sse_frame_event(EVENT(.data = L(buf + 1000, 6)), buf, 1000, &len_)), 14);
}

static const test tests[] = {
    {"an event is its lines, in order, and a blank one", fields},
    {"a comment has a colon on each line", comments},
    {"the size is known before, and a small buffer gets nothing", sizes},
    {"what would forge a field is refused and nothing is written", refusals},
    {"NULL and impossible lengths are errors", pointers},
    {"a buffer that is also input is refused", overlap},
};
RUN(tests)
