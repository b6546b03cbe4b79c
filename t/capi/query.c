/* Parameters of queries, and percent-decoding. */
#include "harness.h"

static char value[64];

/* What the parameter is, or NULL. */
static const char *of(const char *query, const char *name)
{
    size_t len = 77;
    memset(value, 0, sizeof value);
    int32_t found = pagi_sse_query_value(query, strlen(query), name, strlen(name), value, sizeof value - 1, &len);
    if (found == 0)
        IS(len, 77);
    else if (IS(found, 1))
        IS(len, strlen(value) + (strstr(query, "%00") ? 2 : 0));
    return found == 1 ? value : NULL;
}

#define VALUE(query, name, expected)                                                                                  \
    do {                                                                                                              \
        const char *v_ = of((query), (name));                                                                         \
        if (OK(v_ != NULL))                                                                                           \
            BYTES(v_, strlen(v_), (expected));                                                                        \
    } while (0)

static void values(void)
{
    VALUE("a=1", "a", "1");
    VALUE("x=0&a=1&a=2", "a", "1");
    VALUE("a", "a", "");
    VALUE("a=", "a", "");
    VALUE("&&a=1", "a", "1");
    VALUE("a=b=c", "a", "b=c");
    VALUE("a=1+2%2B3", "a", "1 2+3");
    VALUE("a%20b=1", "a b", "1");
    VALUE("a+b=1", "a b", "1");
    VALUE("a=%C3%BC", "a", "\xC3\xBC");
    VALUE("a=%FF", "a", "\xEF\xBF\xBD");
    VALUE("a=%zz%4", "a", "%zz%4");
    VALUE("a=%00b", "a", "");
    VALUE("a=%C0%AF", "a", "\xEF\xBF\xBD\xEF\xBF\xBD"); /* overlong */
    VALUE("a=\xFC&b=2", "a", "\xEF\xBF\xBD");
    VALUE("a=1;b=2", "a", "1;b=2");
    VALUE("%61=1", "a", "1");
    VALUE("=1", "", "1");
    OK(of("", "a") == NULL);
    OK(of("A=1", "a") == NULL);
    OK(of("ab=1", "a") == NULL);
    OK(of("b=a", "a") == NULL);
}

static void decoding(void)
{
    size_t len = 77;
    IS(pagi_sse_percent_decode(S("/a%2Fb+c%00%FF%4"), value, sizeof value, &len), 0);
    IS(len, 10);
    OK(memcmp(value, "/a/b+c\0\xFF%4", 10) == 0);
}

/* Every byte comes back from its code, in both cases of letters, and from itself
 * where it is no code. */
static void every_byte(void)
{
    char coded[2 * 256 * 3 + 1], all[2 * 256];
    size_t len = 0;
    for (int n = 0; n < 512; n++)
        snprintf(coded + 3 * n, 4, n < 256 ? "%%%02x" : "%%%02X", n % 256);
    IS(pagi_sse_percent_decode(coded, 3 * 512, all, sizeof all, &len), 0);
    IS(len, 512);
    for (int n = 0; n < 512; n++)
        IS((unsigned char)all[n], n % 256);
    for (int n = 1; n < 256; n++) {
        const char byte = (char)n;
        IS(pagi_sse_percent_decode(&byte, 1, all, sizeof all, &len), 0);
        IS(len, 1);
        IS(all[0], byte);
    }
}

static void much(void)
{
    const size_t size = 3 << 20;
    char *query = malloc(size), *back = malloc(size);
    size_t len;
    for (size_t n = 0; n < size; n += 4)
        memcpy(query + n, "%41&", 4);
    IS(pagi_sse_query_value(query, size, S("b"), NONE, &len), 0);
    memcpy(query, "b=+", 3);
    for (size_t n = 3; n < size; n++)
        query[n] = '+';
    IS(pagi_sse_query_value(query, size, S("b"), back, size, &len), 1);
    IS(len, size - 2);
    IS(pagi_sse_percent_decode(query, size, back, size - 1, &len), R(BUFFER_SMALL));
    IS(len, size);
    free(query);
    free(back);
}

static void buffers(void)
{
    size_t len = 77;
    memset(value, 'x', sizeof value);
    IS(pagi_sse_query_value(S("a=123"), S("a"), NONE, &len), R(BUFFER_SMALL));
    IS(len, 3);
    IS(pagi_sse_query_value(S("a=123"), S("a"), value, 2, &len), R(BUFFER_SMALL));
    IS(pagi_sse_percent_decode(S("%41BC"), value, 2, &len), R(BUFFER_SMALL));
    IS(len, 3);
    IS(value[0], 'x');
    IS(pagi_sse_percent_decode(S("%41BC"), value, 3, &len), 0);
    IS(value[3], 'x');
    IS(pagi_sse_query_value(S("a="), S("a"), NONE, &len), 1);
    IS(len, 0);
    IS(pagi_sse_percent_decode(NONE, NONE, &len), 0);
    IS(pagi_sse_query_value(NONE, S("a"), NONE, &len), 0);
    IS(pagi_sse_query_value(S("a=1"), NONE, value, 9, &len), R(NULL_POINTER));
    IS(pagi_sse_query_value(NULL, 3, S("a"), value, 9, &len), R(NULL_POINTER));
    IS(pagi_sse_query_value(S("a=1"), S("a"), NULL, 9, &len), R(NULL_POINTER));
    IS(pagi_sse_query_value(S("a=1"), S("a"), value, 9, NULL), R(NULL_POINTER));
    IS(pagi_sse_query_value(S("b=1"), S("a"), value, 9, NULL), R(NULL_POINTER));
    IS(pagi_sse_percent_decode(S("a"), value, 9, NULL), R(NULL_POINTER));
    IS(pagi_sse_percent_decode(NULL, 3, value, 9, &len), R(NULL_POINTER));
}

static const test tests[] = {
    {"the first parameter of a name, decoded as browsers encode it", values},
    {"percent-decoding leaves a plus and what is no code, and gives any bytes", decoding},
    {"every byte has its code", every_byte},
    {"3 MB are no trouble", much},
    {"a size is told, a small buffer is left alone, and NULL is refused", buffers},
};
RUN(tests)
