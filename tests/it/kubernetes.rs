//! The Kubernetes manifests: their settings and commands are those of the program. What else must hold between them is
//! checked by `ops/kubernetes/check`.

use std::{fs, path::Path};

use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::util::{containers::texts, orderworks};

/// The documents of all manifests.
fn documents() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/kubernetes");
    let mut documents = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = fs::read_to_string(path).expect("a file");
            let parts = serde_yaml_ng::Deserializer::from_str(&text);
            documents.extend(parts.map(|part| Value::deserialize(part).expect("YAML")));
        }
    }
    documents
}

#[tokio::test]
async fn the_settings_of_the_manifests_are_settings() {
    let documents = documents();
    let settings = documents.iter().flat_map(|document| {
        let names = ["data", "stringData"].map(|field| texts(&document[field]));
        names.concat()
    });
    let settings: Vec<_> = settings.collect();
    assert!(settings.len() > 15, "{settings:?}");
    let data = tempfile::tempdir().expect("a folder");
    let shown = orderworks(data.path()).args(["config", "show"]).envs(settings).output().await.expect("runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
}

#[tokio::test]
async fn the_commands_of_the_manifests_are_commands() {
    let data = tempfile::tempdir().expect("a folder");
    let documents = documents();
    let containers = documents.iter().map(|document| &document["spec"]["template"]["spec"]["containers"][0]);
    let commands: Vec<_> = containers.map(|container| texts(&container["args"])).collect();
    let commands: Vec<_> = commands.into_iter().filter(|command| !command.is_empty()).collect();
    assert_eq!(commands.len(), 9, "{commands:?}");
    for command in commands {
        let words: Vec<_> = command.into_iter().map(|(_, word)| word).collect();
        // `--help` comes last, so that mistakes in the words before it are reported.
        let help = orderworks(data.path()).args(&words).arg("--help").output().await.expect("runs");
        assert!(help.status.success(), "{words:?}: {}", String::from_utf8_lossy(&help.stderr));
    }
}
