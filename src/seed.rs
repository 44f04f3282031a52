//! Demo shop of `orderworks dev`: one merchant, two keys, 26 products in 4 categories and 3 currencies.
//!
//! Guarantees: seeding again overwrites no change of a user. The keys stay the same across restarts; they are kept in a
//! file that only its owner may read, because the store has hashes only.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read as _, Write as _},
    ops::RangeInclusive,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base::{Ambient, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{Currency, MerchantId},
    merchants::KeyScope,
};
use uuid::Uuid;

use crate::{cli::KeyArgs, keys};

/// Initial units of each product.
const STOCK: i64 = 100_000;

/// Characters of a key after its prefix. 32 hexadecimal digits are 128 bits, so a plain hash of the key is enough.
const KEY_CHARS: RangeInclusive<usize> = 32..=128;
/// Least number of different characters in a key: rejects one character repeated. Whether a key is random otherwise
/// cannot be told from it.
const KEY_DISTINCT_MIN: usize = 2;

/// No key file is as long.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The demo merchant, in every installation.
pub(crate) const DEMO_MERCHANT: MerchantId =
    MerchantId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_de30_0001));
/// Its name in mails and on pages.
pub(crate) const MERCHANT_NAME: &str = "Harbour & Pine";

/// The label of the keys, for listings.
const KEY_LABEL: &str = "demo shop";

/// Both keys of the demo merchant, in clear text.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DemoKeys {
    pub(crate) publishable: String,
    pub(crate) secret: String,
}

impl DemoKeys {
    /// File of the keys; only its owner may read it.
    pub(crate) fn file(folder: &Path) -> PathBuf {
        folder.join("demo-keys.json")
    }

    fn of(&self, scope: KeyScope) -> &str {
        match scope {
            KeyScope::Publishable => &self.publishable,
            KeyScope::Secret => &self.secret,
        }
    }

    fn kept(path: &Path) -> anyhow::Result<Option<Self>> {
        match fs::read(path) {
            Ok(bytes) => {
                let damaged = || format!("{} is damaged; remove it to get fresh keys", path.display());
                Ok(Some(serde_json::from_slice(&bytes).with_context(damaged)?))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// Creates the demo shop where it is missing, with the given keys, else those kept in `folder`, else new ones; keeps
/// them there. Kept keys that others replace are revoked.
///
/// # Errors
///
/// For given keys that are malformed or revoked, and those of file and store.
pub(crate) async fn demo_shop(
    store: &dyn OrderStore,
    folder: &Path,
    given: KeyArgs,
    secret: Option<&SecretString>,
    ambient: &Ambient,
) -> anyhow::Result<DemoKeys> {
    let path = DemoKeys::file(folder);
    let kept = DemoKeys::kept(&path)?;
    let secret = match secret {
        Some(key) => Some(key.expose_secret().to_owned()),
        None => given_secret(std::env::var("ORDERWORKS_SEC_KEY").ok(), given.sec_key_file.as_deref())?,
    };
    let known = |given: Option<String>, scope| given.or_else(|| Some(kept.as_ref()?.of(scope).to_owned()));
    let publishable = known(given.pub_key, KeyScope::Publishable);
    let keys = DemoKeys {
        publishable: settle_key(KeyScope::Publishable, publishable, ambient)?,
        secret: settle_key(KeyScope::Secret, known(secret, KeyScope::Secret), ambient)?,
    };
    let merchant = DEMO_MERCHANT;
    let new = store.ensure_merchant(merchant, MERCHANT_NAME, ambient.now()).await?;
    for scope in [KeyScope::Publishable, KeyScope::Secret] {
        let before = kept.as_ref().map(|kept| kept.of(scope));
        ensure_key(store, merchant, scope, (keys.of(scope), before), ambient).await?;
    }
    // Last: after an interruption the next start still knows the keys to revoke.
    write_private(&path, &serde_json::to_vec_pretty(&keys)?)?;
    fill(store, merchant, new, ambient.now()).await?;
    Ok(keys)
}

/// Creates a key where it is missing, and revokes the one of before where it is another.
async fn ensure_key(
    store: &dyn OrderStore,
    merchant: MerchantId,
    scope: KeyScope,
    (key, before): (&str, Option<&str>),
    ambient: &Ambient,
) -> anyhow::Result<()> {
    let (kind, now) = (scope.as_str(), ambient.now());
    store.create_key(keys::to_store(key, merchant, scope, Some(KEY_LABEL.to_owned()), ambient), now).await?;
    if store.key_by_hash(keys::hash(key)).await?.is_none() {
        if before != Some(key) {
            bail!("the given {kind} key is revoked: give another");
        }
        tracing::warn!(kind, "key of the demo shop is revoked: remove demo-keys.json to get new keys");
    }
    if let Some(before) = before.filter(|before| *before != key)
        && let Some(old) = store.key_by_hash(keys::hash(before)).await?
    {
        store.revoke_key(old.id, now).await?;
        tracing::warn!(kind, key.id = %old.id, "key of the demo shop replaced: the one of before is revoked");
    }
    Ok(())
}

/// Creates products that are missing in a new shop.
async fn fill(store: &dyn OrderStore, merchant: MerchantId, new: bool, now: Timestamp) -> anyhow::Result<()> {
    // Only a new shop is filled, so products that the user has removed or repriced stay so. An interrupted start leaves
    // a partly filled shop, so a shop counts as new until its last product exists.
    let last = PRODUCTS[PRODUCTS.len() - 1].0;
    if !new && store.product(merchant, last).await?.is_some() {
        return Ok(());
    }
    for (sku, name, category, price_minor, currency) in PRODUCTS {
        let currency: Currency = currency.parse()?;
        let product = ProductData {
            sku: sku.into(),
            name: name.into(),
            description: None,
            category: category.into(),
            price_minor,
            currency,
            low_stock_at: 10,
        };
        store.put_product(merchant, product, now).await?;
        store.put_inventory(merchant, sku, STOCK, now, None).await?;
    }
    Ok(())
}

/// The secret key from the environment or a file. No error repeats it.
fn given_secret(key: Option<String>, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(key.filter(|key| !key.is_empty())) };
    if key.is_some() {
        bail!("set ORDERWORKS_SEC_KEY or --sec-key-file, not both");
    }
    let cannot = || format!("cannot read the secret key in {}", file.display());
    let opened = fs::File::open(file).with_context(cannot)?;
    if opened.metadata().with_context(cannot)?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(file = %file.display(), "secret key file readable by others: chmod 600");
    }
    let mut text = String::new();
    opened.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).with_context(cannot)?;
    Ok(Some(text.trim().to_owned()))
}

fn settle_key(scope: KeyScope, known: Option<String>, ambient: &Ambient) -> anyhow::Result<String> {
    let Some(key) = known else { return Ok(keys::draw(scope, ambient)) };
    let prefix = keys::start(scope);
    let tail = key.strip_prefix(prefix).unwrap_or_default();
    let is_valid = KEY_CHARS.contains(&tail.len())
        && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let distinct: BTreeSet<u8> = tail.bytes().collect();
    if !is_valid || distinct.len() < KEY_DISTINCT_MIN {
        let (min, max) = (KEY_CHARS.start(), KEY_CHARS.end());
        bail!(
            "a key given by hand must be {prefix} followed by {min} to {max} random letters, digits, - or _, not all \
             the same, for instance {prefix}$(openssl rand -hex 20)"
        );
    }
    Ok(key)
}

/// Writes a temporary file and renames it, so that an interruption never leaves half a file.
fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside: PathBuf = path.with_extension("new");
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Sku, name, category, price in minor units, currency: one has no decimals, one has three. The last product stays the
/// last, as it tells that the shop is filled.
const PRODUCTS: [(&str, &str, &str, i64, &str); 26] = [
    ("CUP-ENAMEL", "Enamel cup", "kitchen", 1_250, "EUR"),
    ("POT-CAST-24", "Cast-iron pot, 24 cm", "kitchen", 8_900, "EUR"),
    ("KNIFE-CHEF", "Chef's knife", "kitchen", 6_450, "EUR"),
    ("BOARD-OAK", "Oak cutting board", "kitchen", 3_900, "EUR"),
    ("KETTLE-1L", "Whistling kettle, 1 l", "kitchen", 4_200, "EUR"),
    ("TOWEL-LINEN", "Linen tea towel", "kitchen", 1_490, "EUR"),
    ("BOWL-MATCHA", "Matcha bowl, sold in yen", "kitchen", 4_800, "JPY"),
    ("POT-DALLAH", "Brass coffee pot, sold in dinars", "kitchen", 24_750, "KWD"),
    ("BLANKET-WOOL", "Wool blanket", "home", 7_900, "EUR"),
    ("LAMP-DESK", "Brass desk lamp", "home", 11_900, "EUR"),
    ("VASE-STONE", "Stoneware vase", "home", 3_450, "EUR"),
    ("CANDLE-PINE", "Pine candle", "home", 1_850, "EUR"),
    ("RUG-JUTE", "Jute rug", "home", 12_900, "EUR"),
    ("CUSHION-45", "Cushion, 45 cm", "home", 2_990, "EUR"),
    ("TEE-BLACK-M", "T-shirt, black, M", "clothing", 2_490, "EUR"),
    ("TEE-WHITE-M", "T-shirt, white, M", "clothing", 2_490, "EUR"),
    ("SWEATER-NAVY", "Fisherman's sweater, navy", "clothing", 9_900, "EUR"),
    ("BEANIE-GREY", "Wool beanie, grey", "clothing", 2_700, "EUR"),
    ("SOCKS-3", "Merino socks, three pairs", "clothing", 3_300, "EUR"),
    ("RAINCOAT-L", "Raincoat, L", "clothing", 13_900, "EUR"),
    ("NOTEBOOK-A5", "Notebook, A5, dotted", "paper", 1_190, "EUR"),
    ("PEN-BRASS", "Brass pen", "paper", 4_900, "EUR"),
    ("CARDS-10", "Ten letterpress cards", "paper", 1_990, "EUR"),
    ("PLANNER", "Undated planner", "paper", 2_690, "EUR"),
    ("PENCILS-12", "Twelve pencils", "paper", 990, "EUR"),
    ("WRAP-5", "Wrapping paper, five sheets", "paper", 850, "EUR"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        let ambient = Ambient::system();
        let settled = |key: &str| settle_key(KeyScope::Secret, Some(key.to_owned()), &ambient);
        let drawn = keys::draw(KeyScope::Secret, &ambient);
        assert_eq!(settled(&drawn).expect("drawn"), drawn);
        for bad in ["", "owk_sec_", "owk_sec_0123456789abcdef", &format!("owk_sec_{}", "a".repeat(32))] {
            assert!(settled(bad).is_err(), "{bad}");
        }
        for bad in [drawn.replace("sec", "pub"), format!("{drawn} ")] {
            assert!(settled(&bad).is_err(), "{bad}");
        }
    }
}
