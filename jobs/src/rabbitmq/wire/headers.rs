//! Message headers: the writer, and the reader, which takes one pass.
//!
//! A delivery carries one to eight of the known headers. A lookup per known name would search the table for each
//! missing one, a cost of every consumer for every job.

use std::time::Duration;

use base::{Timestamp, time::ceil_ms};
use lapin::types::{AMQPValue, FieldTable};

use crate::engine::DeadReason;

/// The metadata of a message beside the envelope.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meta {
    pub(crate) crashes: u32,
    pub(crate) last_error: Option<String>,
    pub(crate) first_failed_at: Option<Timestamp>,
    /// End and beginning of the delay, by the clock of the process that set it.
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) delayed_at: Option<Timestamp>,
    /// Remainder of the delay after the current rung; zero when the job may start as it leaves the rung.
    pub(crate) left: Duration,
    pub(crate) dead: Option<(DeadReason, Timestamp)>,
}

impl Meta {
    /// Reads the metadata from the headers of a delivery.
    pub(crate) fn of(headers: &FieldTable) -> Result<Self, String> {
        Known::of(headers).meta()
    }

    pub(crate) fn end_delay(&mut self) {
        (self.not_before, self.delayed_at, self.left) = (None, None, Duration::ZERO);
    }
}

/// The known headers of a table; others are ignored.
pub(super) struct Known<'h> {
    pub(super) attempt: Header<'h>,
    pub(super) max_attempts: Header<'h>,
    pub(super) version: Header<'h>,
    pub(super) created_at: Header<'h>,
    pub(super) run_at: Header<'h>,
    pub(super) traceparent: Header<'h>,
    pub(super) subject: Header<'h>,
    pub(super) unique_key: Header<'h>,
    pub(super) concurrency_key: Header<'h>,
    crashes: Header<'h>,
    delivery_count: Header<'h>,
    last_error: Header<'h>,
    first_failed_at: Header<'h>,
    not_before: Header<'h>,
    delayed_at: Header<'h>,
    left_ms: Header<'h>,
    dead_reason: Header<'h>,
    died_at: Header<'h>,
}

/// One header, or its absence.
#[derive(Clone, Copy)]
pub(super) struct Header<'h> {
    name: &'static str,
    value: Option<&'h AMQPValue>,
}

impl<'h> Known<'h> {
    pub(super) fn of(headers: &'h FieldTable) -> Self {
        const fn absent<'h>(name: &'static str) -> Header<'h> {
            Header { name, value: None }
        }
        let mut known = Self {
            attempt: absent("ow-attempt"),
            max_attempts: absent("ow-max-attempts"),
            version: absent("ow-version"),
            created_at: absent("ow-created-at"),
            run_at: absent("ow-run-at"),
            traceparent: absent("traceparent"),
            subject: absent("ow-subject"),
            unique_key: absent("ow-unique-key"),
            concurrency_key: absent("ow-concurrency-key"),
            crashes: absent("ow-crashes"),
            delivery_count: absent("x-delivery-count"),
            last_error: absent("ow-last-error"),
            first_failed_at: absent("ow-first-failed-at"),
            not_before: absent("ow-not-before"),
            delayed_at: absent("ow-delayed-at"),
            left_ms: absent("ow-left-ms"),
            dead_reason: absent("ow-dead-reason"),
            died_at: absent("ow-died-at"),
        };
        for (name, value) in headers.inner() {
            if let Some(header) = known.named(name.as_str()) {
                header.value = Some(value);
            }
        }
        known
    }

    fn named(&mut self, name: &str) -> Option<&mut Header<'h>> {
        Some(match name {
            "ow-attempt" => &mut self.attempt,
            "ow-max-attempts" => &mut self.max_attempts,
            "ow-version" => &mut self.version,
            "ow-created-at" => &mut self.created_at,
            "ow-run-at" => &mut self.run_at,
            "traceparent" => &mut self.traceparent,
            "ow-subject" => &mut self.subject,
            "ow-unique-key" => &mut self.unique_key,
            "ow-concurrency-key" => &mut self.concurrency_key,
            "ow-crashes" => &mut self.crashes,
            "x-delivery-count" => &mut self.delivery_count,
            "ow-last-error" => &mut self.last_error,
            "ow-first-failed-at" => &mut self.first_failed_at,
            "ow-not-before" => &mut self.not_before,
            "ow-delayed-at" => &mut self.delayed_at,
            "ow-left-ms" => &mut self.left_ms,
            "ow-dead-reason" => &mut self.dead_reason,
            "ow-died-at" => &mut self.died_at,
            _ => return None,
        })
    }

    /// The metadata of the message beside the envelope.
    pub(super) fn meta(&self) -> Result<Meta, String> {
        let reason = self.dead_reason.text()?.and_then(DeadReason::parse);
        let died_at = self.died_at.time()?;
        let before = self.crashes.number()?.unwrap_or(0);
        let here = self.delivery_count.number()?.unwrap_or(0);
        Ok(Meta {
            crashes: u32::try_from(before.saturating_add(here)).unwrap_or(0),
            last_error: self.last_error.string()?,
            first_failed_at: self.first_failed_at.time()?,
            not_before: self.not_before.time()?,
            delayed_at: self.delayed_at.time()?,
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

    pub(super) fn meta(&mut self, meta: &Meta) {
        if meta.crashes > 0 {
            self.number("ow-crashes", i64::from(meta.crashes));
        }
        self.text("ow-last-error", meta.last_error.as_deref());
        self.time("ow-first-failed-at", meta.first_failed_at);
        self.time("ow-not-before", meta.not_before);
        self.time("ow-delayed-at", meta.delayed_at);
        if !meta.left.is_zero() {
            // Rounded up: a job must not start early.
            let millis = meta.left.as_nanos().div_ceil(1_000_000);
            self.number("ow-left-ms", i64::try_from(millis).unwrap_or(i64::MAX));
        }
        if let Some((reason, at)) = meta.dead {
            self.text("ow-dead-reason", Some(reason.as_str()));
            self.time("ow-died-at", Some(at));
        }
    }
}
