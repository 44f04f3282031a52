//! A schema that is not this release's.

use super::{StoreHarness, job};
use crate::engine::EngineError;

/// A column that is not there is a [`EngineError::Defect`], never an outage that ends by itself.
pub async fn a_renamed_column_is_a_defect(h: &impl StoreHarness) {
    let store = h.store();
    store.schedule(vec![job()]).await.expect("schedules");
    h.break_schema().await;
    let error = store.schedule(vec![job()]).await.expect_err("the column is gone");
    assert!(matches!(error, EngineError::Defect { source: Some(_), .. }), "{error:?}");
}
