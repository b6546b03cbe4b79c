/*
 * pagi_sse.h - server-sent events engine.
 *
 * Generated from src/ffi by cbindgen; do not edit (script/header copies it).
 *
 * Results: 0 or more is fine, negative is one of enum pagi_sse_result.
 * Bytes are pointer + length; NULL with length 0 is "absent". Outputs come
 * last and are written only on success. Text is UTF-8.
 * Handles are numbers: stale, foreign and invented ones give an error, never a
 * crash. After fork() a child's use of its parent's handles gives
 * PAGI_SSE_RESULT_HANDLE_FORKED.
 * Unless a function says otherwise: Threads - any, at the same time. Fork -
 * see above. Since - ABI 1.
 */

#ifndef PAGI_SSE_H
#define PAGI_SSE_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

// The number that `pagi_sse_abi_version` returns; grows when a program
// built against an older header would no longer work.
#define PAGI_SSE_ABI_VERSION 1

// A failure. The number is the C result code; numbers come in blocks of 100
// by module and are never reused.
enum pagi_sse_result
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // A pointer was NULL where bytes or an output were due.
  PAGI_SSE_RESULT_NULL_POINTER = -1,
  // An argument is outside its documented range.
  PAGI_SSE_RESULT_BAD_ARGUMENT = -2,
  // Text is not well-formed UTF-8.
  PAGI_SSE_RESULT_NOT_UTF8 = -3,
  // The code panicked; the object concerned should be freed.
  PAGI_SSE_RESULT_PANIC = -4,
  // An operating-system call failed; see the log record.
  PAGI_SSE_RESULT_OS = -5,
  // An event type contains CR or LF (E5).
  PAGI_SSE_RESULT_EVENT_NEWLINE = -100,
  // An id contains CR or LF (E5).
  PAGI_SSE_RESULT_ID_NEWLINE = -101,
  // An id contains NUL, which makes clients ignore it (E5).
  PAGI_SSE_RESULT_ID_NUL = -102,
  // A line is longer than the parser's limit.
  PAGI_SSE_RESULT_LINE_TOO_LONG = -200,
  // An event is larger than the parser's limit.
  PAGI_SSE_RESULT_EVENT_TOO_LARGE = -201,
  // The connection is closed.
  PAGI_SSE_RESULT_CLOSED = -300,
  // The stream has started, so an ordinary response is too late.
  PAGI_SSE_RESULT_ALREADY_STARTED = -301,
  // An ordinary response was chosen, so the stream cannot start.
  PAGI_SSE_RESULT_DECLINED = -302,
  // The output queue is full; nothing was queued.
  PAGI_SSE_RESULT_QUEUE_OVERFLOW = -303,
  // A header name is not a token (RFC 9110).
  PAGI_SSE_RESULT_HEADER_NAME = -304,
  // A header value contains a control character (RFC 9110).
  PAGI_SSE_RESULT_HEADER_VALUE = -305,
  // A status code is outside 200..=599.
  PAGI_SSE_RESULT_STATUS = -306,
  // A keepalive interval is outside 0..=86400 seconds or not a number.
  PAGI_SSE_RESULT_INTERVAL = -307,
  // The connection has no transport of ours: its host does the I/O.
  PAGI_SSE_RESULT_NOT_HOSTED = -308,
  // Body bytes were given before the response head or after its end.
  PAGI_SSE_RESULT_NO_RESPONSE = -309,
  // The handle is zero or was never given out.
  PAGI_SSE_RESULT_HANDLE_INVALID = -400,
  // The handle's object was freed.
  PAGI_SSE_RESULT_HANDLE_STALE = -401,
  // The handle belongs to an object of another kind.
  PAGI_SSE_RESULT_HANDLE_KIND = -402,
  // The handle was made before a fork, by the parent process.
  PAGI_SSE_RESULT_HANDLE_FORKED = -403,
  // The handle table is full.
  PAGI_SSE_RESULT_HANDLES_EXHAUSTED = -404,
  // The address to listen on is not `HOST:PORT` or `unix:PATH`.
  PAGI_SSE_RESULT_LISTEN_ADDRESS = -500,
  // The address is in use.
  PAGI_SSE_RESULT_ADDRESS_IN_USE = -501,
  // The address cannot be bound: permission, or not of this machine.
  PAGI_SSE_RESULT_BIND_FAILED = -502,
  // The server has been stopped.
  PAGI_SSE_RESULT_STOPPED = -503,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum pagi_sse_result pagi_sse_result;
#else
typedef int32_t pagi_sse_result;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// One connection: a number, 0 is never one.
typedef uint64_t pagi_sse_conn;

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

// How a server is to run. Zero the struct, set `size` and what matters; 0
// elsewhere means the default.
typedef struct pagi_sse_server_options {
  // sizeof(pagi_sse_server_options): lets the struct grow.
  size_t size;
  // `HOST:PORT` (port 0: the kernel picks) or `unix:PATH`.
  const char *listen;
  // Length of `listen`, bytes.
  size_t listen_len;
  // Largest request body, bytes (1 MiB). More is answered with 413.
  uint64_t max_body;
  // Most connections open at a time (16384); more wait in the kernel.
  uint32_t max_connections;
  // Threads of the runtime (cores - 1, at least 1).
  uint32_t workers;
  // A client that takes no byte for so long is dropped, milliseconds
  // (30000).
  uint64_t write_timeout_ms;
} pagi_sse_server_options;

// One server: a number, 0 is never one.
typedef uint64_t pagi_sse_server;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The ABI number of this library. A host compares it with the
// PAGI_SSE_ABI_VERSION it was built with, and refuses another.
uint32_t pagi_sse_abi_version(void);

// The version of this library, as `"0.1.0"`.
//
// *Ownership*: static; never to be freed.
const char *pagi_sse_version(void);

// What a result code means, in plain English; `"unknown result"` for a
// number that is none.
//
// *Ownership*: static; never to be freed.
const char *pagi_sse_result_text(int32_t code);

// How many handles of all kinds are live in this process.
uint64_t pagi_sse_handle_count(void);

// Opens a detached connection: the library keeps its state, the host does the
// I/O.
//
// Returns 0, or an error.
// *Ownership*: the caller's; pagi_sse_conn_free ends it.
//
// *Safety*: `out` points to a writable `pagi_sse_conn`.
int32_t pagi_sse_conn_open(pagi_sse_conn *out);

// Gives a connection back. One that is still open on a server of ours is
// closed first (reason `app_closed`); what it has queued is still sent.
//
// Returns 0; a second call gives PAGI_SSE_RESULT_HANDLE_STALE.
int32_t pagi_sse_conn_free(pagi_sse_conn conn);

// Begins the event stream: status (200..599) and header fields. On a server
// of ours `content-type`, `cache-control`, `x-accel-buffering` and `date` are
// added where absent; fields that frame the message are the server's own.
//
// Returns 1 if this call began it, 0 if it had begun, or an error.
//
// *Safety*: `headers` points to `count` structs (NULL for 0) whose pointers are valid
// for their lengths during the call.
int32_t pagi_sse_conn_start(pagi_sse_conn conn,
                            uint16_t status,
                            const struct pagi_sse_header *headers,
                            size_t count);

// For a host that does the I/O: may an event go out now? Begins the stream if
// it had not begun.
//
// Returns 0: yes; 1: yes, and the stream's start must go out first; or an
// error: PAGI_SSE_RESULT_CLOSED, PAGI_SSE_RESULT_DECLINED.
int32_t pagi_sse_conn_admit(pagi_sse_conn conn);

// As pagi_sse_conn_admit, and checks the fields of the event first: `event`
// and `id` without CR and LF, `id` without NUL (WHATWG), each NULL if absent;
// `retry` in milliseconds, -1 if absent. An error in them changes nothing.
//
// *Safety*: Each pointer is NULL with length 0 or valid for its length.
int32_t pagi_sse_conn_admit_event(pagi_sse_conn conn,
                                  const char *event,
                                  size_t event_len,
                                  const char *id,
                                  size_t id_len,
                                  int64_t retry);

// Queues an event that has only data. Begins the stream if need be. CR, LF
// and CRLF in the data each end a line; the client joins them with LF.
//
// Returns 0: queued; 1: queued, and the queue is above its high mark, so wait
// for the DRAINED record; or an error, and nothing was queued:
// PAGI_SSE_RESULT_CLOSED, _QUEUE_OVERFLOW, _NOT_UTF8, _NOT_HOSTED.
//
// *Safety*: `data` points to `len` readable bytes.
int32_t pagi_sse_conn_send(pagi_sse_conn conn, const char *data, size_t len);

// Queues an event. `data`, `event`, `id` are NULL if absent; `retry` is the
// client's reconnection time in milliseconds, -1 if absent. An empty `id`
// resets the client's.
//
// Returns as pagi_sse_conn_send; also PAGI_SSE_RESULT_EVENT_NEWLINE,
// _ID_NEWLINE, _ID_NUL.
//
// *Safety*: Each pointer is NULL with length 0 or valid for its length.
int32_t pagi_sse_conn_send_event(pagi_sse_conn conn,
                                 const char *data,
                                 size_t data_len,
                                 const char *event,
                                 size_t event_len,
                                 const char *id,
                                 size_t id_len,
                                 int64_t retry);

// Queues a comment: a colon is put before each line that does not begin with
// one. Begins the stream if need be. Returns as pagi_sse_conn_send.
//
// *Safety*: `comment` is NULL with length 0 or valid for its length.
int32_t pagi_sse_conn_comment(pagi_sse_conn conn, const char *comment, size_t len);

// Has a comment sent whenever nothing else was for `interval` seconds (0.01
// to 86400; 0: off). The last setting wins. Never begins the stream.
//
// Returns 0, or an error: PAGI_SSE_RESULT_INTERVAL, _CLOSED, _NOT_HOSTED.
//
// *Safety*: `comment` is NULL with length 0 or valid for its length.
int32_t pagi_sse_conn_keepalive(pagi_sse_conn conn,
                                double interval,
                                const char *comment,
                                size_t len);

// Closes by the application. What is queued is still sent; a stream that had
// not begun is answered with 200 and no event. The first reason stays.
//
// Returns 1 if this call closed it, 0 if it was closed.
//
// *Safety*: `reason` is NULL with length 0 (`app_closed`) or valid for its length.
int32_t pagi_sse_conn_close(pagi_sse_conn conn, const char *reason, size_t len);

// Where the connection stands: 0 pending, 1 started, 2 closed, 3 an ordinary
// response was chosen; or an error.
int32_t pagi_sse_conn_state(pagi_sse_conn conn);

// Why the connection closed: PAGI's reason token, as `client_closed`.
//
// Returns its length; a buffer smaller than that gets nothing. 0 while open
// or when no reason is known.
//
// *Safety*: `buf` is NULL with capacity 0 or points to `cap` writable bytes.
int64_t pagi_sse_conn_reason(pagi_sse_conn conn, char *buf, size_t cap);

// Bytes queued and not yet taken by the kernel; or an error.
int64_t pagi_sse_conn_buffered(pagi_sse_conn conn);

// Chooses an ordinary HTTP response in place of a stream: status (200..599)
// and header fields. The body follows by pagi_sse_conn_body.
//
// Returns 0, or an error: PAGI_SSE_RESULT_ALREADY_STARTED, _DECLINED (a
// response was chosen already), _CLOSED, _STATUS, _HEADER_NAME, _HEADER_VALUE.
//
// *Safety*: As pagi_sse_conn_start.
int32_t pagi_sse_conn_respond(pagi_sse_conn conn,
                              uint16_t status,
                              const struct pagi_sse_header *headers,
                              size_t count);

// Queues body bytes of an ordinary response; `more` 0 ends it.
//
// Returns as pagi_sse_conn_send; PAGI_SSE_RESULT_NO_RESPONSE before
// pagi_sse_conn_respond and after the end.
//
// *Safety*: `body` is NULL with length 0 or valid for its length.
int32_t pagi_sse_conn_body(pagi_sse_conn conn, const char *body, size_t len, int32_t more);

// Takes request body bytes, up to `cap`.
//
// Returns their number and sets `more`: 1 more may follow, 0 that was the
// end, -1 nothing has come yet and a BODY record will tell; or an error.
//
// *Safety*: `buf` points to `cap` writable bytes, `more` to an `int32_t`.
int64_t pagi_sse_conn_read_body(pagi_sse_conn conn, char *buf, size_t cap, int32_t *more);

// Binds the address and starts the runtime's threads, with all signals
// blocked. Clients wait until pagi_sse_server_accept.
//
// Returns 0, or an error: PAGI_SSE_RESULT_LISTEN_ADDRESS, _ADDRESS_IN_USE,
// _BIND_FAILED, _OS.
// *Ownership*: the caller's; pagi_sse_server_free ends it.
// *Fork*: fork first, then start; a child cannot use its parent's server.
//
// *Safety*: `options` points to a struct of the size it says; `out` to a writable
// handle.
int32_t pagi_sse_server_start(const struct pagi_sse_server_options *options, pagi_sse_server *out);

// Begins to accept connections. Returns 0, or an error.
int32_t pagi_sse_server_accept(pagi_sse_server server);

// The TCP port bound; 0 for a Unix socket; or an error.
int32_t pagi_sse_server_port(pagi_sse_server server);

// A descriptor that is readable while pagi_sse_server_next has records; or
// an error.
//
// *Ownership*: the server's. Watch it, or a duplicate; do not read or close it.
int32_t pagi_sse_server_fd(pagi_sse_server server);

// Fills `buf` with records, never waiting. Each is a `uint32_t` length and
// then so many bytes: a type byte, a `uint64_t` connection, and fields in
// native byte order, byte strings (`str`) after a `uint32_t` length:
//
// - 1 REQUEST: `uint8_t` sse; `uint8_t` flags (1 has a body, 2 the path is
//   UTF-8, 4 the listener is a Unix socket); str method, HTTP version,
//   decoded path, path as it came, query; str client host, `uint16_t` port;
//   str server host (or socket path), `uint16_t` port; then str name, str
//   value of each header field to the record's end. The connection is the
//   caller's from now on: answer it, then pagi_sse_conn_free.
// - 2 BODY: request body bytes can be read.
// - 3 DRAINED: the output queue fell below the low mark.
// - 4 CLOSED: str reason. Not by the caller.
// - 5 ENDED: `uint16_t` status, `uint64_t` bytes sent, `uint64_t`
//   milliseconds, str reason ("" for a response sent in full).
// - 6 LOG: str text; connection 0.
//
// Skip types you do not know. Returns the bytes used, 0 for none; a number
// above `cap` is the size that the first record needs, and nothing was taken.
// *Threads*: one at a time.
//
// *Safety*: `buf` points to `cap` writable bytes.
int64_t pagi_sse_server_next(pagi_sse_server server, char *buf, size_t cap);

// Has everything queued on any connection written now, by the runtime. To be
// called at the end of a turn of the host's loop; without it output waits a
// millisecond or so. Returns 0, or an error.
int32_t pagi_sse_server_flush(pagi_sse_server server);

// Makes the descriptor readable after `delay_ms` (0: at once), to wake the
// host's loop. Returns 0, or an error.
int32_t pagi_sse_server_wake(pagi_sse_server server, uint64_t delay_ms);

// Requests and streams in progress, and connections whose response is still
// on its way; or an error. After pagi_sse_server_drain, 0 means that
// pagi_sse_server_free cuts nobody off.
int64_t pagi_sse_server_busy(pagi_sse_server server);

// Accepts no more connections and requests; what is in progress goes on.
// Returns 0, or an error.
int32_t pagi_sse_server_drain(pagi_sse_server server);

// Closes every stream in order, with that reason (a CLOSED record each).
// Ordinary requests go on. Returns 0, or an error.
//
// *Safety*: `reason` points to `len` readable bytes.
int32_t pagi_sse_server_close_streams(pagi_sse_server server, const char *reason, size_t len);

// Stops the threads and closes the sockets, waiting `deadline_ms` at most,
// and frees the server. Connections keep their handles, closed.
//
// Returns 0, or an error.
int32_t pagi_sse_server_free(pagi_sse_server server, uint64_t deadline_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PAGI_SSE_H */
