//! Settlement of an order's violations: a person has put right outside of the stores what a program must not change.

use std::time::Duration;

use store::{audit::Settlement, domain::OrderId};

use super::{Code, Examined, Plan, Scope, Verify, VerifyError, Violation, Watch};

/// Result of [`Verify::settle`].
#[derive(Debug)]
pub enum Settled {
    /// These violations are not reported any more, as long as they read the same.
    Now(Vec<Violation>),
    /// The order has none that could be settled. One that does not read back has to be restored.
    NothingWrong,
    /// No such order, or it has as many settlements as are kept.
    NotStored,
}

impl Verify {
    /// Settles the present violations of an order. Those that an outstanding job will resolve are not among them.
    pub async fn settle(&self, order: OrderId, note: String) -> Result<Settled, VerifyError> {
        let plan = Plan { scope: Scope::Full, grace: Duration::ZERO, repair: false };
        let mut unwatched = Unwatched;
        let violations = match self.audit(plan, &mut unwatched).examine(order).await? {
            Examined::Wrong(findings) => findings.into_iter().map(|finding| finding.violation),
            Examined::Missing => return Ok(Settled::NotStored),
            Examined::Young | Examined::Right | Examined::Open => return Ok(Settled::NothingWrong),
        };
        let violations: Vec<Violation> =
            violations.filter(|violation| violation.code != Code::Unreadable).collect();
        if violations.is_empty() {
            return Ok(Settled::NothingWrong);
        }
        let texts = violations.iter().map(Violation::to_string).collect();
        let settlement = Settlement { at: self.ambient.now(), note, violations: texts };
        let stored = self.orders.settle(order, &settlement).await?;
        Ok(if stored { Settled::Now(violations) } else { Settled::NotStored })
    }
}

struct Unwatched;

impl Watch for Unwatched {
    fn violation(&mut self, _violation: &Violation) {}

    fn progress(&mut self, _orders: u64, _part: Option<f64>) {}
}
