/* What needs no object: versions, texts, the panic. */
#include "harness.h"

#include <pthread.h>

static void versions(void)
{
    IS(pagi_sse_abi_version(), PAGI_SSE_ABI_VERSION);
    char text[32];
    const int number = PAGI_SSE_VERSION_NUMBER;
    snprintf(text, sizeof text, "%d.%d.%d", number / 1000000, number / 1000 % 1000, number % 1000);
    BYTES(text, strlen(text), pagi_sse_version());
    OK(strchr(pagi_sse_version(), '.') != NULL);
}

static void texts(void)
{
    OK(strcmp(pagi_sse_result_text(R(CLOSED)), "the connection is closed") == 0);
    OK(strcmp(pagi_sse_result_text(12345), "unknown result") == 0);
    OK(strcmp(pagi_sse_result_text(INT32_MIN), "unknown result") == 0);
}

static size_t words(char *buf, size_t cap)
{
    size_t len = 99;
    IS(pagi_sse_error(buf, cap, &len), PAGI_SSE_RESULT_OK);
    return len;
}

static void *elsewhere(void *seen)
{
    char buf[200];
    *(size_t *)seen = words(buf, sizeof buf);
    pagi_sse_conn_free(0);
    BYTES(buf, words(buf, sizeof buf), "the handle was never given out");
    return NULL;
}

static void errors(void)
{
    char buf[200];
    size_t len = 99;
    IS(words(NULL, 0), 0); /* none has failed */
    IS(pagi_sse_os_error(), 0);
    pagi_sse_server_options o = {.size = sizeof o, .listen = B("unix:/no/such/dir")};
    pagi_sse_server srv = 0;
    IS(pagi_sse_server_open(&o, &srv), R(BIND_FAILED));
    static const char said[] = "the address cannot be bound: No such file or directory";
    BYTES(buf, words(buf, sizeof buf), said);
    IS(pagi_sse_os_error(), ENOENT);
    /* Neither success, nor a size that is asked for, nor its own failures. */
    pagi_sse_runtime rt = 0;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_runtime_stats(rt, NULL, 0, &len), R(BUFFER_SMALL));
    OK(len > 10);
    IS(pagi_sse_error(buf, 10, &len), R(BUFFER_SMALL));
    IS(len, strlen(said));
    IS(pagi_sse_error(NULL, 10, &len), R(NULL_POINTER));
    IS(pagi_sse_error(buf, 10, NULL), R(NULL_POINTER));
    IS(pagi_sse_error(buf, SIZE_MAX, &len), R(BAD_ARGUMENT));
    BYTES(buf, words(buf, sizeof buf), said);
    /* Each thread has its own. */
    pthread_t thread;
    size_t seen = 99;
    OK(pthread_create(&thread, NULL, elsewhere, &seen) == 0);
    OK(pthread_join(thread, NULL) == 0);
    IS(seen, 0);
    BYTES(buf, words(buf, sizeof buf), said);
    IS(pagi_sse_os_error(), ENOENT);
    /* On any object; it was not the operating system. */
    IS(pagi_sse_runtime_free(rt, 0), 0);
    IS(pagi_sse_runtime_fd(rt), R(HANDLE_STALE));
    BYTES(buf, words(buf, sizeof buf), "the handle's object was freed");
    IS(pagi_sse_os_error(), 0);
}

static void panics(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open_detached(&c), 0);
    fclose(stderr); /* it would say so */
    for (int i = 0; i < 3; i++)
        IS(pagi_sse_test_panic(), R(PANIC));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_free(c), 0);
}

static const test tests[] = {
    {"header and library have one ABI number", versions},
    {"each code has a text", texts},
    {"the last failure of a thread, with the system's number", errors},
    {"a panic inside is a code, and the library goes on", panics},
};
RUN(tests)
