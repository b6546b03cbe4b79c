/* What needs no object: versions, texts, the panic. */
#include "harness.h"

static void versions(void)
{
    IS(pagi_sse_abi_version(), PAGI_SSE_ABI_VERSION);
    OK(strchr(pagi_sse_version(), '.') != NULL);
}

static void texts(void)
{
    OK(strcmp(pagi_sse_result_text(R(CLOSED)), "the connection is closed") == 0);
    OK(strcmp(pagi_sse_result_text(12345), "unknown result") == 0);
    OK(strcmp(pagi_sse_result_text(INT32_MIN), "unknown result") == 0);
}

static void panics(void)
{
    pagi_sse_conn c = 0;
    IS(pagi_sse_conn_open(&c), 0);
    fclose(stderr); /* it would say so */
    for (int i = 0; i < 3; i++)
        IS(pagi_sse_test_panic(), R(PANIC));
    IS(pagi_sse_conn_state(c), PAGI_SSE_STATE_PENDING);
    IS(pagi_sse_conn_free(c), 0);
}

static const test tests[] = {
    {"header and library have one ABI number", versions},
    {"each code has a text", texts},
    {"a panic inside is a code, and the library goes on", panics},
};
RUN(tests)
