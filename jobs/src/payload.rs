//! Payloads: their decoding, and the reasons for which a build cannot read one.
//!
//! Guarantees: an older payload is decoded with [`Job::upcast`], one newer than this build is rejected with an error
//! that says what to deploy. [`Unreadable`] quotes nothing of a payload, so that it can be shown anywhere; the errors
//! of runs, which are stored with their job, may quote it.

use crate::{error::JobError, job::Job};

/// Reason for which this build cannot run a job. Quotes nothing of its payload but names of fields that are missing.
#[expect(missing_docs, reason = "the message of each says what it means")]
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// Its kind is `""`, see [`InspectedJob::envelope`](crate::engine::InspectedJob::envelope).
    #[error("the stored message is no job")]
    NoJob,
    #[error("no job of this kind is registered")]
    UnknownKind,
    #[error("the newest version known here is {known}")]
    NewerVersion { known: u16 },
    #[error("the payload {0}")]
    Payload(String),
}

/// Reason for which a payload was not decoded, written for an operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("payload version {version} is newer than version {known} known here: deploy the newer worker")]
    Newer { version: u16, known: u16 },
    #[error("payload does not decode: {0}")]
    Current(serde_json::Error),
    #[error("payload is not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("payload version {version} cannot be upcast: {}", .error.describe())]
    Upcast { version: u16, error: JobError },
    #[error("payload version {version} does not decode after upcast: {error}")]
    Upcasted { version: u16, error: serde_json::Error },
}

impl DecodeError {
    fn unreadable(&self) -> Unreadable {
        match self {
            Self::Newer { known, .. } => Unreadable::NewerVersion { known: *known },
            Self::Current(error) | Self::NotJson(error) => {
                Unreadable::Payload(format!("does not decode: {}", without_values(error)))
            }
            Self::Upcast { .. } => Unreadable::Payload("is refused by `upcast`".to_owned()),
            Self::Upcasted { error, .. } => {
                Unreadable::Payload(format!("does not decode after `upcast`: {}", without_values(error)))
            }
        }
    }
}

/// Decodes a payload of this or an older version.
pub(crate) fn decode<J: Job>(version: u16, payload: &str) -> Result<J, DecodeError> {
    if version > J::VERSION {
        return Err(DecodeError::Newer { version, known: J::VERSION });
    }
    if version == J::VERSION {
        return serde_json::from_str(payload).map_err(DecodeError::Current);
    }
    let older = serde_json::from_str(payload).map_err(DecodeError::NotJson)?;
    let today = J::upcast(version, older).map_err(|error| DecodeError::Upcast { version, error })?;
    serde_json::from_value(today).map_err(|error| DecodeError::Upcasted { version, error })
}

/// Whether [`decode`] reads a payload.
pub(crate) fn check<J: Job>(version: u16, payload: &str) -> Result<(), Unreadable> {
    match decode::<J>(version, payload) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.unreadable()),
    }
}

/// What an error says without values: its text quotes them, except for a field that is missing.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split_once('`'));
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if let Some((name, _)) = missing.filter(|(name, _)| is_name(name)) {
        return format!("missing field `{name}`");
    }
    let what = if error.is_data() { "a value of another type or form" } else { "no JSON" };
    match (error.line(), error.column()) {
        (0, _) => what.to_owned(),
        (line, column) => format!("{what} at line {line} column {column}"),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;
    use crate::JobContext;

    #[derive(Serialize, Deserialize)]
    struct Move {
        metres: u32,
    }

    impl Job for Move {
        type Env = ();
        const KIND: &'static str = "move";
        const VERSION: u16 = 2;

        fn upcast(version: u16, payload: serde_json::Value) -> Result<serde_json::Value, JobError> {
            assert_eq!(version, 1);
            if payload["miles"].is_u64() {
                return Ok(json!({ "metres": "canary" }));
            }
            let kilometres = payload["kilometres"].as_u64().ok_or_else(|| JobError::cancel("no distance"))?;
            Ok(json!({ "metres": kilometres * 1000 }))
        }

        async fn run(&self, _ctx: &JobContext<()>) -> Result<(), JobError> {
            Ok(())
        }
    }

    #[test]
    fn older_payloads_are_upcast_and_newer_ones_refused_in_words() {
        let old: Move = decode(1, r#"{"kilometres": 3}"#).unwrap();
        assert_eq!(old.metres, 3000);
        let unknown = decode::<Move>(1, "{}").err().unwrap().to_string();
        assert!(unknown.contains("cannot be upcast: no distance"), "{unknown}");
        let newer = decode::<Move>(3, r#"{"metres": 1}"#).err().unwrap().to_string();
        assert!(newer.contains("version 3 is newer than version 2"), "{newer}");
    }

    #[test]
    fn what_cannot_be_read_is_told_without_values() {
        assert_eq!(check::<Move>(2, r#"{"metres": 1}"#), Ok(()));
        assert_eq!(check::<Move>(1, r#"{"kilometres": 1}"#), Ok(()));
        assert_eq!(check::<Move>(3, r#"{"metres": 1}"#), Err(Unreadable::NewerVersion { known: 2 }));
        for (version, payload, why) in [
            (2, "{}", "does not decode: missing field `metres`"),
            (2, r#"{"metres": "canary"}"#, "does not decode: a value of another type or form at line 1"),
            (2, "canary", "does not decode: no JSON at line 1"),
            (1, r#""canary"#, "does not decode: no JSON at line 1"),
            (1, r#"{"metres": "canary"}"#, "is refused by `upcast`"),
            (1, r#"{"miles": 1}"#, "does not decode after `upcast`: a value of another type or form"),
        ] {
            let told = check::<Move>(version, payload).unwrap_err().to_string();
            assert!(told.starts_with(&format!("the payload {why}")) && !told.contains("canary"), "{told}");
        }
    }
}
