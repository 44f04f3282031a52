//! Consistency checks that no compiler makes: every migration in its folder is listed in the code, pages show the
//! examples as they are and name files and tests that exist, and the container stacks use only existing settings,
//! commands and needed rights.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::util::{
    containers::{filled_in, is_ours, stack, texts},
    orderworks,
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
    let mut seen = 0;
    for (owner, sources) in [(root, &["store", "workers/src"][..]), (&root.join("jobs"), &["jobs/src"])] {
        let sources = sources.iter().flat_map(|folder| files(&root.join(folder), "rs"));
        let texts = sources.map(|path| fs::read_to_string(path).expect("a file")).collect::<String>();
        for path in files(&owner.join("migrations"), "sql") {
            let folder = path.strip_prefix(owner).expect("below it").parent().expect("a folder");
            let quoted = format!("{}\"", folder.display());
            let lists = texts.split(&quoted).skip(1).filter_map(|rest| rest.split_once(']'));
            let listed = lists.map(|(list, _)| list).collect::<String>();
            let name = format!("\"{}\"", path.file_stem().expect("a name").display());
            assert!(listed.contains(&name), "{} is not in the list of its folder", path.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// Checks that the tests exist that stand in a column of the tables of a section; returns how many.
fn tests_named_in(page: &str, section: &str, column: usize) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(page)).expect("a page");
    let (_, section) = text.split_once(section).expect("the section");
    let section = section.split("\n## ").next().expect("a first part");
    let folders = ["tests", "src", "jobs", "api", "base", "console", "store", "webhooks", "workers"]
        .map(|folder| files(&root.join(folder), "rs"));
    let sources = folders.into_iter().flatten().map(|path| fs::read_to_string(path).expect("a file"));
    let sources = sources.collect::<String>();
    let mut named = 0;
    for tests in section.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").nth(column)) {
        for test in tests.split('`').skip(1).step_by(2).filter(|test| test.contains('_')) {
            let name = test.rsplit("::").next().unwrap_or(test).trim_start_matches('…');
            assert!(sources.contains(name), "{page} names a test that does not exist: {name}");
            named += 1;
        }
    }
    named
}

/// Each row of the findings about money names tests; one that is renamed must not leave its row without a proof.
#[test]
fn every_test_named_beside_a_finding_about_money_exists() {
    let named = tests_named_in("docs/RELIABILITY.md", "## Money: findings and their tests", 1);
    assert!(named > 80, "{named}");
}

/// The heading of the verification standard in `docs/SECURITY.md`.
const STANDARD: &str = "## OWASP ASVS 5, level 2";

/// The same of the risks of OWASP and the sections of its verification standard.
#[test]
fn every_test_named_beside_a_risk_exists() {
    let risks = tests_named_in("docs/SECURITY.md", "## OWASP API Security Top 10, 2023", 2);
    let sections = tests_named_in("docs/SECURITY.md", STANDARD, 1);
    assert!(risks >= 45 && sections >= 150, "{risks} {sections}");
}

/// Each section of the verification standard names a test, or says why it does not apply or what is missing.
#[test]
fn every_section_of_the_standard_is_proven_or_told_as_open() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/SECURITY.md")).expect("a page");
    let (_, section) = page.split_once(STANDARD).expect("the section");
    let section = section.split("\n## ").next().expect("a first part");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| V")?.strip_suffix(" |"));
    let rows: Vec<Vec<&str>> = rows.map(|row| row.split(" | ").collect()).collect();
    for row in &rows {
        let &[name, tests, open] = &row[..] else { panic!("{row:?}") };
        let is_told = match tests.split_once(": ") {
            Some(("not applicable", why)) => !why.is_empty(),
            _ => tests.contains('_') || open != "-",
        };
        assert!(is_told, "V{name}: {tests} | {open}");
    }
    for chapter in 1..=17 {
        let begin = format!("V{chapter}.");
        let is_there = rows.iter().any(|row| format!("V{}", row[0]).contains(&begin));
        assert!(is_there, "chapter {chapter} is left out");
    }
}

/// Each row of the comparison rests on a test, or says what is missing.
#[test]
fn every_row_of_the_comparison_names_a_test_that_exists_or_what_is_missing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/COMPARISON.md")).expect("a page");
    let (compared, ours) = page.split_once("\n## Ours: the tests\n").expect("the section");
    let rows = |text: &str| {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
        let rows = rows.map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|cells| cells[0].parse::<usize>().is_ok()).collect::<Vec<_>>()
    };
    let (compared, ours) = (rows(compared), rows(ours));
    assert_eq!((compared.len(), ours.len()), (35, 35));
    for (row, proof) in compared.iter().zip(&ours) {
        assert_eq!((row.len(), proof.len(), &row[0]), (13, 3, &proof[0]));
        let names: Vec<&str> = proof[1].split('`').skip(1).step_by(2).collect();
        match (row[12].as_str(), names.as_slice()) {
            ("yes" | "part", [path, test]) => {
                let source = fs::read_to_string(root.join(path)).expect("a file");
                assert!(source.contains(&format!("fn {test}(")), "row {}: no {test} in {path}", row[0]);
            }
            ("no", []) => assert!(proof[2].starts_with("missing: "), "row {}: {}", row[0], proof[2]),
            (said, _) => panic!("row {}: `{said}` rests on {}", row[0], proof[1]),
        }
    }
}

/// A difference between queue engines is a flag of `Capabilities`.
#[test]
fn callers_of_a_queue_ask_its_capabilities_and_not_which_engine_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["src/commands", "src/roles", "api/src", "workers/src"];
    for path in folders.iter().flat_map(|folder| files(&root.join(folder), "rs")) {
        let text = fs::read_to_string(&path).expect("a file");
        for engine in ["QueueEngine::", "RabbitEngine", ".name() ==", ".name() !="] {
            assert!(!text.contains(engine), "{}: {engine}", path.display());
        }
    }
}

/// A read for a decision, SERIAL in Cassandra, makes the decision that it meets start again.
#[test]
fn payments_are_displayed_by_their_committed_state() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let displays = ["api/src/routes", "console/src/routes"].map(|folder| files(&root.join(folder), "rs"));
    for path in displays.into_iter().flatten().chain([root.join("src/commands/payment.rs")]) {
        let text = fs::read_to_string(&path).expect("a file");
        for read in ["payments.payment(", "payments.payments("] {
            assert!(!text.contains(read), "{}: {read}", path.display());
        }
    }
}

/// The smallest program is that of the examples, which `ops/test` runs.
#[test]
fn guide_and_readme_show_the_minimal_example_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(root.join(path)).expect("a file");
    let example = read("jobs/examples/minimal.rs");
    assert!(example.lines().count() <= 40, "{} lines", example.lines().count());
    let block = format!("```rust,no_run\n{example}```\n");
    for page in ["docs/JOBS.md", "jobs/README.md"] {
        assert!(read(page).contains(&block), "{page} shows another program than jobs/examples/minimal.rs");
    }
}

/// Placeholders have capitals; names that begin with `src` or `tests` and no crate may be meant for any crate.
#[test]
fn pages_name_files_and_folders_that_exist() {
    const FOLDERS: [&str; 10] =
        ["api", "base", "compose", "console", "jobs", "migrations", "ops", "store", "webhooks", "workers"];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = files(&root.join("docs"), "md")
        .into_iter()
        .chain(["CONTRIBUTING.md", "README.md"].map(|page| root.join(page)));
    let (mut named, mut missing) = (0, Vec::new());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for name in text.split('`').skip(1).step_by(2) {
            let is_path = name.split_once('/').is_some_and(|(top, _)| FOLDERS.contains(&top))
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_./-".contains(c));
            if is_path {
                named += 1;
                if !root.join(name).exists() {
                    missing.push(format!("{}: {name}", page.display()));
                }
            }
        }
    }
    assert!(named > 200, "{named}");
    assert!(missing.is_empty(), "{missing:#?}");
}

#[tokio::test]
async fn the_settings_of_the_container_stacks_are_settings() {
    let full = stack("full.yml");
    let ours = full.values().filter(|service| is_ours(service));
    let mut settings: Vec<_> = ours.flat_map(|service| texts(&service["environment"])).collect();
    settings.extend(stack("replicated.yml").values().flat_map(|service| texts(&service["environment"])));
    settings.retain(|(name, _)| name.starts_with("ORDERWORKS_"));
    assert!(settings.len() > 15, "{settings:?}");
    let settings = settings.into_iter().map(|(name, value)| (name, filled_in(&value)));
    let data = tempfile::tempdir().expect("a folder");
    let shown = orderworks(data.path()).args(["config", "show"]).envs(settings).output().await.expect("runs");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
}

#[tokio::test]
async fn the_commands_of_the_container_stacks_are_commands() {
    let data = tempfile::tempdir().expect("a folder");
    let full = stack("full.yml");
    let commands: Vec<_> =
        full.values().filter(|service| is_ours(service)).map(|s| texts(&s["command"])).collect();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let words: Vec<_> = command.into_iter().map(|(_, word)| word).collect();
        // `--help` comes last, so that mistakes in the words before it are reported.
        let help = orderworks(data.path()).args(&words).arg("--help").output().await.expect("runs");
        assert!(help.status.success(), "{words:?}: {}", String::from_utf8_lossy(&help.stderr));
    }
}

#[test]
fn containers_have_no_right_that_they_do_not_need() {
    let services = stack("full.yml").into_iter().chain(stack("replicated.yml"));
    // Services of the second stack without an image only override services of the first.
    let services: Vec<_> = services.filter(|(_, service)| !service["image"].is_null()).collect();
    assert!(services.len() > 15, "{}", services.len());
    for (name, service) in services {
        let has = |key: &str, wanted: &str| texts(&service[key]).iter().any(|(_, text)| text == wanted);
        assert!(has("cap_drop", "ALL"), "{name:?} keeps capabilities");
        assert!(has("security_opt", "no-new-privileges:true"), "{name:?} may gain rights");
        assert!(
            service["mem_limit"].is_string() && service["pids_limit"].is_number(),
            "{name:?} is not bounded"
        );
        assert!(!service["networks"].is_null(), "{name:?} is on the network of all");
        if is_ours(&service) {
            assert!(
                service["read_only"] == true && service["cap_add"].is_null(),
                "{name:?} may write or do more"
            );
        }
        for (_, port) in texts(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name:?} is published at {port}");
        }
        let image = service["image"].as_str().expect("a name");
        assert!(
            is_ours(&service) || image.contains(':') && !image.ends_with(":latest"),
            "{image} has no version"
        );
    }
}

/// Messages of the calls of a logging macro in a source text: the last string of each.
fn logged(source: &str, level: &str) -> Vec<String> {
    let call = format!("tracing::{level}!(");
    let calls = source.split(&call).skip(1);
    let ends = |call: &str| {
        let mut depth = 1_u32;
        let end = call.find(|c| {
            depth = match c {
                '(' => depth + 1,
                ')' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        end.unwrap_or(call.len())
    };
    let last_string = |call: &str| {
        let (rest, _) = call.rsplit_once('"')?;
        Some(rest.rsplit_once('"')?.1.replace('`', "'"))
    };
    calls.filter_map(|call| last_string(&call[..ends(call)])).collect()
}

#[test]
fn operators_find_each_error_that_is_logged_in_the_table_and_each_line_of_the_table_in_the_sources() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders =
        ["src", "api/src", "base/src", "console/src", "jobs/src", "store", "webhooks/src", "workers/src"]
            .map(|name| files(&root.join(name), "rs"));
    let product = folders.concat().into_iter().filter(|path| {
        let path = path.display().to_string();
        !["/tests", "/testing/", "/conformance/"].iter().any(|part| path.contains(part))
    });
    let sources: Vec<_> = product.map(|path| fs::read_to_string(path).expect("a file")).collect();
    let of = |level| sources.iter().flat_map(|source| logged(source, level)).collect::<Vec<_>>();
    let (errors, warnings) = (of("error"), of("warn"));
    assert!(errors.len() > 20 && warnings.len() > 30, "{errors:?} {warnings:?}");
    let guide = fs::read_to_string(root.join("docs/OPERATIONS.md")).expect("a guide");
    let (_, section) = guide.split_once("## Log messages to alert on").expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let listed: Vec<_> = rows.collect();
    for (text, rest) in &listed {
        let messages = if rest.starts_with("error") { &errors } else { &warnings };
        assert!(
            messages.iter().any(|message| message.starts_with(text)),
            "nothing logs `{text}` at this level"
        );
    }
    for message in errors {
        assert!(listed.iter().any(|(text, _)| message.starts_with(text)), "`{message}` is not listed");
    }
}
