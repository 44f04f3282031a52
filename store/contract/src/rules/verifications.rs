//! Rules of verifying an address, applied to the rows of that address, which the engine has locked.

use std::time::Duration;

use base::{
    Timestamp,
    time::{between, later},
};

use crate::{
    customers::{Account, PasswordHash},
    domain::{Customer, VerificationId},
    rules::Damage,
    token::TokenHash,
    verifications::{MAIL_GAP, Minting, OpenAccount, Purpose, Verification, VerificationRequested},
};

/// A stored request.
#[derive(Clone)]
pub struct Row {
    pub verification: Verification,
    pub token: Option<TokenHash>,
    pub minted_at: Option<Timestamp>,
    pub mailed_at: Option<Timestamp>,
}

/// The writes of an engine for a request that gets a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mint {
    /// Whether the token can be used and is stored.
    pub keep_token: bool,
    /// Whether tokens of other resets of the address are revoked.
    pub clear_others: bool,
}

/// The row of a request whose mail may be sent now, or the answer why not.
pub fn mintable(rows: &[Row], id: VerificationId, at: Timestamp) -> Result<&Row, Minting> {
    let row = rows.iter().find(|row| row.verification.id == id);
    let row = row.filter(|row| row.verification.expires_at() > at).ok_or(Minting::NotFound)?;
    if row.mailed_at.is_some() {
        return Err(Minting::Mailed);
    }
    let of_others = rows.iter().filter(|other| {
        other.verification.id != id
            && other.verification.purpose.is_reset() == row.verification.purpose.is_reset()
    });
    let next = of_others.filter_map(|other| other.minted_at).max().map(|last| later(last, MAIL_GAP));
    match next.map_or(Duration::ZERO, |next| between(at, next)) {
        Duration::ZERO => Ok(row),
        wait => Err(Minting::TooSoon(wait)),
    }
}

pub fn mint(verification: &Verification, account: Option<&Account>) -> Mint {
    let is_reset = verification.purpose.is_reset();
    Mint { keep_token: is_reset == account.is_some(), clear_others: is_reset }
}

/// The unexpired request for this purpose with this token.
pub fn by_token(rows: &[Row], token: TokenHash, is_reset: bool, at: Timestamp) -> Option<&Verification> {
    let row = rows.iter().find(|row| row.token == Some(token))?;
    let verification = &row.verification;
    (verification.purpose.is_reset() == is_reset && verification.expires_at() > at).then_some(verification)
}

/// The answer to a repeated idempotency key. Passwords are not compared: the answer would tell which is right.
pub fn repeated(known: &Verification, asked: &Verification) -> VerificationRequested {
    if known.email == asked.email && known.name() == asked.name() {
        VerificationRequested::Repeated
    } else {
        VerificationRequested::KeyReused
    }
}

/// The account that a registration opens; `None` for a reset.
pub fn opened(asked: &Verification, open: &OpenAccount) -> Option<Account> {
    let Purpose::Registration { name, password_hash } = &asked.purpose else { return None };
    Some(Account {
        id: open.customer,
        merchant: asked.merchant,
        customer: Customer { email: asked.email.clone(), name: name.clone() },
        password_hash: password_hash.clone(),
        created_at: open.at,
    })
}

pub fn purpose(
    purpose: &str,
    name: Option<String>,
    password_hash: Option<String>,
) -> Result<Purpose, Damage> {
    match (purpose, name, password_hash) {
        ("registration", Some(name), Some(hash)) => {
            Ok(Purpose::Registration { name, password_hash: PasswordHash::from_phc(hash) })
        }
        ("password_reset", ..) => Ok(Purpose::PasswordReset),
        _ => Err(Damage(format!("verification with invalid columns of purpose `{purpose}`"))),
    }
}

/// The columns of a purpose: name and hash.
pub fn columns(purpose: &Purpose) -> (Option<&str>, Option<&str>) {
    match purpose {
        Purpose::Registration { name, password_hash } => (Some(name), Some(password_hash.as_phc())),
        Purpose::PasswordReset => (None, None),
    }
}
