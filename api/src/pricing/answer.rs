//! The answer of a hook: `{"adjustments":[{"label":"Parcel","amount_minor":490}]}`.
//!
//! Guarantees: an answer is valid as a whole or not used at all. Amounts are whole minor units; a discount is zero or
//! less and discounts are at most what the lines come to, shipping and tax are zero or more; labels are one line of
//! text. Fields that are not known are ignored.

use base::chars::is_format;
use serde::Deserialize;
use store::domain::{
    ADJUSTMENT_LABEL_MAX, ADJUSTMENTS_PER_KIND_MAX, AMOUNT_MINOR_MAX, Adjustment, AdjustmentKind, Pricing,
};

/// Why an answer is not used; the text holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("the answer is not JSON of this form")]
    Malformed,
    #[error("the answer has more than {ADJUSTMENTS_PER_KIND_MAX} adjustments")]
    TooMany,
    #[error("a label is empty, longer than {ADJUSTMENT_LABEL_MAX} characters or not one line of text")]
    Label,
    #[error("an amount is out of its bounds")]
    Amount,
}

#[derive(Deserialize)]
struct Answer {
    adjustments: Vec<Answered>,
}

#[derive(Deserialize)]
struct Answered {
    label: String,
    amount_minor: i64,
}

/// The adjustments of this kind in the body of an answer; `so_far` is what the order comes to without them.
pub(super) fn adjustments(
    kind: AdjustmentKind,
    body: &[u8],
    so_far: &Pricing,
) -> Result<Vec<Adjustment>, AnswerError> {
    let answer: Answer = serde_json::from_slice(body).map_err(|_| AnswerError::Malformed)?;
    if answer.adjustments.len() > ADJUSTMENTS_PER_KIND_MAX {
        return Err(AnswerError::TooMany);
    }
    let (least, most) = match kind {
        AdjustmentKind::Discount => (-so_far.subtotal_minor, 0),
        AdjustmentKind::Shipping | AdjustmentKind::Tax => (0, AMOUNT_MINOR_MAX),
    };
    let mut sum_minor = 0_i64;
    let mut found = Vec::with_capacity(answer.adjustments.len());
    for Answered { label, amount_minor } in answer.adjustments {
        if !is_label(&label) {
            return Err(AnswerError::Label);
        }
        // Each is within bounds and there are few of them, so the sum cannot overflow.
        if !(least..=most).contains(&amount_minor) {
            return Err(AnswerError::Amount);
        }
        sum_minor += amount_minor;
        found.push(Adjustment { kind, label, amount_minor });
    }
    if (least..=most).contains(&sum_minor) { Ok(found) } else { Err(AnswerError::Amount) }
}

fn is_label(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !is_format(c);
    !text.trim().is_empty() && text.chars().count() <= ADJUSTMENT_LABEL_MAX && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: AdjustmentKind, body: &str) -> Result<Vec<(String, i64)>, AnswerError> {
        let so_far = Pricing { subtotal_minor: 1000, adjustments: Vec::new() };
        let found = adjustments(kind, body.as_bytes(), &so_far)?;
        assert!(found.iter().all(|adjustment| adjustment.kind == kind));
        Ok(found.into_iter().map(|adjustment| (adjustment.label, adjustment.amount_minor)).collect())
    }

    fn one(amount: &str) -> String {
        format!(r#"{{"adjustments":[{{"label":"a","amount_minor":{amount}}}]}}"#)
    }

    #[test]
    fn answers_are_read_and_unknown_fields_ignored() {
        let body = r#"{"adjustments":[{"label":"VAT 19 %","amount_minor":190,"rate":"0.19"}],"id":"x"}"#;
        assert_eq!(read(AdjustmentKind::Tax, body), Ok(vec![("VAT 19 %".to_owned(), 190)]));
        assert_eq!(read(AdjustmentKind::Tax, r#"{"adjustments":[]}"#), Ok(Vec::new()));
    }

    #[test]
    fn amounts_are_whole_and_within_the_bounds_of_their_kind() {
        let no = Err(AnswerError::Amount);
        for (kind, amount, is_valid) in [
            (AdjustmentKind::Discount, "-1000", true),
            (AdjustmentKind::Discount, "-1001", false),
            (AdjustmentKind::Discount, "0", true),
            (AdjustmentKind::Discount, "1", false),
            (AdjustmentKind::Shipping, "0", true),
            (AdjustmentKind::Shipping, "-1", false),
            (AdjustmentKind::Tax, "999999999999", true),
            (AdjustmentKind::Tax, "1000000000000", false),
            (AdjustmentKind::Tax, "9223372036854775807", false),
        ] {
            let read = read(kind, &one(amount)).map(drop);
            assert_eq!(read, if is_valid { Ok(()) } else { no }, "{kind} {amount}");
        }
        for amount in ["1.5", "1e2", "\"5\"", "null", "9223372036854775808"] {
            assert_eq!(read(AdjustmentKind::Tax, &one(amount)), Err(AnswerError::Malformed), "{amount}");
        }
        let twice =
            r#"{"adjustments":[{"label":"a","amount_minor":-600},{"label":"b","amount_minor":-600}]}"#;
        assert_eq!(read(AdjustmentKind::Discount, twice), Err(AnswerError::Amount), "more than the lines");
    }

    #[test]
    fn other_forms_and_labels_are_not_used() {
        for body in ["", "[]", "{}", "null", r#"{"adjustments":{}}"#, r#"{"adjustments":[{"label":"a"}]}"#] {
            assert_eq!(read(AdjustmentKind::Tax, body), Err(AnswerError::Malformed), "{body}");
        }
        for label in ["", "a\\nb", "a\\u202eb", &"a".repeat(101)] {
            let body = format!(r#"{{"adjustments":[{{"label":"{label}","amount_minor":1}}]}}"#);
            assert_eq!(read(AdjustmentKind::Tax, &body), Err(AnswerError::Label), "{label}");
        }
        let many = vec![r#"{"label":"a","amount_minor":0}"#; 21].join(",");
        let body = format!(r#"{{"adjustments":[{many}]}}"#);
        assert_eq!(read(AdjustmentKind::Tax, &body), Err(AnswerError::TooMany));
    }
}
