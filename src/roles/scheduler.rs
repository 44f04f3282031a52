//! Role of the scheduler: housekeeping, and the audit where it is scheduled.

use anyhow::Result;

use super::Roles;
use crate::{
    provider::with_ledger,
    sandbox::Sandbox,
    verify::{Auditor, VerifyGauges},
    wiring::SchedulerParts,
};

impl Roles<'_> {
    pub(crate) fn scheduler(&mut self, parts: SchedulerParts, sandbox: Option<&Sandbox>) -> Result<()> {
        let SchedulerParts { house, audit, checks } = parts;
        self.stores.extend(checks);
        self.spawn(house.run(self.shutdown()));
        let Some((every, mut verify)) = audit else { return Ok(()) };
        let config = self.wiring.config;
        // A process without its own provider does not read the ledger.
        verify.provider = with_ledger(&config.payments, sandbox, self.wiring.ambient)?;
        let gauges = VerifyGauges::register(&self.metrics);
        let auditor = Auditor { verify, gauges, every, grace: config.verify_grace };
        self.spawn(auditor.run(self.shutdown()));
        Ok(())
    }
}
