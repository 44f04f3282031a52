//! W3C trace context, carried from the request through the outbox into jobs and webhook headers.
//!
//! Guarantees: every value is a well-formed `traceparent` (W3C Trace Context, section 3.2). Does not export spans.

use std::{fmt, str::FromStr};

use crate::Ambient;

/// The `traceparent` of one step: trace id and parent span id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
}

/// The error for a text that is not a version-00 `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a traceparent of the form 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct ParseTraceError;

impl TraceContext {
    /// A new trace.
    pub fn fresh(ambient: &Ambient) -> Self {
        let mut bytes = [0_u8; 16];
        ambient.fill_shown(&mut bytes);
        // Zero is invalid by the standard; setting one bit costs one bit of randomness.
        Self { trace_id: u128::from_be_bytes(bytes) | 1, span_id: 0 }.child(ambient)
    }

    /// The same trace, a new span.
    #[must_use]
    pub fn child(self, ambient: &Ambient) -> Self {
        let mut bytes = [0_u8; 8];
        ambient.fill_shown(&mut bytes);
        Self { span_id: u64::from_be_bytes(bytes) | 1, ..self }
    }

    /// The trace id as 32 hexadecimal digits, as it appears in logs.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }
}

crate::as_text!(TraceContext);

impl FromStr for TraceContext {
    type Err = ParseTraceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let (Some("00"), Some(trace), Some(span), Some(flags), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseTraceError);
        };
        let hex = |part: &str, len| {
            part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !(hex(trace, 32) && hex(span, 16) && hex(flags, 2)) {
            return Err(ParseTraceError);
        }
        let trace_id = u128::from_str_radix(trace, 16).map_err(|_| ParseTraceError)?;
        let span_id = u64::from_str_radix(span, 16).map_err(|_| ParseTraceError)?;
        if trace_id == 0 || span_id == 0 { Err(ParseTraceError) } else { Ok(Self { trace_id, span_id }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_example_of_the_standard_and_refuses_others() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace: TraceContext = text.parse().expect("the standard's example");
        assert_eq!(trace.to_string(), text);
        for bad in ["", "00-0-0-0", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "ff-x"] {
            assert_eq!(bad.parse::<TraceContext>(), Err(ParseTraceError));
        }
    }
}
