//! Moves (being written).
