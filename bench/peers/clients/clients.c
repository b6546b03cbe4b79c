/* clients.c - N clients on one runtime: counts events, and what they cost. See bench/clients.sh. */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pagi_sse.h>

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static long resident_kib(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kib = atol(line + 6);
    if (f)
        fclose(f);
    return kib;
}

static pagi_sse_runtime runtime;
static long events;

static void take(pagi_sse_client client)
{
    static char buf[1 << 18];
    pagi_sse_record r;
    size_t used;
    while (pagi_sse_client_next(client, buf, sizeof buf, &used) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            events += r.kind == PAGI_SSE_KIND_EVENT;
}

/* Works until then. */
static void until(double end)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record r;
    size_t used;
    double now;
    struct pollfd p = {.fd = pagi_sse_runtime_fd(runtime), .events = POLLIN};
    while ((now = seconds(CLOCK_MONOTONIC)) < end) {
        poll(&p, 1, (int)((end - now) * 1000) + 1);
        while (pagi_sse_runtime_next(runtime, buf, sizeof buf, &used) > 0)
            for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
                if (r.kind == PAGI_SSE_KIND_CLIENT)
                    take(r.conn);
    }
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[2]) : 1000;
    double length = argc > 3 ? atof(argv[3]) : 10;
    pagi_sse_runtime_options ro = {.size = sizeof ro, .workers = 1};
    pagi_sse_client_options o = {.size = sizeof o, .url = pagi_sse_text(argv[1]), .flags = PAGI_SSE_CLIENT_NO_PROXY};
    pagi_sse_client *all = calloc((size_t)count, sizeof *all);
    if (argc < 2 || !all || pagi_sse_runtime_open(&ro, &runtime) < 0)
        return 2;
    until(seconds(CLOCK_MONOTONIC) + 0.1);
    long before = resident_kib();
    for (long i = 0; i < count; i++)
        if (pagi_sse_client_open(runtime, &o, &all[i]) < 0)
            return 2;
    until(seconds(CLOCK_MONOTONIC) + 3); /* all are there */
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    events = 0;
    until(seconds(CLOCK_MONOTONIC) + length);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("%ld clients: %.0f events/s, %.2f us of CPU an event, %.1f KiB a client\n", count, (double)events / length,
           cpu / (double)events * 1e6, (double)(resident_kib() - before) / (double)count);
    for (long i = 0; i < count; i++)
        pagi_sse_client_free(all[i]);
    pagi_sse_runtime_free(runtime, 1000);
    return 0;
}
