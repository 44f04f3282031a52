//! Command `control customer`: what is stored of a customer, exported or erased. Works whether processes run or not.
//!
//! Guarantees: an export holds every order of the account, whole; an erasure leaves a record and can be repeated. Carts
//! and sessions are not in the order store: they hold the customer's id, skus and times, and end by themselves.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use base::Ambient;
use serde_json::{Value, json};
use store::{
    OrderStore,
    customers::{Account, Erased, Erasure},
    domain::{CustomerId, MerchantId, Order, PageRequest},
    order_view::OrderView,
    orders::{MailRecord, MailSubject, OrderFilter},
};

use crate::{
    cli::{CustomerArgs, CustomerCommand},
    config::Config,
    output,
    wiring::open_orders,
};

/// Orders read at a time.
const PAGE: u32 = 100;

/// Exit status 1 when there is no such customer, or orders of the customer are open.
pub(super) async fn run(what: CustomerCommand, config: &Config, as_json: bool) -> Result<ExitCode> {
    let ambient = Ambient::system();
    let store = open_orders(config, &ambient).await?;
    let store = store.as_ref();
    match what {
        CustomerCommand::Export(of) => {
            let (merchant, account) = found(store, &of).await?;
            output::json(&export(store, merchant, of.id, account).await?)?;
        }
        CustomerCommand::Erase { of, note, yes } => {
            let (merchant, _) = found(store, &of).await?;
            if !yes {
                let orders = orders(store, merchant, of.id).await?.len();
                bail!("this would erase {} and the customer in {orders} orders; repeat it with --yes", of.id);
            }
            let orders = erase(store, merchant, of.id, note, &ambient).await?;
            let answer = json!({ "customer": of.id, "result": "erased", "orders": orders });
            output::answer(as_json, &answer, || {
                format!("{}: erased, with the customer of {orders} orders\n", of.id)
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The merchant of the customer, and the account unless it was deleted.
async fn found(store: &dyn OrderStore, of: &CustomerArgs) -> Result<(MerchantId, Option<Account>)> {
    let account = store.customer_by_id(of.id).await?;
    let account = account.filter(|account| of.merchant.is_none_or(|merchant| account.merchant == merchant));
    let merchant = account.as_ref().map(|account| account.merchant).or(of.merchant);
    let hint = || format!("there is no account {}; for one that was deleted, give its --merchant", of.id);
    Ok((merchant.with_context(hint)?, account))
}

async fn export(
    store: &dyn OrderStore,
    merchant: MerchantId,
    id: CustomerId,
    account: Option<Account>,
) -> Result<Value> {
    let mut exported = Vec::new();
    for order in orders(store, merchant, id).await? {
        let mails = mails(store, order.id.into()).await?;
        exported.push(json!({ "order": OrderView::of_event(&order), "mails": mails }));
    }
    let erasure = store.erasure(merchant, id).await?;
    if account.is_none() && exported.is_empty() && erasure.is_none() {
        bail!("there is no customer {id} of {merchant}");
    }
    let account = account.map(|account| {
        let Account { customer, created_at, .. } = account;
        json!({ "email": customer.email, "name": customer.name, "created_at": created_at })
    });
    let mails = mails(store, id.into()).await?;
    Ok(json!({
        "object": "customer_export", "customer": id, "merchant": merchant, "account": account, "mails": mails,
        "orders": exported, "erasure": erasure,
    }))
}

async fn mails(store: &dyn OrderStore, subject: MailSubject) -> Result<Vec<Value>> {
    let shown = |mail: MailRecord| json!({ "template": mail.template, "message_id": mail.message_id, "sent_at": mail.sent_at });
    Ok(store.mails(subject).await?.into_iter().map(shown).collect())
}

/// All orders of the customer, newest first.
async fn orders(store: &dyn OrderStore, merchant: MerchantId, customer: CustomerId) -> Result<Vec<Order>> {
    let filter = OrderFilter { customer: Some(customer), ..OrderFilter::default() };
    let mut all = Vec::<Order>::new();
    loop {
        let after = all.last().map(|order| order.id);
        let page = store.orders(merchant, filter, PageRequest { limit: PAGE, after }).await?;
        all.extend(page.items);
        if !page.has_more {
            return Ok(all);
        }
    }
}

/// Returns the number of erased orders.
async fn erase(
    store: &dyn OrderStore,
    merchant: MerchantId,
    customer: CustomerId,
    requested_by: String,
    ambient: &Ambient,
) -> Result<u64> {
    let mut all = 0;
    loop {
        let erasure = Erasure { merchant, customer, requested_by: requested_by.clone(), at: ambient.now() };
        match store.erase_customer(erasure).await? {
            Erased::Done { orders, has_more: true } => all += orders,
            Erased::Done { orders, has_more: false } => return Ok(all + orders),
            Erased::OrdersOpen { orders } => {
                bail!("{orders} orders of {customer} are pending or paid: erase it once they have ended")
            }
            Erased::NotFound => bail!("there is no customer {customer} of {merchant}"),
        }
    }
}
