//! What no compiler checks: that every migration in its folder is also listed in the code.

use std::{
    fs,
    path::{Path, PathBuf},
};

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
