//! Rebuilds when a migration is added: the files are embedded by a macro that cannot watch their folder.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
