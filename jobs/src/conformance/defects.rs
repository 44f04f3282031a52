//! Failures that no waiting ends: a schema that is not this release's, a permission that was taken away.

use super::{
    Harness,
    kit::{declared, envelope},
};
use crate::engine::EngineError;

/// An engine whose storage no longer fits is a [`EngineError::Defect`], never an outage that ends by itself.
pub async fn broken_storage_is_a_defect(h: &impl Harness) {
    let engine = declared(h).await;
    h.break_storage().await;
    let error = engine.publish(vec![envelope(h)]).await.expect_err("nothing can be stored");
    assert!(matches!(error, EngineError::Defect { source: Some(_), .. }), "{error:?}");
}
