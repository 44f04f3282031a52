//! Signature of a post by the Standard Webhooks specification 1.0 (HMAC-SHA256, `v1,…`).

use base::Timestamp;
use standardwebhooks::Webhook;

/// The secret of the endpoint is not valid base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint secret")]
pub struct SecretError;

/// Signs id, time of the attempt and body with each secret of the form `whsec_…`; the signatures stand between blanks
/// (section "Signature scheme": rotation without downtime).
pub fn sign(secrets: &[&str], id: &str, at: Timestamp, body: &str) -> Result<String, SecretError> {
    let sign = |secret: &&str| {
        let signer = Webhook::new(secret).map_err(|_| SecretError)?;
        signer.sign(id, at.as_second(), body.as_bytes()).map_err(|_| SecretError)
    };
    Ok(secrets.iter().map(sign).collect::<Result<Vec<_>, _>>()?.join(" "))
}
