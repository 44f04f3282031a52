//! Decoding of a job's envelope, as engines store and send it.

use orderworks_jobs::envelope::Envelope;

/// An envelope that is decoded reads back as itself, and checking its payload never panics.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(envelope) = serde_json::from_slice::<Envelope>(bytes) else { return };
    let text = serde_json::to_string(&envelope).expect("a decoded envelope is encoded");
    let again: Envelope = serde_json::from_str(&text).expect("an encoded envelope is decoded");
    let same = (&again.kind, again.version, &again.queue, again.attempt, again.payload.get())
        == (&envelope.kind, envelope.version, &envelope.queue, envelope.attempt, envelope.payload.get());
    assert!(same && again.id == envelope.id, "{text}");
    assert_eq!(again.check_payload().is_ok(), envelope.check_payload().is_ok());
    assert_eq!(envelope.refuse_order_key().is_ok(), envelope.order_key.is_none());
}
