//! Mails as files: content, identity, and resistance to injection.

use jobs::{Job, JobError};
use store::{
    customers::{Account, PasswordHash},
    domain::{Address, Adjustment, AdjustmentKind, CustomerId, Order, RefundId, VerificationId},
    token::{Token, TokenHash, TokenKind},
    verifications::{Minting, NewVerification, OpenAccount, Purpose, Verification, VerificationRequested},
};
use workers::{
    jobs::{ChargePayment, SendEmail, SendVerification, SendWelcome},
    mail::{Mail, MailError, Mailer, Template},
    mail_domain,
    queues::EMAIL,
    subscriptions::expand,
};

use crate::util::{TestMerchant, context};

pub(crate) const FROM: &str = "Mugs & More <orders@shop.example>";

pub(crate) fn read(shop: &TestMerchant, order: &Order, template: Template) -> String {
    let name = format!("{}.{}.eml", order.id, template.name());
    std::fs::read_to_string(shop.mail_folder().join(name)).expect("a mail")
}

/// Undoes quoted-printable.
pub(crate) fn plain(mail: &str) -> String {
    let mail = mail.replace("=\r\n", "");
    let mut parts = mail.split('=');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(byte.unwrap_or(b'='));
        bytes.extend(&part.as_bytes()[if byte.is_some() { 2 } else { 0 }..]);
    }
    String::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test]
async fn a_confirmation_says_the_same_in_text_and_html() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    shop.run(&ChargePayment { order: order.id }).await.expect("charges");
    let template = Template::OrderConfirmation;
    for _ in 0..2 {
        shop.run(&SendEmail { order: order.id, template, domain: None }).await.expect("mails");
    }
    let mail = read(&shop, &order, template);
    let headers = mail.split("\r\n\r\n").next().expect("headers");
    let message_id = format!("<{}.order_confirmation@shop.example>", order.id);
    assert!(headers.contains(&format!("Message-ID: {message_id}\r\n")), "{headers}");
    assert!(headers.contains("ada@customer.example"), "{headers}");
    assert!(headers.contains("Date: "), "{headers}");
    let body = plain(&mail);
    assert!(body.contains("text/plain") && body.contains("text/html"), "{body}");
    for part in
        ["2 x Mug <large>: 25.00 EUR", "2 &times; Mug &#60;large&#62;", "Total: 25.00 EUR", "Ada L\u{f6}we"]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    let records = shop.orders.mails(order.id.into()).await.expect("reads");
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].template.as_str(), records[0].message_id.as_str()),
        ("order_confirmation", message_id.as_str())
    );
    assert_eq!(std::fs::read_dir(shop.mail_folder()).expect("a folder").count(), 1, "no part is left behind");
}

#[tokio::test]
async fn a_mail_recorded_before_is_not_sent_again() {
    let shop = TestMerchant::open().await;
    let order = shop.place("pm_card_visa").await;
    let job = SendEmail { order: order.id, template: Template::OrderCancelled, domain: None };
    shop.run(&job).await.expect("mails");
    let file = shop.mail_folder().join(format!("{}.order_cancelled.eml", order.id));
    std::fs::remove_file(&file).expect("it was there");
    shop.run(&job).await.expect("skips");
    assert!(!file.exists());
}

#[tokio::test]
async fn every_template_renders_with_an_address_and_other_currencies() {
    let shop = TestMerchant::open().await;
    let mut order = shop.place("pm_card_visa").await;
    order.currency = "JPY".parse().expect("a currency");
    order.refunded_minor = 2500;
    order.reference = Some("R-17".to_owned());
    order.shipping_address = Some(Address {
        name: "Ada".to_owned(),
        line1: "1 Main St".to_owned(),
        line2: Some("Flat <b>".to_owned()),
        city: "London".to_owned(),
        postal_code: "N1".to_owned(),
        country: "GB".to_owned(),
    });
    order.adjustments = vec![Adjustment {
        kind: AdjustmentKind::Discount,
        label: "Ten <percent>".to_owned(),
        amount_minor: -250,
    }];
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    let part = Template::PartialRefund { refund: RefundId::fresh(&shop.ambient), amount_minor: 2500 };
    let whole = [Template::OrderConfirmation, Template::PaymentFailed, Template::OrderCancelled];
    for template in whole.into_iter().chain([Template::OrderRefunded, part]) {
        let mail = Mail::Order { order: &order, template, shop: "Mugs & More" };
        mailer.send(&mail, shop.ambient.now()).await.expect("writes");
        let body = plain(&read(&shop, &order, template));
        assert!(body.contains("R-17") && body.contains("2500 JPY"), "{body}");
        assert!(body.contains("Ten <percent>: -250 JPY") && body.contains("Ten &#60;percent&#62;"), "{body}");
        assert_eq!(body.contains("Flat &#60;b&#62;"), template == Template::OrderConfirmation, "{body}");
    }
}

async fn asked(shop: &TestMerchant, name: &str, purpose: Option<Purpose>) -> VerificationId {
    let password_hash = PasswordHash::from_phc("$argon2id$canary-hash".to_owned());
    let verification = Verification {
        id: VerificationId::fresh(&shop.ambient),
        merchant: shop.merchant,
        email: "ada@customer.example".to_owned(),
        purpose: purpose.unwrap_or(Purpose::Registration { name: name.to_owned(), password_hash }),
        created_at: shop.ambient.now(),
    };
    let id = verification.id;
    let new = NewVerification { verification, idempotency_key: None, trace: None };
    let requested = shop.orders.request_verification(new).await.expect("answers");
    assert_eq!(requested, VerificationRequested::Stored);
    id
}

async fn open(shop: &TestMerchant, token: TokenHash) -> Option<Account> {
    let (customer, at) = (CustomerId::fresh(&shop.ambient), shop.ambient.now());
    let open = OpenAccount { merchant: shop.merchant, token, customer, at, trace: None };
    shop.orders.open_account(open).await.expect("answers")
}

async fn registered(shop: &TestMerchant, name: &str) -> Account {
    let (id, at) = (asked(shop, name, None).await, shop.ambient.now());
    let minted = shop.orders.mint_verification(shop.merchant, id, [1; 32], at).await.expect("answers");
    assert!(matches!(minted, Minting::Minted { account: None, .. }));
    open(shop, [1; 32]).await.expect("opens")
}

fn read_mail(shop: &TestMerchant, id: VerificationId, template: &str) -> String {
    let file = shop.mail_folder().join(format!("{id}.{template}.eml"));
    plain(&std::fs::read_to_string(file).expect("a mail"))
}

/// The token of a mail, which must be in both of its parts.
fn token_in(mail: &str) -> Token {
    let found = |(at, _)| Token::parse(TokenKind::Verification, mail.get(at..at + 47)?);
    let tokens: Vec<_> = mail.match_indices("owv_").filter_map(found).collect();
    assert!(tokens.len() >= 2 && tokens.iter().all(|token| *token == tokens[0]), "{mail}");
    tokens[0].clone()
}

#[tokio::test]
async fn a_token_stands_in_the_mail_and_nowhere_else() {
    let shop = TestMerchant::open().await;
    let id = asked(&shop, "Eve's words", None).await;
    let job = SendVerification { merchant: shop.merchant, verification: id, domain: None };
    shop.run(&job).await.expect("mails");
    let mail = read_mail(&shop, id, "verify_address");
    assert!(mail.contains("Subject: Confirm your address at Mugs & More"), "{mail}");
    assert!(mail.contains("ada@customer.example") && !mail.contains("Eve"), "{mail}");
    let token = token_in(&mail);
    for file in std::fs::read_dir(shop.folder.path()).expect("a folder") {
        let Ok(bytes) = std::fs::read(file.expect("readable").path()) else { continue };
        let found = bytes.windows(68).any(|window| window == token.expose().as_bytes());
        assert!(!found, "the token stands in a store");
    }
    let file = shop.mail_folder().join(format!("{id}.verify_address.eml"));
    std::fs::remove_file(&file).expect("it was there");
    shop.run(&job).await.expect("skips");
    assert!(!file.exists(), "not sent again");
    assert!(open(&shop, token.hash()).await.is_some(), "and the token is the one of the mail");
    let unknown = SendVerification {
        merchant: shop.merchant,
        verification: VerificationId::fresh(&shop.ambient),
        domain: None,
    };
    assert!(matches!(shop.run(&unknown).await, Err(JobError::RetryAfter(..))));
}

#[tokio::test]
async fn a_known_address_is_told_of_its_account_and_resets_its_password() {
    let shop = TestMerchant::open().await;
    let account = registered(&shop, "Ada").await;
    let reset = asked(&shop, "", Some(Purpose::PasswordReset)).await;
    let job = SendVerification { merchant: shop.merchant, verification: reset, domain: None };
    let storefront = "https://mugs.example/shop/".parse().expect("a URL");
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer").linking_to(Some(storefront));
    job.run(&context(shop.env_mailing(mailer))).await.expect("mails");
    let mail = read_mail(&shop, reset, "password_reset");
    let token = token_in(&mail);
    let link = format!("https://mugs.example/shop/account/reset?token={}", token.expose());
    assert!(mail.contains("Hello Ada,") && mail.contains(&link), "{mail}");
    let (hash, at) = (PasswordHash::from_phc("$new".to_owned()), shop.ambient.now());
    let done = shop.orders.reset_password(shop.merchant, token.hash(), hash, at).await.expect("answers");
    assert_eq!(done, Some(account.id));

    let again = asked(&shop, "Eve", None).await;
    let job = SendVerification { merchant: shop.merchant, verification: again, domain: None };
    assert!(matches!(shop.run(&job).await, Err(JobError::Snooze(_))), "a mail went out a moment ago");
    assert!(!shop.mail_folder().join(format!("{again}.account_exists.eml")).exists());
}

#[tokio::test]
async fn who_registers_is_welcomed_once_in_text_and_html() {
    let shop = TestMerchant::open().await;
    let account = registered(&shop, "Ada <b>L\u{f6}we</b>").await;
    let job = SendWelcome { customer: account.id, domain: None };
    shop.run(&job).await.expect("mails");
    let file = shop.mail_folder().join(format!("{}.welcome.eml", account.id));
    let mail = std::fs::read_to_string(&file).expect("a mail");
    let message_id = format!("<{}.welcome@shop.example>", account.id);
    assert!(mail.contains(&format!("Message-ID: {message_id}\r\n")), "{mail}");
    let body = plain(&mail);
    for part in
        ["Subject: Welcome to Mugs & More", "Hello Ada <b>L\u{f6}we</b>,", "Hello Ada &#60;b&#62;L\u{f6}we"]
    {
        assert!(body.contains(part), "{part} in {body}");
    }
    assert_eq!(
        body.matches("ada@customer.example").count(),
        3,
        "the recipient, and once in each part: {body}"
    );
    assert!(!body.contains("canary"), "{body}");
    let records = shop.orders.mails(account.id.into()).await.expect("reads");
    let recorded: Vec<_> = records.iter().map(|r| (r.template.as_str(), r.message_id.as_str())).collect();
    assert_eq!(recorded, [("welcome", message_id.as_str())]);

    std::fs::remove_file(&file).expect("it was there");
    shop.run(&job).await.expect("skips");
    assert!(!file.exists(), "not sent again");
    let unknown = SendWelcome { customer: CustomerId::fresh(&shop.ambient), domain: None };
    assert!(matches!(shop.run(&unknown).await, Err(JobError::RetryAfter(..))));
}

#[tokio::test]
async fn names_and_references_cannot_add_headers_or_markup() {
    let shop = TestMerchant::open().await;
    let mut order = shop.place("pm_card_visa").await;
    order.customer.name = "Eve\r\nBcc: all@victims.example\r\n\r\n<script>alert(1)</script>".to_owned();
    order.reference = Some("1\r\nX-Evil: yes".to_owned());
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    let template = Template::OrderConfirmation;
    let mail = Mail::Order { order: &order, template, shop: "Shop\r\nX-Evil: yes" };
    mailer.send(&mail, shop.ambient.now()).await.expect("writes");
    let written = read(&shop, &order, Template::OrderConfirmation);
    let (headers, body) = written.split_once("\r\n\r\n").expect("headers and a body");
    let names: Vec<&str> = headers
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
        .map(|line| line.split(':').next().unwrap_or_default())
        .collect();
    assert!(!names.contains(&"Bcc") && !names.contains(&"X-Evil"), "{headers}");
    let html = plain(body).split("text/html").nth(1).expect("an HTML part").to_owned();
    assert!(!html.contains("<script>") && html.contains("&#60;script&#62;"), "{html}");
}

#[tokio::test]
async fn every_mail_says_that_a_program_wrote_it_and_odd_names_make_valid_headers() {
    let shop = TestMerchant::open().await;
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    let (wide, narrow) = ("\u{1f375}\u{e9}\u{4f8b}".repeat(66), "a".repeat(200));
    let hebrew = "\u{5d0}\u{202e} ".repeat(66);
    for name in
        ["Ada", "L\u{f6}we, Ada (\"A\") <x@y.example>", "\\", "=?utf-8?q?x?=", &wide, &narrow, &hebrew]
    {
        let mut order = shop.place("pm_card_visa").await;
        name.clone_into(&mut order.customer.name);
        order.reference = Some(name.to_owned());
        for template in [
            Template::OrderConfirmation,
            Template::PaymentFailed,
            Template::OrderCancelled,
            Template::OrderRefunded,
            Template::PartialRefund { refund: RefundId::fresh(&shop.ambient), amount_minor: 100 },
        ] {
            let mail = Mail::Order { order: &order, template, shop: name };
            mailer.send(&mail, shop.ambient.now()).await.expect("writes");
            let mail = read(&shop, &order, template);
            let headers = mail.split("\r\n\r\n").next().expect("headers");
            // RFC 5322, section 2.1.1.
            assert!(headers.is_ascii() && headers.lines().all(|line| line.len() <= 998), "{headers}");
            // RFC 2047, section 2.
            let mut words = headers.split_whitespace().filter(|word| word.starts_with("=?"));
            assert!(words.all(|word| word.len() <= 75), "{headers}");
            for once in [
                "Auto-Submitted: auto-generated\r\n",
                "\r\nDate: ",
                "\r\nMessage-ID: <",
                "\r\nTo: ",
                "\r\nSubject: ",
            ] {
                assert_eq!(format!("\r\n{headers}\r\n").matches(once).count(), 1, "{once} in {headers}");
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_given_up() {
    let shop = TestMerchant::open().await;
    let mut order = shop.place("pm_card_visa").await;
    let mailer = Mailer::file(shop.mail_folder(), FROM).expect("a mailer");
    for bad in ["", "ada", "ada@x.example\r\nRCPT TO:<all@victims.example>", "a@b, c@d.example"] {
        bad.clone_into(&mut order.customer.email);
        let mail = Mail::Order { order: &order, template: Template::OrderConfirmation, shop: "" };
        let error = mailer.send(&mail, shop.ambient.now()).await.expect_err("no address");
        assert_eq!(error, MailError::Address, "{bad:?}");
        assert!(error.is_permanent());
    }
    let unknown = SendEmail {
        order: store::domain::OrderId::fresh(&shop.ambient),
        template: Template::OrderConfirmation,
        domain: None,
    };
    assert!(matches!(shop.run(&unknown).await, Err(JobError::RetryAfter(..))));
}

#[test]
fn a_sender_that_is_no_address_is_named() {
    let error = Mailer::file(std::env::temp_dir(), "nobody").err().expect("refused");
    assert!(error.to_string().contains("`nobody`"));
}

#[tokio::test]
async fn the_domain_of_every_mail_is_found() {
    let shop = TestMerchant::open().await;
    registered(&shop, "Ada").await;
    let order = shop.place("pm_card_chargeDeclined").await.id;
    // Declined, which ends the order.
    drop(shop.run(&ChargePayment { order }).await);
    let mut mails = Vec::new();
    for message in shop.drain_outbox().await {
        let jobs = expand(&message.body, &[], &shop.ambient).expect("expands");
        let kinds = jobs.into_iter().filter(|job| job.queue == EMAIL).map(|job| job.kind);
        let kinds: Vec<String> = kinds.collect();
        let domain = mail_domain::of_message(shop.orders.as_ref(), &message.body).await.expect("reads");
        assert_eq!(domain.as_deref(), (!kinds.is_empty()).then_some("customer.example"), "{kinds:?}");
        mails.extend(kinds);
    }
    mails.sort_unstable();
    assert_eq!(mails, ["send_email", "send_verification", "send_welcome"]);
}
