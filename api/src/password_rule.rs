//! Rule for passwords: NIST SP 800-63B-4, section 3.1.1.2.
//!
//! Guarantees: a new password, as the only factor, has at least 15 characters of any kind, and is not among those that
//! attackers try first: common passwords, runs, repetitions, words of the account and of the shop, and combinations of
//! these. Accounts keep the shorter passwords they have.

use serde_json::Value;
use store::domain::MerchantId;

use crate::{
    input::Report,
    problem::{FieldError, Problem},
    state::ApiState,
};

/// Characters that must remain of a password without its common parts.
const OWN_CHARS_MIN: usize = 6;
/// Shorter words occur in half of all phrases.
const WORD_CHARS_MIN: usize = 4;
/// Least length of a run or repetition that is removed.
const RUN_CHARS_MIN: usize = 4;
const TOO_COMMON: &str = "too_common";
const TOO_COMMON_DETAIL: &str = "expected a password that is hard to guess, such as four unrelated words";

/// One word a line: its letters and digits in lower case.
const COMMON: &str = include_str!("common_passwords.txt");
const RUNS: [&str; 8] = [
    "abcdefghijklmnopqrstuvwxyz",
    "zyxwvutsrqponmlkjihgfedcba",
    "01234567890123456789",
    "98765432109876543210",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
];

/// Reports a common new password. The members `own_words` of the body are known to an attacker of the account, such as
/// its mail address.
pub(crate) fn check(sent: &Value, valid: &Value, own_words: &[&str], report: &Report) {
    let own_words: Vec<_> = own_words.iter().filter_map(|name| sent[*name].as_str()).collect();
    if valid["password"].as_str().is_some_and(|password| is_common(password, &own_words)) {
        report.add("/password", TOO_COMMON, TOO_COMMON_DETAIL);
    }
}

/// Rejects a new password of which little remains without these words and the merchant's name, which [`check`] does not
/// know.
pub(crate) async fn refuse_known(
    state: &ApiState,
    merchant: MerchantId,
    password: &str,
    own_words: &[&str],
) -> Result<(), Problem> {
    let name = state.orders.merchant_name(merchant).await?.unwrap_or_default();
    if is_common(password, &[own_words, &[&name]].concat()) {
        return Err(Problem::invalid(vec![FieldError::new("/password", TOO_COMMON, TOO_COMMON_DETAIL)]));
    }
    Ok(())
}

/// Whether little remains of the password without its common parts.
fn is_common(password: &str, own_words: &[&str]) -> bool {
    let mut rest = plain(password);
    // `plain` leaves nothing of punctuation, so a password of punctuation alone is checked for this only.
    let mut distinct: Vec<char> = password.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < OWN_CHARS_MIN {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    let own = own_words.iter().map(|word| plain(word));
    let parts = own_words.iter().flat_map(|word| word.split(|c: char| !c.is_alphanumeric())).map(plain);
    let mut words: Vec<String> = own.chain(parts).chain(COMMON.lines().map(str::to_owned)).collect();
    words.retain(|word| word.chars().count() >= WORD_CHARS_MIN);
    words.sort_unstable_by_key(|word| std::cmp::Reverse(word.len()));
    for word in words {
        rest = rest.replace(&word, " ");
    }
    own_chars(&rest) < OWN_CHARS_MIN
}

/// Number of characters that belong to no run and repeat nothing.
fn own_chars(rest: &str) -> usize {
    let mut seen: Vec<String> = Vec::new();
    let mut own = 0;
    for part in rest.split_whitespace() {
        let chars: Vec<char> = part.chars().collect();
        for piece in chars.chunks(RUN_CHARS_MIN) {
            let piece: String = piece.iter().collect();
            let is_run =
                piece.chars().count() == RUN_CHARS_MIN && RUNS.iter().any(|run| run.contains(&piece));
            if !is_run && !seen.contains(&piece) {
                own += piece.chars().count();
                seen.push(piece);
            }
        }
    }
    own
}

/// Letters and digits in lower case, with the usual substitutions undone.
fn plain(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase).map(|c| match c {
        '@' => 'a',
        '$' => 's',
        c => c,
    });
    letters.filter(|c| c.is_alphanumeric()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_passwords_are_known_and_phrases_are_not() {
        for common in [
            "passwordpassword",
            "P@ssword12345678",
            "aaaaaaaaaaaaaaaa",
            "123456789012345",
            "abcdefghijklmnop",
            "qwertyuiopasdfgh",
            "abababababababab",
            "correcthorsebatterystaple",
            "Correct Horse Battery Staple!",
            "iloveyouiloveyou1",
            "welcomewelcome2024",
            "lovelace-lovelace",
            "ada.lovelace@example.com",
            "orderworks-orderworks",
        ] {
            assert!(is_common(common, &["ada.lovelace@example.com", "Ada Lovelace"]), "{common}");
        }
        for fine in [
            "canary correct horse",
            "tulip engine seven rivers",
            "\u{fc}ber den wolken fliegen",
            "x9!kd;2mQz(r7Lw",
        ] {
            assert!(!is_common(fine, &["ada.lovelace@example.com", "Ada Lovelace"]), "{fine}");
        }
    }
}
