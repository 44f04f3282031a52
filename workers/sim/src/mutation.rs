//! Mutations: defects injected into the simulated parts, to check that the simulation finds them.

/// An injected defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutation {
    /// A job is acknowledged at delivery, before its effect is written: a crash loses it.
    AckBeforeWrite,
    /// A payment is decided whatever the epoch of the deciding attempt is.
    NoEpochCheck,
    /// Each call to the provider has a key of its own, so a repeated call is a new charge.
    FreshKeys,
    /// The provider captures the charge that was created last, not the one that is recorded.
    UnrecordedCharge,
    /// A job that does not find its subject ends at once.
    EndUnfound,
    /// A failed refund still counts as requested, so that its amount cannot be asked for again.
    CountFailedRefunds,
    /// The repair makes a refund that was made by hand, instead of recording it.
    RefundAgain,
    /// A message that a relay cannot read is marked as sent.
    SkipUnreadable,
}
