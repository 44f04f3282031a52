//! Content of the pages, as their templates take it: texts that are ready to show. Every value is escaped.

use askama::Template;

use super::{
    html::Frame,
    picture::Picture,
    texts::{Texts, filled},
};

/// Units from which on the stock is not told.
const PLENTY: i64 = 6;

/// A product in a list and on its own page.
pub(super) struct ProductCard {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) price: String,
    pub(super) picture: Picture,
    pub(super) stock: Stock,
}

/// What is told of the stock.
pub(super) struct Stock {
    pub(super) text: String,
    pub(super) is_sold_out: bool,
}

impl Stock {
    pub(super) fn new(available: i64, t: &Texts) -> Self {
        let text = match available {
            ..=0 => t.sold_out.to_owned(),
            1..PLENTY => filled(t.few_left, available),
            _ => t.in_stock.to_owned(),
        };
        Self { text, is_sold_out: available <= 0 }
    }
}

/// A category, and whether the page is its own.
pub(super) struct CategoryLink {
    pub(super) slug: String,
    pub(super) is_chosen: bool,
}

#[derive(Template)]
#[template(path = "storefront/list.html")]
pub(super) struct ListPage {
    pub(super) frame: Frame,
    pub(super) categories: Vec<CategoryLink>,
    pub(super) products: Vec<ProductCard>,
    /// Address of the next page; empty where there is none.
    pub(super) more: String,
}

#[derive(Template)]
#[template(path = "storefront/product.html")]
pub(super) struct ProductPage {
    pub(super) frame: Frame,
    pub(super) card: ProductCard,
    pub(super) category: String,
    pub(super) paragraphs: Vec<String>,
}

/// A line of a cart or an order.
pub(super) struct LineItem {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) quantity: u32,
    /// Label of the field for the quantity.
    pub(super) label: String,
    /// Empty where the product is no longer sold.
    pub(super) total: String,
    /// What is wrong with the line; empty where nothing is.
    pub(super) note: String,
}

/// A discount, shipping or a tax, below the lines.
pub(super) struct AdjustmentItem {
    pub(super) label: String,
    pub(super) amount: String,
}

#[derive(Template)]
#[template(path = "storefront/cart.html")]
pub(super) struct CartPage {
    pub(super) frame: Frame,
    pub(super) lines: Vec<LineItem>,
    pub(super) total: String,
    /// A problem; empty where there is none.
    pub(super) note: String,
}

/// A field of a form.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) kind: &'static str,
    pub(super) autocomplete: &'static str,
    pub(super) value: String,
    pub(super) is_wrong: bool,
}

/// A payment method to choose.
pub(super) struct PaymentChoice {
    pub(super) token: String,
    pub(super) label: String,
    pub(super) is_chosen: bool,
}

#[derive(Template)]
#[template(path = "storefront/checkout.html")]
pub(super) struct CheckoutPage {
    pub(super) frame: Frame,
    pub(super) lines: Vec<LineItem>,
    pub(super) adjustments: Vec<AdjustmentItem>,
    /// With the adjustments: what is agreed to.
    pub(super) total: String,
    pub(super) total_minor: i64,
    /// Idempotency key of the order, made with the page: the form places one order however often it is sent.
    pub(super) key: String,
    pub(super) cart: String,
    /// Empty for customers who are signed in.
    pub(super) contact: Vec<Field>,
    /// Who is signed in; empty for guests.
    pub(super) signed_in_as: String,
    pub(super) address: Vec<Field>,
    /// Empty where the token is typed in.
    pub(super) payments: Vec<PaymentChoice>,
    pub(super) payment_token: String,
    pub(super) is_payment_wrong: bool,
    pub(super) pay: String,
    pub(super) note: String,
    /// Until when the goods are reserved; empty without a reservation.
    pub(super) reserved_until: String,
    /// Zero bits of the proof of work that the script has to find; 0 where none is asked for.
    pub(super) proof_bits: u32,
}

#[derive(Template)]
#[template(path = "storefront/waiting.html")]
pub(super) struct WaitingPage {
    pub(super) frame: Frame,
    /// When the sale begins; this text and the next two are empty where nothing is to be told.
    pub(super) opens_at: String,
    pub(super) ahead: String,
    pub(super) wait: String,
    /// Whether the page does not look again by itself.
    pub(super) is_still: bool,
}

#[derive(Template)]
#[template(path = "storefront/order.html")]
pub(super) struct OrderPage {
    pub(super) frame: Frame,
    pub(super) id: String,
    /// State of the order, as the API names it.
    pub(super) state: String,
    pub(super) status: &'static str,
    pub(super) is_final: bool,
    pub(super) has_failed: bool,
    pub(super) is_live: bool,
    pub(super) lines: Vec<LineItem>,
    pub(super) adjustments: Vec<AdjustmentItem>,
    pub(super) total: String,
    /// Lines of the address; empty without access to it.
    pub(super) address: Vec<String>,
}

/// An order in the list of an account.
pub(super) struct OrderLink {
    pub(super) id: String,
    pub(super) date: String,
    pub(super) total: String,
    pub(super) status: &'static str,
}

/// A sign-in of the customer, in words.
pub(super) struct SignIn {
    pub(super) text: String,
    /// Whether it is that of this browser.
    pub(super) is_current: bool,
}

#[derive(Template)]
#[template(path = "storefront/account.html")]
pub(super) struct AccountPage {
    pub(super) frame: Frame,
    pub(super) who: String,
    pub(super) orders: Vec<OrderLink>,
    pub(super) sessions: Vec<SignIn>,
    /// Address of the next page; empty where there is none.
    pub(super) more: String,
}

/// One form, with a note above it and links below: signing in, registering, verifying, a new password, deletion.
#[derive(Template)]
#[template(path = "storefront/form.html")]
pub(super) struct FormPage {
    pub(super) frame: Frame,
    /// Path that takes the form.
    pub(super) action: &'static str,
    pub(super) fields: Vec<Field>,
    /// Label of a box to tick; empty where there is none.
    pub(super) tick: &'static str,
    pub(super) is_ticked: bool,
    /// Empty where there is none.
    pub(super) note: String,
    pub(super) is_note_bad: bool,
    /// Where the visitor goes on, `checkout` or empty.
    pub(super) to: &'static str,
    /// Paths and texts.
    pub(super) links: Vec<(&'static str, &'static str)>,
}
