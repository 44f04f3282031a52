//! Message headers: the writer, and the reader, which takes one pass.
//!
//! A delivery carries one to eight of the known headers. A lookup per known name would search the table for each
//! missing one, a cost of every consumer for every job.

use std::time::Duration;

use base::{
    Timestamp, TraceContext,
    time::{ceil_ms, ceil_span_ms},
};
use lapin::types::{AMQPValue, FieldTable};

use crate::{engine::DeadReason, error::bounded, unique::Unique};

/// The metadata of a message beside the envelope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    pub(crate) crashes: u32,
    /// Lost deliveries of this copy, counted by the broker.
    pub(crate) lost: u32,
    /// Of a suspect: its crashes while it ran alone.
    pub(crate) alone: Option<u32>,
    /// Of a suspect: this copy was made to run alone now, so that its loss is a crash alone.
    pub(crate) turn: bool,
    /// How often it was put aside because its concurrency key was in use, since its last run.
    pub(crate) key_waits: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) first_failed_at: Option<Timestamp>,
    /// End of the delay, by the clock of the process that set it.
    pub(crate) not_before: Option<Timestamp>,
    /// Rest of a delay that is longer than the ladder, after the current rung; zero for all others.
    pub(crate) left: Duration,
    pub(crate) dead: Option<(DeadReason, Timestamp)>,
}

impl Meta {
    /// Reads the metadata from the headers of a delivery.
    pub(crate) fn of(headers: &FieldTable) -> Result<Self, String> {
        Known::of(headers).meta()
    }

    pub(crate) fn end_delay(&mut self) {
        (self.not_before, self.left) = (None, Duration::ZERO);
    }
}

/// Declares [`Known`], from its fields and the names of their headers.
macro_rules! known_headers {
    ($($field:ident: $name:literal),+ $(,)?) => {
        /// The known headers of a table; others are ignored.
        pub(super) struct Known<'h> {
            $(pub(super) $field: Header<'h>),+
        }

        impl<'h> Known<'h> {
            pub(super) fn of(headers: &'h FieldTable) -> Self {
                let mut known = Self { $($field: Header { name: $name, value: None }),+ };
                for (name, value) in headers.inner() {
                    match name.as_str() {
                        $($name => known.$field.value = Some(value),)+
                        _ => {}
                    }
                }
                known
            }
        }
    };
}

known_headers! {
    attempt: "ow-attempt",
    max_attempts: "ow-max-attempts",
    version: "ow-version",
    created_at: "ow-created-at",
    run_at: "ow-run-at",
    traceparent: "traceparent",
    trace_state: "tracestate",
    subject: "ow-subject",
    unique_key: "ow-unique-key",
    unique_states: "ow-unique-states",
    unique_period: "ow-unique-period",
    concurrency_key: "ow-concurrency-key",
    fair_key: "ow-fair-key",
    order_key: "ow-order-key",
    crashes: "ow-crashes",
    alone: "ow-alone",
    turn: "ow-turn",
    key_waits: "ow-key-waits",
    delivery_count: "x-delivery-count",
    last_error: "ow-last-error",
    first_failed_at: "ow-first-failed-at",
    not_before: "ow-not-before",
    left_ms: "ow-left-ms",
    dead_reason: "ow-dead-reason",
    died_at: "ow-died-at",
}

#[derive(Clone, Copy)]
pub(super) struct Header<'h> {
    name: &'static str,
    value: Option<&'h AMQPValue>,
}

impl Known<'_> {
    pub(super) fn meta(&self) -> Result<Meta, String> {
        let reason = self.dead_reason.text()?.and_then(DeadReason::parse);
        let died_at = self.died_at.time()?;
        let before = self.crashes.number()?.unwrap_or(0);
        let here = self.delivery_count.number()?.unwrap_or(0);
        Ok(Meta {
            crashes: u32::try_from(before.saturating_add(here)).unwrap_or(0),
            lost: u32::try_from(here).unwrap_or(0),
            alone: self.alone.number()?.and_then(|alone| alone.try_into().ok()),
            turn: self.turn.number()?.is_some_and(|turn| turn != 0),
            key_waits: self.key_waits.number()?.and_then(|waits| waits.try_into().ok()).unwrap_or(0),
            last_error: self.last_error.text()?.map(bounded),
            first_failed_at: self.first_failed_at.time()?,
            not_before: self.not_before.time()?,
            left: Duration::from_millis(
                self.left_ms.number()?.and_then(|ms| ms.try_into().ok()).unwrap_or(0),
            ),
            dead: reason.zip(died_at),
        })
    }
}

impl<'h> Header<'h> {
    pub(super) fn number(self) -> Result<Option<i64>, String> {
        let Some(value) = self.value else { return Ok(None) };
        integer(value).map(Some).ok_or_else(|| format!("header {}: not a number", self.name))
    }

    /// The number, or the default for an absent header.
    pub(super) fn or<T: TryFrom<i64>>(self, usual: T) -> Result<T, String> {
        let Some(number) = self.number()? else { return Ok(usual) };
        T::try_from(number).map_err(|_| format!("header {}: {number} is out of range", self.name))
    }

    pub(super) fn time(self) -> Result<Option<Timestamp>, String> {
        let time = self.number()?.map(Timestamp::from_millisecond).transpose();
        time.map_err(|error| format!("header {}: {error}", self.name))
    }

    pub(super) fn text(self) -> Result<Option<&'h str>, String> {
        match self.value {
            None => Ok(None),
            Some(AMQPValue::LongString(text)) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(format!("header {}: {error}", self.name)),
            },
            Some(_) => Err(format!("header {}: not a text", self.name)),
        }
    }

    pub(super) fn string(self) -> Result<Option<String>, String> {
        Ok(self.text()?.map(str::to_owned))
    }
}

/// The number in one header, for callers that need no other.
pub(crate) fn number(headers: &FieldTable, name: &'static str) -> Result<Option<i64>, String> {
    Header { name, value: headers.inner().get(name) }.number()
}

fn integer(value: &AMQPValue) -> Option<i64> {
    Some(match value {
        AMQPValue::ShortShortInt(n) => i64::from(*n),
        AMQPValue::ShortShortUInt(n) => i64::from(*n),
        AMQPValue::ShortInt(n) => i64::from(*n),
        AMQPValue::ShortUInt(n) => i64::from(*n),
        AMQPValue::LongInt(n) => i64::from(*n),
        AMQPValue::LongUInt(n) => i64::from(*n),
        AMQPValue::LongLongInt(n) => *n,
        _ => return None,
    })
}

/// Headers to write.
pub(super) struct Headers(pub(super) FieldTable);

impl Headers {
    pub(super) fn number(&mut self, name: &str, value: i64) {
        self.0.insert(name.into(), AMQPValue::LongLongInt(value));
    }

    pub(super) fn number_unless<T: Into<i64> + PartialEq>(&mut self, usual: T, name: &str, value: T) {
        if value != usual {
            self.number(name, value.into());
        }
    }

    pub(super) fn time(&mut self, name: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.number(name, ceil_ms(at));
        }
    }

    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.0.insert(name.into(), AMQPValue::LongString(value.into()));
        }
    }

    pub(super) fn unique(&mut self, unique: Unique) {
        self.text("ow-unique-states", unique.states_name());
        if let Some(period) = unique.stored_period() {
            self.number("ow-unique-period", period);
        }
    }

    pub(super) fn trace(&mut self, trace: Option<&TraceContext>) {
        self.text("traceparent", trace.map(TraceContext::parent));
        self.text("tracestate", trace.and_then(TraceContext::stored_state).as_deref());
    }

    pub(super) fn meta(&mut self, meta: &Meta) {
        if meta.crashes > 0 {
            self.number("ow-crashes", i64::from(meta.crashes));
        }
        if let Some(alone) = meta.alone {
            self.number("ow-alone", i64::from(alone));
        }
        self.number_unless(false, "ow-turn", meta.turn);
        self.number_unless(0, "ow-key-waits", meta.key_waits);
        self.text("ow-last-error", meta.last_error.as_deref());
        self.time("ow-first-failed-at", meta.first_failed_at);
        self.time("ow-not-before", meta.not_before);
        if !meta.left.is_zero() {
            // Rounded up: a job must not start early.
            self.number("ow-left-ms", ceil_span_ms(meta.left));
        }
        if let Some((reason, at)) = meta.dead {
            self.text("ow-dead-reason", Some(reason.as_str()));
            self.time("ow-died-at", Some(at));
        }
    }
}
