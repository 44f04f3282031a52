//! Response bodies: one type per object, which names each field that clients may see. Domain types are never serialised
//! as responses, so a field added to them stays internal until it is added here.

mod cart;
mod catalog;
mod customer;
mod event;
mod payment;
mod quote;
mod refund;
mod waiting_room;
mod webhook;

use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use cart::{CartItemView, CartView};
pub(crate) use catalog::{CategoryView, FacetsView, InventoryView, ProductView};
pub(crate) use customer::{
    AccountView, CustomerExportView, LiveSessionView, LiveSessionsView, RequestedView, SessionView,
};
pub(crate) use event::{EventView, ResendView};
pub(crate) use payment::PaymentEntryView;
pub(crate) use quote::QuoteView;
pub(crate) use refund::RefundView;
pub(crate) use store::order_view::{OrderView, PaymentView};
pub(crate) use waiting_room::WaitingRoomView;
pub(crate) use webhook::{EndpointCreatedView, EndpointView};

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// The items, in the list's order.
    data: Vec<T>,
    /// Whether more items follow: ask again with `starting_after` set to the last item.
    has_more: bool,
}

impl<T> List<T> {
    pub(crate) fn new(data: Vec<T>, has_more: bool) -> Self {
        Self { object: "list", data, has_more }
    }
}
