/*
 * pagi_sse.h - server-sent events: servers, hubs, connections, clients.
 *
 * Generated from src/ffi by cbindgen; do not edit (script/header does).
 *
 * A whole server (cc hello.c -lpagi_sse):
 *
 *   #include <stdio.h>
 *   #include <string.h>
 *   #include "pagi_sse.h"
 *
 *   static int32_t on_record(const pagi_sse_record *record, void *user) {
 *       (void)user;
 *       if (record->kind == PAGI_SSE_KIND_REQUEST) {
 *           pagi_sse_conn_send(record->conn, "hello", 5);
 *           pagi_sse_conn_free(record->conn); // closes when all is sent
 *       }
 *       return 0;
 *   }
 *
 *   int main(void) {
 *       pagi_sse_server server;
 *       pagi_sse_server_options options;
 *       memset(&options, 0, sizeof options);
 *       options.size = sizeof options;
 *       options.listen = pagi_sse_text("127.0.0.1:5001");
 *       int32_t code = pagi_sse_server_open(&options, &server);
 *       if (code == 0) code = pagi_sse_server_start(server);
 *       while (code == 0) code = pagi_sse_server_run(server, on_record, NULL, PAGI_SSE_FOREVER);
 *       fprintf(stderr, "%s\n", pagi_sse_result_text(code));
 *       return 1;
 *   }
 *
 * A host with a loop of its own (poll, epoll, libev, libuv) watches
 * pagi_sse_server_fd in it instead, and when that is readable:
 *
 *   while (pagi_sse_server_next(server, buf, sizeof buf, &used) > 0)
 *       for (size_t at = 0; pagi_sse_record_read(buf, used, &at, &record, sizeof record) > 0;)
 *           on_record(&record, NULL);
 *   pagi_sse_server_flush(server);
 *
 * What there is, in this order: the library (versions, results, bytes), servers,
 * records and who waits for them, connections, hubs, frames, parsers, runtimes,
 * scopes, clients. A server listens, parses HTTP and gives REQUEST records. A
 * connection is one client: send to it, subscribe it to a hub, free it. A
 * runtime carries connections on transports of the host's own. A client reads
 * a stream of another server. The rules of all functions are here, once; at a
 * function stands what differs.
 *
 * RESULTS. Negative is one of enum pagi_sse_result, and then nothing has
 * changed, unless the function says so. 0 and more is fine, and means what the
 * function says; it is never a size that was needed. Besides what it names, any
 * function may return PAGI_SSE_RESULT_NULL_POINTER (NULL where something is due,
 * also a length without bytes, an output, a buffer that must be one),
 * _BAD_ARGUMENT (a length, a size or a number that cannot be), _NOT_UTF8 (text),
 * _OS (the system), _PANIC (a bug in here, which stays in here), and "a handle
 * error": _HANDLE_INVALID (0, or invented), _HANDLE_STALE (freed), _HANDLE_KIND
 * (another object's), _HANDLE_FORKED (the parent process's). Each is told apart,
 * none is a crash. pagi_sse_error has the words of this thread's last failure, and
 * pagi_sse_os_error the system's number.
 *
 * OUTPUTS come last and are written only on success, but for one: with
 * PAGI_SSE_RESULT_BUFFER_SMALL the `size_t` beside a buffer has the size needed;
 * nothing was written to the buffer then, nothing taken.
 *
 * BYTES are pointer + length, never NUL-terminated; NULL with length 0 is
 * "absent". Text is UTF-8. In structs they are pagi_sse_bytes. A text that a
 * function gives goes to `buf` of `cap` bytes, and its length, without a NUL, to
 * `len`: the result is 0, or _BUFFER_SMALL; NULL with `cap` 0 asks for the size.
 *
 * STRUCTS grow at their ends (docs/abi.md). Zero one that you give, and set
 * `size`: 0 elsewhere is the default. One that you get is written as far as the
 * `size` that you give, sizeof of yours.
 *
 * TIMES are milliseconds, as their names say; a deadline above 60000 is 60000.
 *
 * RECORDS. Nothing calls back but pagi_sse_server_run and _runtime_run, in the
 * thread that called them. A server or a runtime queues records and makes its
 * one descriptor readable until all are taken.
 *
 * OWNERSHIP. What you give is copied. What a function opens is yours, and ends
 * with its _free, once; the handle is stale then. What you get is yours, in your
 * own memory.
 *
 * THREADS. Every function may be called from any thread, at the same time as any
 * other; of calls that can succeed once, one does. Who wants an order of bytes,
 * records or events calls one after the other. An object that is freed ends when
 * the calls that are in it have returned. Nothing waits but _wait, _run, _stop
 * and _free, which take a time; a hub's close_streams and publish may deliver,
 * as they say. The library's own threads never see a signal.
 *
 * FORK. A child has none of its parent's handles, and can open its own; the parent
 * notices nothing. Fork first, then open servers, runtimes and hubs.
 *
 * SINCE. All is here since 0.3.0.
 *
 * LIMITS, and what happens beyond them. In parentheses: a default, to be changed
 * by the option of that name.
 *
 *   target of a request         32 KiB                                      414
 *   head of a request           64 KiB, 128 fields                          431
 *   body of a request           max_body (1 MiB)                            413
 *   head of a request in time   head_timeout_ms (30 s)                      408
 *   body of a request in time   body_timeout_ms (300 s)                     408
 *   connection without request  idle_timeout_ms (75 s)                      closed
 *   connections of a server     max_connections (16384)                     wait in the kernel
 *   REQUEST records unread      16                                          no connection is accepted
 *   ENDED records unread        65536                                       the same, and RECORDS_UNREAD
 *   LOG records unread          1024                                        counted in another
 *   other records unread        one of a kind for each connection           another says no more
 *   size of a record            PAGI_SSE_RECORD_MAX                         parsers, clients: by their options
 *   fields given to one call    128                                         BAD_ARGUMENT
 *   queue of a connection       1 MiB (pagi_sse_conn_set_marks)             QUEUE_OVERFLOW
 *   all queues of a host        max_queued_bytes (256 MiB)                  the largest go: queue_overflow
 *   client that takes nothing   write_timeout_ms (30 s)                     write_timeout
 *   what it sends all the same  PAGI_SSE_FORGOTTEN_BYTES a minute           protocol_error
 *   id of an event              PAGI_SSE_ID_BYTES                           ID_HEADER
 *   reason of an end            PAGI_SSE_REASON_BYTES                       REASON_TOO_LONG
 *   keepalive                   10 ms to 86400000 ms                        INTERVAL
 *   name of a topic             PAGI_SSE_TOPIC_NAME_BYTES                   TOPIC_NAME
 *   topics of a subscription    PAGI_SSE_SUBSCRIPTION_TOPICS                TOPIC_COUNT
 *   topics of a hub             100000, half by subscribers alone           TOO_MANY_TOPICS
 *   history of a topic          events (1000), bytes (4 MiB), age_ms (1 h)  the oldest go
 *   history of a hub            total_bytes (64 MiB)                        the oldest go
 *   keys of a topic's state     10000                                       not kept, counted
 *   a subscriber's queue        max_events (10000), max_bytes (1 MiB)       enum pagi_sse_full
 *   line, event, id (parser)    1 MiB, 4 MiB, 4096 bytes                    ERROR records
 *   line, event (client)        max_line (1 MiB), max_event (4 MiB)         ERROR records
 *   what waits of a client      max_items (1024), max_bytes (1 MiB)         nothing is read
 *   any length                  1 GiB                                       BAD_ARGUMENT
 *
 * Why connections end is enum pagi_sse_reason; docs/abi.md has a table of what each
 * end does in each state.
 */
