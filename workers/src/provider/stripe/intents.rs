//! The provider's contract, with its charges: creation, confirmation, lookup, cancellation and report of a payment
//! intent.
//!
//! An outcome is concluded from a final intent only; [`Intent::standing`] tells what an intent without one needs.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    amount::{from_stripe, to_stripe},
    client::{Answer, StripeProvider},
    form::Form,
    objects::{Intent, OUR_REASON, Standing, StripeError},
    refunds,
};
use crate::provider::{
    CaptureRequest, ChargeOutcome, ChargeQuery, ChargeReport, Created, Ledger, PaymentProvider,
    ProviderError, RefundOutcome, RefundRequest, Result,
};

pub(super) const INTENTS: &str = "/v1/payment_intents";
/// Bank debits take days; Stripe reports their end.
const PENDING_WAIT: Duration = Duration::from_mins(15);
/// Wait for an intent that changed while it was looked at.
const CHANGED_WAIT: Duration = Duration::from_secs(1);

#[async_trait]
impl PaymentProvider for StripeProvider {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn creates_first(&self) -> bool {
        true
    }

    /// The key is that of the attempt: an intent that is not recorded is never confirmed, so a lost one does no harm,
    /// and an error that Stripe keeps under a key ends with its attempt.
    async fn create(&self, request: &CaptureRequest) -> Result<Created> {
        let Some(amount) = to_stripe(request.amount_minor, request.currency) else {
            return Ok(Created::Declined { code: "amount_not_supported".to_owned() });
        };
        let form = Form::new()
            .with("amount", amount)
            .with("currency", request.currency.as_str().to_ascii_lowercase())
            .with("payment_method", &request.method)
            .with("automatic_payment_methods[enabled]", true)
            .with("automatic_payment_methods[allow_redirects]", "never")
            .with("metadata[order_id]", request.order)
            .with("metadata[payment_id]", request.payment);
        match self.post::<Intent>(INTENTS, form, Some(&key(request, "create"))).await? {
            Answer::Done(intent) if intent.is_over(request.amount_minor, request.currency) => {
                Ok(Created::Charge(intent.id))
            }
            Answer::Done(_) => Err(ProviderError::Protocol { detail: "another_charge" }),
            Answer::Refused(error) => match error.rejection() {
                Some(code) => Ok(Created::Declined { code }),
                None => Err(error.report("charge_refused")),
            },
        }
    }

    /// Confirms the recorded intent. The key is that of the attempt: an intent moves money once, whatever the keys are.
    async fn capture(&self, request: &CaptureRequest) -> Result<ChargeOutcome> {
        let id = request.charge.as_deref().ok_or(ProviderError::Protocol { detail: "charge_not_created" })?;
        let form = Form::new().with("off_session", true);
        let key = key(request, "confirm");
        let intent = match self.post::<Intent>(&path(id, "/confirm"), form, Some(&key)).await? {
            Answer::Done(intent)
                if intent.id == id && intent.is_over(request.amount_minor, request.currency) =>
            {
                intent
            }
            Answer::Done(_) => return Err(ProviderError::Protocol { detail: "another_charge" }),
            Answer::Refused(error) if error.is("payment_intent_unexpected_state") => self.read(id).await?,
            Answer::Refused(error) => match error.rejection() {
                Some(code) => return self.decline(id, code).await,
                None => return Err(error.report("charge_refused")),
            },
        };
        self.conclude(intent).await?.ok_or(ProviderError::Pending { look_again: CHANGED_WAIT })
    }

    async fn find(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        match &charge.charge {
            Some(id) => self.conclude(self.read(id).await?).await,
            None => Ok(None),
        }
    }

    async fn abandon(&self, charge: &ChargeQuery) -> Result<Option<ChargeOutcome>> {
        match (self.find(charge).await?, &charge.charge) {
            (None, Some(id)) => self.decline(id, "payment_canceled".to_owned()).await.map(Some),
            (found, _) => Ok(found),
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundOutcome> {
        refunds::refund(self, request).await
    }

    async fn report(&self, id: &str) -> Result<Option<ChargeReport>> {
        // The id comes from outside, although signed by Stripe: it must not form an arbitrary path.
        if !id.starts_with("pi_") || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Ok(None);
        }
        let intent = match self.get::<Intent>(&path(id, ""), Form::new()).await? {
            Answer::Done(intent) => intent,
            Answer::Refused(error) if error.is("resource_missing") => return Ok(None),
            Answer::Refused(error) => return Err(error.report("lookup_refused")),
        };
        let odd = ProviderError::Protocol { detail: "unknown_amount" };
        let currency = intent.currency().ok_or(odd)?;
        let amount_minor = from_stripe(intent.amount, currency).ok_or(odd)?;
        let refunds =
            if intent.has_succeeded() { refunds::of(self, id, currency).await? } else { Vec::new() };
        let order = intent.order();
        let outcome = match self.conclude(intent).await {
            Err(ProviderError::Pending { .. } | ProviderError::Debit { .. }) => None,
            concluded => concluded?,
        };
        Ok(Some(ChargeReport { order, amount_minor, currency, outcome, refunds }))
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }
}

impl StripeProvider {
    /// The outcome of an intent. One that nothing here can advance is cancelled, which makes it final.
    async fn conclude(&self, intent: Intent) -> Result<Option<ChargeOutcome>> {
        match intent.standing() {
            Standing::Final(outcome) => Ok(Some(outcome)),
            Standing::Unconfirmed => Ok(None),
            Standing::Processing => Err(ProviderError::Debit { look_again: PENDING_WAIT }),
            Standing::Stuck { code } => self.decline(&intent.id, code).await.map(Some),
        }
    }

    /// Cancels an intent, so that it cannot become money later; then it is declined with this code.
    async fn decline(&self, id: &str, code: String) -> Result<ChargeOutcome> {
        let form = Form::new().with("cancellation_reason", OUR_REASON);
        match self.post::<Intent>(&path(id, "/cancel"), form, None).await? {
            Answer::Done(canceled) if canceled.is_canceled() => Ok(ChargeOutcome::Declined { code }),
            Answer::Done(_) => Err(ProviderError::Protocol { detail: "cancelled_in_vain" }),
            // Its status changed meanwhile, or an earlier attempt cancelled it: the next attempt reads it.
            Answer::Refused(error) if error.is("payment_intent_unexpected_state") => {
                Err(ProviderError::Pending { look_again: CHANGED_WAIT })
            }
            Answer::Refused(error) => Err(error.report("cancel_refused")),
        }
    }

    /// Reads an intent that is recorded here. Where Stripe does not know it, the key is of another account or mode.
    pub(super) async fn read(&self, id: &str) -> Result<Intent> {
        match self.get::<Intent>(&path(id, ""), Form::new()).await? {
            Answer::Done(intent) if intent.id == id => Ok(intent),
            Answer::Done(_) => Err(ProviderError::Protocol { detail: "another_charge" }),
            Answer::Refused(error) if error.is("resource_missing") => Err(ProviderError::Authentication),
            Answer::Refused(error) => Err(error.report("lookup_refused")),
        }
    }
}

fn path(id: &str, action: &str) -> String {
    format!("{INTENTS}/{id}{action}")
}

fn key(request: &CaptureRequest, action: &str) -> String {
    format!("{}:{action}:{}", request.payment, request.attempt)
}

impl StripeError {
    /// The code of a rejection for good, whether of the card or of the request.
    fn rejection(&self) -> Option<String> {
        if self.kind.as_deref() == Some("card_error") {
            return Some(self.decline());
        }
        let code = match (self.code.as_deref(), self.param.as_deref()) {
            (Some(code @ ("amount_too_small" | "amount_too_large")), _) => code,
            (Some("resource_missing"), Some("intent")) => return None,
            // But for the intent, the payment method is the only object of the requests that can be missing.
            (Some("resource_missing"), _) | (_, Some("payment_method")) => "invalid_payment_method",
            (_, Some("currency")) => "currency_not_supported",
            _ => return None,
        };
        Some(code.to_owned())
    }
}
