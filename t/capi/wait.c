/* A host without a loop: threads that wait for records, or have themselves called
 * back with them, while others send, stop, free, fork and signal. */
#include "client.h"

#include <pthread.h>

#define GET "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
#define FOREVER PAGI_SSE_FOREVER
#define COUNT(array) (sizeof(array) / sizeof *(array))

static char buf[PAGI_SSE_RECORD_MAX];

static void begin(void) { begin_server((pagi_sse_server_options){0}); }
static void end(void) { IS(pagi_sse_server_free(srv, 1000), 0); }

static void answer(const pagi_sse_record *r)
{
    IS(pagi_sse_conn_respond(r->conn, 200, NULL, 0), 0);
    IS(pagi_sse_conn_body(r->conn, S("here"), 0), 0);
    IS(pagi_sse_conn_free(r->conn), 0);
}

/* Waits until so many records wait. */
static void until_they_wait(size_t count)
{
    char text[4096], name[32];
    int64_t deadline = now_ms() + PATIENCE_MS;
    snprintf(name, sizeof name, "\"records\":%zu", count);
    for (size_t len = 0; now_ms() < deadline; poll(NULL, 0, 1)) {
        IS(pagi_sse_server_stats(srv, text, sizeof text - 1, &len), 0);
        text[len] = 0;
        if (strstr(text, name))
            return;
    }
    failures++;
    printf("# never: %s\n", name);
}

/* ---- waiting in this thread */

static void times(void)
{
    size_t used = 0;
    begin();
    int64_t before = now_ms();
    IS(pagi_sse_server_wait(srv, 0), 0);
    IS(pagi_sse_server_wait(srv, 60), 0);
    OK(now_ms() - before >= 60);
    IS(pagi_sse_server_wake(srv, 0), 0);
    IS(pagi_sse_server_wait(srv, FOREVER), 1);
    IS(pagi_sse_server_next(srv, buf, sizeof buf, &used), 0);
    IS(pagi_sse_server_wait(srv, 0), 0);
    IS(pagi_sse_server_wake(srv, 20), 0);
    IS(pagi_sse_server_wait(srv, FOREVER - 1), 1);
    IS(pagi_sse_server_next(srv, buf, sizeof buf, &used), 0);
    IS(pagi_sse_server_wait(0, FOREVER), R(HANDLE_INVALID));
    IS(pagi_sse_runtime_wait(srv, FOREVER), R(HANDLE_KIND));
    end();
    IS(pagi_sse_server_wait(srv, FOREVER), R(HANDLE_STALE));
    IS(pagi_sse_server_run(srv, NULL, NULL, FOREVER), R(NULL_POINTER));
}

static void records(void)
{
    pagi_sse_record r;
    size_t used = 0, at = 0;
    begin();
    int fd = asks(GET);
    IS(pagi_sse_server_wait(srv, FOREVER), 1);
    IS(pagi_sse_server_wait(srv, FOREVER), 1);
    IS(pagi_sse_server_next(srv, buf, sizeof buf, &used), 1);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    answer(&r);
    receive(fd, "here");
    close(fd);
    end();
}

/* ---- from other threads */

typedef struct waiter {
    pthread_t thread;
    int32_t (*wait)(uint64_t, uint64_t);
    uint64_t handle;
    int32_t result;
    int over;
} waiter;

static void *waits(void *of)
{
    waiter *w = of;
    pagi_sse_record r;
    char mine[4096];
    next_function *next = w->wait == pagi_sse_server_wait ? pagi_sse_server_next : pagi_sse_runtime_next;
    while ((w->result = w->wait(w->handle, FOREVER)) == 1) {
        size_t used = 0, at = 0;
        if (next(w->handle, mine, sizeof mine, &used) > 0)
            while (pagi_sse_record_read(mine, used, &at, &r, sizeof r) > 0)
                if (r.kind == PAGI_SSE_KIND_REQUEST)
                    pagi_sse_conn_free(r.conn);
    }
    __atomic_store_n(&w->over, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void wait_in_threads(waiter *all, size_t count, int32_t (*wait)(uint64_t, uint64_t), uint64_t handle)
{
    for (size_t i = 0; i < count; i++) {
        all[i] = (waiter){.wait = wait, .handle = handle};
        OK(pthread_create(&all[i].thread, NULL, waits, &all[i]) == 0);
    }
    poll(NULL, 0, 20); /* some of them wait by now; none must */
}

static void all_have(waiter *all, size_t count, int32_t result)
{
    for (size_t i = 0; i < count; i++) {
        pthread_join(all[i].thread, NULL);
        IS(all[i].result, result);
    }
}

static void stopped_meanwhile(void)
{
    waiter all[5];
    begin();
    int fd = asks(STREAM);
    wait_in_threads(all, COUNT(all), pagi_sse_server_wait, srv);
    IS(pagi_sse_server_stop(srv, 0), 0);
    all_have(all, COUNT(all), R(STOPPED));
    IS(pagi_sse_server_wait(srv, FOREVER), R(STOPPED));
    close(fd);
    end();
}

static void freed_meanwhile(void)
{
    waiter all[5];
    for (int i = 0; i < 20; i++) {
        begin();
        wait_in_threads(all, COUNT(all), pagi_sse_server_wait, srv);
        end();
        all_have(all, COUNT(all), R(HANDLE_STALE));
    }
    pagi_sse_runtime rt = 0;
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    wait_in_threads(all, COUNT(all), pagi_sse_runtime_wait, rt);
    IS(pagi_sse_runtime_free(rt, 0), 0);
    all_have(all, COUNT(all), R(HANDLE_STALE));
}

/* A child has all descriptors, and keeps none of them up. */
static void freed_while_a_child_lives(void)
{
    waiter one[1];
    begin();
    wait_in_threads(one, 1, pagi_sse_server_wait, srv);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(60);
        int code = pagi_sse_server_wait(srv, FOREVER);
        pause();
        leave(code);
    }
    end();
    all_have(one, 1, R(HANDLE_STALE));
    IS(kill(pid, SIGKILL), 0);
    IS(waitpid(pid, NULL, 0), pid);
}

static int in_a_child(void) { return pagi_sse_server_wait(srv, FOREVER) == R(HANDLE_FORKED) ? 7 : 1; }

static void forked(void)
{
    begin();
    IS(in_child(in_a_child), 7);
    end();
}

static void on_signal(int signal) { (void)signal; }

static void signals(void)
{
    waiter one[1];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigaction(SIGUSR1, &action, &before);
    begin();
    wait_in_threads(one, 1, pagi_sse_server_wait, srv);
    int64_t deadline = now_ms() + PATIENCE_MS;
    /* One that comes before the wait is for nothing. */
    while (!__atomic_load_n(&one->over, __ATOMIC_ACQUIRE) && now_ms() < deadline) {
        pthread_kill(one->thread, SIGUSR1);
        poll(NULL, 0, 5);
    }
    all_have(one, 1, 0);
    sigaction(SIGUSR1, &before, NULL);
    end();
}

/* ---- called back */

typedef struct calls {
    int requests, others, answer;
    int64_t stop_ms; /* -1: free it */
    int wake;
} calls;

static int32_t on_record(const pagi_sse_record *r, void *user)
{
    calls *c = user;
    if (r->kind != PAGI_SSE_KIND_REQUEST)
        return c->others++, 0;
    c->requests++;
    BYTES(r->path.data, r->path.len, "/");
    answer(r);
    if (c->stop_ms < 0)
        IS(pagi_sse_server_free(srv, 250), 0);
    else if (c->stop_ms > 0)
        IS(pagi_sse_server_stop(srv, (uint64_t)c->stop_ms), 0);
    if (c->wake)
        IS(pagi_sse_server_wake(srv, 0), 0);
    return c->answer;
}

static void a_number_ends_it(void)
{
    calls c = {.answer = 7};
    int fds[3];
    begin();
    for (size_t i = 0; i < COUNT(fds); i++)
        fds[i] = asks(GET);
    until_they_wait(3);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), 7);
    IS(c.requests, 1);
    OK(wait_for(srv_fd)); /* as records remain */
    c.answer = 0;
    /* What waits is called back with, whatever the time. */
    IS(pagi_sse_server_run(srv, on_record, &c, 0), 0);
    IS(c.requests, 3);
    for (size_t i = 0; i < COUNT(fds); i++) {
        receive(fds[i], "here");
        close(fds[i]);
    }
    int64_t before = now_ms();
    IS(pagi_sse_server_run(srv, on_record, &c, 60), 0);
    OK(now_ms() - before >= 60);
    end();
}

static void it_stops(void)
{
    calls c = {.stop_ms = 1};
    begin();
    int fds[2] = {asks(GET), asks(GET)};
    until_they_wait(2);
    /* The other got a 503 meanwhile, and its request is called back with. */
    pagi_sse_record r;
    size_t used = 0, at = 0;
    IS(pagi_sse_server_next(srv, buf, sizeof buf, &used), 2);
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    pagi_sse_conn unanswered = r.conn;
    IS(pagi_sse_record_read(buf, used, &at, &r, sizeof r), 1);
    answer(&r);
    int late = asks(GET);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), R(STOPPED));
    IS(c.requests, 1);
    OK(c.others >= 4); /* three ENDED, and a CLOSED */
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), R(STOPPED));
    IS(pagi_sse_server_run(srv, on_record, &c, 0), R(STOPPED));
    IS(pagi_sse_conn_free(unanswered), 0);
    close(fds[0]), close(fds[1]), close(late);
    end();
}

static void it_frees(void)
{
    calls c = {.stop_ms = -1};
    begin();
    int fds[3] = {asks(GET), asks(GET), asks(GET)};
    until_they_wait(3);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), R(HANDLE_STALE));
    IS(c.requests, 1);
    IS(pagi_sse_handle_count(), 0); /* the others were never the host's */
    begin();
    c.answer = 9;
    close(fds[0]);
    fds[0] = asks(GET);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), 9);
    IS(c.requests, 2);
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

static void a_wake_ends_it(void)
{
    calls c = {.wake = 1};
    begin();
    /* Never lost, though a record came with it. */
    for (int i = 1; i <= 50; i++) {
        int fd = asks(GET);
        while (c.requests < i)
            IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), 0);
        receive(fd, "here");
        close(fd);
    }
    IS(pagi_sse_server_wake(srv, 0), 0);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), 0);
    IS(pagi_sse_server_wake(srv, 30), 0);
    IS(pagi_sse_server_run(srv, on_record, &c, FOREVER), 0);
    end();
}

/* A host's threads that share the work. */
static int shared_requests;

static int32_t share(const pagi_sse_record *r, void *user)
{
    (void)user;
    if (r->kind == PAGI_SSE_KIND_REQUEST) {
        answer(r);
        __atomic_add_fetch(&shared_requests, 1, __ATOMIC_RELAXED);
    }
    return 0;
}

static void *runs(void *result)
{
    *(int32_t *)result = pagi_sse_server_run(srv, share, NULL, FOREVER);
    return NULL;
}

static void together(void)
{
    pthread_t threads[4];
    int32_t results[4];
    begin();
    for (size_t i = 0; i < COUNT(threads); i++)
        OK(pthread_create(&threads[i], NULL, runs, &results[i]) == 0);
    for (int i = 0; i < 200; i++) {
        int fd = asks(GET);
        receive(fd, "here");
        close(fd);
    }
    IS(pagi_sse_server_stop(srv, 1000), 0);
    for (size_t i = 0; i < COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        IS(results[i], R(STOPPED));
    }
    IS(shared_requests, 200);
    end();
}

static int32_t on_output(const pagi_sse_record *r, void *user)
{
    size_t len = 0;
    char text[256];
    if (r->kind == PAGI_SSE_KIND_ENDED)
        return 5;
    if (r->kind == PAGI_SSE_KIND_OUTPUT)
        while (pagi_sse_conn_read(r->conn, text, sizeof text - 1, &len) == 0 && len > 0) {
            text[len] = 0;
            strcat(user, text);
        }
    return 0;
}

static void runtimes(void)
{
    pagi_sse_runtime rt = 0;
    pagi_sse_conn c = 0;
    char all[1024] = "";
    IS(pagi_sse_runtime_open(NULL, &rt), 0);
    IS(pagi_sse_runtime_wait(rt, 10), 0);
    IS(pagi_sse_conn_open_queue(rt, PAGI_SSE_WIRE_EVENTS, &c), 0);
    IS(pagi_sse_conn_send(c, S("x")), 0);
    IS(pagi_sse_runtime_wait(rt, FOREVER), 1);
    IS(pagi_sse_runtime_run(rt, on_output, all, 0), 0);
    IS(pagi_sse_conn_close(c, NONE), 1);
    IS(pagi_sse_runtime_run(rt, on_output, all, FOREVER), 5);
    BYTES(all, strlen(all), "data: x\n\n");
    IS(pagi_sse_conn_free(c), 0);
    IS(pagi_sse_runtime_stop(rt, 1000), 0);
    IS(pagi_sse_runtime_run(rt, on_output, all, FOREVER), R(STOPPED));
    IS(pagi_sse_runtime_wait(rt, FOREVER), R(STOPPED));
    IS(pagi_sse_runtime_free(rt, 1000), 0);
}

static const test tests[] = {
    {"a wait has a time, and an end by a wake-up", times},
    {"and by a record, as long as that was not taken", records},
    {"a number that the callback returns ends the run, and what waits stays", a_number_ends_it},
    {"a callback stops the server", it_stops},
    {"a callback frees the server", it_frees},
    {"a wake-up ends the run", a_wake_ends_it},
    {"threads share a server's records", together},
    {"a server that is freed ends all waits", freed_meanwhile},
    {"also when a forked child has its descriptors", freed_while_a_child_lives},
    {"a child cannot wait", forked},
    {"a signal ends the wait of the thread that handles it", signals},
    {"runtimes too", runtimes},
    {"a stop ends the waits of all threads", stopped_meanwhile},
};
RUN(tests)
