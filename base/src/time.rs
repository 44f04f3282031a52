//! Saturating sums and differences of points in time, and their milliseconds.

use std::time::Duration;

use jiff::Timestamp;

/// `at + by`, at most [`Timestamp::MAX`].
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// `at - by`, at least the Unix epoch.
pub fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_sub(by).map_or(Timestamp::UNIX_EPOCH, |earlier| earlier.max(Timestamp::UNIX_EPOCH))
}

/// The duration from `from` to `to`; zero when `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// `at` in milliseconds since 1970, rounded up: rounded down, a delayed start would be early.
pub fn ceil_ms(at: Timestamp) -> i64 {
    let millis = at.as_millisecond();
    millis + i64::from(at.as_nanosecond() > i128::from(millis) * 1_000_000)
}

/// A duration in milliseconds, rounded up, at most [`i64::MAX`].
pub fn ceil_span_ms(span: Duration) -> i64 {
    i64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_end_where_time_does() {
        let (epoch, minute) = (Timestamp::UNIX_EPOCH, Duration::from_mins(1));
        assert_eq!(later(epoch, minute).as_second(), 60);
        assert_eq!(later(Timestamp::MAX, minute), Timestamp::MAX);
        assert_eq!(later(epoch, Duration::MAX), Timestamp::MAX);
        assert_eq!(earlier(later(epoch, minute), minute), epoch);
        assert_eq!([earlier(epoch, minute), earlier(later(epoch, minute), Duration::MAX)], [epoch, epoch]);
        assert_eq!(between(epoch, later(epoch, minute)), minute);
        assert_eq!(between(later(epoch, minute), epoch), Duration::ZERO);
    }

    #[test]
    fn milliseconds_round_up() {
        let at = |nanos| ceil_ms(Timestamp::from_nanosecond(nanos).unwrap());
        assert_eq!([at(1_000_000), at(1_000_001), at(1_999_999)], [1, 2, 2]);
        assert_eq!([at(-1_500_000), at(-1_000_000)], [-1, -1]);
        assert_eq!([0, 1, 1_000_000, 1_000_001].map(|n| ceil_span_ms(Duration::from_nanos(n))), [0, 1, 1, 2]);
        assert_eq!(ceil_span_ms(Duration::MAX), i64::MAX);
    }
}
