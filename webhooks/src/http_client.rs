//! Parts of HTTP clients for servers of others: TLS provider, bounded bodies, `Retry-After`.

use std::{sync::Once, time::Duration};

use base::{Timestamp, time::between};
use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

/// Makes *ring* the process's TLS implementation, unless one is installed already. Required before a client is built.
pub fn install_tls_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that a provider is already installed, which is sufficient.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// The body up to `bytes_max` bytes, and whether it is complete.
pub async fn read_bounded(
    mut response: reqwest::Response,
    bytes_max: usize,
) -> Result<(Vec<u8>, bool), reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = bytes_max - body.len();
        if chunk.len() > room {
            body.extend_from_slice(&chunk[..room]);
            return Ok((body, false));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, true))
}

/// Wait requested by `Retry-After` (RFC 9110, section 10.2.3), in seconds or as an HTTP date.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    Some(between(now, http_date(text)?))
}

/// The time at which an answer was made, by the clock of its maker.
pub fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get(DATE)?.to_str().ok()?.trim())
}

/// A date in one of the three forms of HTTP (RFC 9110, section 5.6.7).
fn http_date(text: &str) -> Option<Timestamp> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let date = match words[..] {
        // Sunday, 06-Nov-94 08:49:37 GMT
        [_, date, time, "GMT"] => {
            let (day, rest) = date.split_once('-')?;
            let (month, year) = rest.split_once('-').filter(|(_, year)| year.len() == 2)?;
            let century = if year.parse::<u8>().ok()? < 70 { 20 } else { 19 };
            format!("{day} {month} {century}{year} {time} GMT")
        }
        // Sun Nov  6 08:49:37 1994
        [_, month, day, time, year] if year.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{day} {month} {year} {time} GMT")
        }
        _ => text.to_owned(),
    };
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Option<Duration> {
        let now = "1994-11-06T08:49:00Z".parse().expect("a time");
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().expect("a header value"));
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_read_in_seconds_and_all_forms_of_dates() {
        assert_eq!(parse("120"), Some(Duration::from_mins(2)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(parse("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO), "a time gone by");
        for date in [
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            "06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(date), Some(Duration::from_secs(37)), "{date}");
        }
        let later = parse("Friday, 01-Jan-27 00:00:00 GMT").expect("a time of this century");
        assert!(later > Duration::from_hours(24 * 365 * 32));
        for bad in ["Sunday, 06-Nov-1994x 08:49:37 GMT", "Sun Nov 99 08:49:37 1994", "a b c d e", "a-b GMT"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("soon"), None);
        assert_eq!(parse("-5"), None);
    }
}
