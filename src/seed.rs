//! Demo shop of `orderworks dev`: one merchant, two keys, 24 products in 4 categories.
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
use base::Ambient;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{
    OrderStore,
    catalog::ProductData,
    domain::{Currency, KeyId, MerchantId},
    merchants::{KeyRecord, KeyScope},
};
use uuid::Uuid;

use crate::cli::KeyArgs;

/// Initial units of each product.
const STOCK: i64 = 100_000;

/// Characters of a key after its prefix. 32 hexadecimal digits are 128 bits, so a plain hash of the key is enough.
const KEY_CHARS: RangeInclusive<usize> = 32..=128;
/// Least number of different characters in a key: rejects typed keys. Of 32 random hexadecimal digits fewer are
/// different with a probability of 16 over 5 times (5/16)^32, about 1e-13.
const KEY_DISTINCT_MIN: usize = 6;

/// No key file is as long.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// The demo merchant, in every installation.
pub(crate) const DEMO_MERCHANT: MerchantId =
    MerchantId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_de30_0001));
/// Its name in mails.
const MERCHANT_NAME: &str = "Harbour & Pine";

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

    /// The given keys, else those in `folder`, else new ones; the result is stored in `folder`.
    pub(crate) fn settle(folder: &Path, given: KeyArgs, ambient: &Ambient) -> anyhow::Result<Self> {
        let secret = given_secret(std::env::var("ORDERWORKS_SEC_KEY").ok(), given.sec_key_file.as_deref())?;
        let path = Self::file(folder);
        let kept: Option<Self> = match fs::read(&path) {
            Ok(bytes) => {
                let damaged = || format!("{} is damaged; remove it to get fresh keys", path.display());
                Some(serde_json::from_slice(&bytes).with_context(damaged)?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let (kept_publishable, kept_secret) = kept.map(|k| (k.publishable, k.secret)).unzip();
        let keys = Self {
            publishable: settle_key("owk_pub_", given.pub_key.or(kept_publishable), ambient)?,
            secret: settle_key("owk_sec_", secret.or(kept_secret), ambient)?,
        };
        write_private(&path, &serde_json::to_vec_pretty(&keys)?)?;
        Ok(keys)
    }
}

/// Creates merchant, keys and products that are missing.
pub(crate) async fn demo_shop(
    store: &dyn OrderStore,
    keys: &DemoKeys,
    ambient: &Ambient,
) -> anyhow::Result<()> {
    let (merchant, now) = (DEMO_MERCHANT, ambient.now());
    let new = store.ensure_merchant(merchant, MERCHANT_NAME, now).await?;
    for (key, scope) in [(&keys.publishable, KeyScope::Publishable), (&keys.secret, KeyScope::Secret)] {
        let record = KeyRecord { id: KeyId::fresh(ambient), merchant, scope };
        store.ensure_key(&record, Sha256::digest(key.as_bytes()).into(), now).await?;
    }
    // Only a new shop is filled, so products that the user has removed or repriced stay so. An interrupted start leaves
    // a partly filled shop, so a shop counts as new until its last product exists.
    let last = PRODUCTS[PRODUCTS.len() - 1].0;
    if !new && store.product(merchant, last).await?.is_some() {
        return Ok(());
    }
    let currency: Currency = "EUR".parse()?;
    for (sku, name, category, price_minor) in PRODUCTS {
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

fn settle_key(prefix: &str, known: Option<String>, ambient: &Ambient) -> anyhow::Result<String> {
    let Some(key) = known else { return Ok(fresh_key(prefix, ambient)) };
    let tail = key.strip_prefix(prefix).unwrap_or_default();
    let is_valid = KEY_CHARS.contains(&tail.len())
        && tail.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let distinct: BTreeSet<u8> = tail.bytes().collect();
    if !is_valid || distinct.len() < KEY_DISTINCT_MIN {
        let (min, max) = (KEY_CHARS.start(), KEY_CHARS.end());
        bail!(
            "a key given by hand must be {prefix} followed by {min} to {max} random letters, digits, - or _, of which \
             {KEY_DISTINCT_MIN} differ, for instance {prefix}$(openssl rand -hex 20)"
        );
    }
    Ok(key)
}

/// A key of 160 random bits.
fn fresh_key(prefix: &str, ambient: &Ambient) -> String {
    format!("{prefix}{}", hex::encode(ambient.secret::<20>()))
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

/// Sku, name, category, price in minor units.
const PRODUCTS: [(&str, &str, &str, i64); 24] = [
    ("CUP-ENAMEL", "Enamel cup", "kitchen", 1_250),
    ("POT-CAST-24", "Cast-iron pot, 24 cm", "kitchen", 8_900),
    ("KNIFE-CHEF", "Chef's knife", "kitchen", 6_450),
    ("BOARD-OAK", "Oak cutting board", "kitchen", 3_900),
    ("KETTLE-1L", "Whistling kettle, 1 l", "kitchen", 4_200),
    ("TOWEL-LINEN", "Linen tea towel", "kitchen", 1_490),
    ("BLANKET-WOOL", "Wool blanket", "home", 7_900),
    ("LAMP-DESK", "Brass desk lamp", "home", 11_900),
    ("VASE-STONE", "Stoneware vase", "home", 3_450),
    ("CANDLE-PINE", "Pine candle", "home", 1_850),
    ("RUG-JUTE", "Jute rug", "home", 12_900),
    ("CUSHION-45", "Cushion, 45 cm", "home", 2_990),
    ("TEE-BLACK-M", "T-shirt, black, M", "clothing", 2_490),
    ("TEE-WHITE-M", "T-shirt, white, M", "clothing", 2_490),
    ("SWEATER-NAVY", "Fisherman's sweater, navy", "clothing", 9_900),
    ("BEANIE-GREY", "Wool beanie, grey", "clothing", 2_700),
    ("SOCKS-3", "Merino socks, three pairs", "clothing", 3_300),
    ("RAINCOAT-L", "Raincoat, L", "clothing", 13_900),
    ("NOTEBOOK-A5", "Notebook, A5, dotted", "paper", 1_190),
    ("PEN-BRASS", "Brass pen", "paper", 4_900),
    ("CARDS-10", "Ten letterpress cards", "paper", 1_990),
    ("PLANNER", "Undated planner", "paper", 2_690),
    ("PENCILS-12", "Twelve pencils", "paper", 990),
    ("WRAP-5", "Wrapping paper, five sheets", "paper", 850),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        let ambient = Ambient::system();
        let settled = |key: &str| settle_key("owk_sec_", Some(key.to_owned()), &ambient);
        let drawn = fresh_key("owk_sec_", &ambient);
        assert_eq!(settled(&drawn).expect("drawn"), drawn);
        for bad in ["", "owk_sec_", "owk_sec_0123456789abcdef", &format!("owk_sec_{}", "a".repeat(32))] {
            assert!(settled(bad).is_err(), "{bad}");
        }
        for bad in [drawn.replace("sec", "pub"), format!("{drawn} "), format!("owk_sec_{}", "ab".repeat(20))]
        {
            assert!(settled(&bad).is_err(), "{bad}");
        }
    }
}
