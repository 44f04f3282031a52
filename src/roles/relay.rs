//! Role of the relay: publishes the outbox.

use workers::relay::Relay;

use super::Roles;
use crate::{health, wiring::RelayParts};

impl Roles<'_> {
    pub(crate) fn relay(&mut self, parts: RelayParts) {
        let RelayParts { orders, queue, checks } = parts;
        let relay = Relay::new(orders, queue, self.wiring.ambient.clone(), self.wiring.name.clone());
        self.stores.extend(checks);
        self.health.push(health::relay(relay.health.subscribe(), self.without));
        let asked = self.stop.orderly.clone();
        self.spawn(async move { relay.run(asked).await });
    }
}
