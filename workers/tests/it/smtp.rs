//! Mails over SMTP, to a server that takes, postpones and refuses them.

use std::time::Duration;

use jobs::{Job, JobError};
use store::domain::Order;
use workers::{
    jobs::{SendEmail, SendVerification, SendWelcome},
    mail::{Mail, MailError, Mailer, SmtpConfig, SmtpSecurity, Template},
};

use crate::util::{SmtpSink, TestMerchant, context};

fn config(port: u16) -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".to_owned(),
        port,
        security: SmtpSecurity::Plain,
        credentials: None,
        connections_max: 2,
    }
}

fn mailer(config: &SmtpConfig) -> Mailer {
    Mailer::smtp(config, "orders@shop.example").expect("a mailer")
}

async fn send(mailer: &Mailer, shop: &TestMerchant, order: &Order, to: &str) -> Result<(), MailError> {
    let mut order = order.clone();
    to.clone_into(&mut order.customer.email);
    let mail = Mail::Order { order: &order, template: Template::OrderConfirmation, shop: "Mugs" };
    mailer.send(&mail, shop.ambient.now()).await
}

#[tokio::test]
async fn a_mail_arrives_whole_and_a_repetition_has_the_same_identity() {
    let shop = TestMerchant::open().await;
    let mut sink = SmtpSink::start().await;
    let order = shop.place("pm_card_visa").await;
    let mailer = mailer(&config(sink.port));
    let id = format!("Message-ID: <{}.order_confirmation@shop.example>", order.id);
    for _ in 0..2 {
        send(&mailer, &shop, &order, "ada@customer.example").await.expect("taken");
        let mail = sink.next().await;
        assert!(mail.contains(&id), "{mail}");
        assert!(mail.contains("Your order"), "{mail}");
    }
}

#[tokio::test]
async fn refusals_say_whether_to_try_again_and_never_name_the_address() {
    let shop = TestMerchant::open().await;
    let sink = SmtpSink::start().await;
    let order = shop.place("pm_card_visa").await;
    let mailer = mailer(&config(sink.port));
    let busy = send(&mailer, &shop, &order, "busy@customer.example").await.expect_err("451");
    assert_eq!(busy, MailError::Busy { status: 451 });
    assert!(!busy.is_permanent());
    let gone = send(&mailer, &shop, &order, "gone@customer.example").await.expect_err("550");
    assert_eq!(gone, MailError::Refused { status: 550 });
    assert!(gone.is_permanent());
    assert!(!gone.to_string().contains("customer"));
    assert!(sink.is_empty());
}

#[tokio::test]
async fn wrong_credentials_and_a_server_that_is_away_are_not_the_mails_fault() {
    let shop = TestMerchant::open().await;
    let sink = SmtpSink::start().await;
    let order = shop.place("pm_card_visa").await;
    let credentials = Some(("shop".to_owned(), "wrong".into()));
    let refused = mailer(&SmtpConfig { credentials, ..config(sink.port) });
    let error = send(&refused, &shop, &order, "ada@customer.example").await.expect_err("535");
    assert_eq!(error, MailError::Authentication { status: 535 });
    assert!(!error.is_permanent());
    // The sink offers no TLS: required TLS must fail rather than send in the clear.
    let tls = mailer(&SmtpConfig { security: SmtpSecurity::StartTls, ..config(sink.port) });
    assert!(!send(&tls, &shop, &order, "ada@customer.example").await.expect_err("no TLS").is_permanent());
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let away = mailer(&config(port));
    let error = send(&away, &shop, &order, "ada@customer.example").await.expect_err("away");
    assert_eq!(error, MailError::Connection("smtp_connection"));
    assert!(sink.is_empty());
}

#[tokio::test]
async fn the_job_records_what_was_taken_and_nothing_else() {
    let shop = TestMerchant::open().await;
    let mut sink = SmtpSink::start().await;
    let order = shop.place("pm_card_visa").await;
    let env = |port| shop.env_mailing(mailer(&config(port)));
    let job = SendEmail { order: order.id, template: Template::OrderConfirmation, domain: None };
    let error = job.run(&context(env(1))).await.expect_err("no server listens on port 1");
    assert!(matches!(error, JobError::Snooze(_)), "{error:?}");
    assert!(shop.orders.mails(order.id.into()).await.expect("reads").is_empty());
    for _ in 0..2 {
        job.run(&context(env(sink.port))).await.expect("mails");
    }
    sink.next().await;
    assert!(sink.is_empty(), "one mail");
    assert_eq!(shop.orders.mails(order.id.into()).await.expect("reads").len(), 1);
}

#[tokio::test]
async fn an_address_is_mailed_without_smtputf8_or_given_up_at_once() {
    let shop = TestMerchant::open().await;
    let mut plain = SmtpSink::offering("250-8BITMIME\r\n").await;
    let mut utf8 = SmtpSink::offering("250-8BITMIME\r\n250-SMTPUTF8\r\n").await;
    let order = shop.place("pm_card_visa").await;
    let from = "M\u{fc}sli <orders@m\u{fc}sli.example>";
    let [to_plain, to_utf8] =
        [plain.port, utf8.port].map(|port| Mailer::smtp(&config(port), from).expect("a mailer"));
    for (address, sent) in [
        ("ada@b\u{fc}cher.example", "ada@xn--bcher-kva.example"),
        ("ada@BU\u{308}CHER.example", "ada@xn--bcher-kva.example"),
        ("ada@xn--bcher-kva.example", "ada@xn--bcher-kva.example"),
        ("o'hara+mugs@example.co.uk", "o'hara+mugs@example.co.uk"),
        ("\"ada l@ve\"@example.com", "\"ada l@ve\"@example.com"),
    ] {
        for (mailer, sink) in [(&to_plain, &mut plain), (&to_utf8, &mut utf8)] {
            send(mailer, &shop, &order, address).await.expect("taken");
            let mail = sink.next().await;
            assert!(mail.starts_with(&format!("RCPT TO:<{sent}>\r\n")), "{address}: {mail}");
            assert!(mail.is_ascii() && mail.contains(".order_confirmation@xn--msli-0ra.example>"), "{mail}");
        }
    }
    let beyond = "j\u{f6}rg@b\u{fc}cher.example";
    let error = send(&to_plain, &shop, &order, beyond).await.expect_err("no SMTPUTF8");
    assert_eq!(error, MailError::SmtpUtf8);
    assert!(error.is_permanent() && plain.is_empty());
    send(&to_utf8, &shop, &order, beyond).await.expect("taken");
    let mail = utf8.next().await;
    assert!(mail.starts_with("RCPT TO:<j\u{f6}rg@xn--bcher-kva.example>"), "{mail}");
    assert!(
        Mailer::smtp(&config(1), "J\u{f6}rg <j\u{f6}rg@example.com>").is_err(),
        "needs SMTPUTF8 for each mail"
    );
}

#[tokio::test]
async fn a_mail_survives_a_server_that_is_away_for_days() {
    let shop = TestMerchant::open().await;
    let mut sink = SmtpSink::start().await;
    let order = shop.place("pm_card_visa").await;
    let job = SendEmail { order: order.id, template: Template::OrderConfirmation, domain: None };
    let at_age = |port, age: Duration| {
        let mut ctx = context(shop.env_mailing(mailer(&config(port))));
        ctx.created_at = shop.ambient.now() - age;
        ctx
    };
    let (hour, day) = (Duration::from_hours(1), Duration::from_hours(24));
    for (age, longest) in [(Duration::ZERO, 3), (hour / 60, 33), (hour, 33 * 60), (4 * day, 33 * 60)] {
        let error = job.run(&at_age(1, age)).await.expect_err("away");
        let JobError::Snooze(wait) = error else { panic!("uses an attempt: {error:?}") };
        assert!((1..=longest).contains(&wait.as_secs()), "{age:?}: {wait:?}");
    }
    let error = job.run(&at_age(1, 6 * day)).await.expect_err("away for too long");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    job.run(&at_age(sink.port, 4 * day)).await.expect("mails");
    sink.next().await;
    // Of mails that the server postpones one by one.
    for (backoff, attempts) in [
        (SendEmail::BACKOFF, SendEmail::MAX_ATTEMPTS),
        (SendWelcome::BACKOFF, SendWelcome::MAX_ATTEMPTS),
        (SendVerification::BACKOFF, SendVerification::MAX_ATTEMPTS),
    ] {
        let kept: Duration = (1..attempts).map(|failures| backoff.delay(failures, &shop.ambient)).sum();
        assert!((5 * day..7 * day).contains(&kept), "{kept:?}");
    }
}
