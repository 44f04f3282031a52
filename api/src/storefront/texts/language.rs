//! Languages of the storefront, and the one that a visitor prefers (RFC 9110, section 12.5.4).

use http::{HeaderMap, header};

use super::{de, en, ja, table::Texts};

/// Ranges of `Accept-Language` that are read at most; browsers send a handful.
const RANGES_MAX: usize = 20;

/// A language that every text is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::storefront) enum Language {
    English,
    German,
    Japanese,
}

impl Language {
    pub(in crate::storefront) const ALL: [Self; 3] = [Self::English, Self::German, Self::Japanese];

    /// Its tag (BCP 47).
    pub(in crate::storefront) const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
            Self::Japanese => "ja",
        }
    }

    /// Its name in itself.
    pub(in crate::storefront) const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "Deutsch",
            Self::Japanese => "日本語",
        }
    }

    pub(in crate::storefront) fn texts(self) -> &'static Texts {
        match self {
            Self::English => &en::TEXTS,
            Self::German => &de::TEXTS,
            Self::Japanese => &ja::TEXTS,
        }
    }

    pub(in crate::storefront) fn of_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// The one of these languages that the browser likes best; English where it likes none of them.
    pub(in crate::storefront) fn preferred(headers: &HeaderMap) -> Self {
        let sent = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let ranges = sent.unwrap_or_default().split(',').take(RANGES_MAX).filter_map(weighted);
        // The first one of equals counts.
        let best = ranges.fold(None, |best: Option<(Self, u32)>, next| match best {
            Some(best) if best.1 >= next.1 => Some(best),
            _ => Some(next),
        });
        best.map_or(Self::English, |(language, _)| language)
    }
}

/// Language and weight, in thousandths, of a range such as `de-CH;q=0.8`.
fn weighted(range: &str) -> Option<(Language, u32)> {
    let mut parts = range.split(';').map(str::trim);
    let tag = parts.next()?.split('-').next()?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q="));
    let weight = quality.map_or(Some(1000), thousandths)?;
    (weight > 0).then_some(())?;
    Some((Language::of_tag(&tag)?, weight))
}

/// `1`, `0.8` or `0.125` in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = part.chars().chain("000".chars()).take(3).collect();
    let (whole, part) = (whole.parse::<u32>().ok()?, digits.parse::<u32>().ok()?);
    (whole <= 1).then(|| whole * 1000 + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_the_browser_likes_best() {
        for (sent, expected) in [
            ("de-CH,de;q=0.9,en;q=0.8", Language::German),
            ("en;q=0.5, ja;q=0.75", Language::Japanese),
            ("fr, ja;q=0.3", Language::Japanese),
            ("JA", Language::Japanese),
            ("de;q=0, en;q=0.1", Language::English),
            ("de;q=x", Language::English),
            ("fr", Language::English),
            ("", Language::English),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, sent.parse().expect("a header value"));
            assert_eq!(Language::preferred(&headers), expected, "{sent}");
        }
    }
}
