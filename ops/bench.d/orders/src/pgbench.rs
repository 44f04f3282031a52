//! Comparison figure: the statements of placing an order, run by `pgbench` over the same number of connections, which
//! is the rate that PostgreSQL gives to a client without other work.
//!
//! The statements are the store's own, and the values are those of an order that the API has just placed, so both stay
//! in step. Ids (built like `UUIDv7`, in order) and the idempotency key are new in every run of the script.

use std::{fs, process::Command};

use anyhow::{Context, ensure};
use base::Ambient;
use secrecy::ExposeSecret;
use store::domain::MerchantId;
use store_postgres::statements;
use tempfile::TempDir;
use url::Url;

use crate::stage::{BenchServers, SKUS};

/// One order as stored: total, lines, response body, fingerprint, and its message with kind, data, trace.
const STORED: &str = "
    SELECT concat_ws(E'\\x1f', o.total_minor, o.lines, i.body, i.fingerprint, m.kind, m.data, o.trace)
    FROM orders o JOIN idempotency_keys i ON i.order_id = o.id JOIN outbox m ON m.order_id = o.id LIMIT 1";
/// Names of these values in the script.
const NAMES: [&str; 7] = ["total", "lines", "body", "fingerprint", "kind", "data", "trace"];

/// The script, and the database it runs against.
pub(crate) struct Script {
    folder: TempDir,
    url: Url,
    stored: Vec<String>,
}

impl Script {
    /// Builds the script from an order that the merchant has placed.
    pub(crate) fn of(stage: &BenchServers, merchant: MerchantId) -> anyhow::Result<Self> {
        let url: Url = stage.database.url().expose_secret().parse()?;
        let done = client("psql", &url).args(["-X", "-A", "-t", "-c", STORED]).output();
        let done = done.context("cannot start psql")?;
        ensure!(done.status.success(), "psql failed: {}", String::from_utf8_lossy(&done.stderr));
        let text = String::from_utf8(done.stdout)?;
        let stored: Vec<String> = text.trim_end().split('\x1f').map(str::to_owned).collect();
        ensure!(stored.len() == NAMES.len(), "no order to go by");
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("place.sql"), script(merchant)?)?;
        Ok(Self { folder, url, stored })
    }

    /// Runs the script `orders` times in all; returns the rate per second.
    pub(crate) fn run(&self, connections: usize, orders: usize) -> anyhow::Result<f64> {
        let millis = Ambient::system().now().as_millisecond();
        let each = (orders / connections).to_string();
        let mut command = client("pgbench", &self.url);
        command.args(["-n", "-M", "prepared", "-j", "2", "-c", &connections.to_string(), "-t", &each]);
        command.args(["-D", "n=0", "-D", &format!("millis={millis}")]);
        for (name, value) in NAMES.iter().zip(&self.stored) {
            command.args(["-D", &format!("{name}={value}")]);
        }
        let done = command
            .arg("-f")
            .arg(self.folder.path().join("place.sql"))
            .output()
            .context("cannot start pgbench")?;
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        ensure!(done.status.success(), "pgbench failed: {err}");
        let rate = out.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.with_context(|| format!("pgbench told no rate: {out}"))
    }
}

/// Command of a PostgreSQL client. The password goes by the environment, because an argument would show it.
fn client(program: &str, url: &Url) -> Command {
    let mut command = Command::new(program);
    command
        .env("PGHOST", url.host_str().unwrap_or_default())
        .env("PGPORT", url.port().unwrap_or(5432).to_string())
        .env("PGUSER", url.username())
        .env("PGPASSWORD", url.password().unwrap_or_default())
        .env("PGDATABASE", url.path().trim_start_matches('/'));
    command
}

fn script(merchant: MerchantId) -> anyhow::Result<String> {
    let merchant = format!("'{merchant}'::uuid", merchant = merchant.0);
    let keys = "array[:client_id::text || '-' || :key::text]";
    let sku = "array['SKU-' || lpad(:sku::text, 2, '0')]";
    let one = "array[1::bigint]";
    let reserve = with(find("stock::RESERVE")?, &[&merchant, sku, one, "'EUR'::text", keys, "now()"]);
    let (orders, messages) = (format!("array[{}]", id("o")), format!("array[{}]", id("m")));
    let merchants = format!("array[{merchant}]");
    let store = with(
        find("place_order::STORE")?,
        &[
            "now()",
            &messages,
            &merchants,
            &orders,
            "array[:kind::text]",
            &orders,
            one,
            "array[:data::text]",
            "array[:trace::text]",
            &merchant,
            "'EUR'::text",
            &orders,
            "array[:total::bigint]",
            "array[:lines::text]",
            "array['bench@example.com'::text]",
            "array['Bench'::text]",
            "array['pm_card_visa'::text]",
            "array[NULL::text]",
            "array[NULL::text]",
            "array[:trace::text]",
            keys,
            "array[:fingerprint::bytea]",
            "array[:body::text]",
            "array[NULL::uuid]",
            // As random as the hash of a token.
            "array[sha256(:o::text::bytea)]",
            "array[now() + interval '30 days']",
        ],
    );
    let (last, random) = (SKUS - 1, "random(0, 1000000000000000)");
    // A connection places an order every few milliseconds, so the timestamps in its ids advance at that pace.
    Ok(format!(
        "\\set n :n + 1\n\\set at :millis + :n * 5\n\\set o {random}\n\\set m {random}\n\\set key {random}\n\
         \\set sku random(0, {last})\nBEGIN;\n{};\n{};\nCOMMIT;\n",
        one_line(&reserve),
        one_line(&store)
    ))
}

/// A UUID of version 7: milliseconds, version, variant, 60 random bits.
fn id(random: &str) -> String {
    format!(
        "(lpad(to_hex(:at::bigint), 12, '0') || '70008' || lpad(to_hex(:{random}::bigint), 15, '0'))::uuid"
    )
}

fn find(name: &str) -> anyhow::Result<&'static str> {
    let found = statements::ALL.iter().find(|(known, _)| *known == name);
    Ok(found.with_context(|| format!("there is no statement {name}"))?.1)
}

/// The statement with its arguments filled in; from the last argument down, as `$1` is a prefix of `$10`.
fn with(sql: &str, arguments: &[&str]) -> String {
    let numbered = arguments.iter().enumerate().rev();
    numbered.fold(sql.to_owned(), |sql, (index, argument)| sql.replace(&format!("${}", index + 1), argument))
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
