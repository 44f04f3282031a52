//! Envelopes over the corpus of their fuzz target.

#[path = "../../../fuzz/checks/corpus.rs"]
mod entries;
#[path = "../../../fuzz/checks/envelope.rs"]
mod envelope;

#[test]
fn decoded_envelopes_read_back() {
    entries::each("envelope", envelope::check);
}
