//! Command `migrate`: brings the schemas of the configured servers up to date, once per release and before its
//! processes start. With `--demo-shop` it creates a demo shop.

use std::fmt::Write as _;

use base::Ambient;
use serde_json::json;

use crate::{
    cli::MigrateArgs,
    config::Config,
    output,
    seed::{self, DemoKeys},
    wiring::{Wiring, migrate},
};

pub(super) async fn run(args: MigrateArgs, config: &Config, as_json: bool) -> anyhow::Result<()> {
    let ambient = Ambient::system();
    let migrated = migrate(&config.engines, &ambient).await?;
    let mut said = match migrated.as_slice() {
        [] => "nothing to migrate: files are migrated when they are opened\n".to_owned(),
        stores => format!("up to date: {}\n", stores.join(", ")),
    };
    let mut found = json!({ "migrated": migrated });
    if args.demo_shop {
        let wiring = Wiring::of_server(config, "orderworks migrate".to_owned(), &ambient)?;
        let orders = wiring.orders().await?;
        let keys = seed::demo_shop(orders.as_ref(), &config.folder, args.keys, None, &ambient).await?;
        // The output of a container is kept in logs, so the secret key is written to the file only.
        let (key, file) = (keys.publishable, DemoKeys::file(&config.folder).display().to_string());
        writeln!(said, "demo shop: publishable {key}; the secret key is in {file}")?;
        found["demo_shop"] = json!({ "publishable_key": key, "keys_file": file });
    }
    output::answer(as_json, &found, || said)
}
