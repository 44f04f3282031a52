//! W3C trace context, carried from the request through the outbox into jobs, events and webhook headers.
//!
//! Guarantees: every value has a well-formed `traceparent` (W3C Trace Context, section 3.2). Where no span is recorded,
//! a caller's `traceparent` and `tracestate` pass through unchanged, with flags and versions that this release does not
//! know. Spans are recorded by way of [`crate::spans`].

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use crate::Ambient;

/// Length of a `traceparent` of version 00.
const PARENT_BYTES: usize = 55;
/// Longest `traceparent` of a later version, which may append fields.
const PARENT_BYTES_MAX: usize = 256;
/// Longest `tracestate` passed on, all its headers together; the standard asks for at least as much.
const STATE_BYTES_MAX: usize = 512;
/// Bit of the flags that asks for recording.
const SAMPLED: u8 = 1;
/// First entry of a stored `tracestate` of a context that is only linked to: an entry that releases before links, and
/// readers in other languages, pass on.
const LINK: &str = "ow-link=1";

/// A caller's `traceparent` and `tracestate` as they came, or a new trace. Its text is both, with a space between.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    parent: Arc<str>,
    state: Option<Arc<str>>,
    is_link: bool,
}

/// The error for a text that is not a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a traceparent of the form 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct ParseTraceError;

impl TraceContext {
    /// A new trace.
    pub fn fresh(ambient: &Ambient) -> Self {
        let (mut trace, mut span) = ([0_u8; 16], [0_u8; 8]);
        ambient.fill_shown(&mut trace);
        ambient.fill_shown(&mut span);
        // Zero is invalid by the standard; setting one bit costs one bit of randomness.
        let (trace, span) = (u128::from_be_bytes(trace) | 1, u64::from_be_bytes(span) | 1);
        Self { parent: format!("00-{trace:032x}-{span:016x}-01").into(), state: None, is_link: false }
    }

    /// Adds the values of the `tracestate` headers, joined in order. Left out where they are too long to pass on, no
    /// printable ASCII, or would read as a stored link.
    #[must_use]
    pub fn with_state<'a>(self, headers: impl IntoIterator<Item = &'a str>) -> Self {
        let values: Vec<&str> =
            headers.into_iter().map(str::trim).filter(|value| !value.is_empty()).collect();
        let state = values.join(",");
        let usable = (1..=STATE_BYTES_MAX).contains(&state.len())
            && state.bytes().all(|byte| byte == b'\t' || (b' '..=b'~').contains(&byte))
            && !state.starts_with(LINK);
        Self { state: usable.then(|| state.into()), ..self }
    }

    /// Adds the state as [`Self::stored_state`] gave it.
    #[must_use]
    pub fn with_stored_state(self, stored: &str) -> Self {
        match stored.strip_prefix(LINK) {
            Some("") => self.linked(),
            Some(rest) if rest.starts_with(',') => self.linked().with_state([rest.trim_start_matches(',')]),
            _ => self.with_state([stored]),
        }
    }

    /// The same context, for work that begins a trace of its own and only points at this one: a run after a redrive, a
    /// run of a schedule.
    #[must_use]
    pub fn linked(self) -> Self {
        Self { is_link: true, ..self }
    }

    /// Whether work only links to this trace, instead of continuing it.
    pub fn is_link(&self) -> bool {
        self.is_link
    }

    /// The value of the header `traceparent`.
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The value of the header `tracestate`, if there is one.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace id as 32 hexadecimal digits, as it appears in logs.
    pub fn trace_id(&self) -> String {
        self.parent.get(3..35).unwrap_or_default().to_owned()
    }

    /// The id of the span as 16 hexadecimal digits, as it appears in logs.
    pub fn span_id(&self) -> &str {
        self.parent.get(36..52).unwrap_or_default()
    }

    /// Whether the flags ask for recording.
    pub fn is_sampled(&self) -> bool {
        let flags = self.parent.get(53..55).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & SAMPLED != 0)
    }

    /// The `tracestate` under which the context is stored and sent to workers: that of the header, and whether it is
    /// only linked to.
    pub fn stored_state(&self) -> Option<Cow<'_, str>> {
        match (self.is_link, self.state()) {
            (false, state) => state.map(Cow::Borrowed),
            (true, None) => Some(Cow::Borrowed(LINK)),
            (true, Some(state)) => Some(Cow::Owned(format!("{LINK},{state}"))),
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parent)?;
        self.stored_state().map_or(Ok(()), |state| write!(f, " {state}"))
    }
}

crate::as_text!(TraceContext);

impl FromStr for TraceContext {
    type Err = ParseTraceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (parent, state) = text.split_once(' ').unwrap_or((text, ""));
        if !is_parent(parent) {
            return Err(ParseTraceError);
        }
        Ok(Self { parent: parent.into(), state: None, is_link: false }.with_stored_state(state))
    }
}

/// Whether this is a `traceparent` of version 00, or of a later one as far as the standard fixes its form.
fn is_parent(text: &str) -> bool {
    let bytes = text.as_bytes();
    if !(PARENT_BYTES..=PARENT_BYTES_MAX).contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
        return false;
    }
    let (known, added) = bytes.split_at(PARENT_BYTES);
    let digits = |from: usize, to: usize| {
        let part = known.get(from..to).unwrap_or_default();
        part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(part)
    };
    let has_value = |part: Option<&[u8]>| part.is_some_and(|part| part.iter().any(|byte| *byte != b'0'));
    let dashes = [2, 35, 52].into_iter().all(|at| known.get(at) == Some(&b'-'));
    let version = match digits(0, 2) {
        Some(b"00") => added.is_empty(),
        Some(b"ff") | None => false,
        Some(_) => added.first().is_none_or(|byte| *byte == b'-'),
    };
    version && dashes && has_value(digits(3, 35)) && has_value(digits(36, 52)) && digits(53, 55).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_values_pass_unchanged_with_unknown_flags_and_versions() {
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for parent in [
            format!("00-{ids}-01"),
            format!("00-{ids}-00"),
            format!("00-{ids}-ff"),
            format!("cc-{ids}-01"),
            format!("01-{ids}-09-what-the-future-will-be-like"),
        ] {
            let trace: TraceContext = parent.parse().expect("valid by the standard");
            assert_eq!((trace.parent(), trace.state(), &trace.to_string()), (&*parent, None, &parent));
            assert_eq!(trace.trace_id(), ids[..32]);
            let trace = trace.with_state(["congo=t61rcWkgMzE,rojo=00f0 67aa", " vendor@system=1 "]);
            assert_eq!(trace.state(), Some("congo=t61rcWkgMzE,rojo=00f0 67aa,vendor@system=1"));
            assert_eq!(trace.to_string().parse(), Ok(trace), "as it is stored");
        }
        for bad in [
            String::new(),
            "00-0-0-0".to_owned(),
            format!("00-{ids}-01-more"),
            format!("ff-{ids}-01"),
            format!("01-{ids}-01.more"),
            format!("00-{}-01", ids.to_uppercase()),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01".to_owned(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01".to_owned(),
            format!("cc-{ids}-01-{}", "x".repeat(PARENT_BYTES_MAX)),
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(ParseTraceError), "{bad}");
        }
    }

    #[test]
    fn a_link_is_stored_and_not_shown_to_others() {
        let ids = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        let plain: TraceContext = format!("00-{ids}-01").parse().expect("valid by the standard");
        assert!(plain.is_sampled() && !plain.is_link());
        assert_eq!(plain.span_id(), &ids[33..]);
        for trace in [plain.clone(), plain.with_state(["vendor=1,other=2"])] {
            let link = trace.clone().linked();
            assert!(link.is_link() && link != trace);
            assert_eq!((link.parent(), link.state()), (trace.parent(), trace.state()));
            assert_eq!(link.clone().linked(), link, "once is enough");
            assert_eq!(link.to_string().parse(), Ok(link), "as it is stored");
        }
    }

    #[test]
    fn a_state_that_cannot_be_passed_on_leaves_the_parent() {
        let trace = TraceContext::fresh(&Ambient::system());
        let long = "a=b,".repeat(200);
        for state in ["", "a=\u{e9}", "a=b\r\nx: y", &long, "ow-link=1", "ow-link=1,a=b"] {
            assert_eq!(trace.clone().with_state([state]), trace);
        }
    }
}
