//! Values as people read them: texts without what could mislead, times with ages, bounded counts; and links.

use std::time::Duration;

use base::{Timestamp, chars::isolated, time::between};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::page::Cell;

/// Counts from this on are shown as "10,000+": the difference is of no use, and exact ones cost a scan.
pub(crate) const COUNT_SHOWN_MAX: u64 = 10_000;
/// Longest text of a cell, in characters; the rest is on the page of the thing itself.
const TEXT_CHARS_MAX: usize = 300;
/// What a query or a part of a path need not encode.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: shown(text, TEXT_CHARS_MAX), ..Self::default() }
    }
}

impl From<Option<&str>> for Cell {
    fn from(text: Option<&str>) -> Self {
        text.unwrap_or("-").into()
    }
}

impl Cell {
    pub(crate) fn count(number: u64) -> Self {
        Self { class: "number", raw: number.to_string(), ..Self::from(count(number)) }
    }

    pub(crate) fn number(number: impl ToString) -> Self {
        Self { class: "number", ..Self::from(number.to_string()) }
    }

    pub(crate) fn link(text: impl Into<Self>, href: impl Into<String>) -> Self {
        Self { href: href.into(), ..text.into() }
    }

    pub(crate) fn marked(class: &'static str, text: impl Into<Self>) -> Self {
        Self { class, ..text.into() }
    }

    /// A time to the second, with its age.
    pub(crate) fn time(at: Timestamp, now: Timestamp) -> Self {
        let second = Timestamp::from_second(at.as_second()).unwrap_or(at);
        let age = if at > now { format!("in {}", span(between(now, at))) } else { ago(at, now) };
        Self { raw: at.to_string(), ..Self::from(format!("{second} ({age})")) }
    }

    /// A number or an age that is not known; as narrow as those that are.
    pub(crate) fn unknown() -> Self {
        Self::number("-")
    }

    /// The age of a time, which itself is the value for programs.
    pub(crate) fn age(at: Timestamp, now: Timestamp) -> Self {
        Self { raw: at.to_string(), ..Self::number(ago(at, now)) }
    }

    pub(crate) fn optional_time(at: Option<Timestamp>, now: Timestamp) -> Self {
        at.map_or_else(|| "-".into(), |at| Self::time(at, now))
    }
}

/// A text without control characters and without what could reorder the page, of this many characters at most.
pub(crate) fn shown(text: &str, most: usize) -> String {
    let cut: String = text.chars().take(most).collect();
    let is_cut = cut.len() < text.len();
    let lines = cut.replace(['\r', '\n', '\t'], " ");
    let mut shown = isolated(&lines).into_owned();
    if is_cut {
        shown.push('…');
    }
    shown
}

/// A count in thousands, bounded.
pub(crate) fn count(number: u64) -> String {
    if number >= COUNT_SHOWN_MAX {
        return "10,000+".to_owned();
    }
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}

pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    format!("{} ago", span(between(at, now)))
}

/// A duration in its largest unit that says enough.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A path with one part taken from data.
pub(crate) fn path(folder: &str, part: &str) -> String {
    format!("{folder}/{}", utf8_percent_encode(part, PLAIN))
}

/// A path with a query of those conditions that are set.
pub(crate) fn with_query(path: &str, conditions: &[(&str, &str)]) -> String {
    let set = conditions.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> =
        set.map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, PLAIN))).collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_bounded_and_spans_have_one_unit() {
        let counts = [0, 999, 1000, 9_999, 10_000, u64::MAX].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "9,999", "10,000+", "10,000+"]);
        let spans = [0.5, 12.0, 300.0, 7_300.0, 200_000.0].map(|s| span(Duration::from_secs_f64(s)));
        assert_eq!(spans, ["0.5 s", "12 s", "5 min", "2 h", "2 d"]);
    }

    #[test]
    fn texts_lose_what_misleads_and_links_are_encoded() {
        assert_eq!(shown("a\u{202e}b\nc\u{0}", 300), "\u{2068}a\u{202e}b c\u{2069}");
        assert_eq!(shown("abcdef", 3), "abc…");
        assert_eq!(path("/queues", "a/../b"), "/queues/a%2F..%2Fb");
        assert_eq!(
            with_query("/jobs", &[("state", "dead"), ("kind", ""), ("q", "a&b")]),
            "/jobs?state=dead&q=a%26b"
        );
    }
}
