//! What no compiler checks: that every migration in its folder is also listed in the code, and that the container stacks are
//! configured in the product's own words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::util::orderworks;

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|its| its == extension) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_migration_is_embedded() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = ["store/src", "jobs/src", "workers/src"].map(|folder| files(&root.join(folder), "rs"));
    let texts =
        sources.concat().iter().map(|path| fs::read_to_string(path).expect("a file")).collect::<String>();
    let migrations = files(&root.join("migrations"), "sql");
    assert!(migrations.len() > 20, "{migrations:?}");
    for path in migrations {
        let folder =
            path.strip_prefix(root).expect("below it").parent().expect("a folder").display().to_string();
        let quoted = format!("\"../{folder}\"");
        let lists = texts.split(&quoted).skip(1);
        let listed = lists.filter_map(|rest| rest.split_once(']')).map(|(list, _)| list).collect::<String>();
        let name = format!("\"{}\"", path.file_stem().expect("a name").display());
        assert!(listed.contains(&name), "{} is not in the list of its folder", path.display());
    }
}

#[tokio::test]
async fn the_settings_of_the_container_stacks_are_settings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose");
    let mut settings = Vec::new();
    for stack in ["full.yml", "replicated.yml"] {
        let text = fs::read_to_string(folder.join(stack)).expect("a file");
        let lines = text.lines().filter_map(|line| line.trim().split_once(": "));
        let ours = lines.filter(|(name, _)| name.starts_with("ORDERWORKS_"));
        settings
            .extend(ours.map(|(name, value)| (name.to_owned(), filled_in(value.trim_matches(['\'', '"'])))));
    }
    assert!(settings.len() > 15, "{settings:?}");
    let data = tempfile::tempdir().expect("a folder");
    let shown = orderworks(data.path()).args(["config", "show"]).envs(settings).output().await.expect("runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
}

/// With a value for each `${variable}`.
fn filled_in(value: &str) -> String {
    match value.split_once("${").and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
        Some((before, after)) => format!("{before}secret{after}"),
        None => value.to_owned(),
    }
}
