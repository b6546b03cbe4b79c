/* A descriptor that the host gives: the one that it has registered elsewhere. */
#include "harness.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>

static pagi_sse_runtime rt;

static int listener(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    OK(listen(fd, 1) == 0);
    return fd;
}

/* A connection on the first of a pair that an epoll set knows already. */
static pagi_sse_conn gives(int pair[2], int *set)
{
    struct epoll_event e = {.events = EPOLLIN};
    pagi_sse_conn c = 0;
    *set = epoll_create1(0);
    OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    IS(epoll_ctl(*set, EPOLL_CTL_ADD, pair[0], &e), 0);
    IS(pagi_sse_conn_open_fd(rt, pair[0], PAGI_SSE_WIRE_EVENTS, &c), 0);
    return c;
}

static void epoll_lets_go(void)
{
    struct epoll_event e;
    int pair[2], set;
    pagi_sse_conn c = gives(pair, &set);
    IS(epoll_ctl(set, EPOLL_CTL_DEL, pair[0], NULL), 0);
    OK(send(pair[1], "x", 1, 0) == 1);
    IS(epoll_wait(set, &e, 1, 50), 0);
    IS(pagi_sse_conn_free(c), 0);
    char byte;
    OK(wait_for(pair[1]) && recv(pair[1], &byte, 1, 0) == 0);
    close(pair[1]), close(set);
}

/* Who forgets it is woken no more once it is closed. */
static void its_end_ends_the_registration(void)
{
    struct epoll_event e;
    int pair[2], set;
    pagi_sse_conn c = gives(pair, &set);
    close(pair[1]);
    IS(pagi_sse_conn_free(c), 0);
    int64_t deadline = now_ms() + PATIENCE_MS;
    while (fcntl(pair[0], F_GETFD) != -1 && now_ms() < deadline)
        poll(NULL, 0, 5);
    IS(fcntl(pair[0], F_GETFD), -1);
    IS(epoll_wait(set, &e, 1, 50), 0);
    close(set);
}

static void an_error_leaves_it_as_it_was(void)
{
    for (int blocks = 0; blocks < 2; blocks++) {
        int pair[2], flags = blocks ? 0 : O_NONBLOCK;
        pagi_sse_conn c = 77;
        OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
        int fds[] = {listener(), pair[0]};
        for (int i = 0; i < 2; i++)
            OK(fcntl(fds[i], F_SETFL, flags) == 0);
        IS(pagi_sse_conn_open_fd(rt, fds[0], PAGI_SSE_WIRE_EVENTS, &c), R(BAD_SOCKET));
        IS(pagi_sse_conn_open_fd(rt, fds[1], 77, &c), R(BAD_ARGUMENT));
        for (int i = 0; i < 2; i++) {
            IS(fcntl(fds[i], F_GETFL) & O_NONBLOCK, flags);
            IS(fcntl(fds[i], F_GETFD), 0);
            close(fds[i]);
        }
        IS(c, 77);
        close(pair[1]);
    }
}

static void wake_later(void)
{
    int fd = pagi_sse_runtime_fd(rt);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    static char buf[65536];
    size_t used;
    IS(pagi_sse_runtime_next(rt, buf, sizeof buf, &used) >= 0, 1);
    for (uint64_t ms = 60000; ms > 50; ms--)
        IS(pagi_sse_runtime_wake(rt, ms), 0);
    int64_t from = now_ms();
    IS(poll(&p, 1, PATIENCE_MS), 1);
    OK(now_ms() - from >= 40);
}

static void opens(void) { IS(pagi_sse_runtime_open(NULL, &rt), 0); }
static void frees(void) { IS(pagi_sse_runtime_free(rt, 1000), 0); }

static const test tests[] = {
    {"a runtime", opens},
    {"a descriptor that was given can be taken out of the host's epoll, and wakes it no more", epoll_lets_go},
    {"its end ends what the host had registered", its_end_ends_the_registration},
    {"after an error it is the host's, with its flags", an_error_leaves_it_as_it_was},
    {"of many wake-ups the earliest comes", wake_later},
    {"no runtime", frees},
};
RUN(tests)
