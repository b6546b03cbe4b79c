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

#ifndef PAGI_SSE_H
#define PAGI_SSE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

// Defined before this header is read, it has compilers warn where a result is
// not used that says whether something was done.
#if !defined(PAGI_SSE_WARN_UNUSED)
#define PAGI_SSE_NODISCARD
#elif defined(__GNUC__)
#define PAGI_SSE_NODISCARD __attribute__((warn_unused_result))
#elif defined(__cplusplus) || __STDC_VERSION__ >= 202311L
#define PAGI_SSE_NODISCARD [[nodiscard]]
#else
#define PAGI_SSE_NODISCARD
#endif

// Enums have the size of the int32_t that functions take and structs hold.
#ifdef __cplusplus
#define PAGI_SSE_ENUM(name) enum name : int32_t
extern "C" {
#elif __STDC_VERSION__ >= 202311L
#define PAGI_SSE_ENUM(name) enum name : int32_t; typedef enum name name; enum name : int32_t
#else
#define PAGI_SSE_ENUM(name) typedef int32_t name; enum name
#endif

/* ---- The library ------------------------------------------------------- */

// The number that pagi_sse_abi_version returns; grows when a program built
// against an older header would no longer work.
#define PAGI_SSE_ABI_VERSION 1

// The version of this header, for `#if`: major * 1000000 + minor * 1000 +
// patch.
#define PAGI_SSE_VERSION_NUMBER 3000

// Largest record of a server or a runtime, bytes: a buffer of this size is
// never too small for pagi_sse_server_next and pagi_sse_runtime_next.
#define PAGI_SSE_RECORD_MAX 131072

// Longest id of an event, bytes.
#define PAGI_SSE_ID_BYTES 4096

// Longest reason of an end, bytes.
#define PAGI_SSE_REASON_BYTES 1024

// Output queue of a connection: above this many bytes a sender should wait.
#define PAGI_SSE_HIGH_WATER_BYTES 65536

// Output queue of a connection: at or below this many bytes it has drained.
#define PAGI_SSE_LOW_WATER_BYTES 16384

// What a client may send within a minute of a stream, which nobody reads,
// bytes; more ends it.
#define PAGI_SSE_FORGOTTEN_BYTES 65536

// Topics of one subscription, at the most.
#define PAGI_SSE_SUBSCRIPTION_TOPICS 1000

// Longest name of a topic, bytes.
#define PAGI_SSE_TOPIC_NAME_BYTES 100

// A failure. The number is the C result code; numbers come in blocks of 100 by
// module and are never reused.
PAGI_SSE_ENUM(pagi_sse_result) {
  PAGI_SSE_RESULT_OK = 0,                       // Fine.
  PAGI_SSE_RESULT_NULL_POINTER = -1,            // A pointer was NULL where bytes or an output were
                                                // due.
  PAGI_SSE_RESULT_BAD_ARGUMENT = -2,            // An argument is outside its documented range.
  PAGI_SSE_RESULT_NOT_UTF8 = -3,                // Text is not well-formed UTF-8.
  PAGI_SSE_RESULT_PANIC = -4,                   // The code panicked; the object concerned should be
                                                // freed.
  PAGI_SSE_RESULT_OS = -5,                      // An operating-system call failed:
                                                // pagi_sse_os_error says how.
  PAGI_SSE_RESULT_BUFFER_SMALL = -6,            // A buffer is too small: nothing was written to it,
                                                // nothing was taken, and the `size_t` beside it has
                                                // the size needed.
  PAGI_SSE_RESULT_EVENT_NEWLINE = -100,         // An event type contains CR or LF.
  PAGI_SSE_RESULT_ID_NEWLINE = -101,            // An id contains CR or LF.
  PAGI_SSE_RESULT_ID_NUL = -102,                // An id contains NUL, which makes clients ignore
                                                // it.
  PAGI_SSE_RESULT_JSON = -103,                  // The text is not JSON (RFC 8259).
  PAGI_SSE_RESULT_ID_HEADER = -104,             // An id would not come back through a header: a
                                                // control character other than a tab inside it,
                                                // white space at an end, or above 4096 bytes.
  PAGI_SSE_RESULT_LINE_TOO_LONG = -200,         // A line is longer than the parser's limit.
  PAGI_SSE_RESULT_EVENT_TOO_LARGE = -201,       // An event is larger than the parser's limit.
  PAGI_SSE_RESULT_ID_TOO_LONG = -202,           // An id is longer than the parser's limit.
  PAGI_SSE_RESULT_CLOSED = -300,                // The connection is closed.
  PAGI_SSE_RESULT_ALREADY_STARTED = -301,       // The stream has started, so an ordinary response
                                                // is too late.
  PAGI_SSE_RESULT_DECLINED = -302,              // An ordinary response was chosen, so the stream
                                                // cannot start.
  PAGI_SSE_RESULT_QUEUE_OVERFLOW = -303,        // The output queue is full; nothing was queued.
  PAGI_SSE_RESULT_HEADER_NAME = -304,           // A header name is not a token (RFC 9110).
  PAGI_SSE_RESULT_HEADER_VALUE = -305,          // A header value contains a control character (RFC
                                                // 9110).
  PAGI_SSE_RESULT_STATUS = -306,                // A status code is outside 200 to 599.
  PAGI_SSE_RESULT_INTERVAL = -307,              // A keepalive interval is neither 0 nor 10 to
                                                // 86400000 milliseconds.
  PAGI_SSE_RESULT_NOT_HOSTED = -308,            // The connection has no transport of ours: its host
                                                // does the I/O.
  PAGI_SSE_RESULT_NO_RESPONSE = -309,           // Body bytes were given before the response head or
                                                // after its end.
  PAGI_SSE_RESULT_NOT_PULLED = -310,            // The connection's output is not the host program's
                                                // to read.
  PAGI_SSE_RESULT_BAD_SOCKET = -311,            // The descriptor is not a connected stream socket.
  PAGI_SSE_RESULT_CONTENT_LENGTH = -312,        // An ordinary response's `content-length` is not
                                                // one whole number, or not the length of the body
                                                // that is given.
  PAGI_SSE_RESULT_BODILESS_STATUS = -313,       // A stream cannot have a status that forbids a
                                                // body.
  PAGI_SSE_RESULT_BODY_INCOMPLETE = -314,       // The request body broke off: its client has gone,
                                                // or sent no such body as it said.
  PAGI_SSE_RESULT_REASON_TOO_LONG = -315,       // The reason of an end is longer than 1024 bytes.
  PAGI_SSE_RESULT_NOT_SUBSCRIBED = -316,        // No hub publishes to the connection's stream, or
                                                // the host carries its output, so that it cannot be
                                                // handed over.
  PAGI_SSE_RESULT_RECORDS_UNREAD = -317,        // The host program has 65,536 ENDED records to read
                                                // before it opens more.
  PAGI_SSE_RESULT_HANDLE_INVALID = -400,        // The handle is zero or was never given out.
  PAGI_SSE_RESULT_HANDLE_STALE = -401,          // The handle's object was freed.
  PAGI_SSE_RESULT_HANDLE_KIND = -402,           // The handle belongs to an object of another kind.
  PAGI_SSE_RESULT_HANDLE_FORKED = -403,         // The handle was made before a fork, by the parent
                                                // process.
  PAGI_SSE_RESULT_HANDLES_EXHAUSTED = -404,     // The handle table is full.
  PAGI_SSE_RESULT_LISTEN_ADDRESS = -500,        // The address to listen on is not `HOST:PORT`,
                                                // `unix:PATH` or `fd:N`.
  PAGI_SSE_RESULT_ADDRESS_IN_USE = -501,        // The address is in use.
  PAGI_SSE_RESULT_BIND_FAILED = -502,           // The address cannot be bound: permission, or not
                                                // of this machine.
  PAGI_SSE_RESULT_STOPPED = -503,               // The server or the runtime has been stopped.
  PAGI_SSE_RESULT_HOST_UNKNOWN = -504,          // A host name does not resolve to an address.
  PAGI_SSE_RESULT_NOT_LISTENING = -505,         // What `fd:N` names is no listening stream socket.
  PAGI_SSE_RESULT_TOO_MANY_CONNECTIONS = -506,  // As many connections are open as `max_connections`
                                                // allows.
  PAGI_SSE_RESULT_TOPIC_NAME = -600,            // A topic's name is not 1 to 100 letters, digits
                                                // and `.-_:/`.
  PAGI_SSE_RESULT_TOO_MANY_TOPICS = -601,       // The hub has as many topics as it may have.
  PAGI_SSE_RESULT_TOPIC_COUNT = -602,           // A subscription needs from 1 to 1000 topics.
  PAGI_SSE_RESULT_SUBSCRIBED = -603,            // The connection has a subscription.
  PAGI_SSE_RESULT_NO_TOPIC = -604,              // A topic does not exist, and the subscriber may
                                                // not create one.
};

// One server: a number, 0 is never one.
typedef uint64_t pagi_sse_server;

// One connection: a number, 0 is never one.
typedef uint64_t pagi_sse_conn;

// One hub: a number, 0 is never one.
typedef uint64_t pagi_sse_hub;

// One subscription: a number, 0 is never one.
typedef uint64_t pagi_sse_subscription;

// A parser of one stream: a number, 0 is never one.
typedef uint64_t pagi_sse_parser;

// A runtime: threads, a descriptor and a queue of records for connections that
// no server of this library accepted. A number, 0 is never one.
typedef uint64_t pagi_sse_runtime;

// A client, which follows one stream of another server: a number, 0 is never
// one.
typedef uint64_t pagi_sse_client;

// Bytes, not NUL-terminated; in a record, inside the buffer that it was read
// from. Absent: NULL with length 0.
typedef struct pagi_sse_bytes {
  // The first byte.
  const char *data;
  // How many.
  size_t len;
} pagi_sse_bytes;

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

// One header field. Names and values are bytes without CR, LF, NUL.
typedef struct pagi_sse_header {
  // The name, a token (RFC 9110).
  const char *name;
  // Its length, bytes.
  size_t name_len;
  // The value.
  const char *value;
  // Its length, bytes.
  size_t value_len;
} pagi_sse_header;

// The ABI number of this library. A host compares it with the
// PAGI_SSE_ABI_VERSION it was built with, and refuses another.
//
// *Returns* the number; never an error.
uint32_t pagi_sse_abi_version(void);

// The version of this library, as `"0.3.0"`.
//
// *Returns* a NUL-terminated string; never NULL.
// *Ownership*: static; never to be freed.
const char *pagi_sse_version(void);

// What a result code means, in plain English.
//
// *Parameters*: `code`, one of enum pagi_sse_result.
//
// *Returns* a NUL-terminated string; `"unknown result"` for a number that is no
// code; never NULL.
// *Ownership*: static; never to be freed.
const char *pagi_sse_result_text(int32_t code);

// The last failure of a call by this thread, in words: the text of its code
// and, where there is more to say, a colon and that. It is about the last call
// that failed, on any object, whatever came after. A result of
// PAGI_SSE_RESULT_BUFFER_SMALL is no failure here, nor is one of this function.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, and in `len` the length, bytes, without a NUL, which is 0 when
// no call has failed; or PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER,
// _BAD_ARGUMENT.
// *Fork*: a child has that of the thread that forked.
PAGI_SSE_NODISCARD
int32_t pagi_sse_error(char *buf, size_t cap, size_t *len);

// The operating system's number (errno) of the failure that pagi_sse_error
// tells of.
//
// *Returns* it, or 0: none has failed, or it was not the operating system.
// *Fork*: a child has that of the thread that forked.
int32_t pagi_sse_os_error(void);

// Counts the live handles, of all kinds: what was opened and not yet freed.
//
// *Returns* their number.
// *Fork*: a child's own only.
uint64_t pagi_sse_handle_count(void);

// Panics inside, for a host's test that no panic crosses the boundary. Says so
// on standard error.
//
// *Returns* PAGI_SSE_RESULT_PANIC.
int32_t pagi_sse_test_panic(void);

/* ---- Servers ----------------------------------------------------------- */

// Of a LOG record, and what a server or a runtime is asked for.
PAGI_SSE_ENUM(pagi_sse_level) {
  PAGI_SSE_LEVEL_WARNING = 0,  // Something is wrong, or is kept from going wrong.
  PAGI_SSE_LEVEL_INFO = 1,     // What happens rarely: begin and end of a server, what hubs let go.
  PAGI_SSE_LEVEL_DEBUG = 2,    // What happens to each connection, and each message that else would
                               // be counted: for finding a fault.
};

// How a server is to run. Zero the struct, set `size` and what matters; 0
// elsewhere means the default.
typedef struct pagi_sse_server_options {
  // sizeof(pagi_sse_server_options): lets the struct grow.
  size_t size;
  // `HOST:PORT` (port 0: the kernel picks), `unix:PATH`, or `fd:N`: a listening
  // stream socket of the host's (systemd, prefork). Of that the server works on
  // a duplicate, and sets it non-blocking; the descriptor stays the host's, is
  // never shut down, and others may go on accepting at it when this server
  // drains: it turns nobody away who waits there. Absent: `127.0.0.1:0`.
  pagi_sse_bytes listen;
  // Largest request body, bytes (1 MiB). More is answered with 413.
  uint64_t max_body;
  // Most connections open at a time (16384); more wait in the kernel.
  uint32_t max_connections;
  // Threads of the runtime (cores - 1, at least 1); more than 256 are 256.
  uint32_t workers;
  // A client that takes no byte for so long is dropped, milliseconds (30000).
  uint64_t write_timeout_ms;
  // A request's head has to come within it, milliseconds (30000). A part of one
  // is answered with 408.
  uint64_t head_timeout_ms;
  // A request's body has to come within it, milliseconds (300000), else it is
  // answered with 408.
  uint64_t body_timeout_ms;
  // Memory that the output queues of all connections may take, bytes (256 MiB);
  // an event that many have waiting counts once. Above it the connections whose
  // queues take most are closed, reason `queue_overflow`.
  uint64_t max_queued_bytes;
  // Of enum pagi_sse_level: LOG records up to it. Those beside warnings take
  // half of the room that records of no connection have.
  uint32_t log_level;
  // 0.
  uint32_t reserved;
  // After an answer, the next request's first byte has to come within it,
  // milliseconds (75000); then the connection is closed. While no place is free
  // among `max_connections`, idle ones make room at once, the longest idle
  // first; new ones, of whose first request nothing has come, after 250
  // milliseconds.
  uint64_t idle_timeout_ms;
} pagi_sse_server_options;

// Figures of a server or a runtime: of its connections together. Counts are
// from the beginning.
typedef struct pagi_sse_host_counts {
  // Connections in progress.
  uint64_t open;
  // Connections that there were.
  uint64_t opened;
  // Events queued.
  uint64_t events;
  // Comments queued, keepalives among them.
  uint64_t comments;
  // Sends that a full queue refused.
  uint64_t refused;
  // Bytes of content that the kernel, or pagi_sse_conn_read, took.
  uint64_t bytes_sent;
  // Bytes that wait in queues now.
  uint64_t queued_bytes;
  // The memory that these take, of events that several wait for a part each:
  // what counts against `max_queued_bytes`.
  uint64_t queued_memory;
  // The option.
  uint64_t max_queued_bytes;
  // Connections closed because of it.
  uint64_t cut;
  // Records that wait now.
  uint64_t records;
  // Messages that had no room among them.
  uint64_t logs_dropped;
} pagi_sse_host_counts;

// Binds the address and starts the runtime's threads, with all signals blocked
// in them. Clients wait until pagi_sse_server_start.
//
// A client may end its side of the connection behind its request and wait for
// the answer (a half-close). It gets an ordinary response; to a stream this is
// the client's end, as nothing else tells of a client that has gone. Until the
// application has chosen, the two cannot be told apart, so after 1, 5 and 21
// seconds an HTTP/1.1 client is sent `100 Continue`, to which one that has gone
// answers with a reset: CLOSED. So is one whose body is not read, as long as
// its end could lie behind that. The place of a connection among
// `max_connections` is free when its transport has ended (ENDED), though its
// number is still in use. While none is free, a stream that the host has closed
// or freed waits a second, in place of `write_timeout_ms`, for a client that
// takes nothing of what is queued.
//
// *Parameters*: `options` points to a struct of the size that it says; `out`
// points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_LISTEN_ADDRESS, _ADDRESS_IN_USE, _BIND_FAILED
// (pagi_sse_error has the system's reason), _HOST_UNKNOWN (the resolver's),
// _NOT_LISTENING (`fd:N`), _OS (threads or descriptors), _NULL_POINTER,
// _BAD_ARGUMENT (a size), _NOT_UTF8, _HANDLES_EXHAUSTED.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_open(const pagi_sse_server_options *options,
                             pagi_sse_server *out);

// Begins to accept connections.
//
// *Returns* 0, also when it does already; or PAGI_SSE_RESULT_STOPPED, or a
// handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_start(pagi_sse_server server);

// The TCP port bound.
//
// *Returns* it; 0 for a Unix socket; or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_port(pagi_sse_server server);

// What the server listens on: `127.0.0.1:5000`, `[::1]:5000` or `unix:PATH`; of
// `fd:N` too.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_address(pagi_sse_server server,
                                char *buf,
                                size_t cap,
                                size_t *len);

// Has the server serve a connection that the host has accepted by itself, as
// one of its own: REQUEST records, keep-alive, the times and limits of its
// options. It may be called before pagi_sse_server_start, and instead of it.
//
// *Parameters*: `server`; `fd` is a descriptor that nobody else uses, of a
// stream socket, TCP or Unix, connected; `bytes` is NULL with `len` 0, or valid
// for `len`: all that the host has read of it, at most 65536 bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_TOO_MANY_CONNECTIONS (as many are open as
// `max_connections` allows; an idle one was told to make room, so try again
// soon), _RECORDS_UNREAD (65,536 ENDED records), _STOPPED (also after
// pagi_sse_server_drain), _BAD_SOCKET, _BAD_ARGUMENT (`len`), _NULL_POINTER,
// _OS (out of descriptors), or a handle error.
// *Ownership*: after 0 `fd` is the library's, until it closes it: non-blocking
// and close-on-exec. Take it out of the host's own epoll or poll set before.
// After an error it is the caller's as before, with its flags. The bytes are
// copied.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_adopt(pagi_sse_server server,
                              int32_t fd,
                              const char *bytes,
                              size_t len);

// The descriptor that is readable while pagi_sse_server_next has records.
//
// *Returns* it, or a handle error.
// *Ownership*: the server's, until pagi_sse_server_free. Watch it, or a
// duplicate; do not read or close it.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_fd(pagi_sse_server server);

// Fills `buf` with whole records, never waiting, and makes the descriptor
// unreadable when none remain. pagi_sse_record_read reads them; who reads the
// bytes by himself finds for each a `uint32_t` length and then so many bytes: a
// type byte (enum pagi_sse_kind), a `uint64_t` connection, and these fields in
// native byte order, byte strings (str) after a `uint32_t` length:
//
// - REQUEST: `uint8_t` sse, `uint8_t` flags; str decoded path, method, HTTP
//   version, path as it came, query; str client host, `uint16_t` port; str
//   server host (or socket path), `uint16_t` port; a str of all header fields:
//   of each str name, str value. The connection is the caller's from now on:
//   answer it, then pagi_sse_conn_free.
// - BODY, DRAINED: nothing.
// - CLOSED: str reason.
// - ENDED: `uint16_t` status, `uint64_t` bytes sent, `uint64_t` milliseconds,
//   str reason, `uint64_t` user.
// - LOG: str text, `uint8_t` level; connection 0. One line, without control
//   characters.
// - ANSWERED: as ENDED up to the reason; then as REQUEST from the method on;
//   connection 0. The server refused the request by itself: nothing is to be
//   done but to note it.
//
// Skip what stands behind these fields in a record: later versions add some.
//
// *Parameters*: `buf` points to `cap` writable bytes, `used` to a writable
// `size_t`.
//
// *Returns* how many records it put there, 0 for none, and in `used` their
// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
// *Ownership*: the records are the caller's, and the connections of REQUEST
// records.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_next(pagi_sse_server server,
                             char *buf,
                             size_t cap,
                             size_t *used);

// Has everything queued on any connection written now, by the runtime. To be
// called at the end of a turn of the host's loop; without it output waits a
// millisecond or so.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_server_flush(pagi_sse_server server);

// Makes the descriptor readable, to wake the host's loop. Of several wake-ups
// for later only the earliest is kept: who needs another asks again then.
//
// *Parameters*: `server`; `delay_ms`, 0 for at once.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_server_wake(pagi_sse_server server, uint64_t delay_ms);

// Counts each request or stream in progress once, to the last byte of its
// answer, and each answer of the server's own that is on its way. A connection
// on which nothing was asked counts 0; after pagi_sse_server_drain 1, until it
// has been looked at once more. After that, 0 means that pagi_sse_server_free
// cuts nobody off.
//
// *Returns* their number, or a handle error.
PAGI_SSE_NODISCARD
int64_t pagi_sse_server_busy(pagi_sse_server server);

// Statistics, as a JSON object; see pagi_sse_runtime_stats.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_stats(pagi_sse_server server,
                              char *buf,
                              size_t cap,
                              size_t *len);

// Statistics, as numbers: see pagi_sse_host_counts.
//
// *Parameters*: `server`; `out` points to `size`, that is,
// sizeof(pagi_sse_host_counts), writable bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_counters(pagi_sse_server server,
                                 pagi_sse_host_counts *out,
                                 size_t size);

// Accepts no more connections and requests; what is in progress goes on. Who
// waits in the kernel to be accepted, or sends a request now, gets 503 (a
// stream an empty one, so that its client comes back).
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_server_drain(pagi_sse_server server);

// Closes every stream in order (a CLOSED record each), responses of type
// `text/event-stream` among them, and each that begins later. Ordinary requests
// go on.
//
// *Parameters*: `server`; `reason` is NULL with length 0, for
// `server_shutdown`, or valid for `len`; UTF-8.
//
// *Returns* 0, or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes),
// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
int32_t pagi_sse_server_close_streams(pagi_sse_server server, const char *reason, size_t len);

// Ends in order, in one call: drains, closes every stream with the reason
// `server_shutdown`, waits for what is on its way, and ends the threads. It
// does not wait for a client that takes nothing for a second, nor for a request
// head of which only a part has come. Requests that have no answer at the
// deadline get 503; a response that is not whole is cut off. Both have 250
// milliseconds more to leave. Records can still be read. A second call does
// nothing.
//
// *Parameters*: `server`; `deadline_ms`, the longest wait, at most 60000.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_server_stop(pagi_sse_server server, uint64_t deadline_ms);

// As pagi_sse_server_stop, if that was not called, but requests without an
// answer get their 503 at once; then closes sockets and descriptor, and drops
// unread records. Connections keep their handles, closed, until they are freed.
//
// *Parameters*: `server`; `deadline_ms`, the longest wait, from 250 (also for
// less) to 60000.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_server_free(pagi_sse_server server, uint64_t deadline_ms);

/* ---- Records, and who waits for them ----------------------------------- */

// In `flags` of a REQUEST: it has a body, which pagi_sse_conn_read_body reads.
#define PAGI_SSE_FLAG_HAS_BODY 1

// In `flags` of a REQUEST: the decoded path is UTF-8.
#define PAGI_SSE_FLAG_PATH_IS_TEXT 2

// In `flags` of a REQUEST: it came over a Unix socket.
#define PAGI_SSE_FLAG_UNIX 4

// As a time in milliseconds: no end.
#define PAGI_SSE_FOREVER 18446744073709551615ull

// What a record tells. Skip numbers you do not know: later versions add some.
PAGI_SSE_ENUM(pagi_sse_kind) {
  PAGI_SSE_KIND_REQUEST = 1,   // A request arrived at a server; the connection is the caller's from
                               // now on. `sse`, `flags`, `method`, `version`, `path`, `raw_path`,
                               // `query`, `client`, `client_port`, `server`, `server_port`,
                               // `headers`.
  PAGI_SSE_KIND_BODY = 2,      // Request body bytes, or the body's end, can be read; or the body
                               // broke off.
  PAGI_SSE_KIND_DRAINED = 3,   // The output queue has fallen to the low mark.
  PAGI_SSE_KIND_CLOSED = 4,    // The connection closed, and not by pagi_sse_conn_close or _abort.
                               // `text` is the reason, and `reason` its number.
  PAGI_SSE_KIND_ENDED = 5,     // The transport is done with the connection; nothing of it is read
                               // behind this. `status` (0: nothing was sent), `bytes` that the
                               // kernel took, `milliseconds`; `text` is the reason, empty for an
                               // ordinary response of which the kernel took all, however the host
                               // closed it then, and `reason` its number.
  PAGI_SSE_KIND_LOG = 6,       // A message for the operator: `text`; its pagi_sse_level in `code`.
                               // Its `conn` is 0.
  PAGI_SSE_KIND_OUTPUT = 7,    // Output, or its end, can be read with pagi_sse_conn_read.
  PAGI_SSE_KIND_READY = 8,     // A hub is ready for more; `conn` is the hub's number.
  PAGI_SSE_KIND_ANSWERED = 9,  // The server answered a request by itself, and the host program has
                               // nothing to do but to note it. `status`, `bytes`, `milliseconds`;
                               // `text` is the reason, a word, and `reason` its number; and of the
                               // request what is known: `method`, `version`, `raw_path`, `query`,
                               // `client`, `client_port`, `server`, `server_port`, `headers`. Where
                               // no method is known, `raw_path` has the request line as it came.
                               // Its `conn` is 0.
  PAGI_SSE_KIND_CLIENT = 10,   // A client has something: pagi_sse_client_next. `conn` is the
                               // client's number. It comes once, and again only after that has
                               // given 0.
  PAGI_SSE_KIND_EVENT = 20,    // From a parser or a client: an event. `event`, `data`, `id` (the
                               // last event id in force).
  PAGI_SSE_KIND_COMMENT = 21,  // From a parser or a client: a comment, in `text`.
  PAGI_SSE_KIND_ERROR = 22,    // From a parser: something was dropped. `code` is
                               // PAGI_SSE_RESULT_LINE_TOO_LONG, _EVENT_TOO_LARGE or _ID_TOO_LONG.
                               // From a client: something failed. `code` is one of enum
                               // pagi_sse_trouble, which are positive; `flags`; `text`, a sentence
                               // that names the URL, and the limit if it was one; `milliseconds`
                               // until the next attempt. Of an answer that was no stream also
                               // `status` (0: there was none), `url`, `headers` and the beginning
                               // of its body, up to max_refusal, in `data`.
  PAGI_SSE_KIND_OPEN = 23,     // From a client: a stream was opened, the first time or again.
                               // `status`, `headers`; `url` is where it came from, after
                               // redirections.
  PAGI_SSE_KIND_RETRY = 24,    // From a client: the server has named the wait before a
                               // reconnection, in `milliseconds`; before the event of its block.
  PAGI_SSE_KIND_END = 25,      // From a client: it has ended, and this is its last record. `code`
                               // is one of enum pagi_sse_client_end.
};

// Why a connection ended: its word, the record's `text`, as a number. Other
// numbers may come.
PAGI_SSE_ENUM(pagi_sse_reason) {
  PAGI_SSE_REASON_NONE = 0,              // No reason: `text` is empty. An ordinary response went
                                         // out in whole.
  PAGI_SSE_REASON_OTHER = 1,             // A word of the host's own, given to a function that ends
                                         // connections.
  PAGI_SSE_REASON_CLIENT_CLOSED = 2,     // `client_closed`: the client has gone, in a request's
                                         // body too; or pagi_sse_conn_disconnect without a reason.
  PAGI_SSE_REASON_APP_CLOSED = 3,        // `app_closed`: pagi_sse_conn_close or
                                         // pagi_sse_hub_close_streams without a reason,
                                         // pagi_sse_conn_free, a stream in answer to HEAD, or
                                         // nobody was left who could end it.
  PAGI_SSE_REASON_SERVER_ERROR = 4,      // `server_error`: pagi_sse_conn_abort without a reason, or
                                         // a bug in here.
  PAGI_SSE_REASON_SERVER_SHUTDOWN = 5,   // `server_shutdown`: the server or the runtime stops.
  PAGI_SSE_REASON_QUEUE_OVERFLOW = 6,    // `queue_overflow`: the client was too slow for what a hub
                                         // publishes, or all queues took more than
                                         // `max_queued_bytes`.
  PAGI_SSE_REASON_WRITE_TIMEOUT = 7,     // `write_timeout`: the client took nothing for
                                         // `write_timeout_ms`.
  PAGI_SSE_REASON_WRITE_ERROR = 8,       // `write_error`: the system did not send, for another
                                         // reason than the client's end.
  PAGI_SSE_REASON_READ_ERROR = 9,        // `read_error`: the same of receiving.
  PAGI_SSE_REASON_CLIENT_TIMEOUT = 10,   // `client_timeout`: the network gave the client up, or a
                                         // request's head or body did not come in time (408).
  PAGI_SSE_REASON_PROTOCOL_ERROR = 11,   // `protocol_error`: the client has sent what it must not,
                                         // as a malformed request (400) or more than
                                         // PAGI_SSE_FORGOTTEN_BYTES behind one.
  PAGI_SSE_REASON_BODY_TOO_LARGE = 12,   // `body_too_large`: a request's body is above `max_body`
                                         // (413).
  PAGI_SSE_REASON_HEAD_TOO_LARGE = 13,   // `head_too_large`: a request's head is too large (414,
                                         // 431).
  PAGI_SSE_REASON_NOT_IMPLEMENTED = 14,  // `not_implemented`: the request asks for what the server
                                         // does not have (501).
};

// A record, read by pagi_sse_record_read. What a type does not have is 0.
typedef struct pagi_sse_record {
  // One of enum pagi_sse_kind. Skip those you do not know.
  int32_t kind;
  // ERROR: a result code, or one of enum pagi_sse_trouble. END: one of enum
  // pagi_sse_client_end. LOG: one of enum pagi_sse_level.
  int32_t code;
  // Whose record it is; a parser's or a client's handle from those; 0 for LOG
  // and ANSWERED.
  pagi_sse_conn conn;
  // REQUEST: 1 if the client wants an event stream (its Accept field).
  uint8_t sse;
  // REQUEST, ERROR: PAGI_SSE_FLAG_ bits.
  uint8_t flags;
  // ENDED, ANSWERED: the status sent, 0 for none. OPEN, ERROR: that of the
  // answer, 0 for none.
  uint16_t status;
  // REQUEST, ANSWERED: the client's port.
  uint16_t client_port;
  // REQUEST, ANSWERED: the port it came to.
  uint16_t server_port;
  // ENDED, ANSWERED: bytes of content that the kernel took, without head and
  // framing of chunks.
  uint64_t bytes;
  // ENDED, ANSWERED: time from the request on. RETRY: the wait that the server
  // has named. ERROR: the time until the next attempt.
  uint64_t milliseconds;
  // CLOSED, ENDED, ANSWERED: `text` as one of enum pagi_sse_reason.
  int32_t reason;
  // 0.
  uint32_t reserved;
  // BODY, DRAINED, OUTPUT, CLOSED, ENDED: what pagi_sse_conn_set_user gave, up
  // to the moment when the record is read; of a connection freed since, in
  // ENDED up to its end, and 0 in the others. CLIENT: that of the options.
  uint64_t user;
  // CLOSED, ENDED, ANSWERED: reason. LOG, ERROR: message. COMMENT: text.
  pagi_sse_bytes text;
  // EVENT: the data. ERROR: the beginning of an answer's body.
  pagi_sse_bytes data;
  // EVENT: the type, `message` if the stream named none.
  pagi_sse_bytes event;
  // EVENT: the last event id in force.
  pagi_sse_bytes id;
  // REQUEST, ANSWERED: the method.
  pagi_sse_bytes method;
  // REQUEST, ANSWERED: the HTTP version, as `1.1`.
  pagi_sse_bytes version;
  // REQUEST: the path, percent-decoded.
  pagi_sse_bytes path;
  // REQUEST, ANSWERED: the path as it came.
  pagi_sse_bytes raw_path;
  // REQUEST, ANSWERED: what stands behind the question mark.
  pagi_sse_bytes query;
  // REQUEST, ANSWERED: the client's address; empty for a Unix socket.
  pagi_sse_bytes client;
  // REQUEST, ANSWERED: the address it came to, or the socket's path.
  pagi_sse_bytes server;
  // REQUEST, ANSWERED, OPEN, ERROR: packed; pagi_sse_record_header reads them.
  pagi_sse_bytes headers;
  // OPEN, ERROR: where the answer came from.
  pagi_sse_bytes url;
} pagi_sse_record;

// What pagi_sse_server_run and pagi_sse_runtime_run call: with a record, which
// lives until the function returns, and the `user` of theirs. It returns 0 to
// go on; anything else ends the run, which returns that number. It may call any
// function of this library. It must not leave in another way (longjmp, a C++
// exception).
typedef int32_t (*pagi_sse_callback)(const pagi_sse_record *record, void *user);

// Reads one record of a buffer that pagi_sse_server_next,
// pagi_sse_runtime_next, pagi_sse_client_next or pagi_sse_parser_next has
// filled. All that wait are read by `while (pagi_sse_server_next(server, buf,
// sizeof buf, &used) > 0)` and in it `for (size_t at = 0;
// pagi_sse_record_read(buf, used, &at, &r, sizeof r) > 0;)`, whatever the first
// gives.
//
// *Parameters*: `buf` points to `used` bytes, as they were filled; `at` points
// to a `size_t`: 0 at first, and this function moves it on; `out` points to
// `size`, that is, sizeof(pagi_sse_record), writable bytes.
//
// *Returns* 1: a record was read; 0: that was the end, and `out` is as it was;
// or PAGI_SSE_RESULT_BAD_ARGUMENT (bytes that are no record, an impossible `at`
// or `size`), _NULL_POINTER (also for `size` 0), and `at` is as it was.
// *Ownership*: the record's bytes are in `buf` and live as long.
PAGI_SSE_NODISCARD
int32_t pagi_sse_record_read(const char *buf,
                             size_t used,
                             size_t *at,
                             pagi_sse_record *out,
                             size_t size);

// Finds a request's header field by its name.
//
// *Parameters*: `headers` is that of a record whose buffer lives; `name` is
// valid for `len`, in any case of letters; `out` points to a writable
// pagi_sse_bytes.
//
// *Returns* 1, and the value of the last field of that name; 0 if there is none
// and `out` is as it was; or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (bytes
// that are no header fields).
// *Ownership*: the value is in the record's buffer.
PAGI_SSE_NODISCARD
int32_t pagi_sse_record_header(pagi_sse_bytes headers,
                               const char *name,
                               size_t len,
                               pagi_sse_bytes *out);

// A request's header field by its place, from 0 on. Names are in lower case.
//
// *Parameters*: `headers` is that of a record whose buffer lives; `out` points
// to a writable pagi_sse_header.
//
// *Returns* 1, and 0 behind the last field and `out` is as it was; or
// PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (bytes that are no header
// fields).
// *Ownership*: name and value are in the record's buffer.
PAGI_SSE_NODISCARD
int32_t pagi_sse_record_header_at(pagi_sse_bytes headers,
                                  size_t index,
                                  pagi_sse_header *out);

// The value of the first parameter of that name in a query, as browsers write
// it (application/x-www-form-urlencoded, by the WHATWG's URL standard): `&`
// parts, `+` is a space, `%2B` a plus. A parameter without `=` has an empty
// value.
//
// *Parameters*: `query`, as a REQUEST record has it, and `name`, decoded, are
// valid for their lengths; `buf`, `cap` and `len` are those of a text.
//
// *Returns* 1, and in `len` the value's length, bytes, without a NUL; it is
// UTF-8, with U+FFFD for what was none; 0 if there is no such parameter, and
// nothing was written; or PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER,
// _BAD_ARGUMENT.
PAGI_SSE_NODISCARD
int32_t pagi_sse_query_value(const char *query,
                             size_t query_len,
                             const char *name,
                             size_t name_len,
                             char *buf,
                             size_t cap,
                             size_t *len);

// As REQUEST's `path` is made of its `raw_path`: decodes `%` and two
// hexadecimal digits; all else stays, a `+` too.
//
// *Parameters*: `text` is valid for `text_len`; `buf`, `cap` and `len` are
// those of a text.
//
// *Returns* 0, and in `len` the length, bytes, without a NUL, of any bytes; or
// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _BAD_ARGUMENT.
PAGI_SSE_NODISCARD
int32_t pagi_sse_percent_decode(const char *text,
                                size_t text_len,
                                char *buf,
                                size_t cap,
                                size_t *len);

// Waits until pagi_sse_server_next has records, for a host without a loop.
//
// *Parameters*: `server`; `timeout_ms`, the longest wait, 0 for none,
// PAGI_SSE_FOREVER.
//
// *Returns* 1: take the records (there is none after pagi_sse_server_wake, or
// where another thread was faster); 0: the time is over, or this thread has
// handled a signal; or PAGI_SSE_RESULT_STOPPED (pagi_sse_server_stop has
// returned, and all records were taken), _OS, or a handle error:
// PAGI_SSE_RESULT_HANDLE_STALE also when the server is freed meanwhile.
// *Threads*: several at a time. A signal that comes just before the wait ends
// none: use a time, pagi_sse_server_wake by another thread, or ppoll on
// pagi_sse_server_fd.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_wait(pagi_sse_server server, uint64_t timeout_ms);

// Waits for records and calls back with one after the other, in this thread: a
// host's whole loop. No buffer is needed, nor pagi_sse_server_flush.
//
// *Parameters*: `server`; `callback`, as pagi_sse_callback says; `user` is
// passed on to it; `timeout_ms`, after which it returns, and before that
// whatever waited at the beginning was called back with; PAGI_SSE_FOREVER.
//
// *Returns* what the callback returned, other than 0; 0: the time is over, this
// thread has handled a signal, or pagi_sse_server_wake was called since a run
// told of it last, so call again to go on; or PAGI_SSE_RESULT_STOPPED (the
// usual end: pagi_sse_server_stop has returned, and all records were called
// back with), _NULL_POINTER, _OS, or a handle error:
// PAGI_SSE_RESULT_HANDLE_STALE also when the server is freed meanwhile, as by
// the callback.
// *Ownership*: the connections of REQUEST records are the caller's. What it has
// not called back with stays for the next call, or for pagi_sse_server_next.
// *Threads*: of several at a time each gets other records. Nothing of the
// server is held while the callback runs: it may stop and free it. As
// pagi_sse_server_wait for signals.
// *Fork*: a callback that forks goes on in the parent.
PAGI_SSE_NODISCARD
int32_t pagi_sse_server_run(pagi_sse_server server,
                            pagi_sse_callback callback,
                            void *user,
                            uint64_t timeout_ms);

// Waits until pagi_sse_runtime_next has records, for a host without a loop.
//
// *Parameters*: `runtime`; `timeout_ms` as for pagi_sse_server_wait.
//
// *Returns* as pagi_sse_server_wait.
// *Threads*: as pagi_sse_server_wait.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_wait(pagi_sse_runtime runtime, uint64_t timeout_ms);

// Waits for records and calls back with one after the other, in this thread.
//
// *Parameters*: `runtime`; the others as for pagi_sse_server_run.
//
// *Returns* as pagi_sse_server_run.
// *Threads*: as pagi_sse_server_run.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_run(pagi_sse_runtime runtime,
                             pagi_sse_callback callback,
                             void *user,
                             uint64_t timeout_ms);

/* ---- Connections ------------------------------------------------------- */

// In `flags` of an event: its data is JSON. It is checked (RFC 8259), and white
// space between its tokens is left out, so that it is one line; all else stays
// as it is: numbers, the order of members, escapes.
#define PAGI_SSE_EVENT_JSON 1

// In `flags` of an event: it has a `retry_ms`.
#define PAGI_SSE_EVENT_RETRY 2

// In `flags` of an event that is published: the topic's state forgets the key.
#define PAGI_SSE_EVENT_DELETE 4

// In `flags` of an event that is published: subscribers do not get it; to fill
// history and state at the start.
#define PAGI_SSE_EVENT_QUIET 8

// Where a connection stands.
PAGI_SSE_ENUM(pagi_sse_state) {
  PAGI_SSE_STATE_PENDING = 0,     // Neither a stream nor an ordinary response has begun.
  PAGI_SSE_STATE_STARTED = 1,     // The event stream has begun.
  PAGI_SSE_STATE_CLOSED = 2,      // Over, by either side.
  PAGI_SSE_STATE_RESPONDING = 3,  // An ordinary HTTP response was chosen in place of a stream.
};

// What a connection writes around its events.
PAGI_SSE_ENUM(pagi_sse_wire) {
  PAGI_SSE_WIRE_HTTP11 = 0,  // An HTTP/1.1 response head, and the events in chunks.
  PAGI_SSE_WIRE_HTTP10 = 1,  // The same head for an HTTP/1.0 client; the events as they are.
  PAGI_SSE_WIRE_EVENTS = 2,  // The events alone: the host writes a head, or needs none.
};

// What pagi_sse_conn_read_body has met.
PAGI_SSE_ENUM(pagi_sse_body) {
  PAGI_SSE_BODY_END = 0,   // The end of the body: there is no more.
  PAGI_SSE_BODY_MORE = 1,  // More may follow: call again.
  PAGI_SSE_BODY_WAIT = 2,  // Nothing has come yet: a BODY record will tell.
};

// An event. Zero the struct, set `size` and what it has. Text is UTF-8; what is
// absent is NULL with length 0.
typedef struct pagi_sse_event {
  // sizeof(pagi_sse_event): lets the struct grow.
  size_t size;
  // The data. CR, LF and CRLF in it each end a line; the client joins them with
  // LF. Without data it changes the client's id or reconnection time and fires
  // nothing there.
  pagi_sse_bytes data;
  // The type, without CR and LF; absent or empty: `message`.
  pagi_sse_bytes event;
  // The id, which comes back in a header of the client's: no control characters
  // but a tab within, no white space at its ends, at most PAGI_SSE_ID_BYTES; an
  // empty one resets the client's.
  pagi_sse_bytes id;
  // Only pagi_sse_hub_publish takes it: what it is the newest state of.
  pagi_sse_bytes key;
  // The client's reconnection time, with PAGI_SSE_EVENT_RETRY, at most
  // INT64_MAX; 0 without.
  uint64_t retry_ms;
  // PAGI_SSE_EVENT_ bits.
  uint32_t flags;
  // Must be 0.
  uint32_t reserved;
} pagi_sse_event;

// What went over a connection so far, and its output queue.
typedef struct pagi_sse_conn_counts {
  // Events queued.
  uint64_t events;
  // Comments queued, keepalives among them.
  uint64_t comments;
  // Sends that the full queue refused.
  uint64_t refused;
  // Bytes of content that left the queue for the client, without head and
  // framing of chunks.
  uint64_t bytes_sent;
  // Bytes in the queue now.
  uint64_t queued_bytes;
  // The queue's low mark, bytes.
  uint64_t low;
  // Its high mark.
  uint64_t high;
  // Its limit.
  uint64_t limit;
} pagi_sse_conn_counts;

// Opens a detached connection: the library keeps its state, the host does the
// I/O and the framing. It has no output: functions that queue some give
// PAGI_SSE_RESULT_NOT_HOSTED.
//
// *Parameters*: `out` points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _HANDLES_EXHAUSTED.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_open_detached(pagi_sse_conn *out);

// Opens a connection whose output the host takes with pagi_sse_conn_read and
// carries over a transport of its own: inside another HTTP server, TLS,
// FastCGI. The runtime's records say when there is output; its threads send the
// keepalives. pagi_sse_conn_free takes along the records that wait of it, but
// for ENDED.
//
// *Parameters*: `runtime`; `wire` is one of enum pagi_sse_wire; `out` points to
// a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (wire), _STOPPED,
// _RECORDS_UNREAD (65,536 ENDED records), _HANDLES_EXHAUSTED, or a handle
// error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_open_queue(pagi_sse_runtime runtime,
                                 int32_t wire,
                                 pagi_sse_conn *out);

// Opens a connection on a socket of the host's: TCP or Unix, of stream type,
// connected, its request read. The runtime writes, and watches for the client's
// end. What the client still sends is read and forgotten; more than
// PAGI_SSE_FORGOTTEN_BYTES (64 KiB) of it within a minute end the stream,
// reason `protocol_error`.
//
// *Parameters*: `runtime`; `fd` is a descriptor that nobody else uses; `wire`
// is one of enum pagi_sse_wire; `out` points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (wire),
// _BAD_SOCKET, _OS (out of descriptors), _STOPPED, _RECORDS_UNREAD (65,536
// ENDED records: each free of a socket leaves one), _HANDLES_EXHAUSTED, or a
// handle error.
// *Ownership*: after 0 `fd` is the library's, until it closes it: non-blocking
// and close-on-exec. Take it out of the host's own epoll or poll set before or
// at once afterwards (EPOLL_CTL_DEL works while it is open), else that wakes
// the host for what the library reads. After an error it is the caller's as
// before, with its flags. The handle is the caller's; pagi_sse_conn_free ends
// it.
// *Fork*: the socket stays the parent's.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_open_fd(pagi_sse_runtime runtime,
                              int32_t fd,
                              int32_t wire,
                              pagi_sse_conn *out);

// Gives a connection back. One that is still open is closed first (reason
// `app_closed`, as pagi_sse_conn_close). What it has queued is still sent, but
// dropped if only pagi_sse_conn_read could have taken it. Of its records only
// ENDED comes from now on.
//
// *Returns* 0, or a handle error: PAGI_SSE_RESULT_HANDLE_STALE for a second
// call.
int32_t pagi_sse_conn_free(pagi_sse_conn conn);

// Gives the number of a stream that is subscribed to a hub back without closing
// it: it lives on for the hub, to its client's end or its own. Of its records
// only ENDED comes from now on. A stream that has ended meanwhile is just given
// back.
//
// *Returns* 0, or PAGI_SSE_RESULT_NOT_SUBSCRIBED for a connection that nobody
// could answer or end then: one not begun or answered by an ordinary response,
// one without a subscription, a queue, a detached one; nothing has changed; or
// a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_hand_over(pagi_sse_conn conn);

// Begins the event stream. Where the library writes the response head,
// `content-type`, `cache-control`, `x-accel-buffering` and `date` are added if
// absent, and fields that frame the message (`connection`, `content-length`,
// `transfer-encoding`) are its own. Sends begin the stream too, with 200. A
// server's stream goes out when the request body is here in full; when that
// breaks off, the answer is 400. To HEAD goes the head alone, and then the
// stream is over: a CLOSED record, reason `app_closed`.
//
// *Parameters*: `conn`; `status`, 200 to 599; `headers` points to `count`
// structs (NULL for 0; at most 128) whose pointers are valid for their lengths.
//
// *Returns* 1 if this call began it, 0 if it had begun; or
// PAGI_SSE_RESULT_CLOSED, _DECLINED, _STATUS, _BODILESS_STATUS (204, 205, 304),
// _HEADER_NAME, _HEADER_VALUE, _NULL_POINTER, _BAD_ARGUMENT, or a handle error;
// then nothing has changed.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_start(pagi_sse_conn conn,
                            uint16_t status,
                            const pagi_sse_header *headers,
                            size_t count);

// For a host that does the I/O of a detached connection: may an event go out
// now? Begins the stream if it had not begun.
//
// *Returns* 0: yes; 1: yes, and the stream's start must go out first; or
// PAGI_SSE_RESULT_CLOSED, _DECLINED, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_admit(pagi_sse_conn conn);

// As pagi_sse_conn_admit, and checks the event first.
//
// *Parameters*: `conn`; `event` as for pagi_sse_conn_send_event.
//
// *Returns* as pagi_sse_conn_admit; or what pagi_sse_conn_send_event refuses an
// event by, and nothing has changed.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_admit_event(pagi_sse_conn conn,
                                  const pagi_sse_event *event);

// Queues an event that has only data. Begins the stream if need be. CR, LF and
// CRLF in the data each end a line; the client joins them with LF.
//
// *Parameters*: `conn`; `data` is valid for `len`; UTF-8.
//
// *Returns* 0: queued; 1: queued, and the queue is at or above its high mark,
// so wait for the DRAINED record; after 0, and once after each DRAINED record,
// an event of any size is taken; or PAGI_SSE_RESULT_QUEUE_OVERFLOW (full, and
// this event is not in it), _CLOSED, _DECLINED, _NOT_UTF8, _NOT_HOSTED,
// _NULL_POINTER (`data`, whatever the length), _BAD_ARGUMENT (a length beyond 1
// GiB), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_send(pagi_sse_conn conn, const char *data, size_t len);

// Queues an event. Begins the stream if need be.
//
// *Parameters*: `conn`; `event` points to a struct of the size that it says,
// whose pointers are valid for their lengths.
//
// *Returns* as pagi_sse_conn_send; or, and nothing has changed,
// PAGI_SSE_RESULT_EVENT_NEWLINE, _ID_NEWLINE, _ID_NUL, _ID_HEADER, _JSON
// (pagi_sse_error says what is wrong at which line and column), _NULL_POINTER
// (`event`, the data of PAGI_SSE_EVENT_JSON), _BAD_ARGUMENT (pagi_sse_error
// names it: a size, an unknown flag, `retry_ms` without its flag, `key` or a
// flag that is for pagi_sse_hub_publish, a length).
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_send_event(pagi_sse_conn conn,
                                 const pagi_sse_event *event);

// Queues a comment: a colon is put before each line that does not begin with
// one. Begins the stream if need be.
//
// *Parameters*: `conn`; `comment` is NULL with length 0, for an empty one, or
// valid for `len`; UTF-8.
//
// *Returns* as pagi_sse_conn_send, but an absent comment is no error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_comment(pagi_sse_conn conn,
                              const char *comment,
                              size_t len);

// Has a comment sent whenever nothing else was for so long. The last setting
// wins. Never begins the stream.
//
// *Parameters*: `conn`; `interval_ms` in milliseconds, 10 to 86400000, or 0 to
// end it; `comment` is NULL with length 0, for an empty one, or valid for
// `len`; UTF-8.
//
// *Returns* 0, or PAGI_SSE_RESULT_INTERVAL, _CLOSED, _DECLINED, _NOT_HOSTED,
// _NOT_UTF8, _NULL_POINTER, _BAD_ARGUMENT, or a handle error; then the setting
// is as it was.
int32_t pagi_sse_conn_keepalive(pagi_sse_conn conn,
                                uint64_t interval_ms,
                                const char *comment,
                                size_t len);

// Closes by the application. What is queued is still sent; a stream that had
// not begun is answered with 200 and no event. An ordinary response whose body
// was ended goes out in whole, and then ENDED has no reason.
//
// *Parameters*: `conn`; `reason` is NULL with length 0, for `app_closed`, or
// valid for `len`; UTF-8.
//
// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes),
// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
int32_t pagi_sse_conn_close(pagi_sse_conn conn, const char *reason, size_t len);

// Says whether the host program takes a request for a stream, in place of what
// its `Accept` field says. As long as nothing has been chosen, a stop of the
// server ends a stream at once, as an empty one, and waits for an ordinary
// response. Either may be sent nevertheless.
//
// *Parameters*: `conn`; `stream`: 1 or 0.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_conn_expect_stream(pagi_sse_conn conn, int32_t stream);

// Breaks the connection off, as the application has failed: what is queued is
// still sent, but then the connection ends without the last chunk (HTTP/1.1),
// or before the end of an ordinary response's body, so that the client does not
// take the part for the whole. What had not begun is answered with 500 by a
// server of this library, and with nothing elsewhere. Over HTTP/1.0 no client
// can tell this end of a stream from another.
//
// *Parameters*: `conn`; `reason` is NULL with length 0, for `server_error`, or
// valid for `len`; UTF-8.
//
// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes),
// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
int32_t pagi_sse_conn_abort(pagi_sse_conn conn, const char *reason, size_t len);

// Reports that the client has gone, for a host that sees it: what is queued is
// dropped, nothing more can be sent. A CLOSED record follows, as for every end
// that is not pagi_sse_conn_close or _abort, and then ENDED. Detached
// connections have no records.
//
// *Parameters*: `conn`; `reason` is NULL with length 0, for `client_closed`, or
// valid for `len`; UTF-8.
//
// *Returns* 1 if this call closed it; 0 if it was closed, and the first reason
// stays; or PAGI_SSE_RESULT_NOT_UTF8, _REASON_TOO_LONG (1024 bytes),
// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
int32_t pagi_sse_conn_disconnect(pagi_sse_conn conn, const char *reason, size_t len);

// Takes output of a connection of pagi_sse_conn_open_queue: bytes for the
// client, in order. Call it until it gives less than `cap`; then an OUTPUT
// record tells of more.
//
// *Parameters*: `conn`; `buf` points to `cap` writable bytes, `len` to a
// writable `size_t`.
//
// *Returns* 0, and in `len` how many bytes were written, 0 if nothing waits
// now; or PAGI_SSE_RESULT_CLOSED: the connection is closed and all was taken,
// so end the transport; _NOT_PULLED or _NOT_HOSTED: the output is not the
// caller's to read; _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a
// handle error.
// *Ownership*: the bytes are the caller's, and no longer queued.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_read(pagi_sse_conn conn,
                           char *buf,
                           size_t cap,
                           size_t *len);

// Where the connection stands.
//
// *Returns* one of enum pagi_sse_state, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_state(pagi_sse_conn conn);

// Why the connection closed: PAGI's reason token, as `client_closed`.
//
// *Parameters*: `conn`; `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, and in `len` the length, bytes, without a NUL, which is 0 while
// open or when no reason is known; or PAGI_SSE_RESULT_BUFFER_SMALL,
// _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_reason(pagi_sse_conn conn,
                             char *buf,
                             size_t cap,
                             size_t *len);

// Has the hub deliver to this connection, if it is subscribed, what was
// published by now. Sends, comments, the end of the connection and that of its
// subscription do so by themselves; a host program that has another way to the
// client does it before using that.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_conn_catch_up(pagi_sse_conn conn);

// Gives the connection a number of the host's, as the address of what the host
// knows of it: `user` of its records, in place of a look-up. ENDED is the last
// record that is read of a connection and comes once, also behind
// pagi_sse_conn_free and _hand_over: the place to free what is at that address.
// It does not come for what was left when its server or runtime was freed, and
// a detached connection has no records. Of several threads that take records
// one may still be at an earlier one.
//
// *Parameters*: `conn`; `user`, 0 at first.
//
// *Returns* 0; or 1: the connection ended before, so that its ENDED record has
// the number only if it is read before pagi_sse_conn_free; or a handle error.
// *Ownership*: what it stands for stays the host's.
int32_t pagi_sse_conn_set_user(pagi_sse_conn conn, uint64_t user);

// Bytes queued and not yet taken by the kernel, or by pagi_sse_conn_read.
//
// *Returns* their number, or a handle error.
PAGI_SSE_NODISCARD
int64_t pagi_sse_conn_buffered(pagi_sse_conn conn);

// Counters of a connection, and depth and marks of its queue.
//
// *Parameters*: `conn`; `out` points to `size`, that is,
// sizeof(pagi_sse_conn_counts), writable bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_counters(pagi_sse_conn conn,
                               pagi_sse_conn_counts *out,
                               size_t size);

// Sets the marks of the output queue: from `high` bytes on sends give 1, at
// `low` a DRAINED record is made, and beyond `limit` sends are refused (not
// counting what a hub published, nor two events that may be of any size: one
// that finds less than `high`, and one more after a DRAINED record). What is
// queued stays.
//
// *Parameters*: `conn`; `low` (16384) below `high` (65536), which is not above
// `limit` (1048576).
//
// *Returns* 0, or PAGI_SSE_RESULT_BAD_ARGUMENT, _NOT_HOSTED, or a handle error.
int32_t pagi_sse_conn_set_marks(pagi_sse_conn conn, uint32_t low, uint32_t high, uint32_t limit);

// Chooses an ordinary HTTP response in place of a stream, for a request of a
// server. The body follows by pagi_sse_conn_body; the head goes with the first
// of it. A response of type `text/event-stream` is a stream in disguise: its
// head goes at once, the client's half-close ends it, and so does
// pagi_sse_server_close_streams, as a whole response.
//
// *Parameters*: As pagi_sse_conn_start.
//
// *Returns* 0, or PAGI_SSE_RESULT_ALREADY_STARTED (also for connections that
// are always streams: those of a runtime), _DECLINED (a response was chosen
// already), _CLOSED, _STATUS, _HEADER_NAME, _HEADER_VALUE, _CONTENT_LENGTH (no
// number, or several), _NOT_HOSTED, _NULL_POINTER, _BAD_ARGUMENT, or a handle
// error; then nothing has changed.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_respond(pagi_sse_conn conn,
                              uint16_t status,
                              const pagi_sse_header *headers,
                              size_t count);

// Queues body bytes of an ordinary response.
//
// *Parameters*: `conn`; `body` is NULL with length 0 or valid for `len`; `more`
// is 0 if this ends the body.
//
// *Returns* as pagi_sse_conn_send; or PAGI_SSE_RESULT_NO_RESPONSE before
// pagi_sse_conn_respond and after the end, _CONTENT_LENGTH if the body is not
// as long as the field of that name said.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_body(pagi_sse_conn conn,
                           const char *body,
                           size_t len,
                           int32_t more);

// Takes request body bytes. Their end and their breaking off are two things: a
// client that leaves, or sends what is no chunk, has not sent its body.
//
// *Parameters*: `conn`; `buf` points to `cap` writable bytes, `len` to a
// writable `size_t`.
//
// *Returns* one of enum pagi_sse_body, and in `len` how many were written; or
// PAGI_SSE_RESULT_BODY_INCOMPLETE (all that came was taken, and the rest will
// never come; an ordinary response may still be given where its client has but
// ended its side, and a server of this library answers 400 to one that is
// closed without), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle
// error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_conn_read_body(pagi_sse_conn conn,
                                char *buf,
                                size_t cap,
                                size_t *len);

/* ---- Hubs -------------------------------------------------------------- */

// What a hub is like; add them up.
PAGI_SSE_ENUM(pagi_sse_hub_flag) {
  PAGI_SSE_HUB_FLAG_OWN_IDS = 1,    // No id of the hub's is ever sent: an event without one of the
                                    // program's has none, and a client that has seen none is a new
                                    // one when it comes back.
  PAGI_SSE_HUB_FLAG_NO_CREATE = 2,  // Subscribers may name those topics only that exist, unless
                                    // their options say otherwise.
};

// What becomes of an event for a subscriber whose queue is full.
PAGI_SSE_ENUM(pagi_sse_full) {
  PAGI_SSE_FULL_DISCONNECT = 0,   // The subscriber is disconnected, reason `queue_overflow`.
  PAGI_SSE_FULL_DROP_OLDEST = 1,  // The oldest that waits is dropped.
  PAGI_SSE_FULL_DROP_NEWEST = 2,  // The new one is dropped.
  PAGI_SSE_FULL_LATEST = 3,       // Of each key the newest is kept.
};

// How a subscription has begun. A client of TOO_OLD or UNKNOWN got the reset
// event, and then what is kept.
PAGI_SSE_ENUM(pagi_sse_resume) {
  PAGI_SSE_RESUME_NEW = 0,      // A new client.
  PAGI_SSE_RESUME_RESUMED = 1,  // After its id, with all that it missed.
  PAGI_SSE_RESUME_TOO_OLD = 2,  // Its id is too old: a topic of its own has forgotten an event
                                // since.
  PAGI_SSE_RESUME_UNKNOWN = 3,  // Its id is unknown, or of another epoch.
};

// What pagi_sse_hub_history reads.
PAGI_SSE_ENUM(pagi_sse_kept) {
  PAGI_SSE_KEPT_HISTORY = 0,  // The history.
  PAGI_SSE_KEPT_STATE = 1,    // The newest event of each key.
};

// A yes or no of options.
PAGI_SSE_ENUM(pagi_sse_choice) {
  PAGI_SSE_CHOICE_DEFAULT = 0,  // As elsewhere said.
  PAGI_SSE_CHOICE_YES = 1,      // Yes.
  PAGI_SSE_CHOICE_NO = 2,       // No.
};

// What topics remember. Zero the struct, set `size` and what matters. 0
// elsewhere: in pagi_sse_hub_open the default named here, in pagi_sse_hub_topic
// what the topic has, which at first is the hub's.
typedef struct pagi_sse_topic_options {
  // sizeof(pagi_sse_topic_options): lets the struct grow.
  size_t size;
  // Events of a topic's history (1000).
  uint64_t events;
  // Bytes of it: of each event as framed, its key and id, and 200 (4 MiB).
  uint64_t bytes;
  // Age of it, milliseconds (an hour).
  uint64_t age_ms;
  // How long a topic outlives its last subscriber and event, milliseconds (ten
  // minutes).
  uint64_t ttl_ms;
  // Of enum pagi_sse_choice: whether the topic keeps the newest event of each
  // key (10000 keys at most; in all topics half of the hub's bytes), and a new
  // or reset subscriber gets those first.
  uint32_t state;
  // Must be 0.
  uint32_t reserved;
} pagi_sse_topic_options;

// How a subscription begins and what it takes. Zero the struct, set `size` and
// what matters; 0 elsewhere means the default.
typedef struct pagi_sse_subscribe_options {
  // sizeof(pagi_sse_subscribe_options): lets the struct grow.
  size_t size;
  // The id that the client has seen (its Last-Event-ID), as it sent it: what is
  // no UTF-8 is an unknown id. Absent: a new client.
  pagi_sse_bytes last_event_id;
  // The type of the event that says "you missed something" (`reset`).
  pagi_sse_bytes reset_event;
  // When the queue is full: one of enum pagi_sse_full.
  uint32_t full;
  // Published events that may wait (10000).
  uint32_t max_events;
  // Published bytes that may wait (1 MiB).
  uint64_t max_bytes;
  // A new client first gets so many of the newest events that its topics have
  // kept, in all; what a state topic's newer event of the same key has replaced
  // does not count. Whom its id resumes, or resets, does not care.
  uint32_t last;
  // Topics that it may name, 1 to 1000 (1000): for names that come from a
  // client.
  uint32_t max_topics;
  // Of enum pagi_sse_choice: whether those that do not exist are created, or
  // refused (PAGI_SSE_RESULT_NO_TOPIC); by default as the hub says.
  uint32_t create;
  // Must be 0.
  uint32_t reserved;
} pagi_sse_subscribe_options;

// Figures of a subscription.
typedef struct pagi_sse_subscription_counts {
  // Events delivered to the connection's queue or socket, and not dropped there
  // later.
  uint64_t delivered;
  // Events left out or dropped, as the queue was full.
  uint64_t dropped;
  // Bytes that wait in the connection's queue now.
  uint64_t queued_bytes;
  // 1, or 0 when it has ended.
  uint64_t active;
} pagi_sse_subscription_counts;

// Figures of a hub. Counts are from the beginning.
typedef struct pagi_sse_hub_counts {
  // Events published.
  uint64_t published;
  // Connections that are subscribed now.
  uint64_t connections;
  // Bytes published and not yet delivered.
  uint64_t pending_bytes;
  // Bytes of all histories.
  uint64_t kept_bytes;
  // Events that left a history before their time, as the hub's bytes were full.
  uint64_t evicted;
  // Events that subscribers with a full queue did not get.
  uint64_t dropped;
  // Subscribers that were disconnected for that.
  uint64_t overflows;
  // Subscribers whose queue is above its high mark now.
  uint64_t high;
} pagi_sse_hub_counts;

// Figures of a topic.
typedef struct pagi_sse_topic_counts {
  // Subscriptions.
  uint64_t subscribers;
  // Events published to it since it is there.
  uint64_t published;
  // Events of its history.
  uint64_t kept_events;
  // Bytes of these.
  uint64_t kept_bytes;
  // Keys of its state.
  uint64_t keys;
  // Bytes of these.
  uint64_t state_bytes;
  // Events whose key found no room in its state.
  uint64_t refused_keys;
} pagi_sse_topic_counts;

// Opens a hub: topics with history, and a thread that delivers.
//
// *Parameters*: `epoch` (1 to 40 letters, digits, `-` and `_`) begins each id,
// `epoch.number`; use another one at each start, as the time. `defaults` are of
// topics that have no settings of their own; NULL: see pagi_sse_topic_options.
// `total_bytes` bounds the history of all topics (0: 64 MiB). `flags` are of
// enum pagi_sse_hub_flag. The pointers are valid for their lengths; `out`
// points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_BAD_ARGUMENT, _NULL_POINTER, _NOT_UTF8, _OS,
// _HANDLES_EXHAUSTED.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_open(const char *epoch,
                          size_t epoch_len,
                          const pagi_sse_topic_options *defaults,
                          uint64_t total_bytes,
                          uint32_t flags,
                          pagi_sse_hub *out);

// Delivers what is pending, ends the thread and frees the hub. Connections stay
// open, but those given back with pagi_sse_conn_hand_over, which nobody else
// could end: they are closed in order, reason `app_closed`.
//
// *Parameters*: `hub`; `deadline_ms`, the longest wait for the delivery, up to
// 60000: what is undelivered by then is left out.
//
// *Returns* 0, or a handle error.
// *Threads*: It waits as long as the delivery lasts, as no other function of
// hubs does.
int32_t pagi_sse_hub_free(pagi_sse_hub hub, uint64_t deadline_ms);

// Gives a topic settings of its own.
//
// *Parameters*: `hub`; `topic` is 1 to 100 letters, digits and `.-_:/`, valid
// for its length; `options` is NULL, for no change, or points to a struct of
// the size that it says.
//
// *Returns* 0, or PAGI_SSE_RESULT_TOPIC_NAME, _TOO_MANY_TOPICS, _BAD_ARGUMENT,
// _NULL_POINTER, _NOT_UTF8, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_topic(pagi_sse_hub hub,
                           const char *topic,
                           size_t topic_len,
                           const pagi_sse_topic_options *options);

// Publishes an event to a topic: it is framed once, kept for replay, and
// delivered to every subscriber. Never waits for a client. While 1 MiB and more
// is undelivered it lends the delivery its thread for a moment, and from 4 MiB
// on until there is less: who publishes faster than can be delivered is slowed
// down.
//
// *Parameters*: `hub`; `topic` is valid for its length; `event` as for
// pagi_sse_conn_send_event. Without an id it gets `epoch.number`. A `key` names
// what it is the newest state of.
//
// *Returns* the event's number, from 1; 0: PAGI_SSE_EVENT_DELETE with nothing
// but a key deleted it, and there is no event; or PAGI_SSE_RESULT_TOPIC_NAME,
// _TOO_MANY_TOPICS, _EVENT_NEWLINE, _ID_NEWLINE, _ID_NUL, _ID_HEADER, _JSON,
// _NOT_UTF8, _BAD_ARGUMENT (pagi_sse_error names it: a size, an unknown flag,
// `retry_ms` without its flag, a length, a deletion without a key, an event of
// nothing under PAGI_SSE_HUB_FLAG_OWN_IDS), _NULL_POINTER, or a handle error.
PAGI_SSE_NODISCARD
int64_t pagi_sse_hub_publish(pagi_sse_hub hub,
                             const char *topic,
                             size_t topic_len,
                             const pagi_sse_event *event);

// Subscribes a connection to topics: starts its stream, replays what it missed,
// and joins the live events without a gap. In between the client may get a
// block of nothing but an `id` of the hub's: a new client does, and one whose
// replay ends with an event that is older than the newest of its topics. It may
// come back with that id then, which the host has never given. Pass it on as it
// is: the hub knows both kinds. A host that looks ids up elsewhere opens the
// hub with PAGI_SSE_HUB_FLAG_OWN_IDS, which sends no id of the hub's. The
// subscription ends with the connection, which must have a transport of the
// library's: one of a server's, or of pagi_sse_conn_open_queue and
// pagi_sse_conn_open_fd.
//
// *Parameters*: `hub`; `conn`; the topics are one name a line; the pointers are
// valid for their lengths; `options` is NULL, for the defaults, or points to a
// struct of the size that it says; `out` points to a writable handle.
//
// *Returns* one of enum pagi_sse_resume; or PAGI_SSE_RESULT_TOPIC_NAME,
// _TOPIC_COUNT, _TOO_MANY_TOPICS, _NO_TOPIC, _SUBSCRIBED (by this hub or
// another: name all topics at once), _CLOSED, _DECLINED, _NOT_HOSTED,
// _EVENT_NEWLINE (in `reset_event`), _BAD_ARGUMENT, _NULL_POINTER, _NOT_UTF8,
// _HANDLES_EXHAUSTED, or a handle error.
// *Ownership*: the subscription's handle is the caller's;
// pagi_sse_subscription_free gives it back. All else is copied.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_subscribe(pagi_sse_hub hub,
                               pagi_sse_conn conn,
                               const char *topics,
                               size_t topics_len,
                               const pagi_sse_subscribe_options *options,
                               pagi_sse_subscription *out);

// Ends a subscription; the connection stays open, but one given back with
// pagi_sse_conn_hand_over, which nobody else could end: it is closed in order,
// reason `app_closed`.
//
// *Returns* 0, also when it has ended already; or a handle error.
int32_t pagi_sse_subscription_cancel(pagi_sse_subscription subscription);

// Gives the handle back. The subscription goes on to its connection's end.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_subscription_free(pagi_sse_subscription subscription);

// A subscription's figures, as a JSON object: the members of
// pagi_sse_subscription_counts, `active` as true or false.
//
// *Parameters*: `subscription`; `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_subscription_stats(pagi_sse_subscription subscription,
                                    char *buf,
                                    size_t cap,
                                    size_t *len);

// A subscription's figures, as numbers: see pagi_sse_subscription_counts.
//
// *Parameters*: `subscription`; `out` points to `size`, that is,
// sizeof(pagi_sse_subscription_counts), writable bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_subscription_counters(pagi_sse_subscription subscription,
                                       pagi_sse_subscription_counts *out,
                                       size_t size);

// For producers that can wait: whether no subscriber's queue is above its high
// mark and less than 64 KiB is undelivered. Delivers nothing by itself.
//
// *Returns* 1: ready; 0: not, and a READY record will come to every server and
// runtime that has subscribers of this hub; or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_ready(pagi_sse_hub hub);

// Closes the connections subscribed to a topic, in order: after what was
// published before, which it delivers to them.
//
// *Parameters*: `hub`; `topic` is NULL with length 0, for any, or valid for its
// length; `reason` is valid for its length; UTF-8.
//
// *Returns* how many, or PAGI_SSE_RESULT_TOPIC_NAME, _REASON_TOO_LONG (1024
// bytes), _NULL_POINTER, _NOT_UTF8, _BAD_ARGUMENT, or a handle error.
int64_t pagi_sse_hub_close_streams(pagi_sse_hub hub,
                                   const char *topic,
                                   size_t topic_len,
                                   const char *reason,
                                   size_t reason_len);

// What a topic has kept, oldest first, as a JSON array of objects: `id` (what
// clients got, if anything), `event`, `data` (its line breaks LF), `retry` and
// `key`, those that the event has, and `delete`: true if it deleted the key.
//
// *Parameters*: `hub`; `topic` is valid for its length; `state` is one of enum
// pagi_sse_kept; `last`: the newest so many of them, 0 for all; `buf`, `cap`
// and `len` are those of a text.
//
// *Returns* 0, and in `len` the length, bytes, without a NUL, of `[]` for a
// topic that does not exist; or PAGI_SSE_RESULT_BUFFER_SMALL, _TOPIC_NAME,
// _NOT_UTF8, _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_history(pagi_sse_hub hub,
                             const char *topic,
                             size_t topic_len,
                             int32_t state,
                             uint64_t last,
                             char *buf,
                             size_t cap,
                             size_t *len);

// Whether a topic exists: the program has published to it, or has settings for
// it, or somebody is subscribed; and its time is not over.
//
// *Parameters*: `hub`; `topic` is valid for its length.
//
// *Returns* 1 or 0, or PAGI_SSE_RESULT_TOPIC_NAME, _NULL_POINTER, _NOT_UTF8,
// _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_has_topic(pagi_sse_hub hub,
                               const char *topic,
                               size_t topic_len);

// Counts the subscriptions of a topic.
//
// *Parameters*: `hub`; `topic` is valid for its length.
//
// *Returns* their number, or PAGI_SSE_RESULT_TOPIC_NAME, _NULL_POINTER,
// _NOT_UTF8, _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int64_t pagi_sse_hub_subscribers(pagi_sse_hub hub,
                                 const char *topic,
                                 size_t topic_len);

// A hub's figures, as a JSON object: `epoch`, the members of
// pagi_sse_hub_counts, and `topics`, by name: the members of
// pagi_sse_topic_counts.
//
// *Parameters*: `hub`; `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_stats(pagi_sse_hub hub, char *buf, size_t cap, size_t *len);

// A hub's figures, as numbers: see pagi_sse_hub_counts.
//
// *Parameters*: `hub`; `out` points to `size`, that is,
// sizeof(pagi_sse_hub_counts), writable bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_hub_counters(pagi_sse_hub hub,
                              pagi_sse_hub_counts *out,
                              size_t size);

// A topic's figures, as numbers: see pagi_sse_topic_counts.
//
// *Parameters*: `hub`; `topic` is valid for its length; `out` points to `size`,
// that is, sizeof(pagi_sse_topic_counts), writable bytes.
//
// *Returns* 1, or 0 for a topic that is not there, and then all are 0; or
// PAGI_SSE_RESULT_TOPIC_NAME, _NOT_UTF8, _NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_topic_counters(pagi_sse_hub hub,
                                const char *topic,
                                size_t topic_len,
                                pagi_sse_topic_counts *out,
                                size_t size);

/* ---- Frames ------------------------------------------------------------ */

// Encodes an event into the caller's buffer: `event`, `id`, `retry` and `data`
// lines and a blank line, as they go over the wire. An event with no field at
// all is 0 bytes. Allocates nothing, but for JSON that has white space.
//
// *Parameters*: `event` as for pagi_sse_conn_send_event. `buf` is NULL with
// `cap` 0, to ask for the size, or points to `cap` writable bytes apart from
// those of the event; `len` points to a writable `size_t`.
//
// *Returns* 0, and in `len` the frame's length; or
// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _NOT_UTF8, _EVENT_NEWLINE,
// _ID_NEWLINE, _ID_NUL, _ID_HEADER, _JSON, _BAD_ARGUMENT (as there; overlap).
PAGI_SSE_NODISCARD
int32_t pagi_sse_frame_event(const pagi_sse_event *event,
                             char *buf,
                             size_t cap,
                             size_t *len);

// Encodes a comment into the caller's buffer: a colon before each line that
// does not begin with one, and a blank line. Allocates nothing.
//
// *Parameters*: `comment` is NULL with length 0, for an empty one, or valid for
// `comment_len`; UTF-8. `buf` is NULL with `cap` 0, to ask for the size, or
// points to `cap` writable bytes apart from `comment`; `len` points to a
// writable `size_t`.
//
// *Returns* 0, and in `len` the frame's length; or
// PAGI_SSE_RESULT_BUFFER_SMALL, _NULL_POINTER, _NOT_UTF8, _BAD_ARGUMENT
// (overlap, a length beyond SSIZE_MAX).
PAGI_SSE_NODISCARD
int32_t pagi_sse_frame_comment(const char *comment,
                               size_t comment_len,
                               char *buf,
                               size_t cap,
                               size_t *len);

/* ---- Parsers ----------------------------------------------------------- */

// How a parser is to work. Zero the struct, set `size` and what matters; 0
// elsewhere means the default.
typedef struct pagi_sse_parser_options {
  // sizeof(pagi_sse_parser_options): lets the struct grow.
  size_t size;
  // When reconnecting: the last event id so far. UTF-8.
  pagi_sse_bytes last_event_id;
  // Longest line, bytes (1 MiB; at most 128 MiB). A longer one is dropped, and
  // its event, unless it is a comment.
  uint64_t max_line;
  // Most data in one event, bytes (4 MiB; at most 128 MiB). An event with more
  // is dropped.
  uint64_t max_event;
  // Longest id, bytes (4096; at most 128 MiB). A longer one is ignored, and its
  // event has the id before it.
  uint64_t max_id;
} pagi_sse_parser_options;

// Opens a parser for one stream.
//
// *Parameters*: `options` is NULL, for the defaults, or points to a struct of
// the size that it says; `out` points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (a size or a
// limit), _NOT_UTF8, _ID_TOO_LONG, _ID_NEWLINE, _ID_NUL (`last_event_id`),
// _HANDLES_EXHAUSTED.
PAGI_SSE_NODISCARD
int32_t pagi_sse_parser_open(const pagi_sse_parser_options *options,
                             pagi_sse_parser *out);

// Gives a parser back.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_parser_free(pagi_sse_parser parser);

// Takes the next bytes of the stream, cut anywhere; what they complete waits as
// records for pagi_sse_parser_next. It stops when 1 MiB of records wait, so
// that no stream, whatever it sends, has a parser hold more than that and the
// largest record.
//
// *Parameters*: `bytes` is NULL with length 0 or valid for `len`.
//
// *Returns* how many of the bytes it took: if not all, read the records, then
// push the rest; or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT, or a handle
// error. What the stream does wrong is no error here but a record.
PAGI_SSE_NODISCARD
int64_t pagi_sse_parser_push(pagi_sse_parser parser,
                             const char *bytes,
                             size_t len);

// Fills `buf` with whole records, never waiting: PAGI_SSE_KIND_EVENT, _COMMENT
// and _ERROR, whose `conn` is the parser. pagi_sse_record_read reads them, in
// this buffer: the id of several events stands in it once. A record takes at
// most 32 + 3 * max_line + max_event + max_id bytes, by the parser's options:
// as much as a line for a type or a comment (a byte that is no UTF-8 becomes
// three), an event's data and its id. Most take 32 more than their text.
//
// *Parameters*: `buf` points to `cap` writable bytes, `used` to a writable
// `size_t`.
//
// *Returns* how many records it put there, 0 for none, and in `used` their
// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_parser_next(pagi_sse_parser parser,
                             char *buf,
                             size_t cap,
                             size_t *used);

// The id to send when reconnecting, as the Last-Event-ID field: that of the
// last block that ended. Empty: send none.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_parser_last_event_id(pagi_sse_parser parser,
                                      char *buf,
                                      size_t cap,
                                      size_t *len);

// The last reconnection time that the stream gave.
//
// *Parameters*: `out` points to a writable `uint64_t`: milliseconds.
//
// *Returns* 1, and 0 if there was none and `out` is as it was; or
// PAGI_SSE_RESULT_NULL_POINTER, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_parser_retry(pagi_sse_parser parser, uint64_t *out);

// The stream has ended, and another takes its place: what is unfinished is
// dropped, the last event id and the reconnection time stay. Records that wait
// stay too.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_parser_reset(pagi_sse_parser parser);

/* ---- Runtimes ---------------------------------------------------------- */

// How a runtime is to run. Zero the struct, set `size` and what matters; 0
// elsewhere means the default.
typedef struct pagi_sse_runtime_options {
  // sizeof(pagi_sse_runtime_options): lets the struct grow.
  size_t size;
  // A client that takes no byte for so long is dropped, milliseconds (30000).
  // For connections on sockets.
  uint64_t write_timeout_ms;
  // Threads (cores - 1, at least 1); more than 256 are 256.
  uint32_t workers;
  // As of pagi_sse_server_options.
  uint32_t log_level;
  // As of pagi_sse_server_options.
  uint64_t max_queued_bytes;
} pagi_sse_runtime_options;

// Starts a runtime: its threads, with all signals blocked in them.
//
// *Parameters*: `options` is NULL, for the defaults, or points to a struct of
// the size that it says; `out` points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER, _BAD_ARGUMENT (a size or a
// level), _OS (threads or descriptors), _HANDLES_EXHAUSTED.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_open(const pagi_sse_runtime_options *options,
                              pagi_sse_runtime *out);

// The descriptor that is readable while pagi_sse_runtime_next has records.
//
// *Returns* it, or a handle error.
// *Ownership*: the runtime's, until pagi_sse_runtime_free. Watch it, or a
// duplicate; do not read or close it.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_fd(pagi_sse_runtime runtime);

// Fills `buf` with whole records, never waiting, and makes the descriptor
// unreadable when none remain. pagi_sse_record_read reads them. Records of a
// connection may still come when it has been freed.
//
// *Parameters*: `buf` points to `cap` writable bytes, `used` to a writable
// `size_t`.
//
// *Returns* how many records it put there, 0 for none, and in `used` their
// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
// needs), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_next(pagi_sse_runtime runtime,
                              char *buf,
                              size_t cap,
                              size_t *used);

// Has everything queued on any socket written now, by the runtime. To be called
// at the end of a turn of the host's loop; without it output waits a
// millisecond or so.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_runtime_flush(pagi_sse_runtime runtime);

// Makes the descriptor readable, to wake the host's loop. Of several wake-ups
// for later only the earliest is kept: who needs another asks again then.
//
// *Parameters*: `runtime`; `delay_ms`, 0 for at once.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_runtime_wake(pagi_sse_runtime runtime, uint64_t delay_ms);

// Counts the connections in progress: those for which no ENDED record has been
// made.
//
// *Returns* their number, or a handle error.
PAGI_SSE_NODISCARD
int64_t pagi_sse_runtime_busy(pagi_sse_runtime runtime);

// Statistics, as a JSON object: `version`, `abi`, and the members of
// pagi_sse_host_counts, of which `open` and `opened` are in `connections`. More
// may come.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_stats(pagi_sse_runtime runtime,
                               char *buf,
                               size_t cap,
                               size_t *len);

// Statistics, as numbers: see pagi_sse_host_counts.
//
// *Parameters*: `runtime`; `out` points to `size`, that is,
// sizeof(pagi_sse_host_counts), writable bytes.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
// _BAD_ARGUMENT (an absurd size), or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_runtime_counters(pagi_sse_runtime runtime,
                                  pagi_sse_host_counts *out,
                                  size_t size);

// Closes every connection in order (a CLOSED record each, reason
// `server_shutdown`), waits until the sockets have taken what is queued, but
// not for a client that takes nothing for a second, and ends the threads.
// Afterwards records can still be read and output of connections be taken;
// opening gives PAGI_SSE_RESULT_STOPPED. A second call does nothing.
//
// *Parameters*: `runtime`; `deadline_ms`, the longest wait, at most 60000.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_runtime_stop(pagi_sse_runtime runtime,
                              uint64_t deadline_ms);

// As pagi_sse_runtime_stop, if that was not called; then cuts off what is still
// in progress, closes the descriptor, and drops unread records. Connections
// keep their handles, closed, until they are freed.
//
// *Parameters*: `runtime`; `deadline_ms`, the longest wait, from 250 (also for
// less) to 60000.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_runtime_free(pagi_sse_runtime runtime, uint64_t deadline_ms);

/* ---- Scopes ------------------------------------------------------------ */

// Remembers the connection of a key: the address of the host's own request
// object, say, or a stream number. One key has one connection and the other way
// round; earlier pairs of either are forgotten. The pair is weak: it ends with
// pagi_sse_conn_free and keeps nothing alive. An address that is used again
// while its old connection lives needs pagi_sse_scope_remove.
//
// *Parameters*: `key`, any number; `conn`.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_scope_set(uint64_t key, pagi_sse_conn conn);

// The connection of a key.
//
// *Parameters*: `key` is any number; `out` points to a writable handle.
//
// *Returns* 1, and 0 if there is none and `out` is as it was; or
// PAGI_SSE_RESULT_NULL_POINTER.
PAGI_SSE_NODISCARD
int32_t pagi_sse_scope_get(uint64_t key, pagi_sse_conn *out);

// Forgets a key. Its connection stays open.
//
// *Parameters*: `key`, any number.
//
// *Returns* 1, or 0 if there was none.
int32_t pagi_sse_scope_remove(uint64_t key);

/* ---- Clients ----------------------------------------------------------- */

// In `flags` of a client's options: the request asks for gzip. A stream that
// has it is decompressed in any case.
#define PAGI_SSE_CLIENT_GZIP 1

// In `flags` of a client's options: any certificate will do, and a redirection
// from https to http.
#define PAGI_SSE_CLIENT_INSECURE 2

// In `flags` of a client's options: no proxy, whatever the environment says.
#define PAGI_SSE_CLIENT_NO_PROXY 4

// In `flags` of a client's options: a redirection is an error.
#define PAGI_SSE_CLIENT_NO_REDIRECTS 8

// In `flags` of a client's ERROR: it ends an attempt or a stream. Without it
// something was left out of a stream that goes on.
#define PAGI_SSE_FLAG_OVER 1

// In `flags` of a client's ERROR: another attempt follows, `milliseconds`
// later.
#define PAGI_SSE_FLAG_RETRY 2

// In `flags` of a client's ERROR: the body of the answer is longer than `data`.
#define PAGI_SSE_FLAG_CUT 4

// Where a client is.
PAGI_SSE_ENUM(pagi_sse_client_phase) {
  PAGI_SSE_CLIENT_PHASE_CONNECTING = 0,  // It has no stream, and is about to get one.
  PAGI_SSE_CLIENT_PHASE_OPEN = 1,        // It has one.
  PAGI_SSE_CLIENT_PHASE_CLOSED = 2,      // It has ended.
};

// Kinds of failure.
PAGI_SSE_ENUM(pagi_sse_trouble) {
  PAGI_SSE_TROUBLE_ENDED = 1,              // The stream has ended.
  PAGI_SSE_TROUBLE_RESOLVE = 2,            // The name has no address.
  PAGI_SSE_TROUBLE_CONNECT = 3,            // No connection: refused, unreachable, no such socket.
  PAGI_SSE_TROUBLE_CONNECT_TIMEOUT = 4,    // No connection in time.
  PAGI_SSE_TROUBLE_PROXY = 5,              // The proxy does not do it.
  PAGI_SSE_TROUBLE_TLS = 6,                // TLS failed.
  PAGI_SSE_TROUBLE_CERTIFICATE = 7,        // The server's certificate does not fit. Final.
  PAGI_SSE_TROUBLE_NETWORK = 8,            // The connection broke.
  PAGI_SSE_TROUBLE_HTTP = 9,               // What came is not HTTP, or its head is too long.
  PAGI_SSE_TROUBLE_HEAD_TIMEOUT = 10,      // No head in time.
  PAGI_SSE_TROUBLE_STATUS = 11,            // A status that is neither 200 nor 204. Final unless in
                                           // `retry_on`.
  PAGI_SSE_TROUBLE_CONTENT_TYPE = 12,      // Not text/event-stream. Final.
  PAGI_SSE_TROUBLE_CONTENT_ENCODING = 13,  // A content coding other than gzip. Final.
  PAGI_SSE_TROUBLE_GZIP = 14,              // The gzip data are broken.
  PAGI_SSE_TROUBLE_REDIRECT = 15,          // A redirection that cannot be followed. Final.
  PAGI_SSE_TROUBLE_REDIRECTS = 16,         // More redirections than may be. Final.
  PAGI_SSE_TROUBLE_SILENCE = 17,           // No byte for too long.
  PAGI_SSE_TROUBLE_AGE = 18,               // The client is as old as it may be. Final.
  PAGI_SSE_TROUBLE_LINE_TOO_LONG = 19,     // A line over the limit was left out.
  PAGI_SSE_TROUBLE_EVENT_TOO_LARGE = 20,   // An event over the limit was left out.
  PAGI_SSE_TROUBLE_ID_TOO_LONG = 21,       // An id over the limit was left out.
  PAGI_SSE_TROUBLE_ID_FIELD = 22,          // The last event id cannot be sent in a field.
};

// Why a client has ended.
PAGI_SSE_ENUM(pagi_sse_client_end) {
  PAGI_SSE_CLIENT_END_NO_CONTENT = 1,  // The server said so: 204.
  PAGI_SSE_CLIENT_END_ENDED = 2,       // The stream has ended, and is not to be resumed.
  PAGI_SSE_CLIENT_END_FAILED = 3,      // The failure told before.
  PAGI_SSE_CLIENT_END_CLOSED = 4,      // The host program closed it.
  PAGI_SSE_CLIENT_END_STOPPED = 5,     // The runtime has stopped.
  PAGI_SSE_CLIENT_END_PANIC = 6,       // A fault of ours.
};

// Whether a request that is more than a GET is made again. Nothing of this
// concerns a GET without a body, which always is.
PAGI_SSE_ENUM(pagi_sse_client_resume) {
  PAGI_SSE_CLIENT_RESUME_NEVER = 0,   // It is made once; the stream's end is the client's.
  PAGI_SSE_CLIENT_RESUME_GET = 1,     // Once a stream has been opened, a GET without the body
                                      // follows it up at the same URL. Until then the request is
                                      // made again only when no connection was got, so none of it
                                      // can have arrived.
  PAGI_SSE_CLIENT_RESUME_ALWAYS = 2,  // It is repeated as it was.
};

// What a client is to do. Zero the struct, set `size`, `url` and what matters;
// 0 elsewhere means the default. Times are in milliseconds; UINT64_MAX is no
// limit for those that say so.
typedef struct pagi_sse_client_options {
  // sizeof(pagi_sse_client_options): lets the struct grow.
  size_t size;
  // Where the stream is: `http://`, `https://` (if this library was built with
  // TLS), or a Unix socket, `http+unix:/run/app.sock:/events?x=1`. A name and a
  // password in it become an `authorization` field.
  pagi_sse_bytes url;
  // Any but CONNECT, HEAD and TRACE. Absent: GET, or POST with a body.
  pagi_sse_bytes method;
  // Fields of the request; they replace those of the library: `accept`,
  // `cache-control`, `user-agent`, `host`. Framing (`content-length`, ...) and
  // `last-event-id` are the library's.
  const pagi_sse_header *fields;
  // How many.
  size_t fields_len;
  // The request's body; absent: none.
  pagi_sse_bytes body;
  // The id to begin after; empty or absent: none. UTF-8.
  pagi_sse_bytes last_event_id;
  // The URL of a proxy for all requests. Absent: http_proxy, https_proxy,
  // all_proxy and no_proxy of the environment, as curl understands them.
  pagi_sse_bytes proxy;
  // A file of certificates (PEM) to trust, instead of the system's.
  pagi_sse_bytes ca_file;
  // Statuses after which the request is made again; all others but 200 and 204
  // end the client. Retry-After of the answer is heeded.
  const uint16_t *retry_on;
  // How many, at most 100.
  size_t retry_on_len;
  // The wait before a reconnection until the server names another (3000).
  uint64_t retry_ms;
  // What the wait grows to while nothing comes (60000).
  uint64_t backoff_ms;
  // Time to get a connection: name, TCP, proxy, TLS (10000; UINT64_MAX).
  uint64_t connect_timeout_ms;
  // From there to the answer's head, the sending of the body included (60000;
  // UINT64_MAX).
  uint64_t head_timeout_ms;
  // A stream without a byte for so long is cut, and asked for again (never).
  uint64_t silence_ms;
  // The client ends when it is so old (never).
  uint64_t max_age_ms;
  // Longest line of the stream, bytes (1 MiB; at most 128 MiB). A longer one is
  // left out, with its event.
  uint64_t max_line;
  // Most data of an event, bytes (4 MiB; at most 128 MiB). One with more is
  // left out.
  uint64_t max_event;
  // What may wait for the host, bytes (1 MiB; the last item may go beyond).
  // Above it the library stops reading from the server.
  uint64_t max_bytes;
  // The beginning of the body of an answer that is no stream, bytes (64 KiB; at
  // most 1 MiB).
  uint64_t max_refusal;
  // Items that may wait for the host (1024), as max_bytes.
  uint32_t max_items;
  // Attempts that got nothing, one after the other, after which the client
  // gives up (never).
  uint32_t max_failures;
  // Redirections of one request (20).
  uint32_t max_redirects;
  // PAGI_SSE_CLIENT_ bits.
  uint32_t flags;
  // One of enum pagi_sse_client_resume.
  int32_t resume;
  // Must be 0.
  uint32_t reserved;
  // The host's own number, which is `user` in CLIENT records.
  uint64_t user;
} pagi_sse_client_options;

// Begins to follow a stream: connects, reads, reconnects, until the server says
// that there is no more (204), a failure is final, or the host closes it. What
// comes waits for pagi_sse_client_next, and a CLIENT record of the runtime says
// so. While as much waits as may, nothing is read from the server.
//
// The environment is looked at for a proxy, and certificates are read, in this
// call; the name is resolved later, and what fails then is an ERROR record.
//
// *Parameters*: `options` points to a struct of the size that it says, whose
// pointers are valid for their lengths; `out` points to a writable handle.
//
// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also: no URL), _BAD_ARGUMENT
// (pagi_sse_error says which and why: not a URL, a scheme that is not ours, a
// field that is the library's, a limit), _NOT_UTF8, _HEADER_NAME,
// _HEADER_VALUE, _OS (ca_file), _STOPPED, _HANDLES_EXHAUSTED, or a handle error
// of the runtime. Nothing has begun then.
PAGI_SSE_NODISCARD
int32_t pagi_sse_client_open(pagi_sse_runtime runtime,
                             const pagi_sse_client_options *options,
                             pagi_sse_client *out);

// Fills `buf` with whole records, never waiting: PAGI_SSE_KIND_OPEN, _EVENT,
// _COMMENT, _RETRY, _ERROR, _END, whose `conn` is the client, read by
// pagi_sse_record_read, in this buffer: the id of several events stands in it
// once. What is not taken stays with the client; call until it gives 0, or
// again later, as the next CLIENT record comes only after that.
//
// An EVENT is as large as `max_event`, `max_line` (its type) and an id together
// at most; an ERROR as `max_refusal` and 128 KiB.
//
// *Parameters*: `buf` points to `cap` writable bytes, `used` to a writable
// `size_t`.
//
// *Returns* how many records it put there, 0 for none, and in `used` their
// bytes; or PAGI_SSE_RESULT_BUFFER_SMALL (`used`: the size that the first
// needs, which waits), _NULL_POINTER (also for `cap` 0), _BAD_ARGUMENT, or a
// handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_client_next(pagi_sse_client client,
                             char *buf,
                             size_t cap,
                             size_t *used);

// Where the client is now. What is to be told of that may still wait.
//
// *Returns* one of enum pagi_sse_client_phase, or a handle error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_client_state(pagi_sse_client client);

// The id to begin with another time: the one in force after the records that
// were taken. Empty: none.
//
// *Parameters*: `buf`, `cap` and `len` are those of a text.
//
// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
PAGI_SSE_NODISCARD
int32_t pagi_sse_client_last_event_id(pagi_sse_client client,
                                      char *buf,
                                      size_t cap,
                                      size_t *len);

// Ends it: the connection is closed, what waits is dropped, and an END record
// follows. One that has ended keeps what waits. A second call does nothing.
//
// *Returns* 0, or a handle error.
int32_t pagi_sse_client_close(pagi_sse_client client);

// Gives a client back, closing it. No record of it follows.
//
// *Returns* 0, or a handle error.
// *Threads*: also while another is in pagi_sse_client_next.
int32_t pagi_sse_client_free(pagi_sse_client client);

#ifdef __cplusplus
}  // extern "C"
#endif

#endif /* PAGI_SSE_H */
