//! Commands `merchant` and `key`: who may use the API. They work whether processes run or not, and in every mode.
//!
//! Guarantees: a key is printed once, when it is created; a revoked key is refused by every API process within 10
//! seconds, as its copy there lives for five.

use anyhow::{Context, Result};
use base::{Ambient, Timestamp, chars::isolated};
use serde::Serialize;
use serde_json::json;
use store::{
    OrderStore,
    domain::{KeyId, MerchantId},
    merchants::{KeyScope, MerchantRecord, StoredKey},
};

use super::{merchant_hooks, sale};
use crate::{
    cli::{KeyCommand, MerchantCommand, ReserveMinutes},
    config::Config,
    keys, output,
    wiring::open_orders,
};

pub(super) async fn merchant(what: MerchantCommand, config: &Config, as_json: bool) -> Result<()> {
    let ambient = Ambient::system();
    let store = open_orders(config, &ambient).await?;
    match what {
        MerchantCommand::Create { name } => create(store.as_ref(), &name, &ambient, as_json).await,
        MerchantCommand::List { after, limit } => list(store.as_ref(), after, limit, as_json).await,
        MerchantCommand::Checkout { id, reserve } => checkout(store.as_ref(), id, reserve, as_json).await,
        MerchantCommand::Hook { id, kind, url, otherwise, off } => {
            let wanted = url.filter(|_| !off).map(|url| (url, otherwise));
            let policy = config.api.webhook_urls;
            merchant_hooks::change(store.as_ref(), (id, kind), wanted, (policy, &ambient), as_json).await
        }
        MerchantCommand::Show { id } => show(store.as_ref(), id, as_json).await,
        MerchantCommand::Sale(args) => sale::run(store.as_ref(), args, &ambient, as_json).await,
    }
}

pub(super) async fn key(what: KeyCommand, config: &Config, as_json: bool) -> Result<()> {
    let ambient = Ambient::system();
    let store = open_orders(config, &ambient).await?;
    let store = store.as_ref();
    match what {
        KeyCommand::Create { merchant, kind, label } => {
            existing(store, merchant).await?;
            let key = draw(store, merchant, kind.into(), label, &ambient).await?;
            let answer = json!({ "id": key.shown.id, "merchant": merchant, "kind": key.shown.kind,
                "label": key.shown.label, "prefix": key.shown.prefix, "key": key.text });
            output::answer(as_json, &answer, || {
                format!(
                    "{}  {}\nThe key is shown this once: only its hash is stored.\n",
                    key.shown.id, key.text
                )
            })
        }
        KeyCommand::List { merchant } => {
            existing(store, merchant).await?;
            print_keys(&listed(store, merchant).await?, as_json)
        }
        KeyCommand::Revoke { id } => {
            let revoked = store.revoke_key(id, ambient.now()).await?;
            let key = ShownKey::from(revoked.with_context(|| format!("there is no key {id}"))?);
            let since = key.revoked_at.unwrap_or_else(|| ambient.now());
            output::answer(as_json, &key, || {
                format!("{id} is revoked since {since}: every API process refuses it within 10 seconds\n")
            })
        }
    }
}

async fn create(store: &dyn OrderStore, name: &str, ambient: &Ambient, as_json: bool) -> Result<()> {
    let id = MerchantId::fresh(ambient);
    store.ensure_merchant(id, name, ambient.now()).await?;
    let publishable = draw(store, id, KeyScope::Publishable, None, ambient).await?.text;
    let secret = draw(store, id, KeyScope::Secret, None, ambient).await?.text;
    let answer = json!({
        "merchant": { "id": id, "name": name },
        "publishable_key": publishable,
        "secret_key": secret,
    });
    output::answer(as_json, &answer, || {
        let name = isolated(name);
        format!(
            "merchant     {id}  {name}\npublishable  {publishable}\nsecret       {secret}\nThe keys are shown this \
             once: only their hashes are stored.\n"
        )
    })
}

async fn list(store: &dyn OrderStore, after: Option<MerchantId>, limit: u32, as_json: bool) -> Result<()> {
    let found = store.merchants(after, limit).await?;
    output::list(as_json, &found, ["MERCHANT", "CREATED", "NAME"], |merchant| {
        [merchant.id.to_string(), merchant.created_at.to_string(), isolated(&merchant.name).into_owned()]
    })?;
    match found.last() {
        Some(last) if !as_json && u32::try_from(found.len()) == Ok(limit) => {
            output::text(&format!("there may be more: --after {}\n", last.id))
        }
        _ => Ok(()),
    }
}

async fn show(store: &dyn OrderStore, id: MerchantId, as_json: bool) -> Result<()> {
    let merchant = existing(store, id).await?;
    let keys = listed(store, id).await?;
    if as_json {
        return output::json(&json!({ "merchant": merchant, "keys": keys }));
    }
    let MerchantRecord { id, name, created_at } = merchant;
    let name = isolated(&name);
    output::text(&format!("{id}  {name}, created {created_at}\n"))?;
    print_keys(&keys, false)
}

/// Changes what is given, and shows the rest.
async fn checkout(
    store: &dyn OrderStore,
    id: MerchantId,
    reserve: Option<ReserveMinutes>,
    as_json: bool,
) -> Result<()> {
    let found = store.checkout_settings(id).await?;
    let mut settings = found.with_context(|| format!("there is no merchant {id}"))?;
    if let Some(ReserveMinutes(minutes)) = reserve {
        settings.reserve_minutes = minutes;
        store.set_checkout_settings(id, &settings).await?;
    }
    let hooks = merchant_hooks::shown(&settings);
    let answer = json!({ "merchant": id, "reserve_minutes": settings.reserve_minutes, "hooks": hooks });
    output::answer(as_json, &answer, || {
        let reserves = match settings.reserve_minutes {
            Some(minutes) => format!("{id}: a cart at checkout reserves its items for {minutes} minutes\n"),
            None => format!("{id}: carts reserve nothing\n"),
        };
        let hooks = hooks.iter().map(merchant_hooks::line);
        std::iter::once(reserves).chain(hooks).collect()
    })
}

/// A key that was just drawn.
struct DrawnKey {
    text: String,
    shown: ShownKey,
}

async fn draw(
    store: &dyn OrderStore,
    merchant: MerchantId,
    scope: KeyScope,
    label: Option<String>,
    ambient: &Ambient,
) -> Result<DrawnKey> {
    let (text, now) = (keys::draw(scope, ambient), ambient.now());
    let key = keys::to_store(&text, merchant, scope, label, ambient);
    store.create_key(key.clone(), now).await?;
    Ok(DrawnKey { text, shown: StoredKey::fresh(key, now).into() })
}

async fn existing(store: &dyn OrderStore, id: MerchantId) -> Result<MerchantRecord> {
    store.merchant(id).await?.with_context(|| format!("there is no merchant {id}"))
}

async fn listed(store: &dyn OrderStore, merchant: MerchantId) -> Result<Vec<ShownKey>> {
    Ok(store.keys(merchant).await?.into_iter().map(ShownKey::from).collect())
}

fn print_keys(keys: &[ShownKey], as_json: bool) -> Result<()> {
    let headings = ["KEY", "KIND", "STARTS", "CREATED", "LAST USED", "REVOKED", "LABEL"];
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    output::list(as_json, keys, headings, |key| {
        [
            key.id.to_string(),
            key.kind.to_owned(),
            key.prefix.clone().unwrap_or_else(|| "?".to_owned()),
            key.created_at.to_string(),
            time(key.last_used_at),
            time(key.revoked_at),
            key.label.clone().unwrap_or_default(),
        ]
    })
}

#[derive(Serialize)]
struct ShownKey {
    id: KeyId,
    merchant: MerchantId,
    kind: &'static str,
    label: Option<String>,
    prefix: Option<String>,
    created_at: Timestamp,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

impl From<StoredKey> for ShownKey {
    fn from(key: StoredKey) -> Self {
        let StoredKey { record, label, prefix, created_at, last_used_at, revoked_at } = key;
        let kind = match record.scope {
            KeyScope::Publishable => "pub",
            KeyScope::Secret => "sec",
        };
        let (id, merchant) = (record.id, record.merchant);
        Self { id, merchant, kind, label, prefix, created_at, last_used_at, revoked_at }
    }
}
