//! Rules of reservations of carts, applied between the statements of an engine.

use base::Timestamp;

use super::stock::{Wanted, wanted};
use crate::{orders::NewLine, reservations::NewReservation};

/// When a new reservation ends, where the cart had one that ends at `former`.
pub fn end_of(new: &NewReservation, former: Option<Timestamp>) -> Timestamp {
    let running = former.filter(|end| *end > new.at);
    running.map_or(new.expires_at, |end| end.min(new.expires_at))
}

/// Units per sku of lines.
pub fn of_lines(lines: &[NewLine]) -> Wanted<'_> {
    wanted(lines.iter().map(|line| (line.sku.as_str(), line.quantity)))
}

/// Units to release before `wanted` is reserved: those of `former`, and none of each other product that is wanted. So
/// one statement locks all products of both, in one order, and the next one decides on what others cannot change.
pub fn exchanged<'a>(former: &Wanted<'a>, wanted: &Wanted<'a>) -> Wanted<'a> {
    let mut units: Wanted<'a> = wanted.keys().map(|sku| (*sku, 0)).collect();
    units.extend(former.iter().map(|(sku, quantity)| (*sku, *quantity)));
    units
}

#[cfg(test)]
mod tests {
    use base::Ambient;

    use super::*;
    use crate::domain::{CartId, MerchantId};

    fn second(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_running_reservation_keeps_its_end() {
        let ambient = Ambient::system();
        let new = NewReservation {
            merchant: MerchantId::fresh(&ambient),
            cart: CartId::fresh(&ambient),
            currency: "EUR".parse().expect("a currency"),
            lines: Vec::new(),
            expires_at: second(700),
            at: second(100),
        };
        assert_eq!(end_of(&new, None), second(700));
        assert_eq!(end_of(&new, Some(second(100))), second(700), "it has ended");
        assert_eq!(end_of(&new, Some(second(400))), second(400));
        assert_eq!(end_of(&new, Some(second(900))), second(700), "the merchant has shortened it");
    }

    #[test]
    fn all_products_are_locked_and_the_former_ones_released() {
        let lines = |units: &[(&str, u32)]| -> Vec<NewLine> {
            let line = |&(sku, quantity): &(&str, u32)| NewLine { sku: sku.to_owned(), quantity };
            units.iter().map(line).collect()
        };
        let (former, wanted) = (lines(&[("a", 1), ("b", 2)]), lines(&[("b", 5), ("c", 3)]));
        let units = exchanged(&of_lines(&former), &of_lines(&wanted));
        assert_eq!(units.into_iter().collect::<Vec<_>>(), [("a", 1), ("b", 2), ("c", 0)]);
    }
}
