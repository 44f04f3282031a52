//! Waiting rooms: in sale mode a merchant's shoppers are admitted in turn, no more than the installation can serve.
//!
//! A shopper takes a place and carries it ([`place`]); each process knows by the room's row in the order store up to
//! which rank shoppers are admitted, and so how every one of them stands ([`rule`]). One task per process reads the
//! rooms every second and takes their steps; of several processes one writes a step.
//!
//! Guarantees: nothing is kept of shoppers who wait, so their number costs no memory, and they keep their places over
//! restarts and at every process. While shoppers go through the room, an order with a publishable key needs an admitted
//! place of this merchant; a place serves few orders. A room that was switched on is minded by every process within two
//! seconds, also while the store does not answer since.
//!
//! Does not hold orders with a secret key: these are the merchant's own. Does not tell people from programs. Settings:
//! `orderworks merchant sale`; docs/ADMISSION.md describes them.

mod booth;
mod gate;
mod lot;
pub(crate) mod page;
mod place;
mod rooms;
mod rule;

pub(crate) use gate::admit;
pub(crate) use rooms::{Visit, WaitingRooms, step};
pub(crate) use rule::Standing;
