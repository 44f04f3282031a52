//! Drawings in the place of pictures: shapes and colours that follow from the sku.
//!
//! A catalog of the API holds no pictures. A drawing within the page costs 300 bytes and no request.

/// Numbers of a drawing of 120 by 90 units.
pub(super) struct Picture {
    /// Degrees on the colour wheel.
    pub(super) hue: u32,
    /// Centre and radius of the disc.
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) radius: u32,
    /// Height of the ground at the left and the right edge.
    pub(super) left: u32,
    pub(super) right: u32,
}

/// The same drawing for the same sku, everywhere.
pub(super) fn of(sku: &str) -> Picture {
    // FNV-1a: no secret, and the same in every release.
    let hash =
        sku.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let part = |shift: u32, most: u32| (hash >> shift) % most;
    Picture {
        hue: part(0, 360),
        x: 25 + part(9, 70),
        y: 22 + part(14, 24),
        radius: 12 + part(19, 12),
        left: 50 + part(23, 24),
        right: 50 + part(27, 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_stays_within_its_frame() {
        for n in 0..2_000_u32 {
            let picture = of(&format!("SKU-{n}"));
            assert!(picture.hue < 360 && picture.x + picture.radius <= 120, "{n}");
            assert!(picture.x >= picture.radius && picture.left < 90 && picture.right < 90, "{n}");
        }
    }
}
