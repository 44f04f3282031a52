//! The allocator of the process: jemalloc in place of glibc's, see `docs/adr/0043-allocator.md`.

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;
