//! Cases of defects: a schema of another release, a revoked permission.

use base::ErrorClass;

use super::{
    Harness,
    kit::{declared, envelope},
};
use crate::engine::EngineError;

/// A publish to changed storage returns [`ErrorClass::Defect`], not an outage that ends by itself.
pub async fn broken_storage_is_a_defect(h: &impl Harness) {
    let engine = declared(h).await;
    h.break_storage().await;
    let error = engine.publish(vec![envelope(h)]).await.expect_err("nothing can be stored");
    assert!(matches!(error, EngineError::Failed { class: ErrorClass::Defect, .. }), "{error:?}");
}
