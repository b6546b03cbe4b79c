// A string literal as bytes, without its NUL. An expression, not the
// initializer of a static object.
#ifdef __cplusplus
#define PAGI_SSE_BYTES(literal) (pagi_sse_bytes{"" literal, sizeof(literal) - 1})
#else
#define PAGI_SSE_BYTES(literal) ((pagi_sse_bytes){"" literal, sizeof(literal) - 1})
#endif

// A NUL-terminated string as bytes, without its NUL; NULL is absent.
static inline pagi_sse_bytes pagi_sse_text(const char *text)
{
  pagi_sse_bytes bytes = {text, text ? strlen(text) : 0};
  return bytes;
}
