//! The customer's cart, the same in all sessions, and the merge of a guest's cart into it at sign-in.
//!
//! Guarantees: a customer has one such cart; once it was ordered, the next request makes another. A merge moves all
//! items of the guest's cart, each once, or none; a repeated request, also after a crash at any step, ends it and adds
//! nothing twice. The steps:
//! 1. The guest's cart is set aside for the customer's one: no other request finds or changes it any more.
//! 2. Its items are added to the customer's cart together with its id, by which a repetition knows that they were.
//! 3. It is deleted.

use std::time::Duration;

use cache::SessionKey;
use store::domain::CartId;

use crate::{
    carts::{Cart, CartItem, CartRef, TRIES_MAX, busy},
    problem::{Problem, Result},
    sessions::{Owner, decode, encode},
};

/// Time for which the id of a customer's cart is kept: longer than any cart lives.
const ID_TTL: Duration = Duration::from_hours(90 * 24);
/// Units of one product in a cart at most.
const QUANTITY_MAX: u32 = 10_000;
/// Merged carts remembered: a repetition is late when so many others came in between.
const MERGED_MAX: usize = 8;

/// The cart of the customer who is signed in, made when there is none. `caller` is any reference of that customer.
pub(crate) async fn open<'a>(caller: &CartRef<'a>, owner: Owner) -> Result<(CartRef<'a>, Cart)> {
    let key = key(owner);
    for _ in 0..TRIES_MAX {
        let stored = caller.state.sessions.get(&key).await?;
        if let Some(stored) = &stored {
            let place = caller.with_id(decode(&stored.data)?);
            let found = place.find().await?.filter(|(cart, _)| cart.order().is_none());
            if let Some((cart, _)) = found {
                return Ok((place, cart));
            }
        }
        let place = caller.with_id(CartId::fresh(&caller.state.ambient));
        let mut cart = Cart::new(None, Some(owner.customer));
        place.create(&mut cart).await?;
        let (expected, id) = (stored.map(|stored| stored.version), encode(&place.id)?);
        if caller.state.sessions.replace(&key, expected, &id, ID_TTL).await?.is_some() {
            return Ok((place, cart));
        }
        // Another session of the customer has made one meanwhile.
        caller.state.sessions.delete(&place.key()).await?;
    }
    Err(busy())
}

/// Deletes the customer's cart.
pub(crate) async fn delete(caller: &CartRef<'_>, owner: Owner) -> Result<()> {
    let (key, sessions) = (key(owner), &caller.state.sessions);
    if let Some(stored) = sessions.get(&key).await? {
        let place = caller.with_id(decode(&stored.data)?);
        if let Some((mut cart, _)) = place.find_any().await? {
            place.drop_reservation(&mut cart).await?;
        }
        sessions.delete(&place.key()).await?;
        sessions.delete(&key).await?;
    }
    Ok(())
}

/// Moves the items of the cart `from` into the customer's cart `target`. Items that do not fit are a problem, and both
/// carts stay as they are.
pub(crate) async fn merge(target: &CartRef<'_>, from: CartId) -> Result<Cart> {
    let (guest, (mut cart, _)) = (target.with_id(from), target.load().await?);
    if from == target.id {
        return Ok(cart);
    }
    if !cart.merged.contains(&from) {
        (_, cart) = match set_aside(&guest, target.id, &cart).await? {
            Some(items) => target.change(|cart| add(cart, from, &items)).await?,
            // Merged meanwhile by another request, or never there.
            None => (*target, merged(target, from).await?),
        };
    }
    guest.state.sessions.delete(&guest.key()).await?;
    Ok(cart)
}

/// The customer's cart, if the other one was merged into it.
async fn merged(target: &CartRef<'_>, from: CartId) -> Result<Cart> {
    let (cart, _) = target.load().await?;
    if cart.merged.contains(&from) { Ok(cart) } else { Err(Problem::not_found("cart")) }
}

/// Sets the guest's cart aside for the cart `target`, which is to hold its items; returns what is in it, and `None`
/// when there is no such cart.
async fn set_aside(guest: &CartRef<'_>, target: CartId, into: &Cart) -> Result<Option<Cart>> {
    for _ in 0..TRIES_MAX {
        let Some((mut cart, version)) = guest.find_any().await? else { return Ok(None) };
        if cart.merging_into == Some(target) {
            return Ok(Some(cart));
        }
        if !guest.may_use(&cart) {
            return Err(Problem::not_found("cart"));
        }
        guest.expect_open(&cart).await?;
        add(&mut into.clone(), guest.id, &cart)?;
        guest.drop_reservation(&mut cart).await?;
        (cart.moved, cart.merging_into) = (true, Some(target));
        if guest.save(&mut cart, Some(version)).await?.is_some() {
            return Ok(Some(cart));
        }
    }
    Err(busy())
}

/// Adds the items, unless the cart has them: quantities of the same product are added up, to the largest allowed.
fn add(cart: &mut Cart, from: CartId, items: &Cart) -> Result<()> {
    if cart.merged.contains(&from) {
        return Ok(());
    }
    if let Some(currency) = items.currency {
        for CartItem { sku, quantity } in &items.items {
            let there = cart.items.iter().find(|item| item.sku == *sku).map_or(0, |item| item.quantity);
            cart.set(sku, there.saturating_add(*quantity).min(QUANTITY_MAX), currency)?;
        }
    }
    cart.merged.push(from);
    let surplus = cart.merged.len().saturating_sub(MERGED_MAX);
    cart.merged.drain(..surplus);
    Ok(())
}

/// Where the id of the customer's cart is stored.
fn key(owner: Owner) -> SessionKey {
    SessionKey::new("cart-of", format_args!("{}:{}", owner.merchant, owner.customer))
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;

    #[test]
    fn items_are_added_once_and_within_limits() {
        let (ambient, euros) = (Ambient::system(), "EUR".parse().expect("a currency"));
        let (mut cart, mut guest) = (Cart::new(None, None), Cart::new(None, None));
        cart.set("mug", 9_999, euros).expect("fits");
        guest.set("mug", 2, euros).expect("fits");
        guest.set("pen", 1, euros).expect("fits");
        let from = CartId::fresh(&ambient);
        for _ in 0..2 {
            add(&mut cart, from, &guest).expect("fits");
            let items: Vec<_> = cart.items.iter().map(|item| (item.sku.as_str(), item.quantity)).collect();
            assert_eq!(items, [("mug", QUANTITY_MAX), ("pen", 1)]);
        }
        for _ in 0..20 {
            add(&mut cart, CartId::fresh(&ambient), &Cart::new(None, None)).expect("fits");
        }
        assert_eq!(cart.merged.len(), MERGED_MAX);
        let mut dollars = Cart::new(None, None);
        dollars.set("ball", 1, "USD".parse().expect("a currency")).expect("fits");
        assert!(add(&mut cart, CartId::fresh(&ambient), &dollars).is_err());
    }
}
