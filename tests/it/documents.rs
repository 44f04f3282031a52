//! Documented commands: the `sh` blocks of the documents, run in their order against a server over an empty folder.
//!
//! An ellipsis after a prefix (`ord_…`) stands for the newest value with that prefix that was printed or mailed
//! before, as a reader would copy it. A `curl` must succeed, but for one below a line that begins with `# 409`, and a
//! stream (`-N`) may run out of time. Commands of cargo and of `ops/` build or start servers: `ops/test` runs those.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::util::{Dev, PATIENCE};

const README: &str = include_str!("../../README.md");
const API: &str = include_str!("../../docs/API.md");
const OPERATIONS: &str = include_str!("../../docs/OPERATIONS.md");

/// Runs before each command: variables of earlier ones, and `curl` with an exit status.
const PRELUDE: &str = r#"
set -euo pipefail
if [ -e environment ]; then . ./environment; fi
set -a
curl() {
    local status=0 answer=answer.$$ seconds=20
    if [[ " $* " == *" -N "* ]]; then seconds=3; fi
    command curl --fail-with-body --silent --show-error --max-time $seconds "$@" >$answer || status=$?
    cat $answer
    echo
    case $status in
        0) ;;
        22) [ -n "$CONFLICTS" ] && grep -q '"status":409' $answer ;;
        28) [ $seconds = 3 ] ;;
        *) return $status ;;
    esac
}
"#;

/// The commands of the `sh` blocks.
fn commands(document: &str) -> Vec<String> {
    let blocks = document.split("\n```sh\n").skip(1);
    let mut commands = Vec::<String>::new();
    for line in blocks.flat_map(|block| block.split_once("\n```").expect("a closed block").0.lines()) {
        let begins = line.starts_with(|c: char| c.is_ascii_lowercase() || matches!(c, '.' | '#'));
        match commands.last_mut() {
            Some(last) if !begins || last.starts_with('#') && !last.contains('\n') => {
                last.push('\n');
                last.push_str(line);
            }
            _ => commands.push(line.to_owned()),
        }
    }
    commands.retain(|command| !["cargo ", "ops/"].iter().any(|tool| command.starts_with(tool)));
    commands
}

/// What a reader has seen: keys, answers, mails.
struct Reader<'a> {
    dev: &'a Dev,
    folder: &'a Path,
    seen: String,
}

impl Reader<'_> {
    /// The newest value with this prefix. Mails arrive later than answers.
    async fn value(&self, prefix: &str) -> String {
        let start = std::time::Instant::now();
        loop {
            let mails = std::fs::read_dir(&self.dev.ready.mail_folder).expect("a mail folder");
            let mails = mails.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
            for text in mails.chain([self.seen.clone()]) {
                if let Some(at) = text.rfind(prefix) {
                    let rest = text[at..].bytes();
                    let length =
                        rest.take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')).count();
                    return text[at..at + length].to_owned();
                }
            }
            assert!(start.elapsed() < PATIENCE, "no {prefix} in {}", self.seen);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// The block with values in place of each ellipsis.
    async fn filled(&self, block: &str) -> String {
        let block = block.replace("http://127.0.0.1:8080", &self.dev.ready.url);
        let mut parts = block.split('…');
        let mut filled = parts.next().expect("a part").to_owned();
        for part in parts {
            let word =
                filled.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |at| at + 1);
            let prefix_end = filled.rfind('_').map_or(filled.len(), |at| at + 1);
            assert!(prefix_end > word, "an ellipsis without a prefix: {filled}");
            let value = self.value(&filled[word..prefix_end]).await;
            filled.truncate(word);
            filled.push_str(&value);
            filled.push_str(part);
        }
        filled
    }

    async fn run(&mut self, document: &str, block: &str) {
        let block = self.filled(block).await;
        let conflicts = if block.contains("# 409") { "yes" } else { "" };
        let script = format!("{PRELUDE}CONFLICTS={conflicts}\n{block}\nexport -p >environment\n");
        let path = format!(
            "{}:{}",
            self.folder.join("bin").display(),
            std::env::var("PATH").expect("a search path")
        );
        let mut command = Command::new("bash");
        command.arg("-c").arg(script).current_dir(self.folder).env("PATH", path).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output();
        let output = tokio::time::timeout(PATIENCE, output).await.expect("ends in time").expect("runs");
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{document}:\n{block}\n{out}\n{error}");
        self.seen.push_str(&out);
    }
}

#[tokio::test]
async fn documented_commands_work_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    std::fs::create_dir_all(&data).expect("creates");
    std::fs::create_dir_all(folder.path().join("bin")).expect("creates");
    let binary =
        std::env::var_os("ORDERWORKS_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_orderworks").into());
    std::os::unix::fs::symlink(binary, folder.path().join("bin/orderworks")).expect("links");
    let dev = Dev::start(&data).await;
    let seen = format!("{} {}\n", dev.ready.publishable_key, dev.ready.secret_key);
    let mut reader = Reader { dev: &dev, folder: folder.path(), seen };
    let documents = [("docs/API.md", API), ("README.md", README), ("docs/OPERATIONS.md", OPERATIONS)];
    for (name, document) in documents {
        let commands = commands(document);
        assert!(!commands.is_empty(), "{name}");
        for command in commands {
            reader.run(name, &command).await;
        }
    }
    dev.stop().await;
}
