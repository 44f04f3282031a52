//! Role of the API.

use std::sync::Arc;

use api::{ApiParts, ApiState, DocsConfig, HealthCheck, StorefrontConfig};
use tokio::net::TcpListener;

use super::Roles;
use crate::metrics::{
    observed, register_admission, register_cache, register_card_testing, register_hooks, register_rate_limits,
};

/// Pages beside the API.
#[derive(Default)]
pub(crate) struct Pages {
    pub(crate) docs: Option<DocsConfig>,
    pub(crate) storefront: Option<StorefrontConfig>,
}

impl Roles<'_> {
    /// Serves the API. Started last, so that its readiness covers every role of this process. `with_metrics` adds
    /// `/metrics` and `/scaling`, whose figures cover all merchants: only for a listener that the public cannot reach.
    /// The configuration of a storefront takes the place of that in `pages`, and `docs` there that of the
    /// configuration.
    pub(crate) fn api(
        &mut self,
        mut parts: ApiParts,
        listener: TcpListener,
        with_metrics: bool,
        pages: Pages,
    ) {
        self.stores.push(HealthCheck::orders(Arc::clone(&parts.orders)));
        self.stores.push(HealthCheck::payments(Arc::clone(&parts.payments)));
        self.stores.extend(parts.health.iter().cloned());
        parts.health.extend(self.health.iter().cloned());
        let cache = Arc::clone(&parts.cache);
        let mut config = self.wiring.config.api.clone();
        config.docs = pages.docs.or(config.docs);
        config.storefront = config.storefront.or(pages.storefront);
        let state = ApiState::new(parts, config);
        register_cache(&self.metrics, cache, &state);
        register_admission(&self.metrics, &state);
        register_rate_limits(&self.metrics, &state);
        register_card_testing(&self.metrics, &state);
        register_hooks(&self.metrics, &state);
        let app = observed(&self.metrics, api::app(state), self.wiring.ambient);
        let app = if with_metrics { app.merge(self.routes_of_operators()) } else { app };
        self.serve(listener, app, self.wiring.config.readiness_lead);
    }
}
