//! Checks that are about no single order: stock, and the outbox as a whole.

use store::{
    audit::StockCount,
    outbox::{BACKLOG_COUNTED_MAX, SetAside},
};

use super::{Audit, Code, Repair, VerifyError, Violation};

/// Products read at once, and most messages told of.
const PAGE: u32 = 500;

impl Audit<'_> {
    pub(super) async fn stock(&mut self) -> Result<(), VerifyError> {
        let (mut after, mut last_looked) = (None, None);
        loop {
            let page = self.of.orders.stock_counts(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some((last.merchant, last.sku.clone()));
            for count in &page {
                self.summary.products += 1;
                let Some(mut violation) = of_stock(count) else { continue };
                let merchant = count.merchant;
                let reads_back = match last_looked {
                    Some((of, reads_back)) if of == merchant => reads_back,
                    _ => self.of.orders.open_orders_read_back(merchant).await?,
                };
                last_looked = Some((merchant, reads_back));
                if !reads_back {
                    violation.repair =
                        Repair::Manual("first make the merchant's orders readable; see `unreadable`");
                }
                self.report(violation).await?;
            }
        }
    }

    pub(super) async fn outbox(&mut self) -> Result<(), VerifyError> {
        for message in self.of.orders.list_set_aside(PAGE).await? {
            self.report(set_aside(message)).await?;
        }
        let backlog = self.of.orders.backlog().await?;
        let Some(oldest) = backlog.oldest_at.filter(|oldest| *oldest < self.before) else { return Ok(()) };
        let (messages, aside) = (backlog.messages, backlog.set_aside);
        let at_least = if messages < BACKLOG_COUNTED_MAX { "" } else { "at least " };
        let found = format!(
            "{at_least}{messages} messages unsent, {aside} of them set aside, the oldest since {oldest}"
        );
        let repair = Repair::Manual("see that a relay runs, reaches the queue and reads its messages");
        self.report(Violation::new(Code::OutboxStalled, Vec::new(), found, repair)).await
    }
}

fn set_aside(message: SetAside) -> Violation {
    let mut ids = vec![("message", message.id)];
    ids.extend(message.merchant.map(|merchant| ("merchant", merchant.to_string())));
    ids.extend(message.order.map(|order| ("order", order.to_string())));
    let error = message.error.unwrap_or_else(|| "this release reads it, a running relay does not".to_owned());
    Violation::new(Code::MessageSetAside, ids, format!("{}: {error}", message.kind), Repair::RESTORE)
}

fn of_stock(count: &StockCount) -> Option<Violation> {
    let StockCount { merchant, sku, on_hand, reserved, held } = count;
    let impossible = *on_hand < 0 || *reserved < 0 || reserved > on_hand;
    if !impossible && reserved == held {
        return None;
    }
    let code = if impossible { Code::StockNegative } else { Code::ReservationDiffers };
    let repair = if held <= on_hand && reserved != held {
        Repair::Reservation { merchant: *merchant, sku: sku.clone() }
    } else {
        Repair::Manual("count what is in the house and set the inventory")
    };
    let ids = vec![("merchant", merchant.to_string()), ("sku", sku.clone())];
    let found = format!("on hand {on_hand}, reserved {reserved}, held by open orders {held}");
    Some(Violation::new(code, ids, found, repair))
}
