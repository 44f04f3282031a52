//! Role of the API.

use std::sync::Arc;

use api::{ApiParts, ApiState, OrdersCheck, PaymentsCheck};
use axum::Router;
use tokio::net::TcpListener;

use super::{Roles, settings};
use crate::rate_limits;

impl Roles<'_> {
    /// Serves the API. Started last, so that its readiness covers every role of this process.
    pub(crate) fn api(&mut self, parts: ApiParts, listener: TcpListener) {
        let app = self.api_app(parts);
        self.serve(listener, app);
    }

    /// As [`Self::api`], with `/metrics`, whose figures cover all merchants: for a listener that the public cannot
    /// reach.
    pub(crate) fn api_with_metrics(&mut self, parts: ApiParts, listener: TcpListener) {
        let app = self.api_app(parts);
        self.serve(listener, app.merge(self.metrics.routes()));
    }

    fn api_app(&mut self, mut parts: ApiParts) -> Router {
        self.stores.push(Arc::new(OrdersCheck(Arc::clone(&parts.orders))));
        self.stores.push(Arc::new(PaymentsCheck(Arc::clone(&parts.payments))));
        self.stores.extend(parts.health.iter().cloned());
        parts.health.extend(self.health.iter().cloned());
        let state = ApiState::new(parts, settings::api(self.wiring.config));
        rate_limits::register(&self.metrics, &state);
        api::app(state)
    }
}
