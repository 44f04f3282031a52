//! Summary of several rounds of one measurement.

/// The middle value; `None` without values.
pub fn median(samples: &[f64]) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The figure and limit of the round with the median ratio, so that only values measured side by side are compared, and
/// not the figure of a fast minute with the limit of a slow one. `None` without rounds, or if the lengths differ.
pub fn middle_round(values: &[f64], limits: &[f64]) -> Option<(f64, f64)> {
    let mut rounds: Vec<_> = values.iter().copied().zip(limits.iter().copied()).collect();
    rounds.sort_unstable_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    rounds.get(rounds.len() / 2).filter(|_| values.len() == limits.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_compared_with_itself() {
        // The ratios are 0.5, 0.9 and 0.8; the medians alone would give 60 of 100.
        assert_eq!(middle_round(&[60.0, 90.0, 40.0], &[120.0, 100.0, 50.0]), Some((40.0, 50.0)));
        assert_eq!(middle_round(&[60.0], &[]), None);
        assert_eq!(middle_round(&[], &[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    }
}
