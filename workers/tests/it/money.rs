//! Currencies without and with three decimals: the same whole numbers in every part, formatted for people.

use store::{
    catalog::ProductData,
    domain::{OrderStatus, PaymentId},
};
use workers::{
    jobs::{ChargePayment, RefundPayment, SendEmail},
    mail::Template,
};

use crate::util::TestMerchant;

#[tokio::test]
async fn minor_units_stay_whole_from_the_order_to_the_ledger_and_are_shown_with_their_decimals() {
    let shop = TestMerchant::open().await;
    for (currency, price_minor, total, refunded) in
        [("JPY", 1250, "2500 JPY", "999 JPY"), ("KWD", 1255, "2.510 KWD", "0.999 KWD")]
    {
        let at = shop.ambient.now();
        let product = ProductData {
            sku: currency.to_lowercase(),
            name: format!("Sold in {currency}"),
            description: None,
            category: "abroad".to_owned(),
            price_minor,
            currency: currency.parse().expect("a currency"),
            low_stock_at: 0,
        };
        let sku = product.sku.clone();
        shop.orders.put_product(shop.merchant, product, at).await.expect("stores");
        shop.orders.put_inventory(shop.merchant, &sku, 10, at, None).await.expect("stores");
        let order = shop.place_of(&sku, currency, "pm_card_visa").await;
        assert_eq!((order.total_minor, order.currency.as_str()), (2 * price_minor, currency));
        shop.run(&ChargePayment { order: order.id }).await.expect("charges");
        assert_eq!(shop.status(order.id).await, OrderStatus::Paid);
        let payment =
            shop.payments.payment(PaymentId::of_order(order.id)).await.expect("reads").expect("one");
        assert_eq!((payment.amount_minor, payment.currency), (order.total_minor, order.currency));

        shop.drain_outbox().await;
        let refund = shop.ask_refund(order.id, Some(999)).await;
        let part = RefundPayment { order: order.id, refund, amount_minor: 999 };
        shop.run(&part).await.expect("refunds");
        let ledger: Vec<_> =
            shop.ledger(order.id).await.into_iter().map(|e| (e.amount_minor, e.currency)).collect();
        assert_eq!(ledger, [(2 * price_minor, currency.to_owned()), (999, currency.to_owned())]);

        for (template, shown) in [(Template::OrderConfirmation, total), (Template::OrderRefunded, refunded)] {
            shop.run(&SendEmail { order: order.id, template, domain: None }).await.expect("mails");
            let file = shop.mail_folder().join(format!("{}.{}.eml", order.id, template.as_str()));
            let text = std::fs::read_to_string(file).expect("a mail");
            assert!(text.contains(shown), "{shown} is missing in {text}");
        }
    }
}
