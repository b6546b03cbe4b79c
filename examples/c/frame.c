/* frame.c - server-sent events without any object: to standard output, from
 * its arguments, as a CGI script or a pipe would send them.
 *
 *     cc -std=c11 -Wall -Wextra frame.c -o frame $(pkg-config --cflags --libs pagi-sse)
 *     ./frame "first event" "second, of
 *     two lines"
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pagi_sse.h>

/* Writes one frame; its size is known before. */
static int put_event(const char *data, const char *id)
{
    pagi_sse_event event = {.size = sizeof event, .data = pagi_sse_text(data), .id = pagi_sse_text(id)};
    size_t size = 0;
    char *frame = NULL;
    int32_t code = pagi_sse_frame_event(&event, NULL, 0, &size);
    if (code == PAGI_SSE_RESULT_BUFFER_SMALL && (frame = malloc(size)))
        code = pagi_sse_frame_event(&event, frame, size, &size);
    if (code == PAGI_SSE_RESULT_OK)
        fwrite(frame, 1, size, stdout);
    else
        fprintf(stderr, "event %s: %s\n", id, pagi_sse_result_text(code));
    free(frame);
    return code == PAGI_SSE_RESULT_OK;
}

int main(int argc, char **argv)
{
    int good = 1;
    char comment[64], id[16];
    size_t len = 0;
    pagi_sse_frame_comment("made by frame.c", 15, comment, sizeof comment, &len);
    if (getenv("GATEWAY_INTERFACE")) /* as a CGI script */
        printf("Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n");
    fwrite(comment, 1, len, stdout);
    for (int i = 1; i < argc; i++) {
        snprintf(id, sizeof id, "%d", i);
        good &= put_event(argv[i], id);
    }
    return !good;
}
