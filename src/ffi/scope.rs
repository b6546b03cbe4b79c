//! The scope cache, for C: a host's own 64-bit key leads to a connection.

use super::library::pagi_sse_conn;
use super::{guard, set, writable};
use crate::conn::table;
use crate::host::scope::scopes;

/// Remembers the connection of a key: the address of the host's own request
/// object, say, or a stream number. One key has one connection and the other
/// way round; earlier pairs of either are forgotten. The pair is weak: it ends
/// with pagi_sse_conn_free and keeps nothing alive. An address that is used
/// again while its old connection lives needs pagi_sse_scope_remove.
///
/// *Parameters*: `key`, any number; `conn`.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_scope_set(key: u64, conn: pagi_sse_conn) -> i32 {
    guard(|| {
        table().get(conn)?;
        scopes().set(key, conn);
        // Freed in between, by another thread: it must not stay.
        table().get(conn).inspect_err(|_| scopes().forget(conn))?;
        Ok(0)
    })
}

/// The connection of a key.
///
/// # Safety
/// `key` is any number; `out` points to a writable handle.
///
/// *Returns* 1, and 0 if there is none and `out` is as it was; or
/// PAGI_SSE_RESULT_NULL_POINTER.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_scope_get(key: u64, out: *mut pagi_sse_conn) -> i32 {
    guard(|| {
        writable(out)?;
        let Some(conn) = scopes().get(key) else {
            return Ok(0);
        };
        // SAFETY: the caller's promise.
        unsafe { set(out, conn) }?;
        Ok(1)
    })
}

/// Forgets a key. Its connection stays open.
///
/// *Parameters*: `key`, any number.
///
/// *Returns* 1, or 0 if there was none.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_scope_remove(key: u64) -> i32 {
    guard(|| Ok(scopes().remove(key).into()))
}
