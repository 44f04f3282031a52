//! Opening of payments, attempts and decisions: each a lightweight transaction on the payment's partition.
//!
//! Each loop ends with an outcome. A further round means that a concurrent writer won or a response was lost;
//! [`PaymentSession::bounded`] bounds the rounds.

use base::Timestamp;
use scylla::value::CqlTimestamp;
use store::{
    domain::{Decision, Payment, PaymentId},
    payments::{Begun, ChargeRecorded, Decided, NewPayment, rejection},
};

use super::{
    fault::{Failure, Result},
    rows::attempt_entry,
    session::{Cas, PaymentSession},
};

impl PaymentSession {
    pub(super) async fn open(&self, new: NewPayment) -> Result<Payment> {
        let payment = {
            let _turn = self.lock(new.id).await;
            self.open_facts(new).await?
        };
        // After the payment itself: copies of facts that lost against a concurrent writer would be wrong for ever.
        self.copy_to_lookups(&payment).await?;
        Ok(payment)
    }

    async fn open_facts(&self, new: NewPayment) -> Result<Payment> {
        let mut tries = 0;
        loop {
            let facts = (
                new.id.0,
                new.order.0,
                new.merchant.0,
                new.amount_minor,
                new.currency.as_str(),
                new.method.as_str(),
                new.provider.as_str(),
                millis(new.at),
            );
            let outcome = self.cas(&self.statements.open, facts).await?;
            if outcome == Cas::Applied {
                return Ok(fresh(new));
            }
            if let Some(stored) = self.read_serial(new.id).await? {
                return Ok(stored.payment);
            }
            if outcome == Cas::Refused {
                return Err(Failure::Corrupt(format!("{} cannot be inserted and does not exist", new.id)));
            }
            self.pause(&mut tries).await;
        }
    }

    pub(super) async fn begin_attempt(&self, id: PaymentId, worker: &str, at: Timestamp) -> Result<Begun> {
        let _turn = self.lock(id).await;
        let call = self.ambient.uuid();
        let mut tries = 0;
        // Only a guess at the newest epoch, which the condition then checks; a rejection is read again at SERIAL.
        let mut stored = self.read_quorum(id).await?;
        if rejection::not_begun(stored.as_ref().map(|stored| &stored.payment)).is_some() {
            stored = self.read_serial(id).await?;
        }
        loop {
            if let Some(epoch) = stored.as_ref().and_then(|stored| stored.begun_by(call)) {
                return Ok(Begun::Attempt { epoch });
            }
            let Some(known) = stored.map(|stored| stored.payment) else { return Ok(Begun::NotFound) };
            if let Some(answer) = rejection::not_begun(Some(&known)) {
                return Ok(answer);
            }
            let epoch = known.epoch + 1;
            let (next, newest) = (rejection::stored_epoch(epoch), rejection::stored_epoch(known.epoch));
            let values = (next, worker, millis(at), call, id.0, attempt_entry(epoch), newest);
            if self.cas(&self.statements.begin_attempt, values).await? == Cas::Applied {
                return Ok(Begun::Attempt { epoch });
            }
            self.pause(&mut tries).await;
            stored = self.read_serial(id).await?;
        }
    }

    /// The first note stands; a note on an attempt that never began is dropped.
    pub(super) async fn note_attempt(
        &self,
        id: PaymentId,
        epoch: u64,
        note: &str,
        at: Timestamp,
    ) -> Result<()> {
        let _turn = self.lock(id).await;
        let mut tries = 0;
        loop {
            let values = (note, millis(at), id.0, attempt_entry(epoch));
            if self.cas(&self.statements.note_attempt, values).await? != Cas::Unknown {
                return Ok(());
            }
            let stored = self.read_serial(id).await?;
            let attempts = stored.iter().flat_map(|stored| &stored.attempts);
            if attempts.filter(|attempt| attempt.epoch == epoch).all(|attempt| attempt.note.is_some()) {
                return Ok(());
            }
            self.pause(&mut tries).await;
        }
    }

    pub(super) async fn record_charge(
        &self,
        id: PaymentId,
        epoch: u64,
        reference: &str,
        at: Timestamp,
    ) -> Result<ChargeRecorded> {
        let _turn = self.lock(id).await;
        let mut tries = 0;
        loop {
            // See `decide_once`.
            if epoch > 0 {
                let values = (reference, millis(at), id.0, rejection::stored_epoch(epoch));
                if self.cas(&self.statements.record_charge, values).await? == Cas::Applied {
                    return Ok(ChargeRecorded::Charge(reference.to_owned()));
                }
            }
            let stored = self.read_serial(id).await?;
            let payment = stored.as_ref().map(|stored| &stored.payment);
            if let Some(answer) = rejection::charge_not_recorded(payment, epoch) {
                return Ok(answer);
            }
            self.pause(&mut tries).await;
        }
    }

    pub(super) async fn decide(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: Decision,
        at: Timestamp,
    ) -> Result<Decided> {
        let decided = {
            let _turn = self.lock(id).await;
            self.decide_once(id, epoch, &decision, at).await?
        };
        let standing = match &decided {
            Decided::Recorded => Some(&decision),
            Decided::Already(standing) => Some(standing),
            Decided::Stale { .. } | Decided::NotFound => None,
        };
        if let Some(Decision::Captured { .. }) = standing {
            // Also when it was decided before: the process that decided may have crashed before the copy.
            self.copy_reference(id).await?;
        }
        Ok(decided)
    }

    async fn decide_once(
        &self,
        id: PaymentId,
        epoch: u64,
        decision: &Decision,
        at: Timestamp,
    ) -> Result<Decided> {
        let call = self.ambient.uuid();
        let mut tries = 0;
        let (statement, text) = match decision {
            Decision::Captured { provider_reference } => (&self.statements.capture, provider_reference),
            Decision::Declined { code } => (&self.statements.decline, code),
        };
        loop {
            // Zero stands for "no attempt yet" in the column, and must not pass for the epoch of an attempt.
            if epoch > 0 {
                let values = (text.as_str(), millis(at), call, id.0, rejection::stored_epoch(epoch));
                if self.cas(statement, values).await? == Cas::Applied {
                    return Ok(Decided::Recorded);
                }
            }
            let stored = self.read_serial(id).await?;
            if stored.as_ref().is_some_and(|stored| stored.decision_call == Some(call)) {
                return Ok(Decided::Recorded);
            }
            let refused = rejection::not_decided(stored.as_ref().map(|stored| &stored.payment));
            if epoch == 0 || refused != (Decided::Stale { current_epoch: epoch }) {
                return Ok(refused);
            }
            // Undecided, and this epoch may decide: the round without a response had no effect.
            self.pause(&mut tries).await;
        }
    }
}

/// A payment as just opened.
fn fresh(new: NewPayment) -> Payment {
    Payment {
        id: new.id,
        order: new.order,
        merchant: new.merchant,
        amount_minor: new.amount_minor,
        currency: new.currency,
        method: new.method,
        provider: new.provider,
        created_at: new.at,
        epoch: 0,
        charge: None,
        decision: None,
        decided_at: None,
        refunds: Vec::new(),
    }
}

pub(super) fn millis(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.as_millisecond())
}
