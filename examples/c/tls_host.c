/* tls_host.c - streams over a transport of the host's own: TLS by OpenSSL. The
 * library never sees a socket; it queues, says when there is output (OUTPUT),
 * and the host carries it with SSL_write.
 *
 *     cc -std=c11 -Wall -Wextra tls_host.c -o tls_host $(pkg-config --cflags --libs pagi-sse openssl)
 *     openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout key.pem -out cert.pem
 *     ./tls_host 5000 cert.pem key.pem 1000   (milliseconds between ticks)
 *     curl -kN https://127.0.0.1:5000/
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <pagi_sse.h>

#define CLIENTS 256

/* A place for a client; free without an SSL. */
typedef struct client {
    SSL *ssl;
    int fd;
    short wants; /* POLLIN, POLLOUT: what its SSL waits for */
    pagi_sse_conn conn;
    size_t len, sent; /* of buf: the request head, and then output */
    char buf[16384];
} client;

static client clients[CLIENTS];
static pagi_sse_runtime runtime;
static volatile sig_atomic_t stop;

static void on_signal(int signal)
{
    stop = signal;
}

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void hang_up(client *c)
{
    if (c->conn) {
        pagi_sse_conn_disconnect(c->conn, NULL, 0); /* if it has not ended by itself */
        pagi_sse_conn_free(c->conn);
    }
    SSL_free(c->ssl);
    close(c->fd);
    *c = (client){.ssl = NULL};
}

/* SSL waits for its socket; any other failure is the client's end. */
static void wait_or_end(client *c, int result)
{
    int error = SSL_get_error(c->ssl, result);
    c->wants = error == SSL_ERROR_WANT_WRITE ? POLLIN | POLLOUT : POLLIN;
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        hang_up(c);
}

/* Carries output until none waits, the socket is full, or the stream is over. */
static void carry(client *c)
{
    for (;;) {
        if (c->sent == c->len) {
            c->sent = c->len = 0;
            if (pagi_sse_conn_read(c->conn, c->buf, sizeof c->buf, &c->len) == PAGI_SSE_RESULT_CLOSED) {
                SSL_shutdown(c->ssl); /* the last byte has gone */
                hang_up(c);
                return;
            }
            if (c->len == 0)
                return;
        }
        int n = SSL_write(c->ssl, c->buf + c->sent, (int)(c->len - c->sent));
        if (n <= 0) {
            wait_or_end(c, n);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void on_request(client *c)
{
    static const char not_found[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if (strncmp(c->buf, "GET / HTTP/1.1\r\n", 16) != 0
        || pagi_sse_conn_open_queue(runtime, PAGI_SSE_WIRE_HTTP11, &c->conn) < 0) {
        SSL_write(c->ssl, not_found, sizeof not_found - 1);
        SSL_shutdown(c->ssl);
        hang_up(c);
        return;
    }
    c->len = c->sent = 0;
    pagi_sse_conn_keepalive(c->conn, 15000, NULL, 0);
    pagi_sse_conn_start(c->conn, 200, NULL, 0);
}

/* The handshake and the request's head; what comes later is of no interest. */
static void on_socket(client *c)
{
    char more[512];
    int n;
    do {
        int begun = c->conn != 0;
        n = begun ? SSL_read(c->ssl, more, sizeof more)
                  : SSL_read(c->ssl, c->buf + c->len, (int)(sizeof c->buf - 1 - c->len));
        if (n <= 0) {
            wait_or_end(c, n);
        } else if (!begun) {
            c->len += (size_t)n;
            c->buf[c->len] = 0;
            if (strstr(c->buf, "\r\n\r\n") || c->len == sizeof c->buf - 1)
                on_request(c);
        }
    } while (n > 0 && c->ssl);
    if (c->conn)
        carry(c);
}

static void on_connection(int listener, SSL_CTX *tls)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), i = 0;
    while (i < CLIENTS && clients[i].ssl)
        i++;
    SSL *ssl = fd < 0 || i == CLIENTS ? NULL : SSL_new(tls);
    if (!ssl) {
        close(fd);
        return;
    }
    SSL_set_fd(ssl, fd);
    SSL_set_accept_state(ssl);
    clients[i].ssl = ssl;
    clients[i].fd = fd;
    clients[i].wants = POLLIN;
}

static void on_records(void)
{
    static char buf[PAGI_SSE_RECORD_MAX];
    pagi_sse_record r;
    size_t used = 0;
    while (pagi_sse_runtime_next(runtime, buf, sizeof buf, &used) > 0)
        for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)
            for (client *c = clients; r.kind == PAGI_SSE_KIND_OUTPUT && c < clients + CLIENTS; c++)
                if (c->conn == r.conn)
                    carry(c);
}

static void tick(void)
{
    static unsigned number;
    char json[32];
    int len = snprintf(json, sizeof json, "{ \"tick\": %u }", ++number);
    pagi_sse_event event = {.size = sizeof event, .data = {json, (size_t)len}, .flags = PAGI_SSE_EVENT_JSON};
    for (client *c = clients; c < clients + CLIENTS; c++)
        if (c->conn)
            pagi_sse_conn_send_event(c->conn, &event);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (argc != 5 || SSL_CTX_use_certificate_chain_file(tls, argv[2]) != 1
        || SSL_CTX_use_PrivateKey_file(tls, argv[3], SSL_FILETYPE_PEM) != 1) {
        fprintf(stderr, "usage: %s PORT CERT.PEM KEY.PEM MILLISECONDS\n", argv[0]);
        return 2;
    }
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE);
    at.sin_port = htons((uint16_t)atoi(argv[1]));
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&at, size) < 0 || listen(listener, 128) < 0
        || getsockname(listener, (struct sockaddr *)&at, &size) < 0) {
        perror("listen");
        return 1;
    }
    int32_t code = pagi_sse_runtime_open(NULL, &runtime);
    if (code < 0) {
        fprintf(stderr, "%s\n", pagi_sse_result_text(code));
        return 1;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL's writes raise it */
    fprintf(stderr, "listening on https://127.0.0.1:%d\n", ntohs(at.sin_port));

    struct pollfd polled[CLIENTS + 2] = {{.fd = listener, .events = POLLIN},
                                         {.fd = pagi_sse_runtime_fd(runtime), .events = POLLIN}};
    for (int64_t every = atoi(argv[4]), due = now_ms() + every; !stop;) {
        for (int i = 0; i < CLIENTS; i++)
            polled[i + 2] = (struct pollfd){.fd = clients[i].ssl ? clients[i].fd : -1, .events = clients[i].wants};
        int64_t left = due - now_ms();
        if (poll(polled, CLIENTS + 2, left > 0 ? (int)left : 0) > 0) {
            for (int i = 0; i < CLIENTS; i++)
                if (polled[i + 2].revents)
                    on_socket(&clients[i]);
            if (polled[1].revents)
                on_records();
            if (polled[0].revents)
                on_connection(listener, tls);
        }
        if (now_ms() >= due) {
            tick();
            due += every;
        }
    }
    close(listener);
    pagi_sse_runtime_stop(runtime, 1000); /* every stream ends in order: */
    on_records();                         /* its last chunk is carried, */
    for (client *c = clients; c < clients + CLIENTS; c++)
        if (c->ssl)
            hang_up(c); /* but of who takes nothing */
    SSL_CTX_free(tls);
    pagi_sse_runtime_free(runtime, 1000);
    return pagi_sse_handle_count() != 0;
}
