//! A deployment whose console has other parts than it began with.

use console::{
    Console, ConsoleConfig, ConsoleParts,
    access::{AccessToken, Role},
};

use crate::util::{Deployment, secret_of};

impl Deployment {
    /// The same deployment with a console over changed parts, for viewers alone.
    pub(crate) fn altered(mut self, alter: impl FnOnce(&mut ConsoleParts)) -> Self {
        alter(&mut self.parts);
        let (role, secret) = (Role::Viewer, secret_of(Role::Viewer).into());
        let token = AccessToken::new(role.as_str(), role, &secret).expect("a usable token");
        let config = ConsoleConfig { tokens: vec![token], ..ConsoleConfig::default() };
        self.console = Console::new(self.parts.clone(), config);
        self
    }
}
