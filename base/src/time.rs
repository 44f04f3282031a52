//! Saturating sums and differences of points in time.

use std::time::Duration;

use jiff::Timestamp;

/// `at + by`, at most [`Timestamp::MAX`].
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

/// The duration from `from` to `to`; zero when `to` is earlier.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
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
        assert_eq!(between(epoch, later(epoch, minute)), minute);
        assert_eq!(between(later(epoch, minute), epoch), Duration::ZERO);
    }
}
