//! The owner of a call: the merchant whose data it reads or writes, or a record whose merchant is to be located.

use base::ids::Uuid;
use store::{
    domain::{CustomerId, EndpointId, EventId, MerchantId, OrderId},
    orders::MailSubject,
};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Owner {
    Merchant(MerchantId),
    /// The merchant of a record.
    Record(RecordIds),
}

/// A record of a merchant, named by any of these ids without the merchant.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RecordIds {
    pub(crate) order: Option<OrderId>,
    pub(crate) endpoint: Option<EndpointId>,
    pub(crate) event: Option<EventId>,
    pub(crate) customer: Option<CustomerId>,
}

impl RecordIds {
    /// The ids in the order of the fields.
    pub(super) fn by_kind(self) -> [Option<Uuid>; 4] {
        let Self { order, endpoint, event, customer } = self;
        [order.map(|id| id.0), endpoint.map(|id| id.0), event.map(|id| id.0), customer.map(|id| id.0)]
    }

    /// UUIDs are unique across kinds of records.
    pub(super) fn ids(self) -> impl Iterator<Item = Uuid> {
        self.by_kind().into_iter().flatten()
    }
}

impl Owner {
    /// The id under which the writes of the owner are recorded for reads from replicas; reads name merchants and
    /// orders only.
    pub(super) fn key(self) -> Option<Uuid> {
        match self {
            Self::Merchant(id) => Some(id.0),
            Self::Record(ids) => ids.order.map(|id| id.0),
        }
    }
}

impl From<MerchantId> for Owner {
    fn from(id: MerchantId) -> Self {
        Self::Merchant(id)
    }
}

impl From<RecordIds> for Owner {
    fn from(ids: RecordIds) -> Self {
        Self::Record(ids)
    }
}

/// The owner of a record of which one id is known.
macro_rules! records {
    ($($id:ident: $kind:ident),+) => {$(
        impl From<$id> for Owner {
            fn from(id: $id) -> Self {
                RecordIds { $kind: Some(id), ..RecordIds::default() }.into()
            }
        }
    )+};
}
records!(OrderId: order, EndpointId: endpoint, EventId: event, CustomerId: customer);

impl From<MailSubject> for Owner {
    fn from(subject: MailSubject) -> Self {
        match subject {
            MailSubject::Order(id) => id.into(),
            MailSubject::Customer(id) => id.into(),
        }
    }
}
