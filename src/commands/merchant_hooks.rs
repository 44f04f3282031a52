//! Command `merchant hook`: which server of a merchant decides discounts, shipping or taxes.
//!
//! Guarantees: an address is taken only if the policy of webhook addresses allows its form; a secret is printed once,
//! when it is drawn, and stays while the hook is only changed.

use anyhow::{Context, Result};
use base::Ambient;
use serde::Serialize;
use serde_json::json;
use store::{
    OrderStore,
    checkout::{CheckoutSettings, Hook, HookOtherwise},
    domain::{AdjustmentKind, MerchantId},
};
use webhooks::UrlPolicy;

use crate::output;

/// A hook without its secret.
#[derive(Serialize)]
pub(super) struct ShownHook {
    kind: AdjustmentKind,
    url: String,
    otherwise: HookOtherwise,
}

/// The hooks of a merchant, in the order in which they are asked.
pub(super) fn shown(settings: &CheckoutSettings) -> Vec<ShownHook> {
    let hooks = settings.hooks.iter();
    hooks
        .map(|(kind, hook)| ShownHook { kind: *kind, url: hook.url.clone(), otherwise: hook.otherwise })
        .collect()
}

pub(super) fn line(hook: &ShownHook) -> String {
    format!("{}: decided by {}, without an answer: {}\n", hook.kind, hook.url, hook.otherwise)
}

/// Sets the hook of a kind, or removes it.
pub(super) async fn change(
    store: &dyn OrderStore,
    (id, kind): (MerchantId, AdjustmentKind),
    wanted: Option<(String, HookOtherwise)>,
    (policy, ambient): (UrlPolicy, &Ambient),
    as_json: bool,
) -> Result<()> {
    let found = store.checkout_settings(id).await?;
    let mut settings = found.with_context(|| format!("there is no merchant {id}"))?;
    let Some((url, otherwise)) = wanted else {
        settings.hooks.remove(&kind);
        store.set_checkout_settings(id, &settings).await?;
        let answer = json!({ "merchant": id, "kind": kind, "result": "removed" });
        return output::answer(as_json, &answer, || format!("{id}: no hook is asked for the {kind}\n"));
    };
    policy.check(&url).with_context(|| format!("{url} cannot be a hook"))?;
    let former = settings.hooks.remove(&kind);
    let is_new = former.is_none();
    let hook = match former {
        Some(former) => Hook { url, otherwise, ..former },
        None => Hook::fresh(url, otherwise, ambient),
    };
    let secret = is_new.then(|| hook.secret.clone());
    let answer =
        json!({ "merchant": id, "kind": kind, "url": hook.url, "otherwise": otherwise, "secret": secret });
    settings.hooks.insert(kind, hook);
    store.set_checkout_settings(id, &settings).await?;
    output::answer(as_json, &answer, || match &secret {
        Some(secret) => format!("{id}: {kind} set\nsecret  {secret}\nThe secret is shown this once.\n"),
        None => format!("{id}: {kind} changed; its secret stays\n"),
    })
}
