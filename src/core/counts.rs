//! Figures for the host program: each struct is one of the C header's, and the
//! JSON of statistics is made of it.

use serde_json::{Value, json};

/// Figures of a server or a runtime: of its connections together. Counts are
/// from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostCounts {
    /// Connections in progress.
    pub open: u64,
    /// Connections that there were.
    pub opened: u64,
    /// Events queued.
    pub events: u64,
    /// Comments queued, keepalives among them.
    pub comments: u64,
    /// Sends that a full queue refused.
    pub refused: u64,
    /// Bytes of content that the kernel, or pagi_sse_conn_read, took.
    pub bytes_sent: u64,
    /// Bytes that wait in queues now.
    pub queued_bytes: u64,
    /// The memory that these take, of events that several wait for a part each:
    /// what counts against `max_queued_bytes`.
    pub queued_memory: u64,
    /// The option.
    pub max_queued_bytes: u64,
    /// Connections closed because of it.
    pub cut: u64,
    /// Records that wait now.
    pub records: u64,
    /// Messages that had no room among them.
    pub logs_dropped: u64,
}

impl HostCounts {
    /// As statistics have it.
    pub fn json(&self) -> Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "connections": { "open": self.open, "opened": self.opened },
            "events": self.events,
            "comments": self.comments,
            "refused": self.refused,
            "bytes_sent": self.bytes_sent,
            "queued_bytes": self.queued_bytes,
            "queued_memory": self.queued_memory,
            "max_queued_bytes": self.max_queued_bytes,
            "cut": self.cut,
            "records": self.records,
            "logs_dropped": self.logs_dropped,
        })
    }
}

/// Figures of a hub. Counts are from the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HubCounts {
    /// Events published.
    pub published: u64,
    /// Connections that are subscribed now.
    pub connections: u64,
    /// Bytes published and not yet delivered.
    pub pending_bytes: u64,
    /// Bytes of all histories.
    pub kept_bytes: u64,
    /// Events that left a history before their time, as the hub's bytes were
    /// full.
    pub evicted: u64,
    /// Events that subscribers with a full queue did not get.
    pub dropped: u64,
    /// Subscribers that were disconnected for that.
    pub overflows: u64,
    /// Subscribers whose queue is above its high mark now.
    pub high: u64,
}

impl HubCounts {
    /// As statistics have it.
    pub fn json(&self) -> Value {
        json!({
            "published": self.published,
            "connections": self.connections,
            "pending_bytes": self.pending_bytes,
            "kept_bytes": self.kept_bytes,
            "evicted": self.evicted,
            "dropped": self.dropped,
            "overflows": self.overflows,
            "high": self.high,
        })
    }
}

/// Figures of a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TopicCounts {
    /// Subscriptions.
    pub subscribers: u64,
    /// Events published to it since it is there.
    pub published: u64,
    /// Events of its history.
    pub kept_events: u64,
    /// Bytes of these.
    pub kept_bytes: u64,
    /// Keys of its state.
    pub keys: u64,
    /// Bytes of these.
    pub state_bytes: u64,
    /// Events whose key found no room in its state.
    pub refused_keys: u64,
}

impl TopicCounts {
    /// As statistics have it.
    pub fn json(&self) -> Value {
        json!({
            "subscribers": self.subscribers,
            "published": self.published,
            "kept_events": self.kept_events,
            "kept_bytes": self.kept_bytes,
            "keys": self.keys,
            "state_bytes": self.state_bytes,
            "refused_keys": self.refused_keys,
        })
    }
}

/// Figures of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SubscriptionCounts {
    /// Events delivered to the connection's queue or socket, and not dropped
    /// there later.
    pub delivered: u64,
    /// Events left out or dropped, as the queue was full.
    pub dropped: u64,
    /// Bytes that wait in the connection's queue now.
    pub queued_bytes: u64,
    /// 1, or 0 when it has ended.
    pub active: u64,
}

impl SubscriptionCounts {
    /// As statistics have it.
    pub fn json(&self) -> Value {
        json!({
            "delivered": self.delivered,
            "dropped": self.dropped,
            "queued_bytes": self.queued_bytes,
            "active": self.active != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers in it, of which each is there once.
    fn numbers(value: &Value) -> Vec<u64> {
        let mut found: Vec<u64> = match value {
            Value::Object(members) => members.values().flat_map(numbers).collect(),
            other => other.as_u64().into_iter().collect(),
        };
        found.sort_unstable();
        found
    }

    #[test]
    fn every_field_is_in_the_json_once() {
        let host = HostCounts {
            open: 1,
            opened: 2,
            events: 3,
            comments: 4,
            refused: 5,
            bytes_sent: 6,
            queued_bytes: 7,
            queued_memory: 8,
            max_queued_bytes: 9,
            cut: 10,
            records: 11,
            logs_dropped: 12,
        };
        let hub = HubCounts {
            published: 1,
            connections: 2,
            pending_bytes: 3,
            kept_bytes: 4,
            evicted: 5,
            dropped: 6,
            overflows: 7,
            high: 8,
        };
        let topic = TopicCounts {
            subscribers: 1,
            published: 2,
            kept_events: 3,
            kept_bytes: 4,
            keys: 5,
            state_bytes: 6,
            refused_keys: 7,
        };
        let subscription = SubscriptionCounts {
            delivered: 1,
            dropped: 2,
            queued_bytes: 3,
            active: 1,
        };
        assert_eq!(numbers(&host.json()), (1..=12).collect::<Vec<_>>());
        assert_eq!(numbers(&hub.json()), (1..=8).collect::<Vec<_>>());
        assert_eq!(numbers(&topic.json()), (1..=7).collect::<Vec<_>>());
        assert_eq!(numbers(&subscription.json()), [1, 2, 3]);
        assert_eq!(subscription.json()["active"], true);
        assert_eq!(SubscriptionCounts::default().json()["active"], false);
    }
}
