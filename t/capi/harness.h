/* A table of test functions and a runner that prints TAP. */
#ifndef HARNESS_H
#define HARNESS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pagi_sse.h>

#define R(name) PAGI_SSE_RESULT_##name
/* A string literal with its length. */
#define S(literal) (literal), sizeof(literal) - 1
#define NONE NULL, 0
/* An event of those fields; its text. */
#define EVENT(...) (&(pagi_sse_event){.size = sizeof(pagi_sse_event), __VA_ARGS__})
#define B(literal) PAGI_SSE_BYTES(literal)
#define L(bytes, length) ((pagi_sse_bytes){(bytes), (length)})
#define RETRY(ms) .retry_ms = (uint64_t)(ms), .flags = PAGI_SSE_EVENT_RETRY
#define AS_JSON .flags = PAGI_SSE_EVENT_JSON

typedef struct test {
    const char *claim;
    void (*run)(void);
} test;

static int failures;

/* Compares two numbers; says where and what when they differ. */
#define IS(got, expected) is_(__FILE__, __LINE__, #got, (long long)(got), (long long)(expected))
#define OK(what) is_(__FILE__, __LINE__, #what, !!(what), 1)

static inline int is_(const char *file, int line, const char *what, long long got, long long expected)
{
    if (got == expected)
        return 1;
    failures++;
    printf("# %s:%d: %s is %lld (%s), not %lld (%s)\n", file, line, what, got,
           got < 0 ? pagi_sse_result_text((int32_t)got) : "fine", expected,
           expected < 0 ? pagi_sse_result_text((int32_t)expected) : "fine");
    return 0;
}

/* Compares bytes with a C string. */
#define BYTES(got, len, expected) bytes_(__FILE__, __LINE__, (got), (size_t)(len), (expected))

static inline int bytes_(const char *file, int line, const char *got, size_t len, const char *expected)
{
    if (len == strlen(expected) && (len == 0 || memcmp(got, expected, len) == 0))
        return 1;
    failures++;
    printf("# %s:%d: got %zu bytes <<%.*s>>, expected <<%s>>\n", file, line, len, (int)(len > 500 ? 500 : len),
           got, expected);
    return 0;
}

/* The length that a call has told, which is given &len_; or its code. */
static __thread size_t len_;
#define LEN(call) length_((call))
/* The same of one whose buffer is too small: the size that it needs. */
#define NEEDS(call) (IS((call), R(BUFFER_SMALL)) ? (int64_t)len_ : -1)

static inline int64_t length_(int32_t code)
{
    return code < 0 ? code : (int64_t)len_;
}

static inline int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

#define PATIENCE_MS 20000

/* Waits until the descriptor is readable. */
static inline int wait_for(int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    int n;
    do {
        n = poll(&p, 1, PATIENCE_MS);
    } while (n < 0 && errno == EINTR);
    return n == 1;
}

/* The next record of that kind, of that connection (0: of any), from a server's
 * or a runtime's queue; others before it are dropped. The record's bytes are good until the next call. */
typedef int32_t next_function(uint64_t handle, char *buf, size_t cap, size_t *used);

static inline int next_record(next_function *next, uint64_t handle, int fd, int32_t kind, pagi_sse_conn conn,
                              pagi_sse_record *out)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    static size_t used, at;
    static uint64_t whose;
    int64_t deadline = now_ms() + PATIENCE_MS;
    if (whose != handle)
        whose = handle, used = at = 0;
    for (;;) {
        int32_t n;
        while (pagi_sse_record_read(buf, used, &at, out, sizeof *out) > 0)
            if (out->kind == kind && (!conn || out->conn == conn))
                return 1;
        used = at = 0;
        n = next(handle, buf, sizeof buf, &used);
        if (n > 0)
            continue;
        if (n < 0 || now_ms() > deadline || !wait_for(fd)) {
            printf("# no record of kind %d (%d)\n", (int)kind, (int)n);
            failures++;
            used = 0;
            return 0;
        }
    }
}

/* A forked child ends as another program: what it inherited it cannot free,
 * which is no leak. */
static inline void leave(int status)
{
    char status_text[16];
    snprintf(status_text, sizeof status_text, "%d", status & 127);
    execl("/bin/sh", "sh", "-c", "exit \"$0\"", status_text, (char *)NULL);
    _exit(126);
}

/* Runs f in a forked child; returns its exit status, or -1. */
static inline int in_child(int (*f)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        leave(f());
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static inline int run_tests(const test *tests, size_t count)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_DFL); /* the library must not raise it */
    alarm(300);
    int bad = 0;
    printf("1..%zu\n", count + 1);
    for (size_t i = 0; i < count; i++) {
        failures = 0;
        tests[i].run();
        printf("%sok %zu - %s\n", failures ? "not " : "", i + 1, tests[i].claim);
        bad += failures != 0;
    }
    failures = 0;
    IS(pagi_sse_handle_count(), 0);
    printf("%sok %zu - every handle was given back\n", failures ? "not " : "", count + 1);
    return bad + failures != 0;
}

#define RUN(tests) int main(void) { return run_tests((tests), sizeof(tests) / sizeof *(tests)); }

#endif
