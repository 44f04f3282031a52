//! The container stacks of `compose/`: their services, and what Orderworks gets of each.

use std::{collections::BTreeMap, fs, path::Path};

use serde_yaml_ng::Value;

/// Each password of a stack, as long as a token of the console has to be.
pub(crate) const PASSWORD: &str = "a-password-of-a-container-stack-";

/// The services of a container stack, with YAML anchors resolved.
pub(crate) fn stack(name: &str) -> serde_yaml_ng::Mapping {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose").join(name);
    let text = fs::read_to_string(path).expect("a file");
    let mut stack: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    // Each pass resolves one level of nested anchors.
    for _ in 0..3 {
        stack.apply_merge().expect("merges");
    }
    stack["services"].as_mapping().expect("services").clone()
}

/// Whether the service runs Orderworks.
pub(crate) fn is_ours(service: &Value) -> bool {
    service["image"] == "orderworks"
}

/// Entries of a list or a map; a map's as `name: value`.
pub(crate) fn texts(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => serde_yaml_ng::to_string(other).expect("a scalar").trim().to_owned(),
    };
    match value {
        Value::Mapping(map) => map.iter().map(|(name, value)| (text(name), text(value))).collect(),
        Value::Sequence(list) => list.iter().map(|value| (String::new(), text(value))).collect(),
        _ => Vec::new(),
    }
}

/// Replaces each `${variable}` with its default, else with [`PASSWORD`].
pub(crate) fn filled_in(value: &str) -> String {
    let parts = value.split_once("${").and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let Some((before, (variable, after))) = parts else { return value.to_owned() };
    let set = variable.split_once(":-").map_or(PASSWORD, |(_, default)| default);
    format!("{before}{set}{}", filled_in(after))
}

/// What a stack says of a service.
#[derive(Debug, Default)]
pub(crate) struct Service {
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// The program that tells whether a container is healthy, with its arguments.
    pub(crate) healthcheck: Vec<String>,
    pub(crate) replicas: usize,
}

/// Services of Orderworks by name, with what later files say on top of the first one.
pub(crate) fn services(files: &[&str]) -> BTreeMap<String, Service> {
    let mut services = BTreeMap::<String, Service>::new();
    for (index, file) in files.iter().enumerate() {
        for (name, said) in stack(file) {
            let name = name.as_str().expect("a name").to_owned();
            if (index == 0 && is_ours(&said)) || services.contains_key(&name) {
                services.entry(name).or_default().add(&said);
            }
        }
    }
    services
}

impl Service {
    fn add(&mut self, said: &Value) {
        let list = |value: &Value| texts(value).into_iter().map(|(_, text)| filled_in(&text)).collect();
        if said["command"].is_sequence() {
            self.command = list(&said["command"]);
        }
        if said["healthcheck"]["test"].is_sequence() {
            self.healthcheck = list(&said["healthcheck"]["test"]);
        }
        let environment = texts(&said["environment"]).into_iter();
        self.environment.extend(environment.map(|(name, value)| (name, filled_in(&value))));
        let replicas = said["deploy"]["replicas"].as_u64().and_then(|number| usize::try_from(number).ok());
        self.replicas = replicas.unwrap_or(self.replicas.max(1));
    }
}
