//! Case of a schema of another release.

use base::ErrorClass;

use super::{StoreHarness, job};
use crate::engine::EngineError;

/// A missing column is a [`ErrorClass::Defect`], not an outage that ends by itself.
pub async fn a_renamed_column_is_a_defect(h: &impl StoreHarness) {
    let store = h.store();
    store.schedule(vec![job()]).await.expect("schedules");
    h.break_schema().await;
    let error = store.schedule(vec![job()]).await.expect_err("the column is gone");
    assert!(matches!(error, EngineError::Failed { class: ErrorClass::Defect, .. }), "{error:?}");
}
