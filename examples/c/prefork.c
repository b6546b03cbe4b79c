/* prefork.c - one listening socket, many processes: the parent binds, each worker
 * serves with threads of its own, and the kernel deals the clients out. A worker
 * that dies is replaced. Fork first, then open servers: threads do not come along.
 *
 *     cc -std=c11 -Wall -Wextra prefork.c -o prefork $(pkg-config --cflags --libs pagi-sse)
 *     ./prefork 5000 4                        (port, processes)
 *     curl -N http://127.0.0.1:5000/
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <pagi_sse.h>

#define MOST 64

static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    stop = signal;
}

/* Who asks gets one event, which says who serves it, and then keepalives until it
 * leaves. */
static int32_t on_record(const pagi_sse_record *record, void *user)
{
    char pid[32];
    size_t len = (size_t)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    pagi_sse_event event = {.size = sizeof event, .data = {pid, len}, .event = PAGI_SSE_BYTES("served-by")};
    (void)user;
    if (record->kind == PAGI_SSE_KIND_CLOSED
        || (record->kind == PAGI_SSE_KIND_REQUEST
            && (pagi_sse_conn_send_event(record->conn, &event) < 0
                || pagi_sse_conn_keepalive(record->conn, 15000, NULL, 0) < 0)))
        pagi_sse_conn_free(record->conn);
    return 0;
}

/* A worker's life; its exit status. */
static int serve(int listener, pid_t parent)
{
    char name[16];
    pagi_sse_server server;
    snprintf(name, sizeof name, "fd:%d", listener);
    pagi_sse_server_options options = {.size = sizeof options, .listen = pagi_sse_text(name), .workers = 1};
    if (pagi_sse_server_open(&options, &server) < 0 || pagi_sse_server_start(server) < 0) {
        char why[256];
        size_t used = 0;
        pagi_sse_error(why, sizeof why, &used);
        fprintf(stderr, "%s: %.*s\n", name, (int)used, why);
        return 2;
    }
    /* The second is for a signal that came just before, and for a parent that has
     * died: nobody would end this process then. */
    while (!stop && getppid() == parent && pagi_sse_server_run(server, on_record, NULL, 1000) == 0)
        continue;
    pagi_sse_server_drain(server); /* others take who comes now */
    pagi_sse_server_close_streams(server, NULL, 0);
    for (int i = 0; i < 50 && pagi_sse_server_busy(server) > 0; i++)
        pagi_sse_server_run(server, on_record, NULL, 100);
    pagi_sse_server_stop(server, 0);
    while (pagi_sse_server_run(server, on_record, NULL, 0) == 0) /* to the last CLOSED */
        continue;
    pagi_sse_server_free(server, 0);
    return pagi_sse_handle_count() != 0;
}

static pid_t start(int listener, const sigset_t *before)
{
    pid_t parent = getpid(), pid = fork();
    if (pid != 0)
        return pid;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigprocmask(SIG_SETMASK, before, NULL);
    _exit(serve(listener, parent));
}

/* Tells how a worker has ended; whether in order. */
static int ended(pid_t pid, int status)
{
    if (WIFSIGNALED(status))
        fprintf(stderr, "worker %ld: signal %d\n", (long)pid, WTERMSIG(status));
    else
        fprintf(stderr, "worker %ld: exit %d\n", (long)pid, WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Keeps so many workers, until a signal comes, or one cannot serve at all. */
static int keep(int listener, pid_t *workers, int count, const sigset_t *awaited, const sigset_t *before)
{
    for (int signal = SIGCHLD, status; signal == SIGCHLD; sigwait(awaited, &signal)) {
        for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
            ended(pid, status);
            if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
                return 1;
            for (int i = 0; i < count; i++)
                if (workers[i] == pid)
                    workers[i] = 0;
            nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL); /* if all die at once */
        }
        for (int i = 0; i < count; i++)
            if (workers[i] == 0 && (workers[i] = start(listener, before)) < 0) {
                perror("fork");
                workers[i] = 0;
                return 1;
            }
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    pid_t workers[MOST] = {0};
    int count = argc > 2 ? atoi(argv[2]) : 2;
    at.sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 0));
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (count < 1 || count > MOST || bind(listener, (struct sockaddr *)&at, len) < 0 || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&at, &len) < 0) {
        perror("listen");
        return 1;
    }
    sigset_t awaited, before;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGTERM);
    sigaddset(&awaited, SIGINT);
    sigaddset(&awaited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &awaited, &before);
    fprintf(stderr, "listening on http://127.0.0.1:%d\n", ntohs(at.sin_port));
    int bad = keep(listener, workers, count, &awaited, &before);
    close(listener);
    for (int i = 0; i < count; i++)
        if (workers[i] > 0)
            kill(workers[i], SIGTERM);
    for (int i = 0, status; i < count; i++)
        if (workers[i] > 0 && waitpid(workers[i], &status, 0) == workers[i])
            bad |= !ended(workers[i], status);
    return bad;
}
