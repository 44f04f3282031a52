//! Capture of everything this process logs. One subscriber serves all tests: the server's tasks run on threads that a
//! subscriber of one test would not see.

use std::{
    io::Write,
    sync::{Mutex, Once},
};

static KEPT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static CAPTURE: Once = Once::new();

/// Starts capturing logs of every level.
pub(crate) fn capture() {
    CAPTURE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(|| Keeper)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
    });
}

/// Everything logged so far.
pub(crate) fn kept() -> String {
    String::from_utf8_lossy(&KEPT.lock().expect("not poisoned")).into_owned()
}

struct Keeper;

impl Write for Keeper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        KEPT.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
