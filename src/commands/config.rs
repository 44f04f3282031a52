//! Command `config show`: the settings in force, with a remark on those for development, or the reference of all
//! settings.

use crate::{
    cli::ConfigCommand,
    config::{Config, DEFAULTS},
    output,
};

pub(super) fn run(what: &ConfigCommand, config: &Config, json: bool) -> anyhow::Result<()> {
    let ConfigCommand::Show { defaults } = what;
    match (defaults, json) {
        (true, false) => output::text(DEFAULTS),
        (true, true) => output::json(&DEFAULTS.parse::<toml::Table>()?),
        (false, false) => output::text(&toml::to_string(&config.shown)?),
        (false, true) => output::json(&config.shown),
    }?;
    if !defaults {
        for (setting, why) in config.development_settings() {
            output::remark(&format!("{setting} is for development: {why}"));
        }
    }
    Ok(())
}
