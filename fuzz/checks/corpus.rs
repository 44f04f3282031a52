//! Stable runs of a check: the corpus of its target, and seeded changes of each entry.

use std::{fs, path::Path};

use base::{Ambient, Timestamp};

/// Changes of each entry.
const CHANGES: usize = 300;
/// Bytes that separate things in one of the formats.
const SEPARATORS: &[u8] = b"{}[],:\"\\/@?#%&=.;- \n\0\x80\xff";

/// Calls the check with each entry of `fuzz/corpus/TARGET` and with changes of it. The folder is found from any crate
/// of the repository.
pub(crate) fn each(target: &str, check: impl Fn(&[u8])) {
    let begin = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = begin.ancestors().map(|parent| parent.join("fuzz/corpus").join(target));
    let folder = folders.find(|folder| folder.is_dir()).expect("a corpus");
    let mut entries: Vec<_> = fs::read_dir(folder)
        .expect("reads")
        .map(|entry| fs::read(entry.expect("reads").path()).expect("reads"))
        .collect();
    entries.sort_unstable();
    assert!(entries.len() >= 5, "{target} has few entries");
    let (ambient, _clock) = Ambient::steered(17, Timestamp::UNIX_EPOCH);
    for entry in &entries {
        check(entry);
        let mut changed = entry.clone();
        for number in 0..CHANGES {
            change(&mut changed, &ambient);
            check(&changed);
            if number % 10 == 9 {
                changed.clone_from(entry);
            }
        }
    }
}

/// Replaces, inserts, removes or repeats a few bytes.
fn change(bytes: &mut Vec<u8>, ambient: &Ambient) {
    let mut random = [0_u8; 4];
    ambient.fill(&mut random);
    let [kind, first, second, value] = random;
    let at = usize::from(u16::from_be_bytes([first, second])) % (bytes.len() + 1);
    let separator = SEPARATORS[usize::from(value) % SEPARATORS.len()];
    let end = bytes.len().min(at + usize::from(value % 16));
    match kind % 5 {
        0 if at < bytes.len() => bytes[at] = value,
        1 => bytes.insert(at, separator),
        2 => drop(bytes.drain(at..end)),
        3 => bytes.extend_from_within(at..end),
        _ => bytes.insert(at, value),
    }
}
