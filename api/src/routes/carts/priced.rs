//! The body of a cart: its items at the catalog's current prices and stock.

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    carts::{Cart, CartItem, CartRef},
    problem::Problem,
    view::{CartItemView, CartView},
};

/// Products looked up concurrently for one cart.
const LOOKUPS_MAX: usize = 8;

/// The cart at current prices.
pub(super) async fn view(place: &CartRef<'_>, mut cart: Cart) -> Result<CartView, Problem> {
    let (state, merchant) = (place.state, place.merchant);
    let (items, currency) = (std::mem::take(&mut cart.items), cart.currency);
    let is_reserved = cart.reserved_until(state.ambient.now()).is_some();
    let item = |item: CartItem| async move {
        let product = state.catalog.product(merchant, &item.sku).await?;
        let product = product.filter(|product| Some(product.currency) == currency);
        Ok::<_, Problem>(CartItemView::new(item, product, is_reserved))
    };
    let items = stream::iter(items).map(item).buffered(LOOKUPS_MAX).try_collect().await?;
    Ok(CartView::new(place, &cart, items))
}
