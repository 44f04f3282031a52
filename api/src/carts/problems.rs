//! Problems of carts that change at the same time.

use crate::problem::{Kind, Problem};

pub(crate) fn held() -> Problem {
    Problem::new(Kind::CART_HELD, "it is being ordered; look again shortly").retry_after(1)
}

pub(crate) fn busy() -> Problem {
    Problem::new(Kind::CART_BUSY, "others keep changing it; try again").retry_after(1)
}
