//! Hubs and subscriptions, for C.

use super::event::{self, Given, pagi_sse_event};
use super::library::{pagi_sse_bytes, pagi_sse_conn, pagi_sse_hub, pagi_sse_subscription};
use super::runtime::deadline;
use super::{Result, bad, bytes, copy_out, guard, set, set_struct, text, whole, writable};
use crate::conn;
use crate::core::counts::{HubCounts, SubscriptionCounts, TopicCounts};
use crate::core::limits;
use crate::core::outbox::Full;
use crate::core::reason::Why;
use crate::core::ring::Entry;
use crate::handle::{self, Table};
use crate::host::hub::{self as running, RunningHub, Subscription};
use crate::hub::{Begin, Put, Settings, TopicChange, TopicSettings, Wish};
use crate::sys::PerProcess;
use serde_json::{Value, json};
use std::ffi::c_char;
use std::sync::Arc;

/// What a hub is like; add them up.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum HubFlag {
    /// No id of the hub's is ever sent: an event without one of the program's
    /// has none, and a client that has seen none is a new one when it comes back.
    OwnIds = 1,
    /// Subscribers may name those topics only that exist, unless their options
    /// say otherwise.
    NoCreate = 2,
}

/// What becomes of an event for a subscriber whose queue is full.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum FullPolicy {
    /// The subscriber is disconnected, reason `queue_overflow`.
    Disconnect = 0,
    /// The oldest that waits is dropped.
    DropOldest = 1,
    /// The new one is dropped.
    DropNewest = 2,
    /// Of each key the newest is kept.
    Latest = 3,
}

/// How a subscription has begun. A client of TOO_OLD or UNKNOWN got the reset
/// event, and then what is kept.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Resume {
    /// A new client.
    New = 0,
    /// After its id, with all that it missed.
    Resumed = 1,
    /// Its id is too old: a topic of its own has forgotten an event since.
    TooOld = 2,
    /// Its id is unknown, or of another epoch.
    Unknown = 3,
}

/// What pagi_sse_hub_history reads.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Kept {
    /// The history.
    History = 0,
    /// The newest event of each key.
    State = 1,
}

/// A yes or no of options.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum Choice {
    /// As elsewhere said.
    Default = 0,
    /// Yes.
    Yes = 1,
    /// No.
    No = 2,
}

fn choice(what: &str, given: u32) -> Result<Option<bool>> {
    const YES: u32 = Choice::Yes as u32;
    const NO: u32 = Choice::No as u32;
    match given {
        0 => Ok(None),
        YES => Ok(Some(true)),
        NO => Ok(Some(false)),
        _ => Err(bad(format!("{what}, {given}"))),
    }
}

impl From<Begin> for Resume {
    fn from(begin: Begin) -> Self {
        match begin {
            Begin::New => Resume::New,
            Begin::Resumed => Resume::Resumed,
            Begin::TooOld => Resume::TooOld,
            Begin::Unknown => Resume::Unknown,
        }
    }
}

/// What topics remember. Zero the struct, set `size` and what matters. 0
/// elsewhere: in pagi_sse_hub_open the default named here, in
/// pagi_sse_hub_topic what the topic has, which at first is the hub's.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_topic_options {
    /// sizeof(pagi_sse_topic_options): lets the struct grow.
    pub size: usize,
    /// Events of a topic's history (1000).
    pub events: u64,
    /// Bytes of it: of each event as framed, its key and id, and 200 (4 MiB).
    pub bytes: u64,
    /// Age of it, milliseconds (an hour).
    pub age_ms: u64,
    /// How long a topic outlives its last subscriber and event, milliseconds
    /// (ten minutes).
    pub ttl_ms: u64,
    /// Of enum pagi_sse_choice: whether the topic keeps the newest event of each
    /// key (10000 keys at most; in all topics half of the hub's bytes), and a new
    /// or reset subscriber gets those first.
    pub state: u32,
    /// Must be 0.
    pub reserved: u32,
}

/// How a subscription begins and what it takes. Zero the struct, set `size`
/// and what matters; 0 elsewhere means the default.
#[allow(non_camel_case_types)]
#[repr(C)]
pub struct pagi_sse_subscribe_options {
    /// sizeof(pagi_sse_subscribe_options): lets the struct grow.
    pub size: usize,
    /// The id that the client has seen (its Last-Event-ID), as it sent it: what
    /// is no UTF-8 is an unknown id. Absent: a new client.
    pub last_event_id: pagi_sse_bytes,
    /// The type of the event that says "you missed something" (`reset`).
    pub reset_event: pagi_sse_bytes,
    /// When the queue is full: one of enum pagi_sse_full.
    pub full: u32,
    /// Published events that may wait (10000).
    pub max_events: u32,
    /// Published bytes that may wait (1 MiB).
    pub max_bytes: u64,
    /// A new client first gets so many of the newest events that its topics
    /// have kept, in all; what a state topic's newer event of the same key has
    /// replaced does not count. Whom its id resumes, or resets, does not care.
    pub last: u32,
    /// Topics that it may name, 1 to 1000 (1000): for names that come from
    /// a client.
    pub max_topics: u32,
    /// Of enum pagi_sse_choice: whether those that do not exist are created, or
    /// refused (PAGI_SSE_RESULT_NO_TOPIC); by default as the hub says.
    pub create: u32,
    /// Must be 0.
    pub reserved: u32,
}

pub(super) fn hubs() -> &'static Table<Arc<RunningHub>> {
    static TABLE: PerProcess<Table<Arc<RunningHub>>> =
        PerProcess::new(|p| Table::new(handle::HUB, p));
    TABLE.get()
}

pub(super) fn subscriptions() -> &'static Table<Arc<Subscription>> {
    static TABLE: PerProcess<Table<Arc<Subscription>>> =
        PerProcess::new(|p| Table::new(handle::SUBSCRIPTION, p));
    TABLE.get()
}

/// The caller's settings; NULL: none.
///
/// # Safety
/// `options` is NULL or points to a struct of the size it says.
unsafe fn changes(options: *const pagi_sse_topic_options) -> Result<TopicChange> {
    // SAFETY: the caller's promise.
    let Some(given) = (unsafe { super::options(options, 48) })? else {
        return Ok(TopicChange::default());
    };
    if given.reserved != 0 {
        return Err(bad("reserved"));
    }
    let size = |what, n: u64| match n {
        0 => Ok(None),
        n => whole(what, n).map(Some),
    };
    Ok(TopicChange {
        events: size("events", given.events)?,
        bytes: size("bytes", given.bytes)?,
        age_ms: (given.age_ms > 0).then_some(given.age_ms),
        state: choice("state", given.state)?,
        ttl_ms: (given.ttl_ms > 0).then_some(given.ttl_ms),
    })
}

/// The first two flags; others are refused.
fn flags(given: u32) -> Result<[bool; 2]> {
    match given {
        0..4 => Ok([given & 1 != 0, given & 2 != 0]),
        _ => Err(bad(format!("flags, {given:#x}"))),
    }
}

/// Opens a hub: topics with history, and a thread that delivers.
///
/// # Safety
/// `epoch` (1 to 40 letters, digits, `-` and `_`) begins each id, `epoch.number`; use another one at each start, as the time. `defaults`
/// are of topics that have no settings of their own; NULL: see
/// pagi_sse_topic_options. `total_bytes` bounds the history of all topics (0:
/// 64 MiB). `flags` are of enum pagi_sse_hub_flag. The pointers are valid for their lengths; `out` points to a
/// writable handle.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BAD_ARGUMENT, _NULL_POINTER, _NOT_UTF8, _OS,
/// _HANDLES_EXHAUSTED.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_open(
    epoch: *const c_char,
    epoch_len: usize,
    defaults: *const pagi_sse_topic_options,
    total_bytes: u64,
    flags: u32,
    out: *mut pagi_sse_hub,
) -> i32 {
    guard(|| {
        writable(out)?;
        // SAFETY: the caller's promise.
        let (epoch, defaults) = unsafe { (text("epoch", epoch, epoch_len)?, changes(defaults)?) };
        let [own_ids, no_create] = self::flags(flags)?;
        let chosen = running::new_epoch();
        let epoch = epoch.unwrap_or(&chosen);
        let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=40).contains(&epoch.len()) || !epoch.bytes().all(fine) {
            return Err(bad("epoch: 1 to 40 letters, digits, - and _"));
        }
        let mut settings = Settings {
            topics: TopicSettings::default().with(&defaults),
            own_ids,
            create: !no_create,
            ..Settings::default()
        };
        if total_bytes > 0 {
            settings.total_bytes = whole("total_bytes", total_bytes)?;
        }
        let hub = Arc::new(RunningHub::start(epoch, &settings)?);
        let handle = hubs().insert(hub.clone())?;
        hub.set_handle(handle);
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(0)
    })
}

/// Delivers what is pending, ends the thread and frees the hub. Connections
/// stay open, but those given back with pagi_sse_conn_hand_over, which nobody else
/// could end: they are closed in order, reason `app_closed`.
///
/// *Parameters*: `hub`; `deadline_ms`, the longest wait for the delivery, up to
/// 60000: what is undelivered by then is left out.
///
/// *Returns* 0, or a handle error.
/// *Threads*: It waits as long as the delivery lasts, as no other function of
/// hubs does.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_hub_free(hub: pagi_sse_hub, deadline_ms: u64) -> i32 {
    guard(|| {
        hubs().remove(hub)?.stop(deadline(deadline_ms));
        Ok(0)
    })
}

/// Gives a topic settings of its own.
///
/// # Safety
/// `hub`; `topic` is 1 to 100 letters, digits and `.-_:/`, valid for its length;
/// `options` is NULL, for no change, or points to a struct of the size that
/// it says.
///
/// *Returns* 0, or PAGI_SSE_RESULT_TOPIC_NAME, _TOO_MANY_TOPICS, _BAD_ARGUMENT,
/// _NULL_POINTER, _NOT_UTF8, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_topic(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
    options: *const pagi_sse_topic_options,
) -> i32 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let (topic, change) = unsafe { (text("topic", topic, topic_len)?, changes(options)?) };
        hub.hub().set_topic(topic.unwrap_or(""), &change)?;
        Ok(0)
    })
}

/// Publishes an event to a topic: it is framed once, kept for replay, and
/// delivered to every subscriber. Never waits for a client. While 1 MiB and more is
/// undelivered it lends the delivery its thread for a moment, and from 4 MiB on
/// until there is less: who publishes faster than can be delivered is slowed down.
///
/// # Safety
/// `hub`; `topic` is valid for its length; `event` as for
/// pagi_sse_conn_send_event. Without an id it gets `epoch.number`. A `key` names
/// what it is the newest state of.
///
/// *Returns* the event's number, from 1; 0: PAGI_SSE_EVENT_DELETE with
/// nothing but a key deleted it, and there is no event; or
/// PAGI_SSE_RESULT_TOPIC_NAME, _TOO_MANY_TOPICS, _EVENT_NEWLINE, _ID_NEWLINE,
/// _ID_NUL, _ID_HEADER, _JSON, _NOT_UTF8, _BAD_ARGUMENT (pagi_sse_error names it: a size, an
/// unknown flag, `retry_ms` without its flag, a length, a deletion without a key, an event of
/// nothing under PAGI_SSE_HUB_FLAG_OWN_IDS), _NULL_POINTER, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_publish(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
    event: *const pagi_sse_event,
) -> i64 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let topic = unsafe { text("topic", topic, topic_len) }?.unwrap_or("");
        let publish = |given: &Given<'_>| {
            let put = Put {
                key: given.key,
                delete: given.delete(),
                quiet: given.quiet(),
            };
            if put.delete && put.key.is_none() {
                return Err(bad("PAGI_SSE_EVENT_DELETE without a key"));
            }
            Ok(hub.hub().publish(topic, &given.event, put)? as i64)
        };
        // SAFETY: the caller's promise.
        unsafe { event::published(event, publish) }
    })
}

/// Subscribes a connection to topics: starts its stream, replays what it missed,
/// and joins the live events without a gap. In between the client may get a block
/// of nothing but an `id` of the hub's: a new client does, and one whose replay
/// ends with an event that is older than the newest of its topics. It may come
/// back with that id then, which the host has never given. Pass it on as it is:
/// the hub knows both kinds. A host that looks ids up elsewhere opens the hub with
/// PAGI_SSE_HUB_FLAG_OWN_IDS, which sends no id of the hub's. The subscription ends
/// with the connection, which must have a transport of the library's: one of a
/// server's, or of pagi_sse_conn_open_queue and pagi_sse_conn_open_fd.
///
/// # Safety
/// `hub`; `conn`; the topics are one name a line; the pointers are valid for
/// their lengths; `options` is NULL, for the defaults, or points to a struct of
/// the size that it says; `out` points to a writable handle.
///
/// *Returns* one of enum pagi_sse_resume; or PAGI_SSE_RESULT_TOPIC_NAME, _TOPIC_COUNT, _TOO_MANY_TOPICS, _NO_TOPIC, _SUBSCRIBED (by
/// this hub or another: name all topics at once), _CLOSED,
/// _DECLINED, _NOT_HOSTED, _EVENT_NEWLINE (in `reset_event`), _BAD_ARGUMENT,
/// _NULL_POINTER, _NOT_UTF8, _HANDLES_EXHAUSTED, or a handle error.
/// *Ownership*: the subscription's handle is the caller's;
/// pagi_sse_subscription_free gives it back. All else is copied.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_subscribe(
    hub: pagi_sse_hub,
    conn: pagi_sse_conn,
    topics: *const c_char,
    topics_len: usize,
    options: *const pagi_sse_subscribe_options,
    out: *mut pagi_sse_subscription,
) -> i32 {
    guard(|| {
        writable(out)?;
        let hub = hubs().get(hub)?;
        let conn = conn::table().get(conn)?;
        let mut wish = Wish::default();
        // SAFETY: the caller's promise.
        if let Some(given) = unsafe { super::options(options, 72) }? {
            if given.reserved != 0 {
                return Err(bad("reserved"));
            }
            if given.max_topics as usize > limits::TOPICS_OF_ONE {
                let (given, most) = (given.max_topics, limits::TOPICS_OF_ONE);
                return Err(bad(format!("max_topics, {given}, is above {most}")));
            }
            wish.last = given.last as usize;
            if given.max_topics > 0 {
                wish.max_topics = given.max_topics as usize;
            }
            wish.create = choice("create", given.create)?;
            // SAFETY: the caller's promise.
            unsafe {
                // A client may send what it likes, and must not be refused for good.
                let id = bytes(given.last_event_id.data, given.last_event_id.len)?;
                wish.last_event_id = id.map(|id| str::from_utf8(id).unwrap_or(Wish::UNKNOWN_ID));
                if let Some(event) =
                    text("reset_event", given.reset_event.data, given.reset_event.len)?
                {
                    wish.reset_event = event;
                }
            }
            wish.policy.full = match given.full {
                n if n == FullPolicy::Disconnect as u32 => Full::Disconnect,
                n if n == FullPolicy::DropOldest as u32 => Full::DropOldest,
                n if n == FullPolicy::DropNewest as u32 => Full::DropNewest,
                n if n == FullPolicy::Latest as u32 => Full::Latest,
                other => return Err(bad(format!("full, {other}"))),
            };
            if given.max_events > 0 {
                wish.policy.max_events = given.max_events as usize;
            }
            if given.max_bytes > 0 {
                wish.policy.max_bytes = whole("max_bytes", given.max_bytes)?;
            }
        }
        // SAFETY: the caller's promise.
        let topics = unsafe { text("topics", topics, topics_len) }?.unwrap_or("");
        let names: Vec<&str> = match topics {
            "" => Vec::new(),
            some => some.split('\n').collect(),
        };
        let (subscription, begin) = hub.hub().subscribe(&conn, &names, &wish)?;
        let handle = subscriptions().insert(subscription)?;
        // SAFETY: the caller's promise.
        unsafe { set(out, handle) }?;
        Ok(Resume::from(begin) as i32)
    })
}

/// Ends a subscription; the connection stays open, but one given back with
/// pagi_sse_conn_hand_over, which nobody else could end: it is closed in order,
/// reason `app_closed`.
///
/// *Returns* 0, also when it has ended already; or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_subscription_cancel(subscription: pagi_sse_subscription) -> i32 {
    guard(|| {
        subscriptions().get(subscription)?.unsubscribe();
        Ok(0)
    })
}

/// Gives the handle back. The subscription goes on to its connection's end.
///
/// *Returns* 0, or a handle error.
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_subscription_free(subscription: pagi_sse_subscription) -> i32 {
    guard(|| {
        subscriptions().remove(subscription)?;
        Ok(0)
    })
}

/// A subscription's figures, as a JSON object: the members of
/// pagi_sse_subscription_counts, `active` as true or false.
///
/// # Safety
/// `subscription`; `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_subscription_stats(
    subscription: pagi_sse_subscription,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let stats = subscriptions()
            .get(subscription)?
            .counts()
            .json()
            .to_string();
        // SAFETY: the caller's promise.
        unsafe { copy_out(stats.as_bytes(), buf, cap, len) }
    })
}

/// A subscription's figures, as numbers: see pagi_sse_subscription_counts.
///
/// # Safety
/// `subscription`; `out` points to `size`, that is, sizeof(pagi_sse_subscription_counts),
/// writable bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_subscription_counters(
    subscription: pagi_sse_subscription,
    out: *mut SubscriptionCounts,
    size: usize,
) -> i32 {
    guard(|| {
        let counts = subscriptions().get(subscription)?.counts();
        // SAFETY: the caller's promise; numbers of one size have no padding.
        unsafe { set_struct(out, size, &counts) }?;
        Ok(0)
    })
}

/// For producers that can wait: whether no subscriber's queue is above its
/// high mark and less than 64 KiB is undelivered. Delivers nothing by itself.
///
/// *Returns* 1: ready; 0: not, and a READY record will come to every server and
/// runtime that has subscribers of this hub; or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn pagi_sse_hub_ready(hub: pagi_sse_hub) -> i32 {
    guard(|| Ok(hubs().get(hub)?.hub().ready().into()))
}

/// Closes the connections subscribed to a topic, in order: after what was
/// published before, which it delivers to them.
///
/// # Safety
/// `hub`; `topic` is NULL with length 0, for any, or valid for its length;
/// `reason` is valid for its length; UTF-8.
///
/// *Returns* how many, or PAGI_SSE_RESULT_TOPIC_NAME, _REASON_TOO_LONG (1024
/// bytes), _NULL_POINTER, _NOT_UTF8, _BAD_ARGUMENT, or a handle error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_close_streams(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
    reason: *const c_char,
    reason_len: usize,
) -> i64 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let (topic, reason) = unsafe {
            (
                text("topic", topic, topic_len)?,
                super::reason(reason, reason_len, Why::AppClosed)?,
            )
        };
        Ok(hub.hub().close(topic, reason)? as i64)
    })
}

/// What a topic has kept, oldest first, as a JSON array of objects: `id` (what
/// clients got, if anything), `event`, `data` (its line breaks LF), `retry` and
/// `key`, those that the event has, and `delete`: true if it deleted the key.
///
/// # Safety
/// `hub`; `topic` is valid for its length; `state` is one of enum pagi_sse_kept;
/// `last`: the newest so many of them, 0 for all; `buf`, `cap` and `len` are
/// those of a text.
///
/// *Returns* 0, and in `len` the length, bytes, without a NUL, of `[]` for a
/// topic that does not exist; or PAGI_SSE_RESULT_BUFFER_SMALL, _TOPIC_NAME,
/// _NOT_UTF8, _NULL_POINTER, _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_history(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
    state: i32,
    last: u64,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let topic = unsafe { text("topic", topic, topic_len) }?.unwrap_or("");
        let state = match state {
            n if n == Kept::History as i32 => false,
            n if n == Kept::State as i32 => true,
            other => return Err(bad(format!("state, {other}"))),
        };
        let last = match last {
            0 => usize::MAX,
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        let entries = hub.hub().read(topic, state, last)?;
        let events: Vec<Value> = entries.iter().map(|e| shown(e)).collect();
        // SAFETY: the caller's promise.
        unsafe { copy_out(Value::from(events).to_string().as_bytes(), buf, cap, len) }
    })
}

fn shown(entry: &Entry) -> Value {
    let mut event = serde_json::Map::new();
    let mut data: Option<String> = None;
    for (name, value) in entry.fields() {
        match (name, &mut data) {
            ("data", Some(data)) => {
                data.push('\n');
                data.push_str(value);
            }
            ("data", None) => data = Some(value.to_owned()),
            ("retry", _) => {
                event.insert(name.into(), json!(value.parse::<u64>().ok()));
            }
            _ => {
                event.insert(name.into(), value.into());
            }
        }
    }
    event.extend(data.map(|data| ("data".into(), data.into())));
    event.extend(entry.key.as_deref().map(|key| ("key".into(), key.into())));
    event.extend(entry.deletes.then(|| ("delete".into(), true.into())));
    event.into()
}

/// Whether a topic exists: the program has published to it, or has settings for
/// it, or somebody is subscribed; and its time is not over.
///
/// # Safety
/// `hub`; `topic` is valid for its length.
///
/// *Returns* 1 or 0, or PAGI_SSE_RESULT_TOPIC_NAME, _NULL_POINTER, _NOT_UTF8,
/// _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_has_topic(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
) -> i32 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let topic = unsafe { text("topic", topic, topic_len) }?;
        Ok(hub.hub().has_topic(topic.unwrap_or(""))?.into())
    })
}

/// Counts the subscriptions of a topic.
///
/// # Safety
/// `hub`; `topic` is valid for its length.
///
/// *Returns* their number, or PAGI_SSE_RESULT_TOPIC_NAME, _NULL_POINTER,
/// _NOT_UTF8, _BAD_ARGUMENT, or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_subscribers(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
) -> i64 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let topic = unsafe { text("topic", topic, topic_len) }?;
        Ok(hub.hub().subscribers(topic.unwrap_or(""))? as i64)
    })
}

/// A hub's figures, as a JSON object: `epoch`, the members of
/// pagi_sse_hub_counts, and `topics`, by name: the members of
/// pagi_sse_topic_counts.
///
/// # Safety
/// `hub`; `buf`, `cap` and `len` are those of a text.
///
/// *Returns* 0, or PAGI_SSE_RESULT_BUFFER_SMALL, or another error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_stats(
    hub: pagi_sse_hub,
    buf: *mut c_char,
    cap: usize,
    len: *mut usize,
) -> i32 {
    guard(|| {
        let stats = hubs().get(hub)?.hub().stats().to_string();
        // SAFETY: the caller's promise.
        unsafe { copy_out(stats.as_bytes(), buf, cap, len) }
    })
}

/// A hub's figures, as numbers: see pagi_sse_hub_counts.
///
/// # Safety
/// `hub`; `out` points to `size`, that is, sizeof(pagi_sse_hub_counts),
/// writable bytes.
///
/// *Returns* 0, or PAGI_SSE_RESULT_NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_hub_counters(
    hub: pagi_sse_hub,
    out: *mut HubCounts,
    size: usize,
) -> i32 {
    guard(|| {
        let counts = hubs().get(hub)?.hub().counts();
        // SAFETY: the caller's promise; numbers of one size have no padding.
        unsafe { set_struct(out, size, &counts) }?;
        Ok(0)
    })
}

/// A topic's figures, as numbers: see pagi_sse_topic_counts.
///
/// # Safety
/// `hub`; `topic` is valid for its length; `out` points to `size`, that is, sizeof(pagi_sse_topic_counts),
/// writable bytes.
///
/// *Returns* 1, or 0 for a topic that is not there, and then all are 0; or PAGI_SSE_RESULT_TOPIC_NAME, _NOT_UTF8, _NULL_POINTER (also for `size` 0),
/// _BAD_ARGUMENT (an absurd size), or a handle error.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pagi_sse_topic_counters(
    hub: pagi_sse_hub,
    topic: *const c_char,
    topic_len: usize,
    out: *mut TopicCounts,
    size: usize,
) -> i32 {
    guard(|| {
        let hub = hubs().get(hub)?;
        // SAFETY: the caller's promise.
        let topic = unsafe { text("topic", topic, topic_len) }?;
        let counts = hub.hub().topic_counts(topic.unwrap_or(""))?;
        // SAFETY: the caller's promise; numbers of one size have no padding.
        unsafe { set_struct(out, size, &counts.unwrap_or_default()) }?;
        Ok(counts.is_some().into())
    })
}
