//! The Celery pieces, which run in Python: see `with_celery.py`.

use std::path::Path;

use tokio::process::Command;

/// The command of the one script for publishing and processing, with these arguments.
pub(crate) fn command(python: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(python);
    command.arg("-c").arg(include_str!("../with_celery.py")).args(words);
    command
}

/// The versions installed by pip.
pub(crate) async fn versions(python: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    const ASK: &str = "import celery, kombu, platform; \
        print(celery.__version__, kombu.__version__, platform.python_version())";
    let answer = Command::new(python).arg("-c").arg(ASK).output().await?;
    let text = String::from_utf8(answer.stdout)?;
    Ok(["Celery", "kombu", "Python"].into_iter().zip(text.split_whitespace().map(str::to_owned)).collect())
}
