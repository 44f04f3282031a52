//! Mails over SMTP, to a server that takes, postpones and refuses them.

use jobs::{Job, JobError};
use store::domain::Order;
use workers::{
    jobs::SendEmail,
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
    let job = SendEmail { order: order.id, template: Template::OrderConfirmation };
    let error = job.run(&context(env(1))).await.expect_err("nobody listens on port 1");
    assert!(matches!(error, JobError::Retry(_)), "{error:?}");
    assert!(shop.orders.mails(order.id.into()).await.expect("reads").is_empty());
    for _ in 0..2 {
        job.run(&context(env(sink.port))).await.expect("mails");
    }
    sink.next().await;
    assert!(sink.is_empty(), "one mail");
    assert_eq!(shop.orders.mails(order.id.into()).await.expect("reads").len(), 1);
}
