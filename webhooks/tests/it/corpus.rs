//! The policy of addresses over the corpus of its fuzz target.

#[path = "../../../fuzz/checks/corpus.rs"]
mod entries;
#[path = "../../../fuzz/checks/url_guard.rs"]
mod url_guard;

#[test]
fn accepted_addresses_may_be_dialled() {
    entries::each("url_guard", url_guard::check);
}
