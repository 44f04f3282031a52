//! The Kubernetes manifests: their settings and commands are those of the program. What else must hold between them is
//! checked by `ops/kubernetes/check`.

use std::{fs, path::Path};

use console::access::SESSION_VALID_FOR;
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
    assert_eq!(commands.len(), 10, "{commands:?}");
    for command in commands {
        let words: Vec<_> = command.into_iter().map(|(_, word)| word).collect();
        // `--help` comes last, so that mistakes in the words before it are reported.
        let help = orderworks(data.path()).args(&words).arg("--help").output().await.expect("runs");
        assert!(help.status.success(), "{words:?}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

/// Kubernetes makes variables of each service, such as `ORDERWORKS_API_PORT`, and a process refuses settings that it
/// does not know.
#[tokio::test]
async fn pods_get_no_variables_that_would_be_taken_for_settings() {
    let data = tempfile::tempdir().expect("a folder");
    let mut command = orderworks(data.path());
    command.args(["config", "show"]).env("ORDERWORKS_API_PORT", "tcp://10.0.0.1:80");
    let shown = command.output().await.expect("runs");
    let refused = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(!shown.status.success() && refused.contains("ORDERWORKS_API_PORT"), "{refused}");

    let documents = documents();
    let pods = documents.iter().map(|document| &document["spec"]["template"]["spec"]);
    let links: Vec<_> =
        pods.filter(|pod| pod.is_mapping()).map(|pod| pod["enableServiceLinks"].as_bool()).collect();
    assert!(links.len() > 5 && links.iter().all(|has_links| *has_links == Some(false)), "{links:?}");
}

#[test]
fn the_console_is_reached_inside_the_cluster_and_a_session_stays_with_its_process() {
    let documents = documents();
    let services: Vec<_> = documents.iter().filter(|document| document["kind"] == "Service").collect();
    for service in &services {
        // That is also the type of a service which names none.
        assert!(matches!(service["spec"]["type"].as_str(), None | Some("ClusterIP")), "{service:?}");
    }
    let console = services.iter().find(|service| service["metadata"]["name"] == "orderworks-console");
    let spec = &console.expect("a service of the console")["spec"];
    assert_eq!(spec["sessionAffinity"], "ClientIP");
    let affinity = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_u64();
    assert_eq!(affinity, Some(SESSION_VALID_FOR.as_secs()), "as long as a session");
}
