//! Mails that repeat text of scripts from right to left.

use store::domain::Address;
use workers::mail::{Mail, Mailer, Template};

use crate::{
    mail::{FROM, plain, read},
    util::TestMerchant,
};

#[tokio::test]
async fn text_from_right_to_left_is_isolated_wherever_a_mail_repeats_it() {
    let shop = TestMerchant::open().await;
    let mut order = shop.place("pm_card_visa").await;
    let address = Address {
        name: "\u{61c}Ada Lovelace-King".to_owned(),
        line1: "\u{200f}17 Long Garden Street".to_owned(),
        line2: Some("Third floor, flat \u{202a}B".to_owned()),
        city: "New \u{5d7}\u{5d9} upon Thames".to_owned(),
        postal_code: "AB-31 \u{200e}7000".to_owned(),
        country: "IL".to_owned(),
    };
    let Address { name: recipient, line1, line2, city, postal_code, .. } = address.clone();
    let (name, line, reference) =
        ("\u{202e}Mallory Example", "Large mug \u{5de}\u{5d2}", "Invoice \u{5d0} 17");
    name.clone_into(&mut order.customer.name);
    line.clone_into(&mut order.lines[0].name);
    order.reference = Some(reference.to_owned());
    order.shipping_address = Some(address);
    let (template, merchant) = (Template::OrderConfirmation, "\u{202b}Mugs and More");
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    let mail = Mail::Order { order: &order, template, shop: merchant };
    mailer.send(&mail, shop.ambient.now()).await.expect("writes");
    let body = plain(&read(&shop, &order, template));
    let line2 = line2.expect("a line");
    for part in [name, line, reference, merchant, &recipient, &line1, &line2, &city, &postal_code] {
        let isolated = body.matches(&format!("\u{2068}{part}\u{2069}")).count();
        assert!(isolated >= 2, "{part} in text and HTML: {body}");
        assert_eq!(body.matches(part).count(), isolated, "{part} in {body}");
    }
}

#[tokio::test]
async fn names_come_back_whole_from_the_header() {
    let shop = TestMerchant::open().await;
    let mut order = shop.place("pm_card_visa").await;
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    for (name, encoded) in [
        ("\u{1f469}\u{200d}\u{1f469}\u{200d}\u{1f467}", "8J+RqeKAjfCfkanigI3wn5Gn"),
        // Between isolates.
        ("\u{639}\u{644}\u{6cc}\u{200c}\u{631}\u{636}\u{627}", "4oGo2LnZhNuM4oCM2LHYttin4oGp"),
        ("\u{202e}Mallory Example", "4oGo4oCuTWFsbG9yeSBFeGFtcGxl4oGp"),
    ] {
        name.clone_into(&mut order.customer.name);
        let template = Template::OrderCancelled;
        let mail = Mail::Order { order: &order, template, shop: "" };
        mailer.send(&mail, shop.ambient.now()).await.expect("writes");
        let written = read(&shop, &order, template);
        let header = format!("To: =?utf-8?b?{encoded}?= <ada@customer.example>\r\n");
        assert!(written.contains(&header), "{header} in {written}");
    }
}
